# SPDX-License-Identifier: Apache-2.0
"""SGLang's allocators and index maps on a GPU: which pages change hands is known there alone, as
free lists, slots and request rows are tensors of its. So who holds each page is kept there, too,
by what the engine's calls are given and give; a compare behind each tells what changed, in the
place of the trace where the call was recorded. Nothing here waits for the GPU once it is made.

What an allocator hands out is taken from its slots, where a page begins in them: that follows from
the lengths that the engine has on the host. Its owner is the request in whose row the page stands,
as on the CPU. Cached pages that a row names are read from the slots that are written to it; who
holds them beside others is made of that where the trace is written (capture/holders.h), by the
rules of sglang_holders.py.
"""

from __future__ import annotations

import sys
from array import array
from itertools import repeat
from operator import sub
from typing import Any, List, NamedTuple, Optional, Tuple

from ._abi import MAP, NAMES, OWNERS
from .devices import stream_of, view_of
from .recording import ints
from .sglang_holders import CACHE, UNRESOLVED
from .tensors import Tensors

FREE = -1  # And one less where the page was leaving the window.
FREE_AGAIN = -3  # It was free.


class Heads(NamedTuple):
    """Where in an allocator's slots pages begin, and what these pages are; columns of -1 are not
    known."""

    at: List[int]
    lanes: List[int]
    columns: List[int]


class Lanes(NamedTuple):
    """What a call of an allocator is for, as its caller knows: tokens of requests, from and to."""

    reqs: List[str]
    begins: List[int]
    ends: List[int]


