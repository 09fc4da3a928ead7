# SPDX-License-Identifier: Apache-2.0
"""Whose the lanes of EAGLE's drafts and of SGLang's graphs are, on classes with the signatures of
0.5.19 and 0.5.20. The same with SGLang's own: tests/engines."""
import sys
import types
import unittest
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape._abi import Rows  # noqa: E402
from pagetape.graphs import Held  # noqa: E402
from pagetape.importhook import NotHere  # noqa: E402
from pagetape.sglang import Adapter  # noqa: E402
from pagetape.sglang_backends import Backends, Forward, Table  # noqa: E402
from pagetape.sglang_drafts import Drafts  # noqa: E402
from pagetape.sglang_graphs import backends_of, padded, rids_of  # noqa: E402
from pagetape.sglang_kernels import Kernels  # noqa: E402
from pagetape.sglang_guard import SglangGuard  # noqa: E402
from pagetape.sglang_on_gpu import OnGpu, Read, lanes_each  # noqa: E402


class Slots(list):
    def numel(self):
        return len(self)


def mode(verify=False, extend=False):
    return SimpleNamespace(is_decode_or_idle=lambda: not verify and not extend,
                           is_target_verify=lambda: verify)


class LanesTest(unittest.TestCase):
    def test_of_one_request_there_are_several_in_a_tree(self):
        batch = SimpleNamespace(batch_size=2, spec_info="drafts")
        self.assertEqual([lanes_each(batch, lanes) for lanes in (2, 6, 3)], [1, 3, 1])
        batch.spec_info = None  # A tensor that is longer than the batch.
        self.assertEqual(lanes_each(batch, 6), 1)
        self.assertEqual(lanes_each(SimpleNamespace(batch_size=0, spec_info="drafts"), 3), 1)

    def test_on_a_gpu(self):
        on_gpu = OnGpu(SimpleNamespace(recorder=None, pools=SimpleNamespace(there=None)))
        batch = SimpleNamespace(rids=["A", None], batch_size=2, forward_mode=mode(verify=True),
                                spec_info="drafts", input_ids=SimpleNamespace(shape=(8,)))
        self.assertEqual(on_gpu._lanes(batch, 2), (["A", None], [4, 4]))
        self.assertEqual(on_gpu._lanes(batch, 8), (["A"] * 4 + [None] * 4, [1] * 8))

    def test_lists_of_steps_that_were_planned_may_be_longer_than_any_list_on_the_host_says(self):
        on_gpu = OnGpu(SimpleNamespace(recorder=None, pools=SimpleNamespace(there=None)))
        batch = SimpleNamespace(seq_lens_cpu=[250, 112], seq_lens=None)
        read = Read(None, None, "kernel", 1, indptr=Slots(), ahead=4)
        self.assertEqual(on_gpu._listed(batch, read, Rows(["A", "B"], q_len=[1, 1]))[1], 254)


class PaddedTest(unittest.TestCase):
    """Today's batch in the shapes of the one that was captured."""

    def setUp(self):
        backend = SimpleNamespace(get_cuda_graph_seq_len_fill_value=lambda: 1)
        self.captured = SimpleNamespace(
            batch_size=3, rids=None, seq_lens_cpu=Lens([1, 1, 1]), extend_seq_lens_cpu=[5, 5, 5])
        self.launch = Forward(backend, None, self.captured)

    def padded(self, **today):
        return padded(self.launch, SimpleNamespace(**{
            "rids": ["A", "B"], "seq_lens_cpu": Lens([250, 112]), "extend_seq_lens_cpu": None,
            "forward_mode": mode(), **today}))

    def test_lanes_behind_its_requests_are_nobodys(self):
        told = self.padded()
        self.assertEqual((told.rids, told.seq_lens_cpu, told.batch_size),
                         (["A", "B", None], [250, 112, 1], 3))
        self.assertIsNone(self.captured.rids)

    def test_lengths_that_the_host_does_not_have_are_not_those_of_the_capture(self):
        self.assertIsNone(self.padded(seq_lens_cpu=None).seq_lens_cpu)

    def test_a_prompts_graph_is_told_without_padding(self):
        today = mode(extend=True)
        today.is_extend_without_speculative = lambda: True
        self.assertEqual(self.padded(forward_mode=today).rids, ["A", "B"])

    def test_lengths_that_the_runner_has_padded_already(self):
        self.assertEqual(self.padded(seq_lens_cpu=Lens([250, 112, 1])).seq_lens_cpu, [250, 112, 1])

    def test_new_tokens_are_todays(self):
        self.assertEqual(self.padded(extend_seq_lens_cpu=[4, 2]).extend_seq_lens_cpu, [4, 2, 5])
        self.assertEqual(self.padded().extend_seq_lens_cpu, [5, 5, 5])


