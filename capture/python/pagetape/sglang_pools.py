# SPDX-License-Identifier: Apache-2.0
"""SGLang's pools, index map, allocators and request rows.

SGLang's allocators hand out pages without knowing for whom: the caller writes the slots into the
request's row of ReqToTokenPool afterwards. An `alloc` therefore waits in a queue until its owner
can be looked up in the rows, at the latest before the next launch, free or step. Nothing on the
device happens in between, so the order of effects is kept. What is on a GPU stays there
(sglang_owners.py); where that cannot be, it is read by copies.
"""

from __future__ import annotations

import sys
from typing import Dict, List, NamedTuple, Optional, Tuple

from .devices import capturing
from .recording import ints
from .sglang_owners import MapPages, Owners, Rows, heads_of, to_device
from .sglang_owners import Waiting as WaitingThere
from .tensors import Tensors

UNRESOLVED = "#unresolved"


class Holding(NamedTuple):
    req: str
    column: Optional[int]


class Pages:
    """Who holds the pages of one allocator's pool."""

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.held: Dict[int, Holding] = {}
        self.leaving: set = set()  # pages on their way out of the window


class Waiting(NamedTuple):
    pages: Pages
    page: int
    column: Optional[int]
    lane: int  # index of the request in the allocating call
    full_page: Optional[int]  # the full pool's page that stands in the request's row


