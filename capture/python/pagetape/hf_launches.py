# SPDX-License-Identifier: Apache-2.0
"""What Transformers' paged attention writes and reads, as PagedAttentionCache.update gets it.

A batch is packed: a group's write and read indices are flat lists of slots, a request's behind
those of the one before it. A full group writes its new tokens and then reads all of them back. A
sliding group reads the rolling buffer first, as many as window - 1 tokens before the new ones,
and only then writes over it; its new tokens never come from the cache, and sentinels stand in
their places. Where a batch reads nothing of the cache the lists to read are empty.

The layers of a group get the same lists, so a batch's list is read once, where the first layer
uses it, and told as a buffer; the launches name it. On a GPU it is compared there, on the stream of
the launch. A layer that gets another tensor, or a part of one, has it read, too. What changes a
list's cells between two layers of a batch is not seen, but by the guard.

What is captured into a CUDA graph is told at each of its launches, of that batch's lanes.
"""

from __future__ import annotations

from array import array
from itertools import accumulate
from operator import add, sub
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ._abi import ABSENT, Bound, Rows
from .devices import stream_of
from .graphs import Graphs
from .hf_blocks import Blocks, Cache, Group
from .hf_buffers import Buffers, Line
from .recording import IDS, Launch


class Pair:
    """What a group's layers get in this batch, and its launches in their order."""

    __slots__ = ("reads", "writes", "made", "form", "lines", "ready", "bound", "places", "news",
                 "written")

    def __init__(self) -> None:
        self.reads = self.writes = self.made = None
        self.news: Any = None  # of the lanes in `made` their new tokens, and where the entries
        self.written: Any = None  # that each writes end, as far as _quick() told them
        self.form: Any = None  # what they are made for; a batch alike has other lanes alone
        self.lines: List[tuple] = []  # of each launch, whether it stores, and its list's line
        self.ready: Dict[int, tuple] = {}  # by layer, once `made` was recorded for all
        self.bound: Any = None  # the launches and the layers' tensors that `ready` is for
        self.places: Dict[int, tuple] = {}  # and the layers'