class Lens(list):
    def tolist(self):
        return list(self)


class ReplayTest(unittest.TestCase):
    """A draft's graph runner launches in no pass of a ModelRunner."""

    def setUp(self):
        self.told, self.gaps, self.captured_with = [], [], {}
        recorder = SimpleNamespace(native=lambda: self)
        self.backends = Backends(recorder, SimpleNamespace(there=None))
        self.backends.on_gpu = SimpleNamespace(
            forget=lambda: None, gap=self.gaps.append,
            launched=lambda captured, today: self.told.extend(
                (today(launch).batch.rids, *what) for launch, *what in captured))
        self.step = SimpleNamespace(get_cuda_graph_seq_len_fill_value=lambda: 1)
        runner = SimpleNamespace(attn_backend=SimpleNamespace(attn_backends=[object(), self.step]))
        backends = self.backends

        class FullCudaGraphBackend:
            def __init__(self, cuda_graph_runner, *, enable_memory_saver=False):
                pass

            def replay(self, shape_key, static_forward_batch, **kwargs):
                backends.replays.launched(self.held)

        self.module = types.ModuleType("full_cuda_graph_backend")
        self.module.FullCudaGraphBackend = FullCudaGraphBackend
        backends.replays.graph_runners(self.module)
        self.graphs = FullCudaGraphBackend(runner, enable_memory_saver=True)
        self.batch = SimpleNamespace(rids=["A"], seq_lens_cpu=None, extend_seq_lens_cpu=None,
                                     forward_mode=mode())

    def replay(self, *backends):
        captured = SimpleNamespace(batch_size=2, extend_seq_lens_cpu=None)
        self.graphs.held = Held((Forward(one, None, captured), "read") for one in backends)
        self.graphs.held.bound = self.captured_with
        self.graphs.replay("key", self.batch)

    def test_its_steps_backends_are_known(self):
        self.replay(self.step, self.step)
        self.assertEqual((self.told, self.gaps), ([(["A", None], "read")] * 2, []))
        self.assertEqual(self.backends.replays.forwarding, [])

    def test_another_ones_launches_are_a_gap(self):
        self.replay(self.step, object())
        self.assertEqual((self.told, len(self.gaps)), ([], 1))

    def test_a_runner_without_a_backend_has_none(self):
        """What it launches is of the pass around it."""
        self.assertEqual(backends_of(None), [])
        self.graphs = self.module.FullCudaGraphBackend(SimpleNamespace())
        runner = SimpleNamespace(attn_backend=self.step)
        self.backends.replays.forwarding.append((runner, self.batch))
        self.replay(self.step)
        self.assertEqual((self.told, self.gaps), ([(["A", None], "read")], []))

    def test_a_draft_reads_the_pool_with_which_it_was_captured(self):
        """The target's, which is bound to it but while it is called; no more once the target itself
        has another."""
        own, of_target = SimpleNamespace(), SimpleNamespace()
        runner = SimpleNamespace(token_to_kv_pool=of_target)
        self.step.token_to_kv_pool = own
        self.captured_with = {1: (self.step, of_target)}
        self.backends.built = {1: {"runner": SimpleNamespace(token_to_kv_pool=own)},
                               2: {"runner": runner}}
        self.backends.bind = lambda backend, pool: self.told.append((backend, pool))
        self.replay(self.step)
        self.assertEqual(self.told, [(self.step, of_target), (["A", None], "read"),
                                     (self.step, own)])
        self.told.clear()
        runner.token_to_kv_pool = SimpleNamespace()
        self.replay(self.step)
        self.assertEqual(self.told, [(["A", None], "read")])

    def test_what_is_captured_is_kept_with_the_pool_that_is_bound(self):
        held, self.step.token_to_kv_pool = Held(), SimpleNamespace()
        graph = SimpleNamespace(**{self.backends.graphs._attribute: held})
        launch = Forward(self.step, SimpleNamespace(layer_id=3), None)
        self.backends.launches.append(launch)
        self.backends.built[id(self.step)] = {"spaces": ("F", "S")}
        self.step.forward_metadata = None
        read = Read(None, mock.Mock(), "kernel", 1)
        with mock.patch("pagetape.sglang_backends.capturing", lambda _tensor: True), \
                mock.patch.object(self.backends.graphs, "_now", graph):
            self.backends.attention(read)
            self.backends.store("k", "slots", True)
        self.assertEqual([(one[0], one[1]) for one in held], [(launch, read), (launch, "k")])
        self.assertEqual(held.bound, {id(self.step): (self.step, self.step.token_to_kv_pool)})

    def test_which_layers_a_pool_has_is_looked_up_once_for_its_tensors(self):
        part = [SimpleNamespace(k_buffer=["f"]), SimpleNamespace(k_buffer=["s0", "s1"])]
        tensors = {0: "s0", 1: "f", 2: "s1"}
        pool = SimpleNamespace(layers_mapping=tensors, full_kv_pool=part[0], swa_kv_pool=part[1],
                               get_key_buffer=tensors.get)
        looked = []
        self.backends.recorder.known = lambda one: "set" if one is pool else None
        self.backends.pools.of_tensor = lambda one: looked.append(one) or known.get(one)
        known = {"f": ("full", None, 0), "s0": ("swa", None, 0)}
        swa = {"layers": [0], "pool": "swa", "set": "set"}
        full = {"layers": [1], "pool": "full", "set": "set"}
        self.assertEqual(self.backends._layers(pool), [full, swa])
        known["s1"] = "swa", None, 1  # It is known by now.
        for _ in range(2):
            self.assertEqual(self.backends._layers(pool), [full, {**swa, "layers": [0, 2]}])
        self.assertEqual(len(looked), 6)
        part[1].k_buffer = ["s0", "s1"]  # New tensors.
        known["s1"] = "other", None, 0
        self.assertEqual(self.backends._layers(pool),
                         [full, {**swa, "layers": [2], "pool": "other"}, swa])

    def test_a_graphs_window_lists_are_translated_by_the_pool_that_is_bound_then(self):
        """Not by that of their capture: where it has no window, they are ids of the full pool."""
        class Backend:
            forward_metadata = SimpleNamespace(kv_indices=None, window_kv_indices=None)

            def __init__(self, model_runner):
                self.token_to_kv_pool = self.own = model_runner.token_to_kv_pool

            def init_forward_metadata_out_graph(self, forward_batch, in_capture=False):
                pass

            init_forward_metadata = forward_decode = forward_extend = lambda self: None

        events = []
        recorder = SimpleNamespace(
            name=lambda _one, kind: kind, known=lambda _pool: None,
            emit=lambda ev, **fields: events.append((ev, fields.get("pool"))))
        pools = SimpleNamespace(there=None, settle=lambda: None, spaces=lambda _pool: ("F", "S"))
        backends = Backends(recorder, pools)
        backends.state = lambda _backend: None
        with mock.patch.object(backends, "_layers", lambda pool: [{"pool": pool.name}]):
            self.check_translation(backends, Backend)
        self.assertEqual([pool for ev, pool in events if ev == "pool_swap"],
                         ["draft", "target", "draft", "target"])

    def check_translation(self, backends, cls):
        target = SimpleNamespace(name="target", swa_kv_pool=None)
        runner = SimpleNamespace(token_to_kv_pool=SimpleNamespace(name="draft"),
                                 token_to_kv_pool_allocator=mock.Mock())
        backends.watch(cls)
        backend = cls(runner)
        lists = Table(None, "S", None, "window_kv_indices")
        for pool, in_capture, space in ((target, True, "S"), (backend.own, False, "F"),
                                        (target, False, "S")):
            backend.token_to_kv_pool = pool
            backend.init_forward_metadata_out_graph(None, in_capture=in_capture)
            # Two captures' tables, and one of the full pool, which is as it was.
            told = [backends.today(backend, lists._replace(field=field))
                    for field in ("window_kv_indices", "window_kv_indices.untranslated",
                                  "kv_indices")]
            self.assertEqual([one.space for one in told], [space, space, "S"])
            self.assertEqual([one.field == "window_kv_indices" for one in told],
                             [space == "S", space == "S", False])

    def test_a_frozen_drafts_frontier(self):
        """As many lanes are one request's as it has drafts; of other drafts a batch says no more
        than its requests."""
        drafts = type("FrozenKVMTPDraftInput", (), {"topk_p": SimpleNamespace(shape=(2, 3))})()
        batch = SimpleNamespace(rids=["A", "B"], spec_info=drafts)
        self.assertEqual(rids_of(batch), ["A"] * 3 + ["B"] * 3)
        batch.seq_lens_cpu, batch.extend_seq_lens_cpu = Lens([250] * 3 + [112] * 3), None
        batch.forward_mode = mode()
        step = SimpleNamespace(get_cuda_graph_seq_len_fill_value=lambda: 1)
        told = padded(Forward(step, None, SimpleNamespace(
            batch_size=9, spec_info=drafts, extend_seq_lens_cpu=None)), batch)
        self.assertEqual(rids_of(told), ["A"] * 3 + ["B"] * 3 + [None] * 3)
        self.assertEqual(told.seq_lens_cpu, [250] * 3 + [112] * 3 + [1] * 3)
        batch.spec_info = SimpleNamespace(topk_p=drafts.topk_p)
        self.assertEqual(rids_of(batch), ["A", "B"])
        self.assertIsNone(rids_of(SimpleNamespace(rids=None, spec_info=drafts)))

    def test_a_batch_made_anew_of_the_passes_has_its_requests(self):
        """As a prompt's graph is given."""
        rows = object()
        passes = SimpleNamespace(rids=["A", None], req_pool_indices=rows)
        self.backends.replays.forwarding.append((None, passes))
        made = SimpleNamespace(rids=None, req_pool_indices=rows)
        on_gpu = OnGpu(self.backends)
        self.assertEqual(on_gpu._requests(made), ["A", None])
        # Another one's are looked up by row, and that the GPU was waited for is noted once; not of
        # one by which a graph is captured.
        notes = []
        self.backends.recorder.emit = lambda ev, **_fields: notes.append(ev)
        self.backends.pools.request_of = {3: "B"}.get
        self.backends.reads.ints = list
        for rows, requests, noted in (([5, 4], [None, None], []), ([3, 4], ["B", None], ["note"]),
                                      ([4, 3], [None, "B"], ["note"])):
            other = SimpleNamespace(rids=None, req_pool_indices=rows)
            self.assertEqual((on_gpu._requests(other), notes), (requests, noted))

    def test_what_torch_has_waited_for_is_complete_once(self):
        """Where someone tells which launches are."""
        done, last = [], [0]
        self.backends.recorder.last_launch = lambda: last[0]
        self.backends.recorder.launch_done = done.append
        for last[0], self.backends.completes in ((3, False), (5, True), (5, True), (8, True)):
            self.backends._waited()
        self.backends.launches.append("a call that is under way")
        last[0] = 9
        self.backends._waited()
        self.assertEqual(done, [5, 8])


