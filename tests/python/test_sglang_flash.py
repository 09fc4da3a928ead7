# SPDX-License-Identifier: Apache-2.0
"""What the hooks of fa3 and of FlashInfer's wrappers take from a call, on functions and classes
with the signatures of SGLang 0.5.19 and 0.5.20. The same with SGLang's own: tests/engines."""
import sys
import types
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape._abi import Rows  # noqa: E402
from pagetape.importhook import NotHere  # noqa: E402
from pagetape.sglang_backends import BEHIND, Backends, Forward, Table  # noqa: E402
from pagetape.sglang_flash import FlashKernels  # noqa: E402
from pagetape.sglang_on_gpu import OnGpu, Read  # noqa: E402


class Tensor(list):
    """Of which a hook asks the shape, the place and how many."""
    shape = (21, 64, 1, 16)

    def numel(self):
        return len(self)

    def data_ptr(self):
        return id(self)

    def __add__(self, number):
        return Tensor(one + number for one in self)


class Told:
    """Backends as hooks see them: tables are its own where `own` has them."""

    def __init__(self, backend, batch, window=128):
        self.launches = [Forward(backend, SimpleNamespace(sliding_window_size=window), batch)]
        self.own, self.reads, self.lists, self.untold = [], [], [], []
        self.field = "page_table"

    def owned(self, table):
        return next((Table(None, "full0", one, self.field) for one in self.own if one is table),
                    None)

    def attention(self, read):
        self.reads.append(read)

    def left_out(self, of):
        self.untold.append(of)

    def listed(self, *lists):
        self.lists.append(lists[1:])


class FlashAttentionTest(unittest.TestCase):
    def setUp(self):
        self.told, self.given = Told(None, None), []
        self.module = types.ModuleType("flashattention_backend")
        self.module.flash_attn_with_kvcache = lambda *args, **kwargs: self.given.append(kwargs)
        FlashKernels(self.told).flash_attention(self.module)

    def call(self, table, **kwargs):
        self.module.flash_attn_with_kvcache(
            q=None, k_cache=Tensor(), page_table=table, cache_seqlens="lens", cu_seqlens_q="ends",
            **kwargs)
        return self.told.reads.pop() if self.told.reads else None

    def test_the_window_counts_the_querys_own_token(self):
        table = Tensor()
        self.told.own.append(table)
        read = self.call(table, window_size=(128, 0))
        self.assertEqual((read.page_size, read.window, read.lens, read.q_ends, read.cached),
                         (64, 129, "lens", "ends", False))
        self.assertIsNone(self.call(table, window_size=(-1, -1)).window)
        self.assertIs(self.given[-1]["page_table"], table)

    def test_what_comes_before_a_tree_is_read_from_the_pool_alone(self):
        table = Tensor()
        self.told.own.append(table)
        self.assertTrue(self.call(table, return_softmax_lse=True).cached)
        self.told.field = BEHIND  # Its tokens stand there.
        self.assertFalse(self.call(table, return_softmax_lse=True).cached)

    def test_a_table_of_something_else_is_not_told(self):
        self.assertIsNone(self.call(Tensor()))
        self.assertIsNone(self.call(None))
        self.assertEqual(len(self.given), 2)


class Wrapper:
    def __init__(self, lanes):
        self._paged_kv_indptr_buf = Tensor(range(lanes + 1))
        self._paged_kv_indices_buf = Tensor([7] * lanes)

    def forward(self, q, paged_kv_cache, window_left=-1):
        return "forward"

    def forward_return_lse(self, q, paged_kv_cache, window_left=-1):
        return "lse"


def mode(verify=False):
    return SimpleNamespace(is_target_verify=lambda: verify)


