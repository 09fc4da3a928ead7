# SPDX-License-Identifier: Apache-2.0
"""The hooks of Transformers' cache that run for each request in each step, on classes that stand in
for the engine's."""
import json
import os
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape.hf_transformers import Hooks  # noqa: E402
from pagetape.importhook import shield  # noqa: E402
from pagetape.recording import Recorder, TextRecorder  # noqa: E402


class Tensor:
    is_cuda, dtype, shape = False, "torch.float32", (8 * 16 + 32, 1, 4)

    def stride(self, _dimension=None):
        return 4 if _dimension is not None else (4, 4, 1)

    def element_size(self):
        return 4

    def data_ptr(self):
        return 0


class Block:
    def __init__(self):
        self.is_complete = False


class Manager:
    def __init__(self):
        self._id_to_block = {number: Block() for number in range(8)}


class Allocator:
    uses_block_sharing = True

    def __init__(self):
        self.block_table = {}


def engine():
    """A module as the engine's, of which each test patches its own."""

    class PagedAttentionCache:
        block_size, num_blocks = 16, 8
        read_trash_index, write_trash_index, sentinel_index = 128, 144, 145

        def __init__(self):
            self.group_cache_managers = [Allocator()]
            self._block_manager = Manager()
            self.key_cache, self.value_cache = [Tensor()], [Tensor()]
            self.layer_index_to_group_indices = {0: (0, 0)}

        def update(self, key_states, value_states, layer_idx, read_index, write_index):
            return key_states, value_states

        def extend_read_and_write_indices(self, request_id, past_length, query_length, read_index,
                                          write_index):
            for one in [*(read_index or []), *write_index]:
                one.append(past_length)
            return "extended"

        def mark_shareable_blocks_as_complete(self, state, num_complete_blocks):
            table = self.group_cache_managers[0].block_table[state.request_id]
            left = [b for b in table if not self._block_manager._id_to_block[b].is_complete]
            for block in left[:num_complete_blocks]:
                twin = self.twins.get(block)
                if twin is not None:
                    table[table.index(block)] = twin
                else:
                    self._block_manager._id_to_block[block].is_complete = True
            return "marked"

        def search_prefix_match(self, request_id, prompt_ids):
            return 0

        def copy_cache(self, list_source_blocks, list_forked_blocks):
            pass

        twins = {}

    class ContinuousBatchingIOs:
        def prepare_batch_tensors(self):
            pass

        def retrieve_device_outputs(self):
            pass

        def prepare_batch_update(self):
            return "tokens"

    class Scheduler:
        def __init__(self):
            self.active_requests = {}

        def add_waiting_request(self, state):
            self.active_requests[state.request_id] = state

        def finish_request(self, request_id):
            del self.active_requests[request_id]

        def clear_cancelled_requests(self):
            return []

    module = types.ModuleType("engine")
    for cls in (PagedAttentionCache, ContinuousBatchingIOs, Scheduler):
        setattr(module, cls.__name__, cls)
    return module


class HfHooksTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "run.jsonl")
        self.recorder = Recorder(TextRecorder(self.path))
        self.addCleanup(self.recorder.close)
        shield.__init__()
        self.addCleanup(shield.__init__)
        self.hooks = Hooks(self.recorder)
        module = engine()
        with mock.patch("pagetape.hf_transformers.metadata.version", return_value="0"):
            self.hooks.cache(module)
            self.hooks.sharing(module)
            self.hooks.inputs(module)
            self.hooks.scheduler(module)
            self.cache = module.PagedAttentionCache()
        self.inputs = module.ContinuousBatchingIOs.__new__(module.ContinuousBatchingIOs)
        self.inputs.cache = self.cache
        self.scheduler = module.Scheduler()

    def said(self, *kinds):
        self.recorder.close()
        lines = [json.loads(line) for line in Path(self.path).read_text().splitlines()]
        return [line for line in lines if line["ev"] in kinds]

    def mark(self, req, count):
        state = types.SimpleNamespace(request_id=req)
        self.assertEqual(self.cache.mark_shareable_blocks_as_complete(state, count), "marked")

    def test_a_block_is_published_when_it_is_complete_and_once(self):
        self.cache.group_cache_managers[0].block_table["A"] = [3, 1, 2]
        self.mark("A", 0)
        self.mark("A", 1)
        self.mark("A", 0)
        self.mark("A", 2)
        self.assertEqual([e["page"] for e in self.said("prefix_key")], [3, 1, 2])

    def test_a_block_whose_content_is_there_already_is_given_back(self):
        self.cache.group_cache_managers[0].block_table.update(A=[3, 1], B=[4, 5, 6])
        self.cache.twins = {5: 1}
        self.mark("A", 2)
        self.mark("B", 1)
        self.mark("B", 1)
        said = [(e["ev"], e.get("page", e.get("pages")), e.get("first"))
                for e in self.said("prefix_key", "prefix_hit", "free")]
        self.assertEqual(said, [("prefix_key", 3, None), ("prefix_key", 1, None),
                                ("prefix_key", 4, None), ("free", [5], None),
                                ("prefix_hit", 1, 1)])

    def test_entries_of_each_request_are_counted(self):
        known = self.hooks.blocks.of(self.cache)
        for read_index in ([[]], None):
            given = read_index, [[]]
            for req, past in (("A", 4), ("B", 7)):
                self.assertEqual(self.cache.extend_read_and_write_indices(req, past, 1, *given),
                                 "extended")
        self.assertEqual(known.building, [("A", 4, 1, 1, 1), ("B", 7, 1, 2, 2),
                                          ("A", 4, 1, 0, 1), ("B", 7, 1, 0, 2)])

    def test_a_cache_that_is_not_known_is_the_engines_alone(self):
        other = type(self.cache).__new__(type(self.cache))
        self.assertEqual(other.extend_read_and_write_indices("A", 4, 1, [[]], [[]]), "extended")
        self.assertEqual(self.hooks.blocks.of(self.cache).building, [])

    def test_a_count_that_fails_stops_the_hooks_and_not_the_engine(self):
        with mock.patch("sys.stderr"):
            self.assertEqual(
                self.cache.extend_read_and_write_indices(request_id="A", past_length=4,
                                                         query_length=1, read_index=None,
                                                         write_index=iter([[]])), "extended")
        self.assertTrue(shield.stopped)
        self.cache.group_cache_managers[0].block_table["A"] = [3]
        self.mark("A", 1)
        self.assertEqual([e["ev"] for e in self.said("gap", "prefix_key")], ["gap"])

    # --- what is kept

    def batch(self, req):
        """One that `req` is in, prepared as the engine does."""
        self.cache.extend_read_and_write_indices(req, 4, 1, [[]], [[]])
        self.inputs.prepare_batch_tensors()

    def lines(self):
        self.recorder.sink.flush()
        text = Path(self.path + ".partial").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        return [(line["ev"], line.get("req", line.get("step"))) for line in lines
                if line["ev"] not in ("header", "backend", "pool", "pool_layer", "pool_swap")]

    def test_a_batch_is_told_while_the_engine_waits_for_it(self):
        self.scheduler.add_waiting_request(types.SimpleNamespace(request_id="A"))
        self.batch("A")
        self.assertEqual(self.lines(), [])
        self.inputs.retrieve_device_outputs()
        self.assertEqual(self.lines(), [("request", "A"), ("request", "A"), ("step", 0)])

    def test_a_batch_is_told_before_its_first_launch(self):
        self.batch("A")
        index = mock.Mock(**{"numel.return_value": 0, "data_ptr.return_value": 0})
        self.assertEqual(self.cache.update("k", "v", 0, [index], [index]), ("k", "v"))
        self.assertEqual(self.lines(), [("request", "A"), ("step", 0)])

    def test_the_end_of_the_last_request_is_told_at_once(self):
        for req in ("A", "B"):
            self.scheduler.add_waiting_request(
                types.SimpleNamespace(request_id=req, status=types.SimpleNamespace(name="X")))
        self.scheduler.finish_request("A")
        self.assertEqual(self.lines(), [])
        self.scheduler.finish_request("B")
        self.assertEqual(self.lines(), [("request", req) for req in "ABAB"])

    def test_what_is_kept_at_the_end_is_told(self):
        self.scheduler.add_waiting_request(types.SimpleNamespace(request_id="A"))
        self.assertEqual([e["req"] for e in self.said("request")], ["A"])

    def test_what_is_kept_is_told_before_a_completion(self):
        self.scheduler.add_waiting_request(types.SimpleNamespace(request_id="A"))
        self.hooks.blocks.of(self.cache).begun.append(7)
        with mock.patch.object(self.recorder, "launch_done",
                               side_effect=lambda ticket: self.recorder.emit("note", text="7")):
            self.assertEqual(self.inputs.prepare_batch_update(), "tokens")
        self.assertEqual(self.lines(), [("request", "A"), ("note", None)])


if __name__ == "__main__":
    unittest.main()
