# SPDX-License-Identifier: Apache-2.0
"""SGLang's pools, index map, allocators and request rows.

SGLang's allocators hand out pages without knowing for whom. The functions of a server that call
them do (`Lanes`); of other calls, the caller writes the slots into the request's row of
ReqToTokenPool afterwards. An `alloc` therefore waits in a queue until its owner can be looked up in
the rows, at the latest before the next launch, free or step. Nothing on the device happens in
between, so the order of effects is kept. What is on a GPU stays there (sglang_owners.py); where
that cannot be, it is read by copies.
"""

from __future__ import annotations

import sys
from typing import Dict, List, NamedTuple, Optional, Tuple

from .devices import capturing
from .recording import ints
from .sglang_holders import UNRESOLVED, Holders
from .sglang_owners import (Lanes, MapPages, Named, Owners, Rows, heads_of, pages_named,
                            to_device)
from .sglang_owners import Waiting as WaitingThere
from .tensors import Tensors


def in_group(allocator) -> bool:
    """Whether it holds back what is freed. Releases to May 2026 keep an empty list otherwise."""
    return not getattr(allocator, "is_not_in_free_group",
                       getattr(allocator, "free_group", None) is None)


class Waiting(NamedTuple):
    pages: Holders
    page: int
    column: Optional[int]
    lane: int  # index of the request in the allocating call
    full_page: int  # the full pool's page that stands in the request's row
    owner: Optional[str]  # None: it is looked up in the rows


def of_request(req, name: str):
    """Releases before 0.5.19 have it in the request, whatever `kv` is."""
    value = getattr(getattr(req, "kv", None), name, None)
    return getattr(req, name, None) if value is None else value


def row_of(req) -> Optional[int]:
    row = of_request(req, "req_pool_idx")
    return None if row is None else int(row)


