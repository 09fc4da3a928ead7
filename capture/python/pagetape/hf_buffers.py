# SPDX-License-Identifier: Apache-2.0
"""The tensors in which Transformers keeps a batch's index lists: where a list that a launch gets
stands, what compares it on the GPU, and the guard before the launch.

A group's reads and writes are a line each of two tensors that stay where they are; each request's
part of a line begins where the cumulative sequence lengths say, which are on the device, too.
"""

from __future__ import annotations

import weakref
from typing import Dict, List, NamedTuple, Optional, Tuple

from ._abi import PtapeError, PtapeTableView
from .devices import (DeviceTable, Finding, Guard, Guarded, OutOfBounds, TogetherCompared,
                      capturing, mode_asked, stream_of, view_of)
from .hf_blocks import Cache
from .importhook import strict

# Of a table that is compared: 8 bytes of the GPU's memory and 16 of the host's each.
_CELLS_MOST, _COLUMNS_MOST = 1 << 22, 1 << 15


class Starts:
    """Where each lane's part of a list begins, of this batch's lanes alone: behind them the
    engine's tensor holds what is left of earlier, larger batches."""

    def __init__(self, cumulative) -> None:
        self._engines = cumulative
        self.own = cumulative.new_zeros(cumulative.numel() + 1)
        self._count = 0
        self._batch = -1
        self._form: tuple = ()  # lanes and end; what is done for these is done for batches alike
        self._parts: tuple = ()

    def of_batch(self, batch: int, lanes: int, end: Optional[int] = None) -> None:
        """On the current stream: the launches', or one that they wait for. What padding stands
        behind the lanes', up to `end`, is one list more, of nobody's."""
        if batch == self._batch:
            return
        if self._form != (lanes, end):
            count = min(lanes + 1, self._engines.numel())
            self._parts = self.own[:count], self._engines[:count]
            if end is not None:
                self.own[count].fill_(end)
                count += 1
            if count < self._count:
                self.own[count:self._count].zero_()  # A list that ends before it begins is empty.
            self._form, self._count = (lanes, end), count
        own, engines = self._parts
        own.copy_(engines)
        self._batch = batch

    def are_of(self, batch: int) -> bool:
        return batch == self._batch


class Line(NamedTuple):
    """One group's list of one set of tensors."""

    group: int
    buffer: str
    starts: Starts
    table: Optional[DeviceTable]  # of tensors on a GPU
    view: PtapeTableView  # where the table is; of a batch's lists alone
    offset: int  # of its first entry in the buffer, where that is one row
    guarded: Optional[Guarded]


