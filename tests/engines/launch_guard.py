# SPDX-License-Identifier: Apache-2.0
"""The guard before launches of SGLang's call shapes, on a GPU where torch sees one: the hooks that
stand before its kernels, and in the kernels' place stand-ins in PyTorch that gather by the ids they
are given. On a GPU each launch is made eagerly and in a CUDA graph, and nothing may wait for it.

Needs torch, and PAGETAPE_LIBRARY. Run by run_engines.py, or by itself."""
import os
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "capture" / "python"))

from pagetape import OutOfBounds, _abi, sglang_guard  # noqa: E402
from pagetape.importhook import PostImportHooks  # noqa: E402
from pagetape.recording import Recorder  # noqa: E402
from pagetape.sglang_backends import Forward  # noqa: E402

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
PAGES, PAGE, HEADS, DIM, WIDE = 40, 16, 2, 8, 1 << 24
DECODE = "trtllm_batch_decode_with_kv_cache"


def decode(query, kv_cache, block_tables, seq_lens, window_left=-1, **_kwargs):
    """Sums of the tokens that a row reads, by dereferencing no other cell of its table."""
    k = kv_cache[0].transpose(1, 2)  # [pages, page, heads, dim]
    columns = torch.arange(block_tables.shape[1], device=k.device)
    tokens = torch.arange(block_tables.shape[1] * PAGE, device=k.device)
    first = seq_lens - 1 - window_left if window_left >= 0 else torch.zeros_like(seq_lens)
    live = (columns[None] * PAGE < seq_lens[:, None]) & \
        ((columns[None] + 1) * PAGE > first[:, None])
    read = k[torch.where(live, block_tables, 0).long()].flatten(1, 2)
    seen = (tokens[None] < seq_lens[:, None]) & (tokens[None] >= first[:, None])
    return (read * seen[:, :, None, None]).sum(1)


def listed(q, k_buffer, v_buffer, o, kv_indptr, kv_indices, *_args, **_kwargs):
    rows = torch.searchsorted(kv_indptr[1:].contiguous(),
                              torch.arange(kv_indices.shape[0], device=o.device), right=True)
    rows = torch.where(rows < o.shape[0], rows, o.shape[0] - 1)
    live = (torch.arange(kv_indices.shape[0], device=o.device) < kv_indptr[-1])[:, None, None]
    o.zero_().index_add_(0, rows, k_buffer[torch.where(live[:, 0, 0], kv_indices, 0).long()] * live)


def flash(q, k_cache, page_table, cache_seqlens, window_size=(-1, -1), **_kwargs):
    return decode(q, (k_cache.transpose(1, 2),), page_table, cache_seqlens, window_size[0])


class PagedWrapper:
    """Keeps the lists that it was planned with, of pages, as FlashInfer's does."""

    def __init__(self, indptr, indices):
        self._paged_kv_indptr_buf, self._paged_kv_indices_buf = indptr, indices

    def forward(self, q, paged_kv_cache):
        pages = paged_kv_cache[0].sum((1, 2))[:, None]
        o = torch.empty(self._paged_kv_indptr_buf.numel() - 1, 1, DIM, device=DEVICE)
        listed(q, pages, None, o, self._paged_kv_indptr_buf, self._paged_kv_indices_buf)
        return o


class Batch:
    spec_info = None

    def __init__(self, rows):
        self.req_pool_indices = torch.tensor(rows, device=DEVICE)
        self.batch_size = len(rows)