class FlashInferTest(unittest.TestCase):
    def setUp(self):
        self.backend = SimpleNamespace(dispatch_reason=SimpleNamespace(name="SLIDING_WINDOW"))
        self.batch = SimpleNamespace(
            batch_size=2, spec_info=None, forward_mode=mode(), seq_lens=Tensor([300, 40]),
            seq_lens_cpu=Tensor([301, 41]), extend_prefix_lens="prefixes",
            extend_prefix_lens_cpu="prefixes on the host", input_ids=SimpleNamespace(shape=(8,)))
        self.told = Told(self.backend, self.batch)
        capturing = mock.patch("pagetape.sglang_flash.capturing", lambda tensor: False)
        capturing.start()
        self.addCleanup(capturing.stop)
        self.module = types.ModuleType("flashinfer_backend")
        self.module.BatchDecodeWithPagedKVCacheWrapper = type("Decode", (Wrapper,), {})
        self.module.BatchPrefillWithPagedKVCacheWrapper = type("Prefill", (Wrapper,), {})

        class Decode:
            """The updaters' methods, by their parameters."""
            attn_backend = self.backend

            def call_begin_forward(self, wrapper, paged_kernel_lens, paged_kernel_lens_sum,
                                   kv_indptr, kv_start_idx, spec_info, seq_lens_cpu,
                                   use_sliding_window_kv_pool=False, *, req_pool_indices=None):
                wrapper._paged_kv_indices_buf = Tensor([8])

        class Prefill:
            attn_backend = self.backend

            def call_begin_forward(self, wrapper_ragged, wrapper_paged, req_pool_indices, spec_info,
                                   use_sliding_window_kv_pool=False, custom_kv_indices=None):
                wrapper_paged._paged_kv_indices_buf = Tensor([9])

        self.module.FlashInferIndicesUpdaterDecode = Decode
        self.module.FlashInferIndicesUpdaterPrefill = Prefill
        kernels = FlashKernels(self.told)
        kernels.flashinfer_lists(self.module)
        kernels.flashinfer_wrappers(self.module)

    def launched(self, method="forward", lanes=2):
        wrapper = self.module.BatchPrefillWithPagedKVCacheWrapper(lanes)
        self.told.own.append(wrapper._paged_kv_indices_buf)
        getattr(wrapper, method)(None, (Tensor(), Tensor()))
        return self.told.reads.pop() if self.told.reads else None

    def test_a_sliding_layers_list_has_a_rows_last_tokens(self):
        read = self.launched()
        self.assertEqual((read.page_size, read.window, read.lens, read.lens_cpu, read.cached),
                         (1, 129, [300, 40], [301, 41], False))
        self.batch.forward_mode = mode(verify=True)
        for inside, on_host in ((False, [305, 45]), (True, None)):  # A graph that is captured.
            with mock.patch("pagetape.sglang_flash.capturing", lambda _tensor, it=inside: it):
                read = self.launched()
            self.assertEqual((read.lens, read.lens_cpu), ([304, 44], on_host))
        read = self.launched("forward_return_lse")
        self.assertEqual((read.lens, read.lens_cpu, read.cached),
                         ("prefixes", "prefixes on the host", True))

    def test_a_list_that_has_all_says_how_many(self):
        self.told.launches[0].layer.sliding_window_size = -1
        self.assertEqual((self.launched().window, self.launched().lens), (None, None))
        self.assertIsNone(self.launched("forward_return_lse").lens)
        self.assertEqual(self.launched().ahead, 0)
        # The steps of a draft have theirs from the drafting, whose tokens no list counts.
        self.told.launches[0].layer.sliding_window_size = 128
        self.drafted(4)
        read = self.launched()
        self.assertEqual((read.window, read.lens, read.ahead), (129, None, 4))

    def drafted(self, steps):
        self.batch.spec_info = SimpleNamespace(kv_indptr=Tensor([0, 1]))
        context = types.ModuleType("sglang.srt.runtime_context")
        context.get_spec = lambda: SimpleNamespace(speculative_num_steps=steps)
        modules = mock.patch.dict(sys.modules, {context.__name__: context})
        modules.start()
        self.addCleanup(modules.stop)

    def test_lists_of_anything_but_the_batchs_requests_are_left_out(self):
        self.assertIsNone(self.launched(lanes=4))
        self.assertEqual(self.told.untold, ["BatchPrefillWithPagedKVCacheWrapper.forward"])
        self.drafted(4)  # A tree's branches, two of each request.
        self.assertEqual(self.launched(lanes=4).indptr, [0, 1, 2, 3, 4])
        self.assertIsNone(self.launched(lanes=3))
        self.batch.spec_info = None
        wrapper = self.module.BatchDecodeWithPagedKVCacheWrapper(2)  # Not planned by an updater.
        self.assertEqual(wrapper.forward(None, (Tensor(), Tensor())), "forward")
        self.assertEqual(self.told.reads, [])

    def test_the_space_is_that_which_the_list_was_translated_to(self):
        decode, prefill = Wrapper(1), Wrapper(1)
        self.module.FlashInferIndicesUpdaterDecode().call_begin_forward(
            decode, None, 1, None, None, None, None, use_sliding_window_kv_pool=True)
        updater = self.module.FlashInferIndicesUpdaterPrefill()
        updater.call_begin_forward(None, prefill, None, spec_info=None)
        self.assertEqual(self.told.lists, [(decode, [8], True), (prefill, [9], False)])
        # Places in a workspace, into which a quantized pool is copied.
        updater.call_begin_forward(None, prefill, None, None, custom_kv_indices=Tensor([1]))
        self.backend.dispatch_reason.name = "CROSS_ATTENTION"
        updater.call_begin_forward(None, prefill, None, spec_info=None)
        self.assertEqual(len(self.told.lists), 2)

    def test_without_flashinfer_there_is_nothing_to_hook(self):
        with self.assertRaises(NotHere):
            FlashKernels(self.told).flashinfer_wrappers(types.ModuleType("flashinfer_backend"))