class Pools:
    """Shadow of pools, maps, allocators and rows; writes their events."""

    def __init__(self, recorder, addresses: bool) -> None:
        self.recorder = recorder
        self.addresses = addresses
        self.tensors: Dict[int, Tuple[str, object, int]] = {}  # data_ptr -> pool, object, index
        self.rows: Dict[int, str] = {}  # row of ReqToTokenPool -> request
        self._extents: Dict[int, object] = {}  # row -> its request's ReqKvInfo
        self.row_tables: list = []  # the ReqToTokenPool objects
        self.lanes: Optional[Lanes] = None  # of the call that is under way
        self.pages: Dict[int, Holders] = {}  # id(allocator of one pool) -> its pages' holders
        self.kept: list = []
        # Whether it slides, slots and page size -> the first such pool.
        self._sized: Dict[Tuple[bool, int, int], str] = {}
        self.alike: Dict[str, List[str]] = {}  # pool -> pools that have its ids
        self._others: Dict[int, object] = {}  # allocators that are not followed
        self.maps: Dict[int, object] = {}  # id(composite allocator) -> page map as last written
        self._paired: list = []  # the composite allocators
        self.waiting: List[Waiting] = []
        self.pending_maps: Dict[int, object] = {}  # allocators whose new entries are not written
        self.remapped = False  # By the freeing method that is under way.
        self._named: List[Tuple[str, int, object]] = []  # request, first token, slots in its row
        self._left: List[str] = []  # requests that left their row while frees are held back
        self.there = Tensors(recorder)
        self.owners: Dict[int, Owners] = {}  # id(allocator of one pool), of those on a GPU
        self.map_pages: Dict[int, MapPages] = {}  # id(composite allocator), of those
        self.waiting_there: List[WaitingThere] = []
        self._named_there: List[Named] = []
        self._stream_there = None  # of the last call that was given pages there
        self._rows_there = Rows(recorder)
        # Of a call that asks both pools of a pair for the same, what _heads() found, or ()
        # before; of any other, None.
        self.asked: Optional[tuple] = None
        self.freeing = 0  # depth of SWATokenToKVPoolAllocator's freeing methods
        self.page_size = 0

    # --- pools

    def declare_pool(self, pool, kind: str, layers: List[int]) -> str:
        """Pages of the bound: the first dimension of the view a kernel gets, page 0 included
        (MHATokenToKVPool allocates size + page_size slots). A second pool of as many is a draft
        model's, that has the same ids: SGLang allocates for both at once. So is a second sliding
        one."""
        name = self.recorder.name(pool, kind)
        page_size = int(pool.page_size)
        self.page_size = self.page_size or page_size
        first = pool.k_buffer[0]
        size = kind == "swa", int(first.shape[0]), page_size
        space = {"space": self._sized[size]} if size in self._sized else {}
        if space:
            self.alike.setdefault(space["space"], []).append(name)
        self._sized.setdefault(size, name)
        self.recorder.emit(
            "pool", pool=name, pages=int(first.shape[0]) // page_size, page_size=page_size,
            kind="swa" if kind == "swa" else "full", reserved=[{"page": 0, "role": "pad"}],
            page_bytes=page_size * first.stride(0) * first.element_size(),
            kv_heads=int(first.shape[1]), head_dim=int(first.shape[2]),
            dtype=str(first.dtype).replace("torch.", ""), **space)
        for index, layer in enumerate(layers):
            k, v = pool.k_buffer[index], pool.v_buffer[index]
            self.tensors[k.data_ptr()] = (name, pool, layer)
            where = {"k_ptr": k.data_ptr(), "v_ptr": v.data_ptr()} if self.addresses else {}
            self.recorder.emit("pool_layer", pool=name, layer=layer, shape=list(k.shape),
                               stride=list(k.stride()), **where)
        return name

    def declare_set(self, pool) -> str:
        full = sorted(l for l, (_, swa) in pool.layers_mapping.items() if not swa)
        swa = sorted(l for l, (_, is_swa) in pool.layers_mapping.items() if is_swa)
        pools = [self.declare_pool(pool.full_kv_pool, "full", full),
                 self.declare_pool(pool.swa_kv_pool, "swa", swa)]
        name = self.recorder.name(pool, "set")
        self.recorder.emit("pool_set", set=name, pools=pools)
        return name

    def of_tensor(self, tensor) -> Optional[Tuple[str, object, int]]:
        """The pool a K tensor belongs to, by address: never by what a backend believes."""
        return self.tensors.get(tensor.data_ptr())

    def spaces(self, pool) -> Tuple[Optional[str], Optional[str]]:
        """The names of the index spaces of req_to_token's slots and of their translation."""
        if hasattr(pool, "swa_kv_pool"):
            return (self.recorder.known(pool.full_kv_pool), self.recorder.known(pool.swa_kv_pool))
        return self.recorder.known(pool), None

    # --- rows

    def arrive(self, row: int, req) -> None:
        """The request has a row, and what it was found in the prefix cache beside it."""
        self.settle()
        request, before = str(req.rid), self.rows.get(row)
        self.rows[row] = request
        self._extents[row] = getattr(req, "kv", None)
        self.recorder.emit("request", req=request, state="arrive")
        if before is not None:
            self._succeed(before, request)
        found = getattr(req, "prefix_indices", None)
        if found is not None and found.numel():
            self.named(row, 0, found)
            self.settle()

    def _succeed(self, before: str, request: str) -> None:
        """The next request of a session has its row, and with it all that the one before held."""
        for holders in (*self.pages.values(), *self.owners.values()):
            holders.moved(before, request)
        self.recorder.emit("request", req=before, state="finish")

    def named(self, row: int, begin: int, slots) -> None:
        """The row's tokens from `begin` on stand in these slots: told once what waits is told."""
        request = self.rows.get(row)
        if request is None or not slots.numel():
            return
        if not self.owners:
            self._named.append((request, begin, slots))
            return
        stream = sys.modules["torch"].cuda.current_stream(slots.device)
        pages = pages_named(slots, begin, self.page_size)
        self._named_there.append(Named(request, begin // self.page_size, pages, stream))

    def leave(self, row: int) -> None:
        """What the request gave back may be held until a group of frees ends: so is its end."""
        request = self.rows.pop(row, None)
        self._extents.pop(row, None)
        if request is not None:
            self._left.append(request)
            self.settle()

    def request_of(self, row: int) -> Optional[str]:
        return self.rows.get(row)

    # --- allocators

    def track(self, allocator, kvcache) -> bool:
        """Whether it is followed: that of a pool which was declared, in pages of its size."""
        if id(allocator) in self.pages:
            return True
        pool = self.recorder.known(kvcache)
        if id(allocator) in self._others or pool is None or \
                int(allocator.page_size) != int(kvcache.page_size):
            self._others[id(allocator)] = allocator
            return False
        self.pages[id(allocator)] = Holders(self.recorder, pool)
        self.kept.append(allocator)
        self.page_size = int(allocator.page_size)
        self._keep_there(allocator, kvcache, pool)
        return True

    def _keep_there(self, allocator, kvcache, pool: str) -> None:
        like = allocator.free_pages
        tells = self.page_size == 1 or hasattr(type(allocator), "_release_page_ids")
        if not tells or not self.there.takes(like):
            return
        pages = int(kvcache.k_buffer[0].shape[0]) // self.page_size
        most = max((table.req_to_token.shape[1] for table in self.row_tables), default=pages)
        owners = Owners(self.there, pool, pages, -(-most // self.page_size), like)
        if owners.complete():
            self.owners[id(allocator)] = owners

    @staticmethod
    def free_list(allocator):
        """A copy on the list's own device, with what was given back and is not in it yet."""
        pages = allocator.free_pages
        released = getattr(allocator, "staged_pages", None) or (allocator.release_pages,)
        released = [one for one in released if one is not None and one.numel()]
        return sys.modules["torch"].cat((pages, *released)) if released else pages.clone()

    def taken(self, allocator, pages: List[int], places: Dict[int, Tuple[int, int]]) -> None:
        holders = self.pages[id(allocator)]
        for page in pages:
            lane, column = places.get(page, (0, None))
            known = self.lanes is not None and column is not None
            self.waiting.append(Waiting(holders, page, column, lane, page,
                                        self.lanes.reqs[lane] if known else None))

    def returned(self, allocator, pages: List[int]) -> None:
        """Pages that came back to the free list."""
        self.settle(ends=False)
        self.pages[id(allocator)].returned(pages)

    def taken_there(self, allocator, kind: str, out, args, kwargs) -> None:
        """As taken(), of slots on a GPU. Their owners are looked up on the stream of this call."""
        self._stream_there = sys.modules["torch"].cuda.current_stream(out.device)
        heads, made = self._heads(kind, out, args, kwargs)
        if made is None:
            return
        known = self.lanes is not None
        pages, owners = out, self.owners[id(allocator)]
        if len(heads.at) != out.numel() or self.page_size > 1:  # Else each slot is a page.
            # Lengths are the host's, and may be wrong.
            pages = out[made[0].clamp(max=out.numel() - 1)]
        if self.page_size > 1:
            pages = pages.div(self.page_size, rounding_mode="floor")
        places = owners.places(pages)  # Not the engine's own tensor.
        self.waiting_there.append(WaitingThere(
            owners, places, places if known else pages.clone(), made[-1], heads,
            self._stream_there, made[1:] if known else None))

    def _heads(self, kind: str, out, args, kwargs) -> tuple:
        """Where pages begin, and the same on the device with the names of whom they are for, where
        that is known; None: there are none."""
        if self.asked:
            return self.asked
        heads = heads_of(kind, out, self.page_size, args, kwargs, self.lanes)
        if not heads.at or not out.numel():
            return heads, None
        known = []
        if self.lanes is not None:
            names = self.recorder.native().requests(self.lanes.reqs)
            known = [[names[lane] for lane in heads.lanes]]
        found = heads, to_device([heads.at, *known, heads.columns], out.device)
        if self.asked is not None:
            self.asked = found
        return found

    def move_tail(self, begin: int, begin_there: int, full: Holders, by: int) -> None:
        """Of what waits from there on, SWA pages that were asked for as if their request began with
        them: it has so many logical pages before."""
        for index, one in enumerate(self.waiting[begin:], begin):
            if one.pages is not full and one.column is not None:
                self.waiting[index] = one._replace(column=one.column + by)
        for index, one in enumerate(self.waiting_there[begin_there:], begin_there):
            if one.owners.pool != full.pool:
                columns = [column + by for column in one.heads.columns]
                moved, named = one.columns + by, one.named
                if named is not None:
                    named = sys.modules["torch"].stack((named[0], moved))
                self.waiting_there[index] = one._replace(
                    columns=moved, named=named, heads=one.heads._replace(columns=columns))

    def pair_there(self, begin: int, allocator) -> None:
        """Of what waits from there on: the SWA pages stand at the columns of the full ones."""
        new = self.waiting_there[begin:]
        mine = self.owners.get(id(allocator.full_attn_allocator))
        full = next((one for one in new if one.owners is mine), None)
        for index, one in enumerate(new):
            if full is None or one is full:
                continue
            pages = full.full
            if one.heads != full.heads:
                at = {place: i for i, place in enumerate(zip(full.heads.lanes,
                                                             full.heads.columns))}
                picks = [at.get(place, 0) for place in zip(one.heads.lanes, one.heads.columns)]
                pages = pages[to_device([picks], pages.device)[0]]
            self.waiting_there[begin + index] = one._replace(full=pages)

    def _settle_there(self) -> None:
        if capturing(self.waiting_there[0].pages):
            return  # It is not what runs now.
        torch = sys.modules["torch"]
        waiting, self.waiting_there = self.waiting_there, []
        for one in waiting:
            with torch.cuda.stream(one.stream):
                if one.named is not None:
                    one.owners.taken(one.pages, one.named)
                    continue
                one.owners.owned(list(reversed(self.row_tables)), self.rows, self._rows_there, one,
                                 self.page_size)

    def settle(self, ends: bool = True) -> None:
        """Writes what waits: allocs, pages of one owner in ascending columns as one event, the
        map's entries, what rows name; and, unless a group of frees is under way, that requests
        left."""
        if self.waiting_there:
            self._settle_there()
        if self.waiting_there:
            return
        if self.waiting or self.pending_maps:
            self._settle_allocs()
        if self._named_there and not capturing(self._named_there[0].pages):
            there, self._named_there = self._named_there, []
            for allocator in self._paired:
                self.write_map(allocator)
            for one in there:
                with sys.modules["torch"].cuda.stream(one.stream):
                    self._name_there(one)
        if self._named:
            named, self._named = self._named, []
            for request, begin, slots in named:
                self._name(request, begin, slots)
        if self._left and ends and not any(in_group(one) for one in self.kept):
            left, self._left = self._left, []
            for request in left:
                for holders in (*self.pages.values(), *self.owners.values()):
                    holders.left(request)
                self.recorder.emit("request", req=request, state="finish")

    def _settle_allocs(self) -> None:
        waiting, self.waiting = self.waiting, []
        runs: List[Tuple[Holders, str, List[Waiting]]] = []
        for one, owner in zip(waiting, self._owners(waiting)):
            one.pages.hold(one.page, owner, one.column)
            if runs and self._follows(runs[-1], one, owner):
                runs[-1][2].append(one)
            else:
                runs.append((one.pages, owner, [one]))
        for pages, owner, run in runs:
            first = {} if run[0].column is None else {"first": run[0].column}
            self.recorder.emit("alloc", pool=pages.pool, req=owner, pages=[w.page for w in run],
                               **first)
        pending, self.pending_maps = self.pending_maps, {}
        for allocator in pending.values():
            self.write_map(allocator)

    def _name(self, request: str, begin: int, slots) -> None:
        """Of the pages in a row those that its request does not hold are the prefix cache's; so
        are those of the SWA pool that they are mapped to."""
        first = begin // self.page_size
        pages = ints(slots[self._firsts(begin, slots.numel())] // self.page_size)
        placed = [(first + i, page) for i, page in enumerate(pages) if page > 0]
        for allocator in self._paired:
            self.write_map(allocator)
            to = self.maps[id(allocator)]
            mapped = [(column, page) for column, page in placed if page < to.numel()]
            there = ints(to[[page for _, page in mapped]])
            self.pages[id(allocator.full_attn_allocator)].named(request, placed)
            self.pages[id(allocator.swa_attn_allocator)].named(request, [
                (column, page) for (column, _), page in zip(mapped, there) if page > 0])
        if not self._paired and len(self.pages) == 1:
            next(iter(self.pages.values())).named(request, placed)

    def _name_there(self, named: Named) -> None:
        """The same of slots on a GPU."""
        for allocator in self._paired:
            mapped = self.map_pages.get(id(allocator))
            if mapped is not None:
                full, swa = (self.owners[id(one)] for one in (allocator.full_attn_allocator,
                                                              allocator.swa_attn_allocator))
                full.named(named.request, named.first, named.pages)
                swa.named(named.request, named.first, mapped.of(named.pages))
        if not self._paired and len(self.owners) == 1:
            next(iter(self.owners.values())).named(named.request, named.first, named.pages)

    def _firsts(self, begin: int, count: int) -> List[int]:
        """Of so many tokens from `begin` on those that are the first of their page."""
        return [0, *range(self.page_size - begin % self.page_size, count, self.page_size)]

    @staticmethod
    def _follows(run, one: Waiting, owner: str) -> bool:
        last = run[2][-1]
        return (run[0] is one.pages and run[1] == owner and last.column is not None
                and one.column == last.column + 1)

    def _owners(self, waiting: List[Waiting]) -> List[str]:
        """Where the caller did not say, the request in whose row each page's full page stands: at
        its column, where that is known, else anywhere."""
        owners = [one.owner or UNRESOLVED for one in waiting]
        sought = [(i, one) for i, one in enumerate(waiting) if one.owner is None]
        placed = [i for i, one in sought if one.column is not None]
        for table in reversed(self.row_tables):  # What the first one says counts.
            rows = sorted(self.rows, reverse=True)
            if placed and rows:
                for index, row in zip(placed, self._rows_of(table.req_to_token, rows,
                                                            [waiting[i] for i in placed])):
                    if row is not None:
                        owners[index] = self.rows[row]
            for index, one in sought:
                if one.column is None:
                    owners[index] = self._named_anywhere(table, rows, one) or owners[index]
        return owners

    def _rows_of(self, cells, rows: List[int], waiting: List[Waiting]) -> List[Optional[int]]:
        """Of these rows the first one that has the page at its column. Rows are not cleared: what
        is beyond a request's own tokens counts where nothing else is found."""
        torch = sys.modules["torch"]
        columns = torch.tensor([one.column * self.page_size for one in waiting])
        pages = torch.tensor([one.full_page for one in waiting])
        slots = cells[torch.tensor(rows).to(cells.device)[:, None],
                      columns.clamp(max=cells.shape[1] - 1).to(cells.device)]
        hits = (slots.cpu() // self.page_size == pages).to(torch.int8)
        ends = torch.tensor([self._extent(row, cells.shape[1]) for row in rows])
        hits += hits * (columns < ends[:, None])
        first = ints(hits.argmax(dim=0))
        return [rows[at] if hit else None for at, hit in zip(first, hits.amax(dim=0).tolist())]

    def _extent(self, row: int, most: int) -> int:
        """The request's tokens that have slots."""
        known = getattr(self._extents.get(row), "kv_allocated_len", None)
        return most if known is None else int(known)

    def _named_anywhere(self, table, rows: List[int], one: Waiting) -> Optional[str]:
        for row in rows:
            cells = table.req_to_token[row]
            if bool(((cells // self.page_size == one.full_page) & (cells != 0)).any()):
                return self.rows[row]
        return None

    # --- the full-to-SWA map

    def declare_map(self, allocator) -> None:
        kvcache = allocator.get_kvcache()
        full, swa = self.spaces(kvcache)
        self.maps[id(allocator)] = None
        self._paired.append(allocator)
        name, mapping = f"{full}>{swa}", allocator.full_to_swa_index_mapping
        self.recorder.emit("map", map=name, **{"from": full, "to": swa}, unit="page")
        pair = [id(allocator.full_attn_allocator), id(allocator.swa_attn_allocator)]
        if all(one in self.owners for one in pair):
            pages = MapPages(self.there, name, mapping.numel() - 1, int(allocator.page_size),
                             mapping)
            if pages.table is not None:
                self.map_pages[id(allocator)] = pages
                return
        for one in pair:  # One is read through the other: both are told there, or none.
            self.owners.pop(one, None)

    def write_map(self, allocator) -> None:
        """Compares the map's pages with what was last written. A page counts as mapped while any
        of its slots is: SGLang maps slots of one page to slots of one page."""
        if id(allocator) not in self.maps:
            return
        there = self.map_pages.get(id(allocator))
        if there is not None:
            self.settle(ends=False)
            with sys.modules["torch"].cuda.stream(self._stream_there):
                return there.tell(allocator.full_to_swa_index_mapping)
        page_size = int(allocator.page_size)
        mapping = allocator.full_to_swa_index_mapping[:-1].view(-1, page_size)
        now = (mapping.amax(dim=1) // page_size).clamp(min=0)
        known = self.maps[id(allocator)]
        changed = (now if known is None else now != known).nonzero().flatten()
        self.maps[id(allocator)] = now
        pairs = list(zip(ints(changed), ints(now[changed])))
        if not pairs:
            return
        self.settle(ends=False)
        full, swa = self.spaces(allocator.get_kvcache())
        name = f"{full}>{swa}"
        gone = [page for page, target in pairs if target == 0]
        new = [[page, target] for page, target in pairs if target > 0]
        if gone:
            self.recorder.emit("map_clear", map=name, **{"from": gone})
        if new:
            self.recorder.emit("map_set", map=name, pairs=new)