class CopiesTest(unittest.TestCase):
    """The tokens of a prefix's last page, which each branch of a tree but the first gets."""

    def setUp(self):
        self.stored, self.moved, self.gaps = [], [], []
        self.known = {"k0": ("draft", None, 0), "k1": ("draft", None, 1)}
        pool = SimpleNamespace(swa_kv_pool=None)
        self.runner = SimpleNamespace(attn_backend=SimpleNamespace(token_to_kv_pool=pool))
        self.backends = SimpleNamespace(
            launches=[], built={id(self.runner.attn_backend): {}},
            recorder=SimpleNamespace(emit=lambda ev, **fields: self.gaps.append(
                (ev, fields["pools"]))),
            pools=SimpleNamespace(of_tensor=self.known.get, settle=lambda: None),
            store=lambda k, slots, translated: self.stored.append(
                (k, slots, translated, self.backends.launches[-1])))
        drafts = Drafts(self.backends)
        moved = self.moved

        class MHATokenToKVPool:
            k_buffer, page_size, start_layer = ["k0", "k1"], 64, None

            def move_kv_cache(self, tgt_loc, src_loc):
                moved.append(tgt_loc)

        memory = types.ModuleType("memory_pool")
        memory.MHATokenToKVPool = MHATokenToKVPool
        drafts.moves(memory)
        self.pool = MHATokenToKVPool()
        self.common = types.ModuleType("eagle_worker_common")
        self.common.prepare_for_draft = self.prepare_for_draft
        drafts.preparation(self.common)

    def prepare_for_draft(self, draft_input, req_to_token_pool, batch, cuda_graph_runner,
                          draft_model_runner, topk, num_steps):
        self.pool.move_kv_cache(self.slots, None)

    def draft(self, slots, lens, there=None):
        self.slots = Slots(range(slots))
        batch = SimpleNamespace(seq_lens_cpu=lens and Lens(lens), seq_lens=there and Lens(there),
                                req_pool_indices="rows",
                                reqs=[SimpleNamespace(rid="A"), SimpleNamespace(rid="B")])
        self.common.prepare_for_draft(None, None, batch, None, self.runner, 3, num_steps=4)

    def test_are_stores_of_the_branches_requests(self):
        self.draft(2 * 58 + 2 * 48, [250, 112])
        self.assertEqual([(k, len(slots), translated) for k, slots, translated, _ in self.stored],
                         [("k0", 212, False), ("k1", 212, False)])
        told = self.stored[1][3]
        self.assertIs(told.backend, self.runner.attn_backend)
        self.assertEqual((told.layer.layer_id, told.batch.rids, told.batch.extend_seq_lens_cpu),
                         (1, ["A", "B"], [116, 96]))
        self.assertFalse(told.batch.forward_mode.is_target_verify())
        self.assertEqual((self.backends.launches, len(self.moved)), ([], 1))

    def test_lengths_that_are_on_the_gpu_alone(self):
        self.draft(212, None, [250, 112])
        self.assertEqual([told.batch.extend_seq_lens_cpu for *_, told in self.stored],
                         [[116, 96]] * 2)

    def test_of_a_hybrid_draft_each_part_by_its_own_layers_and_ids(self):
        self.known.update(k0=("swa", None, 3), k1=("swa", None, 4))
        self.runner.attn_backend.token_to_kv_pool.swa_kv_pool = self.pool
        self.draft(212, [250, 112])
        self.assertEqual([(translated, told.layer.layer_id)
                          for _, _, translated, told in self.stored], [(True, 3), (True, 4)])

    def test_what_is_not_known_is_a_gap(self):
        self.draft(7, [250, 112])
        self.backends.built.clear()
        self.draft(212, [250, 112])
        self.assertEqual((self.stored, self.gaps), ([], [("gap", ["draft"])] * 2))

    def test_of_others_nothing_is_told(self):
        self.pool.move_kv_cache(Slots([1]), Slots([2]))  # What was accepted, of a tree.
        self.known.clear()  # A pool that is not followed.
        self.draft(212, [250, 112])
        self.assertEqual((self.stored, self.gaps, len(self.moved)), ([], [], 2))

    def test_a_release_that_drafts_otherwise(self):
        with self.assertRaises(NotHere):
            Drafts(self.backends).preparation(types.ModuleType("eagle_worker_common"))


