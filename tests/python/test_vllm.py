# SPDX-License-Identifier: Apache-2.0
"""vLLM's hooks that need no vLLM, on classes with the signatures of 0.32.0: the rank."""
import os
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape import recording  # noqa: E402
from pagetape.vllm import Hooks  # noqa: E402


class RankTest(unittest.TestCase):
    def test_a_worker_of_several_tells_its_rank(self):
        self.addCleanup(setattr, recording, "_told_rank", None)

        class WorkerBase:
            def __init__(self, vllm_config, local_rank, rank, distributed_init_method,
                         is_driver_worker=False):
                pass

        Hooks(mock.Mock()).rank(SimpleNamespace(WorkerBase=WorkerBase))
        with mock.patch.dict(os.environ, clear=True):
            for size, rank in ((1, -1), (2, 1)):
                config = SimpleNamespace(parallel_config=SimpleNamespace(world_size=size))
                WorkerBase(config, local_rank=1, rank=1, distributed_init_method="")
                self.assertEqual(recording.rank(), rank)


if __name__ == "__main__":
    unittest.main()