class ListedOnAGpuTest(unittest.TestCase):
    """Where the host has no list: how many entries rows have, and which token the first is."""

    def listed(self, window, q_len, **read):
        on_gpu = OnGpu(SimpleNamespace(recorder=None, pools=SimpleNamespace(there=None)))
        read = Read(None, None, "kernel", 1, window, "lens", [300, 40], **read)
        rows, _ = on_gpu._listed(None, read, Rows(["A", "B"], row=[0, 1], q_len=q_len))
        return rows.n, rows.first, rows.q_pos

    def test_a_decode_steps(self):
        self.assertEqual(self.listed(129, [1, 1]), ([129, 40], [171, 0], None))

    def test_a_chunks_with_its_tokens_and_without(self):
        self.assertEqual(self.listed(129, [70, 10]), ([198, 40], [102, 0], None))
        self.assertEqual(self.listed(129, [70, 10], cached=True),
                         ([128, 40], [172, 0], [300, 40]))

    def test_full_ones(self):
        self.assertEqual(self.listed(None, [1, 1]), ([300, 40], [0, 0], None))


class OwnTablesTest(unittest.TestCase):
    def setUp(self):
        self.notes = []
        recorder = SimpleNamespace(emit=lambda ev, **fields: self.notes.append((ev, fields)))
        self.backends = Backends(recorder, SimpleNamespace(there=None))
        self.backend = SimpleNamespace()
        self.backends.built[id(self.backend)] = {"spaces": ("full0", "swa0")}
        capturing = mock.patch("pagetape.sglang_backends.capturing", lambda tensor: False)
        capturing.start()
        self.addCleanup(capturing.stop)

    def test_a_wrappers_lists_are_those_of_its_last_plan(self):
        wrapper, old, new, other = object(), Tensor(), Tensor(), Tensor()
        launch = Forward(self.backend, None, None)
        for lists in (old, new):
            self.backends.listed(self.backend, wrapper, lists, True)
        self.backends.listed(self.backend, object(), other, False)
        self.assertEqual([self.backends.table_of(launch, one, []).space
                          for one in (old, new, other)], [None, "swa0", "full0"])

    def test_other_tables_are_noted_once(self):
        self.assertIsNone(self.backends.owned(Tensor()))  # No layer is called.
        self.backends.launches.append(Forward(self.backend, None, None))
        table = Tensor()
        self.backends.listed(self.backend, object(), table, False)
        self.assertIs(self.backends.owned(table).tensor, table)
        self.assertEqual(self.notes, [])
        for _ in range(2):
            self.assertIsNone(self.backends.owned(Tensor()))
        self.assertEqual([ev for ev, _ in self.notes], ["note"])


if __name__ == "__main__":
    unittest.main()