class GuardTest(unittest.TestCase):
    """A finding in a tree's lane is of that lane's request."""

    def test_lanes_of_one_request(self):
        launch = Forward(None, SimpleNamespace(layer_id=7), SimpleNamespace(
            batch_size=2, spec_info="drafts"))
        guard = SglangGuard(SimpleNamespace(recorder=None, launches=[launch]))
        guard.given = lambda table, read: (read.layer, read.each)
        self.assertEqual(guard.given_in("table", bound=1, lens=Slots(range(6))), (7, 3))
        self.assertEqual(guard.given_in("lists", bound=1, starts=Slots(range(3))), (7, 1))
        self.assertEqual(guard.given_in("padded", bound=1, lens=Slots(range(5))), (7, 1))


class RewindTest(unittest.TestCase):
    def test_reaches_the_pools_that_have_the_same_ids(self):
        told = []
        adapter = Adapter(SimpleNamespace(emit=lambda ev, **fields: told.append((ev, fields))))
        adapter.pools.pages = {1: SimpleNamespace(pool="full0"), 2: SimpleNamespace(pool="swa0")}
        adapter.pools.alike = {"full0": ["pool0"]}
        adapter.accepted("A", 4, 2, 253)
        self.assertEqual([fields["pool"] for ev, fields in told if ev == "rewind"],
                         ["full0", "pool0", "swa0"])


