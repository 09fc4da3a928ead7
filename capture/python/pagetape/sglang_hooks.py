# SPDX-License-Identifier: Apache-2.0
"""Patches of SGLang's pool and allocator classes that feed `Pools`."""

from __future__ import annotations

import inspect
from bisect import bisect_right
from itertools import accumulate
from typing import Dict, List, Optional, Tuple

from .importhook import NotHere, after, expect, wrap
from .recording import ints
from .sglang_owners import Lanes
from .sglang_pools import Pools, in_group, row_of
from .sglang_tensors import not_in


UNMAPS = "clear_full_to_swa_mapping"  # Where there is one, what is freed is unmapped by it.


class PoolHooks:
    def __init__(self, pools: Pools) -> None:
        self.pools = pools
        self._building_set = 0
        self._freeing: set = set()  # id of allocators whose freeing methods are under way

    # memory_pool.py: the plain pool and the request rows
    def memory_pool(self, module) -> None:
        pools = self.pools

        def built(pool, _result, *args, **kwargs):
            if not self._building_set:
                start = int(getattr(pool, "start_layer", 0) or 0)
                layers = list(range(start, start + len(pool.k_buffer)))
                pools.declare_pool(pool, "pool", layers)

        after(module.MHATokenToKVPool, "__init__", built)
        self._watch_rows(module.ReqToTokenPool)

    # disaggregation/decode.py: a server that gets what others prefilled
    def decode_server(self, module) -> None:
        """Its rows, and for whom it allocates before what was prefilled comes. A hybrid pool of
        rows takes just __init__ from it."""
        self._watch_rows(module.DecodeReqToTokenPool)
        pools = self.pools

        def lanes(req, fill_len, total_prefix_len):
            return Lanes(_rids([req]), [int(total_prefix_len)], [int(fill_len)])

        self._watch_lanes(module, "alloc_for_decode_prealloc", lanes, "req", "fill_len",
                          "total_prefix_len")

    def _watch_rows(self, rows) -> None:
        pools = self.pools
        after(rows, "__init__", lambda table, _r, *a, **k: pools.row_tables.append(table))

        def taken(table, result, reqs, *args, **kwargs):
            for req, row in zip(reqs, result or []):
                if pools.request_of(int(row)) != str(req.rid):
                    pools.arrive(int(row), req)

        after(rows, "alloc", taken)

        def written(_table, _result, indices, values):
            """What a cache puts in the place of a request's own: write((row, from:to), slots).
            What is allocated is written by a kernel, or is the request's."""
            if not isinstance(indices, tuple) or not isinstance(indices[1], slice) or \
                    not hasattr(values, "numel") or int(indices[0]) not in pools.rows:
                return
            pools.named(int(indices[0]), int(indices[1].start or 0), values)

        after(rows, "write", written)

        def make_free(original):
            def free(table, req, *args, **kwargs):
                row = row_of(req)
                result = original(table, req, *args, **kwargs)
                if row is not None:
                    pools.leave(row)
                return result

            return free

        wrap(rows, "free", make_free)

    # swa_memory_pool.py: the set of two pools
    def swa_memory_pool(self, module) -> None:
        def make(original):
            def build(pool, *args, **kwargs):
                self._building_set += 1
                try:
                    original(pool, *args, **kwargs)
                finally:
                    self._building_set -= 1
                self.pools.declare_set(pool)

            return build

        wrap(module.SWAKVPool, "__init__", make)

    # schedule_batch.py and the modules of speculative decoding, from 0.5.19 on
    def batches(self, module) -> None:
        """For whom is allocated: alloc_for_extend(batch) and alloc_for_decode(batch,
        token_per_req)."""
        def extend(batch):
            return Lanes(_rids(batch.reqs), list(batch.prefix_lens), ints(batch.seq_lens_cpu))

        def decode(batch, token_per_req):
            begins = ints(batch.seq_lens_cpu)
            return Lanes(_rids(batch.reqs), begins, [one + token_per_req for one in begins])

        self._watch_lanes(module, "alloc_for_extend", extend, "batch")
        self._watch_lanes(module, "alloc_for_decode", decode, "batch", "token_per_req")

    def drafts(self, module) -> None:
        def draft(reqs, cur_kv_lens_cpu, nxt_kv_lens_cpu):
            return Lanes(_rids(reqs), ints(cur_kv_lens_cpu), ints(nxt_kv_lens_cpu))

        self._watch_lanes(module, "alloc_for_spec_decode", draft, "reqs", "cur_kv_lens_cpu",
                          "nxt_kv_lens_cpu")

    def _watch_lanes(self, module, name: str, lanes_of, *parameters: str) -> None:
        if not hasattr(module, name):
            raise NotHere
        pools, signature = self.pools, inspect.signature(getattr(module, name))
        expect(getattr(module, name), *parameters)

        def make(original):
            def allocate(*args, **kwargs):
                given = signature.bind(*args, **kwargs).arguments
                lanes = None
                batch = given.get("batch")
                if not _is_other(batch):
                    lanes = lanes_of(**{one: given[one] for one in parameters})
                if lanes is not None and len(lanes.reqs) == len(lanes.begins) == len(lanes.ends):
                    pools.lanes = lanes
                try:
                    return original(*args, **kwargs)
                finally:
                    pools.lanes = None

            return allocate

        wrap(module, name, make)

    # allocator.py (to May 2026), allocator/token.py (since): pages of one token
    def token_allocator(self, module) -> None:
        pools = self.pools
        cls = module.TokenToKVPoolAllocator

        def make_alloc(original):
            def alloc(allocator, *args, **kwargs):
                out = original(allocator, *args, **kwargs)
                if out is None or not pools.track(allocator, allocator._kvcache):
                    return out
                if id(allocator) in pools.owners:
                    pools.taken_there(allocator, "alloc", out, (), {})
                else:
                    pages = ints(out)
                    pools.taken(allocator, pages, _places_of(pages, pools.lanes))
                return out

            return alloc

        def make_free(original):
            def free(allocator, free_index):
                if id(allocator) in pools.pages and free_index.numel() and \
                        not in_group(allocator):
                    self._free(allocator, free_index)
                result = original(allocator, free_index)
                pools.settle()
                return result

            return free

        wrap(cls, "alloc", make_alloc)
        wrap(cls, "free", make_free)
        wrap(cls, "clear", self._make_free)

    def _free(self, allocator, pages) -> None:
        """Of a pool whose pages are tokens."""
        pools = self.pools
        pools.settle(ends=False)
        there = pools.owners.get(id(allocator))
        if there is None:
            pools.returned(allocator, ints(pages))
        else:
            there.freed(pages)

    # allocator.py (to May 2026), allocator/paged.py (since)
    def paged_allocator(self, module) -> None:
        cls = module.PagedTokenToKVPoolAllocator
        for name in ("alloc", "alloc_extend", "alloc_decode"):
            wrap(cls, name, self._make_alloc(name))
        for name in ("free", "free_segment", "free_page_ids", "free_group_end", "clear",
                     "restore_state"):
            if hasattr(cls, name):
                wrap(cls, name, self._make_free)
        if hasattr(cls, "_release_page_ids"):
            wrap(cls, "_release_page_ids", self._make_release)

    def _make_alloc(self, kind: str):
        pools = self.pools

        def make(original):
            def alloc(allocator, *args, **kwargs):
                if not pools.track(allocator, allocator._kvcache):
                    return original(allocator, *args, **kwargs)
                if id(allocator) in pools.owners:
                    out = original(allocator, *args, **kwargs)
                    if out is not None:
                        pools.taken_there(allocator, kind, out, args, kwargs)
                    return out
                before = pools.free_list(allocator)
                out = original(allocator, *args, **kwargs)
                pages = not_in(before, pools.free_list(allocator))
                if pages:
                    places = _places(kind, out, int(allocator.page_size), args, kwargs)
                    pools.taken(allocator, pages, places)
                return out

            return alloc

        return make

    def _make_free(self, original):
        """Freeing methods call one another: the outermost tells."""
        pools = self.pools

        def free(allocator, *args, **kwargs):
            if id(allocator) not in pools.pages or id(allocator) in self._freeing:
                return original(allocator, *args, **kwargs)
            pools.settle(ends=False)
            there = pools.owners.get(id(allocator))
            before = None if there is not None else pools.free_list(allocator)
            self._freeing.add(id(allocator))
            try:
                result = original(allocator, *args, **kwargs)
            finally:
                self._freeing.discard(id(allocator))
            if there is None:
                pages = not_in(pools.free_list(allocator), before)
                if pages:
                    pools.returned(allocator, pages)
            # Most give pages back by _release_page_ids.
            elif original.__name__ in ("clear", "restore_state"):
                there.all_free(pools.free_list(allocator))
            pools.settle()
            return result

        return free

    def _make_release(self, original):
        """Of an allocator on a GPU: the pages as such, before they are in its list."""
        def release(allocator, *page_ids, **kwargs):
            there = self.pools.owners.get(id(allocator))
            if there is not None:
                self.pools.settle(ends=False)
                for pages in page_ids:
                    there.freed(pages)
            return original(allocator, *page_ids, **kwargs)

        return release

    # swa_memory_pool.py (to May 2026), allocator/swa.py (since)
    def swa_allocator(self, module) -> None:
        pools = self.pools
        cls = module.SWATokenToKVPoolAllocator

        def built(allocator, _result, *args, **kwargs):
            kvcache = allocator.get_kvcache()
            if pools.track(allocator.full_attn_allocator, kvcache.full_kv_pool) and \
                    pools.track(allocator.swa_attn_allocator, kvcache.swa_kv_pool):
                pools.declare_map(allocator)

        after(cls, "__init__", built)
        for name in ("alloc", "alloc_extend", "alloc_extend_swa_tail", "alloc_decode"):
            wrap(cls, name, self._make_pairing)
        for name, evicts in (("free", False), ("free_segment", False), ("free_group_end", False),
                             ("clear", False), ("free_swa", True), ("free_swa_segment", True)):
            if hasattr(cls, name):
                wrap(cls, name, lambda original, e=evicts: self._then_map(original, e))

        def mapped(allocator, _result, *_args, **_kwargs):
            """A cache gives full pages other SWA pages; freeing methods have their own place."""
            pools.remapped = True
            if id(allocator) in pools.maps and not pools.freeing:
                pools.pending_maps[id(allocator)] = allocator

        for name in ("set_full_to_swa_mapping", UNMAPS):
            if hasattr(cls, name):
                after(cls, name, mapped)

    def _make_pairing(self, original):
        """The SWA pages of a call stand at the columns of its full pages; a request's row holds
        the full pages only, so an SWA page's owner is found through its full page."""
        pools = self.pools

        def alloc(allocator, *args, **kwargs):
            if id(allocator) not in pools.maps:
                return original(allocator, *args, **kwargs)
            begin, begin_there = len(pools.waiting), len(pools.waiting_there)
            tail = original.__name__ == "alloc_extend_swa_tail"
            pools.asked = None if tail else ()
            try:
                result = original(allocator, *args, **kwargs)
            finally:
                pools.asked = None
            full = pools.pages[id(allocator.full_attn_allocator)]
            if tail:
                pools.move_tail(begin, begin_there, full, _tail_begins(allocator, args, kwargs))
            pools.pair_there(begin_there, allocator)
            new = pools.waiting[begin:]
            at = {(w.lane, w.column): w.page for w in new if w.pages is full}
            in_turn = iter([w.page for w in new if w.pages is full])
            for index, one in enumerate(new):
                if one.pages is not full:
                    page = next(in_turn, one.page) if one.column is None else \
                        at.get((one.lane, one.column), one.page)
                    pools.waiting[begin + index] = one._replace(full_page=page)
            # Behind the allocs, which wait for an owner.
            pools.pending_maps[id(allocator)] = allocator
            return result

        return alloc

    def _then_map(self, original, evicts: bool):
        """free_swa outside free is window eviction. A free group hands the pages back at its end
        only, so they are marked when they are named."""
        pools, name = self.pools, original.__name__

        def free(allocator, *args, **kwargs):
            if id(allocator) not in pools.maps:
                return original(allocator, *args, **kwargs)
            pools.settle(ends=False)
            if evicts and not pools.freeing:
                self._mark_leaving(allocator, args[0] if args else kwargs["free_index"])
            if not pools.freeing:
                pools.remapped = False
            pools.freeing += 1
            try:
                return original(allocator, *args, **kwargs)
            finally:
                pools.freeing -= 1
                if pools.remapped or name == "clear" or not hasattr(allocator, UNMAPS):
                    pools.remapped = False
                    pools.write_map(allocator)

        return free

    def _mark_leaving(self, allocator, free_index) -> None:
        slots = allocator.full_to_swa_index_mapping[free_index]
        there = self.pools.owners.get(id(allocator.swa_attn_allocator))
        if there is not None:
            pages = slots.div(int(allocator.page_size), rounding_mode="floor")
            return there.leave(pages.masked_fill(slots <= 0, -1))
        slots = ints(slots)
        self.pools.pages[id(allocator.swa_attn_allocator)].leave(
            slot // int(allocator.page_size) for slot in slots if slot > 0)


def _tail_begins(allocator, args, kwargs) -> int:
    """At which logical page of its request: alloc_extend_swa_tail(prefix_lens, prefix_lens_cpu,
    seq_lens, seq_lens_cpu, last_loc, extend_num_tokens, swa_tail_len), of one request."""
    ends = kwargs.get("seq_lens_cpu", args[3] if len(args) > 3 else None)
    tail = kwargs.get("swa_tail_len", args[6] if len(args) > 6 else None)
    return (ints(ends)[0] - int(tail)) // int(allocator.page_size)


def _rids(reqs) -> List[str]:
    return [str(req.rid) for req in reqs]


def _is_other(batch) -> bool:
    """Whose lanes are not what is allocated: blocks that are kept, an encoder's tokens."""
    is_dllm = getattr(batch, "is_dllm", None)
    return bool(is_dllm and is_dllm()) or bool(
        getattr(getattr(batch, "model_config", None), "is_encoder_decoder", False))


def _places_of(pages: List[int], lanes: Optional[Lanes]) -> Dict[int, Tuple[int, int]]:
    """As _places(), of pages of one token; where no one says whose they are, nothing."""
    if lanes is None:
        return {}
    places = [(lane, column) for lane, (begin, end) in enumerate(zip(lanes.begins, lanes.ends))
              for column in range(begin, end)]
    return dict(zip(pages, places)) if len(pages) == len(places) else {}


def _places(kind: str, out, page_size: int, args, kwargs) -> Dict[int, Tuple[int, int]]:
    """page -> (lane, logical page) of the pages that begin in the slots `out`. The arguments are
    those of BaseTokenToKVPoolAllocator: alloc_extend(prefix_lens, prefix_lens_cpu, seq_lens,
    seq_lens_cpu, last_loc, …), alloc_decode(seq_lens, seq_lens_cpu, last_loc)."""
    if out is None:
        return {}
    heads = (out % page_size == 0).nonzero().flatten()  # where a page begins
    found = list(zip(ints(heads), ints(out[heads] // page_size)))
    if kind == "alloc_extend":
        prefix = kwargs.get("prefix_lens", args[0] if args else None)
        ends = kwargs.get("seq_lens", args[2] if len(args) > 2 else None)
        begins, ends = ints(prefix), ints(ends)
    elif kind == "alloc_decode":
        ends = ints(kwargs.get("seq_lens", args[0] if args else None))
        begins = [end - 1 for end in ends]
    else:
        return {page: (0, None) for _, page in found}
    lane_ends = list(accumulate(end - begin for begin, end in zip(begins, ends)))
    places: Dict[int, Tuple[int, int]] = {}
    for at, page in found:
        lane = bisect_right(lane_ends, at)
        if lane < len(ends):
            places[page] = (lane, (ends[lane] - (lane_ends[lane] - at)) // page_size)
    return places
