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

    module = types.ModuleType("cache")
    module.PagedAttentionCache = PagedAttentionCache
    return module


class HfHooksTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "run.jsonl")
        self.recorder = Recorder(TextRecorder(self.path))
        shield.__init__()
        self.addCleanup(shield.__init__)
        self.hooks = Hooks(self.recorder)
        module = engine()
        with mock.patch("pagetape.hf_transformers.metadata.version", return_value="0"):
            self.hooks.cache(module)
            self.hooks.sharing(module)
            self.cache = module.PagedAttentionCache()

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


if __name__ == "__main__":
    unittest.main()