class FusedStoreTest(unittest.TestCase):
    """Where the kernel of the rotary embedding stores K and V, no pool's function is called."""

    def setUp(self):
        self.backends = Backends(mock.Mock(), mock.Mock())
        self.backends.store = mock.Mock()
        self.module = ModuleType("utils")
        self.module.create_fused_set_kv_buffer_arg = lambda value, layer, batch: self.made
        self.buffer = mock.Mock()
        self.made = SimpleNamespace(k_buffer=self.buffer, cache_loc="slots")
        Kernels(self.backends).fused_store(self.module)
        cls = type("Backend", (), {
            "init_forward_metadata": lambda backend: None,
            "forward_decode": lambda backend, q, k, v, layer, batch, save_kv_cache=True: None,
            "forward_extend": lambda backend, q, k, v, layer, batch, save_kv_cache=True: None})
        self.backends.watch(cls)
        self.backend = object.__new__(cls)  # What its making tells is of no matter.
        self.batch = SimpleNamespace(out_cache_loc="slots")

    def taken(self):
        calls, self.backends.store.mock_calls = self.backends.store.mock_calls, []
        return calls

    def test_it_is_told_with_each_attention_that_saves_nothing_itself(self):
        layer, other = SimpleNamespace(layer_id=3), SimpleNamespace(layer_id=4)
        self.assertIs(self.module.create_fused_set_kv_buffer_arg("v", layer, "batch"), self.made)
        store = mock.call(self.buffer.unsqueeze(1), "slots", False)
        self.backend.forward_decode(1, 2, 3, layer, self.batch, save_kv_cache=False)
        self.assertEqual(self.taken(), [store])
        self.backend.forward_extend(1, 2, 3, layer, self.batch, False)  # Without the model's code.
        self.assertEqual(self.taken(), [store])
        self.backend.forward_decode(1, 2, 3, layer, self.batch)
        self.backend.forward_decode(1, 2, 3, layer, self.batch, save_kv_cache=True)
        self.backend.forward_decode(1, 2, 3, other, self.batch, save_kv_cache=False)
        self.assertEqual(self.taken(), [])

    def test_rocms_argument_is_left_alone(self):
        self.made = {"key_cache": 1, "slot_mapping": 2}
        layer = SimpleNamespace(layer_id=3)
        self.assertIs(self.module.create_fused_set_kv_buffer_arg("v", layer, "batch"), self.made)
        self.backend.forward_decode(1, 2, 3, layer, self.batch, False)
        self.assertEqual(self.taken(), [])


if __name__ == "__main__":
    unittest.main()