class Launches(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.native = _abi.NativeRecorder(_abi.load(os.environ["PAGETAPE_LIBRARY"]),
                                          os.path.join(folder.name, "trace.jsonl"))
        self.recorder = Recorder(self.native)
        self.notes = []
        self.recorder.emit = lambda ev, **fields: self.notes.append(fields.get("text"))
        self.addCleanup(self.recorder.close)
        self.batch = Batch([3, 4, 5])
        self.flashinfer = types.ModuleType("flashinfer.decode")
        setattr(self.flashinfer, DECODE, decode)
        self.triton = types.ModuleType("sglang.kernels.ops.attention.decode_attention")
        self.triton.decode_attention_fwd = listed
        self.fa3 = types.ModuleType("sglang.srt.layers.attention.flashattention_backend")
        self.fa3.flash_attn_with_kvcache = flash
        self.wrappers = types.ModuleType("sglang.srt.layers.attention.flashinfer_backend")
        for name in sglang_guard.WRAPPERS:
            setattr(self.wrappers, name, type(name, (PagedWrapper,),
                                              {"forward": PagedWrapper.forward}))
        torch.manual_seed(1)
        self.k = torch.randn(PAGES, HEADS, PAGE, DIM, device=DEVICE)
        self.k[0] = 0  # What stands in for a bad page counts for nothing.
        self.slots = self.k.transpose(1, 2).reshape(PAGES * PAGE, HEADS, DIM).contiguous()
        # A slice of a wider table, as backends keep them, and what is behind it is none of it.
        self.wide = torch.full((8, 32), WIDE, dtype=torch.int32, device=DEVICE)
        self.table = self.wide[:3, :6]
        self.table.copy_(torch.arange(1, 19).view(3, 6))
        self.lens = torch.tensor([96, 40, 17], dtype=torch.int32, device=DEVICE)
        self.table[1, 3:] = WIDE  # Behind 40 tokens.

    def guard(self, mode):
        """The hooks, before the kernels of a layer that is being called."""
        backends = types.SimpleNamespace(
            recorder=self.recorder,
            launches=[Forward(None, types.SimpleNamespace(layer_id=7), self.batch)],
            pools=types.SimpleNamespace(request_of=lambda row: f"r{row}"))
        modules = {one.__name__: one for one in (self.flashinfer, self.wrappers, self.triton,
                                                self.fa3)}
        with mock.patch.dict(sys.modules, modules), mock.patch.dict(os.environ,
                                                                    PAGETAPE_GUARD=mode,
                                                                    PAGETAPE_STRICT="1"):
            guard = sglang_guard.install(PostImportHooks(), backends)
        self.addCleanup(guard.close)
        return guard

    def decoded(self, **kwargs):
        return getattr(self.flashinfer, DECODE)(
            None, (self.k, self.k), block_tables=self.table, seq_lens=self.lens, **kwargs)

    def in_lists(self, indptr, indices):
        o = torch.empty(indptr.numel() - 1, HEADS, DIM, device=DEVICE)
        self.triton.decode_attention_fwd(None, self.slots, self.slots, o, indptr, indices)
        return o

    def both_ways(self, launch):
        """What it gives when called, and replayed from a graph behind that."""
        if not GPU:
            return [launch()]
        graph, stream = self.captured(launch)
        with torch.cuda.stream(stream):
            graph.replay()
        torch.cuda.synchronize()
        return self.given

    def captured(self, launch):
        """Called once before it is captured, on the same stream, as engines do."""
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            self.given = [launch()]
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            self.given.append(launch())
        return graph, stream

    def assert_same(self, got, wanted):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)

    def test_a_good_table_changes_nothing(self):
        wanted = self.decoded()
        guard = self.guard("clamp")
        for got in self.both_ways(self.decoded):
            self.assert_same(got, wanted)
        guard.report()
        self.assertEqual(self.notes, [])

    def test_a_bad_page_is_the_reserved_one_and_is_named(self):
        with_none = self.table.clone()
        with_none[2, 1] = 0
        wanted = decode(None, (self.k, self.k), with_none, self.lens)
        self.table[2, 1] = WIDE
        guard = self.guard("clamp")
        ways = self.both_ways(self.decoded)
        for got in ways:
            self.assert_same(got, wanted)
        guard.batch = self.batch
        guard.report()
        self.assertEqual(int(self.table[2, 1]), WIDE)
        # A graph's requests are those of the batch that is replayed.
        self.assertEqual(self.notes, [
            f"guard clamp: a read of request r5, layer 7, column 1: id {WIDE} is outside the bound "
            f"pool of {PAGES}; entries outside: 1"] * len(ways))

    def test_what_has_left_the_window_may_hold_anything(self):
        self.table[0, 0] = -5
        wanted = self.decoded(window_left=31)
        guard = self.guard("clamp")
        for got in self.both_ways(lambda: self.decoded(window_left=31)):
            self.assert_same(got, wanted)
        guard.report()
        self.assertEqual(self.notes, [])

    def test_raise_says_where_at_the_latest_when_the_step_ends(self):
        self.table[0, 5] = -1
        guard = self.guard("raise")
        with self.assertRaisesRegex(OutOfBounds, "request r3, layer 7, column 5: id -1 "):
            self.decoded()
            if GPU:
                torch.cuda.synchronize()
            guard.report()

    def test_log_changes_nothing(self):
        self.table[0, 5] = PAGES
        guard = self.guard("log")
        given = guard.given_in(self.table, bound=PAGES, page_size=PAGE, lens=self.lens)
        self.assertIs(given, self.table)
        if GPU:
            torch.cuda.synchronize()
        guard.report()
        self.assertEqual(len(self.notes), 1)

    def test_lists_of_either_width(self):
        for kind in (torch.int32, torch.int64):
            indptr = torch.tensor([0, 20, 20, 50], dtype=torch.int32, device=DEVICE)
            indices = torch.randint(16, PAGES * PAGE, (64,), dtype=kind, device=DEVICE)
            good = indices.clone()
            good[31] = 0
            wanted = torch.empty(3, HEADS, DIM, device=DEVICE)
            listed(None, self.slots, None, wanted, indptr, good)
            indices[31], indices[60] = PAGES * PAGE, -9  # The last is of no list.
            guard = self.guard("clamp")
            ways = self.both_ways(lambda: self.in_lists(indptr, indices))
            for got in ways:
                self.assert_same(got, wanted)
            guard.batch = self.batch
            guard.report()
            self.assertEqual(self.notes, [
                f"guard clamp: a read of request r5, layer 7, column 11: id {PAGES * PAGE} is "
                f"outside the bound pool of {PAGES * PAGE}; entries outside: 1"] * len(ways))
            self.notes.clear()
            self.triton.decode_attention_fwd = listed

    def test_flash_attention(self):
        def launch():
            return self.fa3.flash_attn_with_kvcache(
                q=None, k_cache=self.k.transpose(1, 2), page_table=self.table,
                cache_seqlens=self.lens, window_size=(-1, 0), max_seqlen_q=1)

        with_none = self.table.clone()
        with_none[1, 2] = 0
        wanted = decode(None, (self.k, self.k), with_none, self.lens)
        self.table[1, 2] = WIDE
        guard = self.guard("clamp")
        for got in self.both_ways(launch):
            self.assert_same(got, wanted)
        guard.batch = self.batch
        guard.report()
        self.assertIn("a read of request r4, layer 7, column 2: id", self.notes[-1])

    def test_lists_that_a_wrapper_keeps(self):
        indptr = torch.tensor([0, 2, 5], dtype=torch.int32, device=DEVICE)
        indices = torch.tensor([4, 9, 11, 12, 13], dtype=torch.int32, device=DEVICE)
        wrapper = self.wrappers.BatchDecodeWithPagedKVCacheWrapper(indptr, indices)
        kv = (self.k.transpose(1, 2), self.k.transpose(1, 2))
        indices[3] = 0
        wanted = wrapper.forward(None, kv)
        indices[3] = WIDE
        guard = self.guard("clamp")
        for got in self.both_ways(lambda: wrapper.forward(None, kv)):
            self.assert_same(got, wanted)
        self.assertIs(wrapper._paged_kv_indices_buf, indices)
        guard.batch = self.batch
        guard.report()
        self.assertIn("a read of request r4, layer 7, column 1: id", self.notes[-1])

    def test_a_graph_guards_each_replay_and_nothing_waits(self):
        if not GPU:
            self.skipTest("torch sees no GPU")
        # A finding's request is looked up in the batch: where that is on the GPU, it is waited for.
        self.batch.req_pool_indices = self.batch.req_pool_indices.cpu()
        guard = self.guard("clamp")
        guard.batch = self.batch
        graph, stream = self.captured(self.decoded)
        rows, bad = torch.arange(1, 19, device=DEVICE).view(3, 6).int(), []
        bad_page = torch.tensor(WIDE, dtype=torch.int32, device=DEVICE)
        got = []
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.cuda.stream(stream):
                for step in range(12):
                    self.table.copy_(rows)
                    if step % 3 == 0:
                        self.table[0, step % 6].copy_(bad_page)
                        bad.append(step % 6)
                    graph.replay()
                    got.append(self.given[1].clone())
                    self.decoded()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
        guard.report()
        # Each of them in the graph and in the launch behind it.
        self.assertEqual([int(note.split("column ")[1].split(":")[0]) for note in self.notes],
                         [column for column in bad for _ in range(2)])
        for step, one in enumerate(got):
            with_none = rows.clone()
            if step % 3 == 0:
                with_none[0, step % 6] = 0
            self.assert_same(one, decode(None, (self.k, self.k), with_none, self.lens))


if __name__ == "__main__":
    unittest.main()
