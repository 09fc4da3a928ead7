# SPDX-License-Identifier: Apache-2.0
"""vLLM's hooks that need no vLLM, on classes with the signatures of 0.32.0: which launches are
complete, and the rank."""
import os
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape import recording  # noqa: E402
from pagetape.vllm import Hooks  # noqa: E402


class CompleteTest(unittest.TestCase):
    def setUp(self):
        self.done, done = [], self.done_of
        self.recorder = mock.Mock(launch_done=done, last_launch=lambda: self.launch)
        self.launch = 0
        hooks = Hooks(self.recorder)
        hooks.launches.begin = hooks.launches.end = lambda *_args: None
        test = self

        class GPUModelRunner:
            def initialize_kv_cache(self, kv_cache_config):
                pass

            def _dummy_run(self, tokens):
                pass

            def execute_model(self, scheduler_output, intermediate_tensors=None):
                test.launch += 1

        class Scheduler:
            def update_from_output(self, scheduler_output, model_runner_output):
                return {}

        hooks._drafted = lambda *_args: None
        hooks.runner(SimpleNamespace(GPUModelRunner=GPUModelRunner))
        hooks.drafts(SimpleNamespace(Scheduler=Scheduler))
        self.runner, self.scheduler = GPUModelRunner(), Scheduler()

    def done_of(self, ticket):
        self.done.append(ticket)

    def test_a_steps_launches_are_complete_once_its_output_is_there(self):
        steps = [SimpleNamespace(num_scheduled_tokens={"A": 1}) for _ in range(2)]
        for step in steps:  # The second one is launched before the first one's output is read.
            self.runner.execute_model(step)
        for step in steps:
            self.scheduler.update_from_output(step, SimpleNamespace(sampled_token_ids=[[7]]))
        self.assertEqual(self.done, [1, 2])

    def test_without_output_and_in_another_process_nothing_is_known(self):
        step = SimpleNamespace(num_scheduled_tokens={"A": 1})
        self.scheduler.update_from_output(step, SimpleNamespace(sampled_token_ids=[[7]]))
        self.runner.execute_model(step)
        self.scheduler.update_from_output(step, SimpleNamespace(sampled_token_ids=[]))
        self.assertEqual(self.done, [])


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
            for fields, rank in (({"data_parallel_index": 2}, 5), ({"data_parallel_rank": 2}, 5),
                                 ({"data_parallel_index": 2, "data_parallel_size": 3,
                                   "distributed_executor_backend": "external_launcher"}, 1)):
                config = SimpleNamespace(parallel_config=SimpleNamespace(world_size=2, **fields))
                WorkerBase(config, local_rank=1, rank=1, distributed_init_method="")
                self.assertEqual(recording.rank(), rank, fields)


if __name__ == "__main__":
    unittest.main()
