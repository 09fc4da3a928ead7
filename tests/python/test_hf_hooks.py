# SPDX-License-Identifier: Apache-2.0
"""The hooks of Transformers' cache that run for each request in each step, on classes that stand in
for the engine's."""
import json
import os
import sys
import tempfile
import threading
import types
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape.hf_buffers import Starts  # noqa: E402
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


def scheduling():
    class Scheduler:
        cancelled = 0

        def __init__(self):
            self.active_requests = {}

        def add_waiting_request(self, state):
            self.active_requests[state.request_id] = state

        def finish_request(self, request_id):
            del self.active_requests[request_id]

        def clear_cancelled_requests(self):
            states = [*self.active_requests.values()][:self.cancelled]
            for state in states:
                del self.active_requests[state.request_id]
            return states

    class OffloadingManager:
        def restore_scheduled_requests(self, requests_in_batch):
            return "restored"

    return Scheduler, OffloadingManager


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
            self.launched()
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
            self.waited()

        def prepare_batch_update(self):
            return "tokens"

    module = types.ModuleType("engine")
    for cls in (PagedAttentionCache, ContinuousBatchingIOs, *scheduling()):
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
            self.hooks.offloading(module)
            self.cache = module.PagedAttentionCache()
        self.inputs = module.ContinuousBatchingIOs.__new__(module.ContinuousBatchingIOs)
        self.inputs.cache = self.cache
        self.scheduler = module.Scheduler()
        self.offloading = module.OffloadingManager()
        self.offloading.cache = self.cache
        # What is recorded when the engine launches, and when it waits for the GPU.
        self.recorded = []
        self.cache.launched = self.inputs.waited = lambda: self.recorded.append(self.lines())

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

    def launch(self):
        index = mock.Mock(**{"numel.return_value": 0, "data_ptr.return_value": 0})
        self.assertEqual(self.cache.update("k", "v", 0, [index], [index]), ("k", "v"))

    @staticmethod
    def state(req):
        return types.SimpleNamespace(request_id=req, is_cpu_offloaded=True,
                                     status=types.SimpleNamespace(name="X"))

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
        self.assertEqual(self.recorded, [[("request", "A"), ("request", "A"), ("step", 0)]])

    def test_a_guard_knows_how_many_lanes_a_batch_has_before_that_is_told(self):
        self.hooks.buffers.mode = "clamp"
        known = self.hooks.blocks.of(self.cache)
        for lanes in (2, 1):
            for req in "AB"[:lanes]:
                self.cache.extend_read_and_write_indices(req, 4, 1, [[]], [[]])
            batches, before = known.batches, self.lines()
            self.inputs.prepare_batch_tensors()
            self.assertEqual((known.batches, known.prepared), (batches + 1, lanes))
            self.assertEqual(self.lines(), before)
            self.hooks.blocks.flush()

    def test_a_batch_is_told_before_its_first_launch(self):
        self.batch("A")
        self.assertEqual(self.lines(), [])
        self.launch()
        self.assertEqual(self.recorded, [[("request", "A"), ("step", 0)]])

    def test_a_batch_that_is_never_launched_is_one_of_its_own(self):
        self.batch("W")
        self.batch("A")
        self.launch()
        self.assertEqual(self.hooks.blocks.of(self.cache).lanes.reqs, ("A",))
        self.assertEqual(self.lines(), [("request", "W"), ("step", 0), ("request", "A"),
                                        ("step", 1)])

    def test_batches_of_nobody_are_told_one_by_one(self):
        for _ in range(3):
            self.inputs.prepare_batch_tensors()
        self.assertEqual([e["step"] for e in self.said("step")], [0, 1, 2])

    def test_a_batch_is_told_before_what_happens_behind_it(self):
        blocks, known = self.hooks.blocks, self.hooks.blocks.of(self.cache)
        for happens, told in (
                (lambda: blocks.arrive("B"), [("request", "B")]),
                (lambda: blocks.leave("A", failed=True), [("request", "A")]),
                (lambda: blocks.returned(known.groups[0], "A", [1]), [("free", "A")]),
                (lambda: blocks.gap(known.groups, "why"), [("gap", None)])):
            before = self.lines()
            self.batch("A")
            happens()
            blocks.flush()
            said = [line for line in self.lines()[len(before):] if line != ("request", "A")]
            self.assertEqual(said[0][0], "step")
            self.assertEqual(self.lines()[-1:], told)

    def test_who_is_in_a_batch_runs_before_what_happens_behind_it(self):
        blocks = self.hooks.blocks
        for req, happens in (("A", blocks.arrive), ("B", lambda req: blocks.leave(req, True))):
            self.batch(req)
            happens(req)
        self.assertEqual([(e["req"], e["state"]) for e in self.said("request")],
                         [("A", "run"), ("B", "run"), ("B", "abort")])

    def test_a_request_that_left_an_unlaunched_batch_does_not_come_back(self):
        self.scheduler.add_waiting_request(self.state("A"))
        self.batch("A")
        self.scheduler.finish_request("A")
        self.batch("B")
        self.assertEqual([(e["req"], e["state"]) for e in self.said("request")],
                         [("A", "arrive"), ("A", "run"), ("A", "finish"), ("B", "run")])

    def test_the_end_of_the_last_request_is_told_at_once(self):
        for req in ("A", "B"):
            self.scheduler.add_waiting_request(self.state(req))
        self.scheduler.finish_request("A")
        self.assertEqual(self.lines(), [])
        self.scheduler.finish_request("B")
        self.assertEqual(self.lines(), [("request", req) for req in "ABAB"])

    def test_the_last_requests_that_are_cancelled_are_told_at_once(self):
        for req in ("A", "B", "C"):
            self.scheduler.add_waiting_request(self.state(req))
        self.scheduler.cancelled = 1
        self.scheduler.clear_cancelled_requests()
        self.assertEqual(self.lines(), [])
        self.scheduler.cancelled = 2
        self.scheduler.clear_cancelled_requests()
        self.assertEqual(self.lines(), [("request", req) for req in "ABCABC"])

    def test_hooks_take_what_they_are_given_by_name(self):
        batch = [types.SimpleNamespace(state=self.state("A"))]
        self.assertEqual(self.offloading.restore_scheduled_requests(requests_in_batch=batch),
                         "restored")
        self.assertEqual(self.cache.search_prefix_match(request_id="A", prompt_ids=[]), 0)
        self.assertFalse(shield.stopped)
        self.assertEqual(len(self.said("gap")), 1)

    def test_who_has_flushed_may_record_whoever_told_what_was_kept(self):
        """Another thread records between what is taken out of the queue and told: it must not."""
        blocks, emit, others = self.hooks.blocks, self.recorder.emit, []

        def other():
            blocks.flush()
            self.recorder.sink.write('{"ev": "attention"}')

        def emitted(*args, **kwargs):
            if not others:
                others.append(threading.Thread(target=other))
                others[0].start()
                if not self.held():
                    others[0].join()
            emit(*args, **kwargs)

        blocks.taken(self.hooks.blocks.of(self.cache).groups[0], "A", [1], 0)
        with mock.patch.object(self.recorder, "emit", emitted):
            blocks.flush()
        others[0].join()
        self.assertEqual(self.lines(), [("request", "A"), ("alloc", "A"), ("attention", None)])

    def held(self):
        """Whether this thread has the recorder's lock."""
        got = []

        def other():
            got.append(self.recorder.lock.acquire(blocking=False))
            if got[0]:
                self.recorder.lock.release()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return not got[0]

    def test_a_forked_child_tells_nothing_of_its_parents(self):
        self.batch("A")
        self.scheduler.add_waiting_request(self.state("C"))
        self.batch("B")
        self.cache.extend_read_and_write_indices("D", 4, 1, [[]], [[]])
        known = self.hooks.blocks.of(self.cache)
        child = os.fork()
        if child == 0:
            with mock.patch.object(self.recorder, "emit") as emit, \
                    mock.patch.object(self.recorder, "step") as step:
                self.hooks.blocks.flush()
                self.inputs.prepare_batch_tensors()
                self.hooks.blocks.flush()
                os._exit(0 if not emit.called and step.call_count == 1 and
                         known.lanes.reqs == () else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual([e["req"] for e in self.said("request")], ["A", "C", "B"])

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


class Numbers:
    """A tensor of one dimension, or a part of one."""

    def __init__(self, held, begin=0, end=None):
        self.held, self.begin, self.end = held, begin, len(held) if end is None else end

    def numel(self):
        return self.end - self.begin

    def new_zeros(self, count):
        return Numbers([0] * count)

    def __getitem__(self, of):
        begin, end, _ = of.indices(self.numel()) if isinstance(of, slice) else (of, of + 1, 1)
        return Numbers(self.held, self.begin + begin, self.begin + end)

    def copy_(self, other):
        self.held[self.begin:self.end] = other.held[other.begin:other.end]

    def fill_(self, value):
        self.held[self.begin:self.end] = [value] * self.numel()

    def zero_(self):
        self.fill_(0)


class StartsTest(unittest.TestCase):
    def test_they_are_the_batchs_and_one_of_nobodys_behind(self):
        engines = Numbers([0, 3, 5, 9])
        starts = Starts(engines)
        for batch, lanes, end, now, own in (
                (1, 3, 16, [0, 3, 5, 9], [0, 3, 5, 9, 16]),
                (2, 3, 16, [0, 4, 6, 8], [0, 4, 6, 8, 16]),
                (3, 1, 16, [0, 4, 6, 8], [0, 4, 16, 0, 0]),
                (4, 1, 32, [0, 5, 6, 8], [0, 5, 32, 0, 0]),
                (5, 2, None, [0, 1, 2, 8], [0, 1, 2, 0, 0]),
                (6, 2, None, [0, 2, 4, 8], [0, 2, 4, 0, 0])):
            engines.held[:] = now
            starts.of_batch(batch, lanes, end)
            self.assertEqual(starts.own.held, own)
            self.assertTrue(starts.are_of(batch))
        engines.held[:] = [0, 7, 7, 7]
        starts.of_batch(6, 2)
        self.assertEqual(starts.own.held, own)


if __name__ == "__main__":
    unittest.main()