class Buffers:
    """The lines of all sets of tensors, by address."""

    def __init__(self, recorder) -> None:
        self.recorder = recorder
        self.lines: Dict[int, Line] = {}
        self.mode = mode_asked()
        self._guards: Dict[tuple, Guard] = {}  # by whether it is of writes, and on the host
        self._sets = 0
        self.changes = 0  # of the lines
        self._open: Dict[int, list] = {}  # what each set has open
        self._starts: Dict[int, Tuple[List[Starts], Starts]] = {}  # of its reads and its writes

    def add(self, known: Cache, inputs) -> None:
        """`inputs` has its tensors. Waits for the GPU."""
        cache = inputs.cache
        if inputs.read_index_storage.device != cache.key_cache[0].device:
            return  # Those of the host whose copies on the GPU are read.
        if self.mode in ("raise", "clamp"):
            for tensor in (*cache.key_cache, *cache.value_cache):
                tensor[known.read_trash].zero_()  # What stands in for a bad read.
        prefix = known.name + (f".{self._sets}" if self._sets else "")
        self._sets += 1
        opened: list = []
        starts = {kind: Starts(tensor) for kind, tensor in inputs.cumulative_seqlens_k.items()}
        written = Starts(inputs.cumulative_seqlens_q)
        self._starts[id(inputs)] = [*starts.values()], written
        lines = [*self._reads(known, inputs, prefix, starts, opened),
                 *self._writes(known, inputs, prefix, written, opened)]
        self.lines.update(lines)
        self.changes += 1
        self._open[id(inputs)] = opened
        addresses = [address for address, _ in lines]
        weakref.finalize(inputs, self._remove, id(inputs), addresses, known).atexit = False

    def _reads(self, known: Cache, inputs, prefix: str, all_starts: Dict[str, Starts],
               opened: list) -> List[tuple]:
        lines = []
        for index, group in enumerate(known.groups):
            cells = inputs.read_index_storage[index]
            kind = "full_attention" if group.window is None else "sliding_attention"
            starts, begins = all_starts[kind], inputs.cumulative_seqlens_k[kind]
            longest = cells.numel() if group.window is None else group.window - 1
            cols = max(min(longest, cells.numel(), _COLUMNS_MOST), 1)
            view = view_of(cells, cols, begins, min(begins.numel() - 1, _CELLS_MOST // cols))
            buffer = f"{prefix}.reads{index}"
            table = self._table(opened, cells, view, buffer, group.pool, "slot")
            guarded = self._guarded(cells, starts, known.read_trash, False, opened)
            lines.append((cells.data_ptr(), Line(index, buffer, starts, table, view, 0, guarded)))
        return lines

    def _writes(self, known: Cache, inputs, prefix: str, starts: Starts,
                opened: list) -> List[tuple]:
        """On a GPU one buffer has all groups' lists: one compare a batch instead of one each."""
        storage = inputs.write_index_storage
        flat = storage.view(-1)
        view = view_of(flat, flat.numel())
        table = self._table(opened, flat, view, f"{prefix}.writes", "", "", True)
        lines = []
        for index in range(len(known.groups)):
            cells = storage[index]
            buffer = f"{prefix}.writes{index}" if table is None else table.buffer
            guarded = self._guarded(cells, starts, known.write_trash, True, opened)
            offset = index * cells.numel() if table is not None else 0
            lines.append((cells.data_ptr(), Line(index, buffer, starts, table, view, offset,
                                                     guarded)))
        return lines

    def _table(self, opened: list, cells, view, buffer: str, *what) -> Optional[DeviceTable]:
        """None: the list is read by a copy."""
        native = self.recorder.native()
        if not cells.is_cuda or native is None:
            return None
        try:
            opened.append(DeviceTable(native, view, buffer, *what))
        except PtapeError as error:
            self._refused(f"{buffer} is read by copies, which wait for the GPU", error)
            return None
        self.recorder.emit("buffer", buffer=buffer)
        return opened[-1]

    def _refused(self, what: str, error: PtapeError) -> None:
        if strict():
            raise error
        self.recorder.emit("note", text=f"{what}: {error}")

    def _guarded(self, cells, starts: Starts, reserved: int, writes: bool,
                 opened: list) -> Optional[Guarded]:
        native = self.recorder.native()
        if self.mode is None or native is None:
            return None
        kind = (writes, not cells.is_cuda)
        try:
            if kind not in self._guards:
                self._guards[kind] = Guard(native, self.mode, not cells.is_cuda)
            opened.append(Guarded(self._guards[kind], cells, starts.own, reserved))
        except PtapeError as error:
            self._refused("launches are not guarded", error)
            return None
        return opened[-1]

    def _remove(self, key: int, addresses: List[int], known: Optional[Cache] = None) -> None:
        self.changes += 1
        if known is not None:
            known.forget()
        for address in addresses:
            self.lines.pop(address, None)
        self._starts.pop(key, None)
        for one in self._open.pop(key, []):
            one.close()

    def close(self) -> None:
        """The engine may go on: what its graphs compare or check stays open as long as it has the
        tensors, and is closed by their end."""
        if any(one.in_graph for opened in self._open.values() for one in opened):
            return
        for key in list(self._open):
            self._remove(key, [])
        self.lines.clear()
        for guard in self._guards.values():
            guard.close()
        self._guards.clear()

    def captured(self, addresses: List[int], stream: int) -> List[DeviceTable]:
        """Puts a compare of the lists there into the graph that is captured: of all lanes that its
        launches may have. The tables, whose compare is to be told at each launch."""
        lines = {line.table: line for line in map(self.lines.get, addresses)
                 if line is not None and line.table is not None}
        if not lines:
            return []
        for table, line in lines.items():
            if line.view.starts is not None:
                line.view.rows = table.rows
        together = TogetherCompared(self.recorder.native(), list(lines),
                                    [line.view for line in lines.values()])
        if not together.compare(stream):
            return []
        for table in lines:
            table.in_graph = True
        return list(lines)

    def _graph_has(self, known: Cache, addresses: List[int], counts: List[int]) -> bool:
        lines = [self.lines.get(address) for address, count in zip(addresses, counts) if count]
        return all(line is None or line.table is None or line.table in known.compared
                   for line in lines)

    def compare(self, known: Cache, addresses: List[int], counts: List[int], stream: int) -> None:
        """Tells what the tables of the lists there hold that have entries, as far as the batch has
        not told of them yet."""
        form = addresses, list(map(bool, counts)), self.changes
        if known.compared_ahead == known.batches and self._graph_has(known, addresses, counts):
            return
        if known.compared or form != known.lists:
            lines = [self.lines.get(address) for address, count in zip(addresses, counts) if count]
            known.lines = {line.table: line for line in lines
                           if line is not None and line.table is not None
                           and line.table not in known.compared}
            known.lists = None if known.compared else form
            known.together = TogetherCompared(
                self.recorder.native(), list(known.lines),
                [line.view for line in known.lines.values()]) if known.lines else None
        if not known.lines:
            return
        lanes = max(len(known.lanes.reqs), 1)
        for table, line in known.lines.items():
            if line.view.starts is not None:  # What stands behind these is of earlier batches.
                line.view.rows = min(lanes, table.rows)
        done = self.recorder.compare_all(known.together, stream)
        known.compared.update(dict.fromkeys(known.lines, done))

    # --- the guard

    def ready(self, known: Cache, inputs, padded: bool) -> None:
        """A batch's tensors are on the current stream. Here, since a graph that is replayed has the
        checks in it and not this."""
        if id(inputs) not in self._starts:
            return
        read, written = self._starts[id(inputs)]
        new = inputs.num_q_tokens
        for starts in read:
            starts.of_batch(known.batches, known.prepared,
                            inputs.max_kv_read + new if padded else None)
        written.of_batch(known.batches, known.prepared, new if padded else None)

    def guarded(self, known: Cache, reads: list, writes: list, index: int, layer: int,
                bound: int) -> tuple:
        """Has a launch's lists checked before it; what the launch is to be given instead."""
        return (self._guard(known, reads, index, layer, bound),
                self._guard(known, writes, index, layer, bound))

    def _guard(self, known: Cache, indices: list, index: int, layer: int, bound: int) -> list:
        cells = indices[index]
        line = self.lines.get(cells.data_ptr())
        if line is None or line.guarded is None:
            return indices
        if not capturing(cells):
            line.starts.of_batch(known.batches, known.prepared)
        elif not line.starts.are_of(known.batches):
            return indices
        else:
            line.guarded.in_graph = True
        checked = line.guarded.check(layer, bound, stream_of(cells))
        if not checked or line.guarded.copy is None:
            return indices
        given = list(indices)
        given[index] = line.guarded.copy[:cells.numel()]
        return given

    def report(self, known: Cache) -> None:
        """Notes what the guards have found by now; in the mode raise, raises the first of it."""
        found = self.note(known)
        if found and self.mode == "raise":
            raise found[0]

    def note(self, known: Cache) -> List[OutOfBounds]:
        errors = []
        for (writes, _), guard in self._guards.items():
            found = guard.poll()
            while found is not None:
                errors.append(self._error(known, found, writes))
                self.recorder.emit("note", text=f"guard {self.mode}: {errors[-1]}; entries "
                                                f"outside: {found.bad}")
                found = guard.poll()
        return errors

    @staticmethod
    def _error(known: Cache, found: Finding, writes: bool) -> OutOfBounds:
        reqs = known.lanes.reqs
        return OutOfBounds("a write" if writes else "a read",
                           reqs[found.row] if found.row < len(reqs) else None,
                           found.layer, found.column, found.id, found.bound)