class Pools:
    """Shadow of pools, maps, allocators and rows; writes their events."""

    def __init__(self, recorder, addresses: bool) -> None:
        self.recorder = recorder
        self.addresses = addresses
        self.tensors: Dict[int, Tuple[str, object, int]] = {}  # data_ptr -> pool, object, index
        self.rows: Dict[int, str] = {}  # row of ReqToTokenPool -> request
        self.row_tables: list = []  # the ReqToTokenPool objects
        self.pages: Dict[int, Pages] = {}  # id(paged allocator) -> Pages
        self.kept: list = []
        self.maps: Dict[int, object] = {}  # id(composite allocator) -> page map as last written
        self.waiting: List[Waiting] = []
        self.pending_maps: list = []  # composite allocators whose new entries are not written
        self.there = Tensors(recorder)
        self.owners: Dict[int, Owners] = {}  # id(paged allocator), of those on a GPU
        self.map_pages: Dict[int, MapPages] = {}  # id(composite allocator), of those
        self.waiting_there: List[WaitingThere] = []
        self._stream_there = None  # of the last call that was given pages there
        self._rows_there = Rows(recorder, UNRESOLVED)
        self.freeing = 0  # depth of SWATokenToKVPoolAllocator's freeing methods
        self.page_size = 0

    # --- pools

    def declare_pool(self, pool, kind: str, layers: List[int]) -> str:
        """Pages of the bound: the first dimension of the view a kernel gets, page 0 included
        (MHATokenToKVPool allocates size + page_size slots)."""
        name = self.recorder.name(pool, kind)
        page_size = int(pool.page_size)
        first = pool.k_buffer[0]
        self.recorder.emit(
            "pool", pool=name, pages=int(first.shape[0]) // page_size, page_size=page_size,
            kind="swa" if kind == "swa" else "full", reserved=[{"page": 0, "role": "pad"}],
            page_bytes=page_size * first.stride(0) * first.element_size(),
            kv_heads=int(first.shape[1]), head_dim=int(first.shape[2]),
            dtype=str(first.dtype).replace("torch.", ""))
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

    def arrive(self, row: int, request: str) -> None:
        self.settle()
        self.rows[row] = request
        self.recorder.emit("request", req=request, state="arrive")

    def leave(self, row: int) -> None:
        self.settle()
        request = self.rows.pop(row, None)
        if request is not None:
            self.recorder.emit("request", req=request, state="finish")

    def request_of(self, row: int) -> Optional[str]:
        return self.rows.get(row)

    # --- allocators

    def track(self, allocator, kvcache) -> Pages:
        found = self.pages.get(id(allocator))
        if found is None:
            found = Pages(self.recorder.known(kvcache) or self.recorder.name(kvcache, "pool"))
            self.pages[id(allocator)] = found
            self.kept.append(allocator)
            self.page_size = int(allocator.page_size)
            self._keep_there(allocator, kvcache, found.pool)
        return found

    def _keep_there(self, allocator, kvcache, pool: str) -> None:
        like = allocator.free_pages
        if not hasattr(type(allocator), "_release_page_ids") or not self.there.takes(like):
            return
        pages = int(kvcache.k_buffer[0].shape[0]) // self.page_size
        owners = Owners(self.there, pool, pages, like, UNRESOLVED)
        if owners.table is not None:
            self.owners[id(allocator)] = owners

    @staticmethod
    def free_list(allocator):
        """A copy on the list's own device, with what was given back and is not in it yet."""
        pages = allocator.free_pages
        released = getattr(allocator, "staged_pages", None) or (allocator.release_pages,)
        released = [one for one in released if one is not None and one.numel()]
        return sys.modules["torch"].cat((pages, *released)) if released else pages.clone()

    def taken(self, allocator, pages: List[int], places: Dict[int, Tuple[int, int]],
              full_of: Dict[int, int]) -> None:
        shadow = self.pages[id(allocator)]
        for page in pages:
            lane, column = places.get(page, (0, None))
            self.waiting.append(Waiting(shadow, page, column, lane, full_of.get(page, page)))

    def returned(self, allocator, pages: List[int]) -> None:
        """Pages that came back to the free list: evicted where they were marked, else freed by
        their owner."""
        self.settle()
        shadow = self.pages[id(allocator)]
        freed: Dict[str, List[int]] = {}
        for page in pages:
            held = shadow.held.pop(page, None)
            if held is None:  # taken before the recorder was there
                freed.setdefault(UNRESOLVED, []).append(page)
            elif page in shadow.leaving and held.column is not None:
                self.recorder.emit("evict", pool=shadow.pool, req=held.req, logical=held.column,
                                   page=page)
            else:
                freed.setdefault(held.req, []).append(page)
        shadow.leaving.difference_update(pages)
        for request, freed_pages in freed.items():
            self.recorder.emit("free", pool=shadow.pool, req=request, pages=freed_pages)

    def taken_there(self, allocator, kind: str, out, args, kwargs) -> None:
        """As taken(), of slots on a GPU. Their owners are looked up on the stream of this call."""
        heads = heads_of(kind, out, self.page_size, args, kwargs)
        if not heads.at:
            return
        at, columns = to_device([heads.at, heads.columns], out.device)
        if not out.numel():
            return
        at = at.clamp(max=out.numel() - 1)  # Lengths are the host's, and may be wrong.
        pages = out[at].div(self.page_size, rounding_mode="floor")
        stream = self._stream_there = sys.modules["torch"].cuda.current_stream(out.device)
        self.waiting_there.append(WaitingThere(self.owners[id(allocator)], pages, pages, columns,
                                               heads, stream))

    def pair_there(self, begin: int, allocator) -> None:
        """Of what waits from there on: the SWA pages stand at the columns of the full ones."""
        new = self.waiting_there[begin:]
        mine = self.owners.get(id(allocator.full_attn_allocator))
        full = next((one for one in new if one.owners is mine), None)
        for index, one in enumerate(new):
            if full is None or one is full:
                continue
            pages = full.pages
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
                one.owners.owned(list(reversed(self.row_tables)), self.rows, self._rows_there, one,
                                 self.page_size)

    def settle(self) -> None:
        """Writes the waiting allocs, pages of one owner in ascending columns as one event."""
        if self.waiting_there:
            self._settle_there()
        if self.waiting_there or (not self.waiting and not self.pending_maps):
            return
        waiting, self.waiting = self.waiting, []
        runs: List[Tuple[Pages, str, List[Waiting]]] = []
        for one, owner in zip(waiting, self._owners(waiting)):
            one.pages.held[one.page] = Holding(owner, one.column)
            if runs and self._follows(runs[-1], one, owner):
                runs[-1][2].append(one)
            else:
                runs.append((one.pages, owner, [one]))
        for pages, owner, run in runs:
            first = {} if run[0].column is None else {"first": run[0].column}
            self.recorder.emit("alloc", pool=pages.pool, req=owner, pages=[w.page for w in run],
                               **first)
        pending, self.pending_maps = self.pending_maps, []
        for allocator in pending:
            self.write_map(allocator)

    @staticmethod
    def _follows(run, one: Waiting, owner: str) -> bool:
        last = run[2][-1]
        return (run[0] is one.pages and run[1] == owner and last.column is not None
                and one.column == last.column + 1)

    def _owners(self, waiting: List[Waiting]) -> List[str]:
        """The request in whose row each page's full page stands: at its column, where that is
        known, else anywhere."""
        owners = [UNRESOLVED] * len(waiting)
        placed = [i for i, one in enumerate(waiting) if one.column is not None]
        for table in reversed(self.row_tables):  # What the first one says counts.
            rows = sorted(self.rows, reverse=True)
            if placed and rows:
                for index, row in zip(placed, self._rows_of(table.req_to_token, rows,
                                                            [waiting[i] for i in placed])):
                    if row is not None:
                        owners[index] = self.rows[row]
            for index, one in enumerate(waiting):
                if one.column is None:
                    owners[index] = self._named_anywhere(table, rows, one) or owners[index]
        return owners

    def _rows_of(self, cells, rows: List[int], waiting: List[Waiting]) -> List[Optional[int]]:
        """Of these rows the first one that has the page at its column."""
        torch = sys.modules["torch"]
        columns = torch.tensor([one.column * self.page_size for one in waiting])
        pages = torch.tensor([one.full_page for one in waiting])
        slots = cells[torch.tensor(rows).to(cells.device)[:, None],
                      columns.clamp(max=cells.shape[1] - 1).to(cells.device)]
        hits = slots.cpu() // self.page_size == pages
        first = ints(hits.to(torch.int8).argmax(dim=0))
        return [rows[at] if hit else None for at, hit in zip(first, hits.any(dim=0).tolist())]

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
        name, mapping = f"{full}>{swa}", allocator.full_to_swa_index_mapping
        self.recorder.emit("map", map=name, **{"from": full, "to": swa}, unit="page")
        if id(allocator.full_attn_allocator) in self.owners:
            pages = MapPages(self.there, name, mapping.numel() - 1, int(allocator.page_size),
                             mapping)
            if pages.table is not None:
                self.map_pages[id(allocator)] = pages

    def write_map(self, allocator) -> None:
        """Compares the map's pages with what was last written. A page counts as mapped while any
        of its slots is: SGLang maps slots of one page to slots of one page."""
        if id(allocator) not in self.maps:
            return
        there = self.map_pages.get(id(allocator))
        if there is not None:
            self.settle()
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
        self.settle()
        full, swa = self.spaces(allocator.get_kvcache())
        name = f"{full}>{swa}"
        gone = [page for page, target in pairs if target == 0]
        new = [[page, target] for page, target in pairs if target > 0]
        if gone:
            self.recorder.emit("map_clear", map=name, **{"from": gone})
        if new:
            self.recorder.emit("map_set", map=name, pairs=new)