def heads_of(kind: str, out, page_size: int, args, kwargs, lanes: Optional[Lanes]) -> Heads:
    """Of alloc_extend(prefix_lens, prefix_lens_cpu, seq_lens, seq_lens_cpu, …), alloc_decode(
    seq_lens, seq_lens_cpu, …) and alloc(size), of which the caller alone knows the lanes."""
    def given(name: str, place: int):
        return kwargs.get(name, args[place] if len(args) > place else None)

    if kind == "alloc" and lanes is not None:
        begins, ends = lanes.begins, lanes.ends
    elif kind == "alloc":
        at = list(range(0, out.numel(), page_size))
        return Heads(at, [0] * len(at), [-1] * len(at))
    elif kind == "alloc_extend":
        begins, ends = ints(given("prefix_lens_cpu", 1)), ints(given("seq_lens_cpu", 3))
    else:
        ends = ints(given("seq_lens_cpu", 1))
        begins = [end - 1 for end in ends]
    count = len(begins)
    if page_size == 1 and [*map(sub, ends, begins)] == [1] * count:  # A decode's.
        return Heads([*range(count)], [*range(count)], list(begins))
    heads, first = Heads([], [], []), 0
    for lane, (begin, end) in enumerate(zip(begins, ends)):
        columns = range(-(-begin // page_size), -(-end // page_size))
        if columns:
            at = first - begin + columns.start * page_size
            heads.at.extend(range(at, at + len(columns) * page_size, page_size))
            heads.lanes.extend(repeat(lane, len(columns)))
            heads.columns.extend(columns)
        first += end - begin
    return heads


class Waiting(NamedTuple):
    """Pages whose owners are looked up when their rows are written."""

    owners: "Owners"
    pages: Any  # Their places there.
    full: Any  # Those of the full pool, which stand in the rows.
    columns: Any
    heads: Heads
    stream: Any
    named: Any = None  # [names of the requests that they are for, columns]; None: looked up.


class Named(NamedTuple):
    """Pages that a request's row names from its logical page `first` on."""

    request: str
    first: int
    pages: Any  # int32, on the device.
    stream: Any


def pages_named(slots, begin: int, page_size: int):
    """Of slots of tokens from `begin` on the pages, each once."""
    inside = begin % page_size
    firsts = slots[::page_size]
    if inside:
        firsts = sys.modules["torch"].cat((slots[:1], slots[page_size - inside::page_size]))
    return firsts.div(page_size, rounding_mode="floor").int().contiguous()


class Rows:
    """The requests' rows: their numbers and their requests' names on the device."""

    def __init__(self, recorder) -> None:
        self._recorder = recorder
        self._of: Optional[dict] = None
        self._tensors: tuple = ()

    def on(self, device, rows: dict) -> Tuple[Any, Any, int]:
        """Made anew where a request came or went."""
        if self._of != rows:
            native = self._recorder.native()
            self._of = dict(rows)
            names = [native.request(request) for request in rows.values()]
            self._tensors = tuple(to_device([list(rows), names], device))
            self._nobody = native.name(UNRESOLVED)
        return (*self._tensors, self._nobody)


class Owners:
    """Who holds the pages of one allocator's pool."""

    def __init__(self, tensors: Tensors, pool: str, pages: int, most: int, like) -> None:
        """`most`: pages that a row names."""
        torch = sys.modules["torch"]
        self.pool = pool
        self._recorder = tensors.recorder
        # One page more: what is no page of the pool's is written there, and not told.
        self._cells = torch.zeros(2, pages + 1, dtype=torch.int32, device=like.device)
        self._leaving = torch.zeros(pages + 1, dtype=torch.int32, device=like.device)
        # As tensors: a number that is assigned by index is copied, and the copy waits.
        self._no, self._yes = torch.arange(2, dtype=torch.int32, device=like.device)
        self._pages = pages
        self.table = tensors.state(OWNERS, pool, self._cells, pages, UNRESOLVED)
        self._names = tensors.state(
            NAMES, pool, torch.zeros(most, dtype=torch.int32, device=like.device), most)

    def complete(self) -> bool:
        """Whether there is room for all that is told of it."""
        return self.table is not None and self._names is not None

    def places(self, pages):
        """What is no page has the last place, which is that of -1, too: an index that is none would
        end the GPU's context."""
        return pages.clamp(-1, self._pages)

    def tell(self) -> None:
        self._recorder.compare(self.table, stream_of(self._cells))

    def taken(self, pages, named) -> None:
        """places() of pages; `named`: the names of who holds them, then their columns."""
        self._cells[:, pages] = named
        self.tell()

    def named(self, request: str, first: int, pages) -> None:
        """Those that the request does not hold it shares from here on; 0 is no page."""
        self._recorder.named(self._names, view_of(pages, pages.numel()), request, first,
                             stream_of(pages))

    def moved(self, holder: str, to: str) -> None:
        """What a request holds another one does from here on, at the same places."""
        self._recorder.moved(self.table, holder, to, True)

    def left(self, holder: str) -> None:
        """What a request that left its row still holds the cache keeps."""
        self._recorder.moved(self.table, holder, CACHE, False)

    def leave(self, pages) -> None:
        self._leaving[self.places(pages)] = self._yes

    def freed(self, pages) -> None:
        places = self.places(pages)
        holders = self._cells[0]
        now, then = holders[places], FREE - self._leaving[places]
        holders[places] = then.masked_fill(now == then, FREE_AGAIN)
        self._leaving[places] = self._no
        self.tell()

    def all_free(self, pages) -> None:
        """What stands in the free list is free."""
        places = self.places(pages)
        now = self._cells[0, places]
        self._cells[0, places] = now.clamp(max=FREE).where(now > 0, now)
        self.tell()

    def owned(self, row_tables: list, rows: dict, made: Rows, waiting: Waiting,
              page_size: int) -> None:
        names = None
        for table in row_tables:  # What the first one says counts.
            found = self._found(table.req_to_token, rows, made, waiting, page_size)
            names = found if names is None else names.where(names != 0, found)
        _, _, nobody = made.on(self._cells.device, rows)
        if names is None:
            names = self._cells.new_zeros(waiting.pages.numel())
        names = names.masked_fill(names == 0, nobody)
        self.taken(waiting.pages, sys.modules["torch"].stack((names, waiting.columns)))

    def _found(self, cells, rows: dict, made: Rows, waiting: Waiting, page_size: int):
        """The name of the request in whose row each page stands at its column, or 0."""
        numbers, names, _ = made.on(cells.device, rows)
        if not rows:
            return names.new_zeros(waiting.pages.numel())
        if waiting.heads.columns[0] < 0:
            return self._found_anywhere(cells[numbers], names, waiting, page_size)
        at = (waiting.columns * page_size).clamp(max=cells.shape[1] - 1)
        held = cells[numbers[:, None], at].div(page_size, rounding_mode="floor")
        return ((held == waiting.full) * names[:, None]).amax(dim=0)

    def _found_anywhere(self, cells, names, waiting: Waiting, page_size: int):
        holder = names.new_zeros(self._pages + 1)
        places = cells.div(page_size, rounding_mode="floor").flatten()
        places = places.long().masked_fill((places < 0) | (places > self._pages), self._pages)
        each = names[:, None].expand(cells.shape).flatten()
        holder.scatter_(0, places, each.masked_fill(cells.flatten() == 0, 0))
        return holder[self.places(waiting.full)]


class MapPages:
    """The pages of an index map."""

    def __init__(self, tensors: Tensors, name: str, slots: int, page_size: int, like) -> None:
        torch = sys.modules["torch"]
        self._recorder = tensors.recorder
        self._page_size = page_size
        self._cells = torch.zeros(slots // page_size, dtype=torch.int32, device=like.device)
        self.table = tensors.state(MAP, name, self._cells, self._cells.numel())

    def of(self, pages):
        """What these pages map to, as last told; 0: to none."""
        places = pages.clamp(0, self._cells.numel() - 1).long()
        return self._cells[places].where(pages == places, self._cells.new_zeros(()))

    def tell(self, mapping) -> None:
        """A page counts as mapped while any of its slots is."""
        slots = mapping[:-1]
        if self._page_size > 1:
            slots = slots.view(-1, self._page_size).amax(dim=1)
            slots = slots.div(self._page_size, rounding_mode="floor")
        self._cells.copy_(slots)
        self._recorder.compare(self.table, stream_of(self._cells))


def to_device(lists: List[List[int]], device):
    """As int32, without waiting for what the device has to do."""
    return on_host(lists).pin_memory().to(device, non_blocking=True)


def on_host(lists: List[List[int]]):
    """Lists that are equally long, as torch.tensor() makes it, which takes several times longer."""
    torch = sys.modules["torch"]
    if not lists[0]:  # Memory of no bytes it does not take.
        return torch.zeros(len(lists), 0, dtype=torch.int32, device="cpu")
    flat: List[int] = []
    for one in lists:
        flat.extend(one)
    return torch.frombuffer(array("i", flat), dtype=torch.int32).view(len(lists), -1)