class Launches:
    def __init__(self, blocks: Blocks, buffers: Buffers) -> None:
        self.blocks = blocks
        self.buffers = buffers
        self.recorder = blocks.recorder
        self.graphs = Graphs(self._graph_launched, "_pagetape_hf")

    def prepared(self, known: Cache) -> None:
        """A batch's tensors are there. It is told before the first launch at the latest; where none
        comes by here, while the engine waits for the GPU."""
        self.blocks.prepared(known)

    def update(self, known: Cache, cache, layer: int, read_index, write_index):
        """Records both launches of `layer` before they are made, in the order in which they happen.
        The lists that they are to be given. What all layers of a group have in common is found out
        by the first one of a batch; it leaves in known.ready what is done for the others."""
        index, place = cache.layer_index_to_group_indices[layer]
        tensor = cache.key_cache[place]
        if known.captures is not None and known.captures():
            self._capture(known, cache, layer, read_index, write_index)
            if self.buffers.mode is None:
                return read_index, write_index
            return self.buffers.guarded(known, read_index, write_index, index, layer,
                                        int(tensor.shape[0]))
        pair, begins = self._tell(known, cache, layer, read_index, write_index)
        if self.buffers.mode is not None:
            read_index, write_index = self.buffers.guarded(known, read_index, write_index, index,
                                                           layer, int(tensor.shape[0]))
            self.buffers.report(known)
        elif begins and pair.lines:
            self._make_ready(pair, known, cache, index, layer)
        return read_index, write_index

    def _capture(self, known: Cache, cache, layer: int, read_index, write_index) -> None:
        """The graph compares the lists before all else: an index out of bounds ends it."""
        tables: list = []
        if self.graphs.begins:
            lists = (*read_index, *write_index)
            tables = self.buffers.captured([one.data_ptr() for one in lists if one.numel()],
                                           stream_of(cache.key_cache[0]))
        self.graphs.captured((tables, known, cache, layer, read_index, write_index))

    def _graph_launched(self, captured: List[tuple]) -> None:
        """It has its work: what is told of it costs it nothing."""
        tables, known, cache, *_ = captured[0]
        if not tables or self.recorder.native() is None:
            return  # Reading them by copies would wait for the graph: the step is a gap.
        if all(table.stands() for table in tables):
            known.compare_ahead(tables)  # Else they are compared once more, behind it.
        self.recorder.replayed(tables, stream_of(cache.key_cache[0]))
        for _, *what in captured:
            self._tell(*what)

    def _tell(self, known: Cache, cache, layer: int, read_index, write_index) -> Tuple[Pair, bool]:
        """Also whether it is the first layer of its group in this batch."""
        index, place = cache.layer_index_to_group_indices[layer]
        tensor = cache.key_cache[place]
        known.updates += 1
        self.blocks.flush()
        # An index out of bounds ends the launch: what it was given is written before.
        pair = known.pairs.get(index)
        if pair is None:
            pair = known.pairs[index] = Pair()
        begins = pair.reads is not read_index[index] or pair.writes is not write_index[index]
        if begins:
            if known.ready:  # A batch within a batch: what its layers were to get is not theirs.
                for one in pair.ready:
                    known.ready.pop(one, None)
            self._begin(pair, known, known.of_layer[layer], index, read_index, write_index, tensor)
        self.recorder.launches(pair.made, layer,
                               tensor.data_ptr() if self.blocks.addresses else None)
        return pair, begins

    def _begin(self, pair: Pair, known: Cache, group: Group, index: int, read_index, write_index,
               tensor) -> None:
        lists = (*read_index, *write_index)
        addresses, counts = [one.data_ptr() for one in lists], [one.numel() for one in lists]
        stream = stream_of(tensor)
        # All groups' at once: the first layer of a batch pays for one compare.
        self.buffers.compare(known, addresses, counts, stream)
        pair.reads, pair.writes = reads, writes = read_index[index], write_index[index]
        read, written = counts[index], counts[len(read_index) + index]
        form = (addresses[index], addresses[len(read_index) + index], read > 0, written > 0, stream,
                known.decode, id(tensor), self.buffers.changes)
        if form == pair.form and self._quick(pair, known, group, read, written):
            return
        pair.news = pair.written = None
        if form == pair.form and self._again(pair, known, group, read, written):
            return
        pair.form, pair.lines = None, []
        launches = [self._listed(known, group, tell, index, indices, tensor)
                    for indices, tell in ((reads, self._reads), (writes, self._writes))
                    if indices.numel()]
        if group.window is None:
            launches.reverse()
        launches = [one for one in launches if one is not None]
        pair.made = self.recorder.made(launches, stream)
        lines = [(one.store, self.buffers.lines.get((writes if one.store else reads).data_ptr()))
                 for one in launches]
        if lines and all(line is not None and line.table is not None for _, line in lines):
            pair.form, pair.lines = form, lines

    def _quick(self, pair: Pair, known: Cache, group: Group, read: int, written: int) -> bool:
        """_again() of as many lanes, without padding, as decoding has it: by the columns of Rows
        that such launches have, in their order, or None where they are those of the last batch."""
        if group.window is not None:
            return False
        lanes, columns, ended = known.lanes, [], pair.written
        news, same = lanes.news, lanes.news == pair.news
        for store, line in pair.lines:
            ends = lanes.writes(line.group) if store else lanes.reads(line.group)
            if not ends or ends[-1] != (written if store else read) \
                    or not known.compared[line.table]:
                return False
            if store:
                ended = ends
                columns.append([None, None] if ends == pair.written else [
                    array("q", [line.offset, *map(line.offset.__add__, ends[:-1])]), _counts(ends)])
                continue
            lens = array("q", list(map(add, lanes.pasts, news)))
            counts = lens if tuple(accumulate(lens)) == ends else _counts(ends)
            if not line.table.holds(len(counts), max(counts)):
                return False
            columns.append([lens, *((None, None) if same else (array("q", range(len(news))),
                                                               array("q", news))), counts])
        if not self.recorder.refilled(pair.made, lanes.reqs, columns):
            return False
        pair.news, pair.written = news, ended
        return True

    def _again(self, pair: Pair, known: Cache, group: Group, read: int, written: int) -> bool:
        """Where just the lanes are others than those of the batch before."""
        rows = [self._rows_written(known, line, written) if store
                else self._rows_read(known, group, line, read) for store, line in pair.lines]
        return None not in rows and self.recorder.again(pair.made, rows)

    def _make_ready(self, pair: Pair, known: Cache, cache, index: int, layer: int) -> None:
        """The other layers of the group record the same, on their tensors, as they are now."""
        tensors, places = cache.key_cache, cache.layer_index_to_group_indices
        bound = [pair.made, *map(id, tensors), *[one.data_ptr() for one in tensors]]
        if bound != pair.bound or places != pair.places:
            pair.bound, pair.places = bound, dict(places)
            pair.ready = {}
            for one, (group, place) in places.items():
                if group == index:
                    address = tensors[place].data_ptr() if self.blocks.addresses else None
                    pair.ready[one] = (index, pair,
                                       *self.recorder.prepared(pair.made, one, address))
        known.ready.update(pair.ready)
        known.ready.pop(layer, None)
        self.recorder.counted(pair.made, len(pair.ready) - 1)

    def ended(self, known: Cache, seen: bool) -> None:
        """A batch's launches are on their stream, or were, on the host. Not `seen`: none of them
        was recorded."""
        self.blocks.settle()
        known.begun.append(self.recorder.last_launch() if seen else 0)
        if self.buffers.mode is not None:
            self.buffers.report(known)

    def _listed(self, known: Cache, group: Group, tell, index: int, indices, tensor):
        """A launch on this list, which is told where it was not yet in this batch."""
        key = (tell.__name__, indices.data_ptr(), indices.numel(), group.pool)
        if key not in known.listed:
            line = self.buffers.lines.get(indices.data_ptr())
            known.listed[key] = tell(known, group, line, index, indices, tensor)
        return known.listed[key]

    def _reads(self, known: Cache, group: Group, line: Optional[Line], index: int, indices,
               tensor):
        """A row a lane. Entry j of a sliding group's is the j-th token that is still in its
        window. What stands behind the last lane's is a row of nobody's."""
        table = line.group if line is not None else index
        pool = known.groups[table].pool
        buffer = line.buffer if line is not None else f"{known.name}.reads{table}"
        if line is None or line.table is None:
            rows = self._tell_rows(known, group, table, buffer, indices, pool)
        else:
            if not known.compared[line.table]:
                return self.blocks.gap([group], "a list could not be compared on the GPU")
            rows = self._rows_read(known, group, line, indices.numel())
            if rows is None:
                return self.blocks.gap([group], "a batch is larger than the table compared")
        bound, fields = self._form(known, group, pool, buffer, tensor, False)
        return Launch(False, rows, bound, fields)

    @staticmethod
    def _lanes_read(known: Cache, group: Group, table: int, available: int) -> Tuple[Rows, list]:
        """And how many entries each has in the list."""
        lanes = known.lanes
        pasts, news = lanes.pasts, lanes.news
        counts = _parts(lanes.reads(table), available)
        if group.window is None:
            return Rows(lanes.reqs, list(map(add, pasts, news)), range(len(news)), news,
                        n=counts), counts
        told = [max(n - new, 0) for n, new in zip(counts, news)]
        return Rows(lanes.reqs, pasts, range(len(news)), news, pasts,
                    [max(past - n, 0) for past, n in zip(pasts, told)], told), counts

    def _rows_read(self, known: Cache, group: Group, line: Line, available: int) -> Optional[Rows]:
        """None: the line's table was not compared, or has not all of them."""
        rows, _ = self._lanes_read(known, group, line.group, available)
        fits = line.table.holds(len(known.lanes.reqs), max(rows.n, default=0))
        return rows if fits and known.compared[line.table] else None

    def _tell_rows(self, known: Cache, group: Group, table: int, buffer: str, indices,
                   pool: str) -> Rows:
        rows, counts = self._lanes_read(known, group, table, indices.numel())
        self._declare(known, buffer)
        cells, at = indices.cpu().clamp(*IDS).int().contiguous(), 0
        for row, (req, count, told) in enumerate(zip(rows.req, counts, rows.n)):
            if told:
                self.recorder.table(buffer, row, cells[at:at + told], req, pool, "slot")
            at += count
        left = cells.numel() - at
        if left == 0:
            return rows
        self.recorder.table(buffer, len(counts), cells[at:], None, pool, "slot")
        nobody = {"req": None, "len": left, "row": len(counts), "n": left}
        return Rows(*(column and [*column, nobody.get(name, ABSENT)]
                      for name, column in zip(Rows._fields, rows)))

    def _writes(self, known: Cache, group: Group, line: Optional[Line], index: int, indices,
                tensor):
        table = line.group if line is not None else index
        buffer = line.buffer if line is not None else f"{known.name}.writes{table}"
        if line is None or line.table is None:
            self._declare(known, buffer)
            self.recorder.slots(buffer, indices.cpu().long().contiguous())
        elif not known.compared[line.table]:
            return self.blocks.gap(known.groups, "lists could not be compared on the GPU")
        rows = self._lanes_written(known, table, line.offset if line is not None else 0,
                                   indices.numel())
        bound, fields = self._form(known, group, known.groups[table].pool, buffer, tensor, True)
        return Launch(True, rows, bound, fields)

    @staticmethod
    def _lanes_written(known: Cache, table: int, begin: int, available: int) -> Rows:
        counts, owners = _parts(known.lanes.writes(table), available), known.lanes.reqs
        left = available - sum(counts)
        if left > 0:  # Padding's.
            counts, owners = [*counts, left], [*owners, None]
        return Rows(owners, row=list(accumulate(counts[:-1], initial=begin)), n=counts)

    def _rows_written(self, known: Cache, line: Line, available: int) -> Optional[Rows]:
        """None: the line's table was not compared."""
        return self._lanes_written(known, line.group, line.offset, available) \
            if known.compared[line.table] else None

    @staticmethod
    def _form(known: Cache, group: Group, space: str, buffer: str, tensor, store: bool) -> tuple:
        """What a launch is bound to, and its fields: the same from batch to batch."""
        key = store, group.pool, space, buffer, known.decode, tensor.shape, tensor.stride()
        found = known.forms.get(key)
        if found is not None:
            return found
        slots = int(tensor.shape[0])
        fields: Dict[str, Any] = dict(backend=known.name, space=space)
        if store:
            fields.update(slots=buffer)
        else:
            fields.update(table=buffer, unit="slot", page_size=1, kernel="paged_attention",
                          mode="decode" if known.decode else "extend")
            if group.window is not None:
                fields["window"] = group.window
        bound = Bound(group.pool, slots // known.block_size if store else slots,
                      tuple(tensor.shape), tuple(tensor.stride()))
        found = known.forms[key] = bound, fields
        return found

    def _declare(self, known: Cache, buffer: str) -> None:
        if buffer not in known.buffers:
            known.buffers.add(buffer)
            self.recorder.emit("buffer", buffer=buffer)


def _counts(ends: Sequence[int]) -> array:
    return array("q", list(map(sub, ends, (0, *ends))))


def _parts(ends: Sequence[int], available: int) -> List[int]:
    """Each lane's part of a list, as far as that reaches."""
    if ends and ends[-1] > available:
        ends = [min(end, available) for end in ends]
    return list(map(sub, ends, (0, *ends[:-1])))
