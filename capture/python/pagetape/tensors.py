# SPDX-License-Identifier: Apache-2.0
"""Index tensors on a GPU of engines that make others for each step: each buffer of the trace has a
table of its own, by which the tensor of a step is compared where it is. Nothing here waits for the
GPU, but where a table is opened: for a buffer's first tensor, and for one that is larger."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ._abi import LENS, PAGES, SLOTS, PtapeError, PtapeTableView
from .devices import DeviceTable, stream_of, view_of
from .importhook import strict

CELLS_MOST = 1 << 22  # Of a table: 8 bytes of the GPU's memory and 16 of the host's each.
ROWS_LEAST = 64


class Told(NamedTuple):
    """A tensor as it is told of, for as long as it stands where it does."""

    buffer: str
    view: PtapeTableView
    cells: Any
    kind: int
    named: Dict[str, str]


def of_table(buffer: str, cells, space: Optional[str], unit: str = "", lens=None,
             tokens: int = 1) -> Told:
    """A tensor of rows; of each what stands behind its length, a cell for so many tokens, is not
    told."""
    view = view_of(cells, cells.shape[1], lens=lens, unit=tokens)
    if lens is not None:
        view.rows = min(view.rows, lens.numel())
    return Told(buffer, view, cells, PAGES, {"space": space or "", "unit": unit})


def of_lists(buffer: str, cells, starts, space: Optional[str], lens: str = "") -> Told:
    """Index lists of slots; their lengths are the buffer `lens`."""
    return Told(buffer, view_of(cells, 1, starts), cells, PAGES,
                {"space": space or "", "unit": "slot", "lens": lens})


def of_lens(buffer: str, values) -> Told:
    return Told(buffer, view_of(values, values.numel()), values, LENS, {})


def of_slots(buffer: str, values) -> Told:
    return Told(buffer, view_of(values, values.numel()), values, SLOTS, {})


class Tensors:
    def __init__(self, recorder) -> None:
        self.recorder = recorder
        self._tables: Dict[str, DeviceTable] = {}
        self._forms: Dict[str, tuple] = {}  # width of cells, and whether they are lists
        self._others: List[DeviceTable] = []  # Also those outgrown: what is on a stream may run.
        self._declared: set = set()
        self._refusal = False

    def takes(self, tensor) -> bool:
        """Whether such a tensor can be told without waiting for it."""
        return tensor.is_cuda and not self._refusal and self.recorder.native() is not None

    def table(self, buffer: str, cells, space: Optional[str], unit: str = "", lens=None,
              tokens: int = 1) -> bool:
        return self.tell(of_table(buffer, cells, space, unit, lens, tokens))

    def lens(self, buffer: str, values) -> bool:
        return self.tell(of_lens(buffer, values))

    def slots(self, buffer: str, values) -> bool:
        return self.tell(of_slots(buffer, values))

    def state(self, kind: int, of: str, cells, cols: int,
              nobody: str = "") -> Optional[DeviceTable]:
        """A table that stays where it is, of an allocator's state; None: it cannot be had."""
        if not self.takes(cells):
            return None
        try:
            table = DeviceTable(self.recorder.native(), view_of(cells, cols), of, kind=kind,
                                lens=nobody)
        except PtapeError as error:
            self._refused(of, error)
            return None
        self._others.append(table)
        return table

    def tell(self, one: "Told", cols: int = 0) -> bool:
        """What it holds by now; of lists each one's first `cols` entries. False: it is not told."""
        view, lens = one.view, one.named.get("lens")
        if view.starts:
            view.cols = max(cols, 1)
            if one.cells.stride(-1) != 1:  # There are gaps between entries.
                return False
        if lens:
            self._declare(lens)
        self._declare(one.buffer)
        form = view.cell_bytes, bool(view.starts)
        if self._refusal or not view.rows or not view.cols or \
                self._forms.setdefault(one.buffer, form) != form:
            return False
        table = self._tables.get(one.buffer)
        if table is None or not table.holds(view.rows, view.cols):
            table = self._opened(one.buffer, view, one.kind, one.named)
        return table is not None and self.recorder.compare(table, stream_of(one.cells), view)

    def _opened(self, buffer: str, view: PtapeTableView, kind: int, what) -> Optional[DeviceTable]:
        known = self._tables.get(buffer)
        size = room_for(view, kind, (known.rows, known.cols) if known is not None else (0, 0))
        if size is None:
            return None
        try:
            table = DeviceTable(self.recorder.native(), view_of_size(view, *size), buffer,
                                kind=kind, **what)
        except PtapeError as error:
            self._refused(buffer, error)
            return None
        if known is not None:
            self._others.append(known)
        self._tables[buffer] = table
        return table

    def _declare(self, buffer: str) -> None:
        if buffer not in self._declared:
            self._declared.add(buffer)
            self.recorder.emit("buffer", buffer=buffer)

    def _refused(self, what: str, error: PtapeError) -> None:
        if strict():
            raise error
        self._refusal = True
        self.recorder.emit("note", text=f"{what} and others are read by copies, which wait for the "
                                        f"GPU: {error}")

    def close(self) -> None:
        for table in [*self._tables.values(), *self._others]:
            table.close()
        self._tables.clear()
        self._others.clear()


def room_for(view: PtapeTableView, kind: int, held: Tuple[int, int]) -> Optional[Tuple[int, int]]:
    """Rows and columns of a table for this one, where so many were too few: twice what it needs of
    those, and of the others what there were, within what a table may hold. None: it may not."""
    if kind != PAGES:
        return (1, max(2 * view.cols, ROWS_LEAST)) if view.cols <= CELLS_MOST else None
    if view.rows * view.cols > CELLS_MOST:
        return None
    rows = held[0] if view.rows <= held[0] else max(2 * view.rows, ROWS_LEAST)
    # A table of rows is mostly as wide as it ever is.
    wider = 2 * view.cols if view.starts or held[1] else view.cols
    cols = held[1] if view.cols <= held[1] else wider
    rows = max(min(rows, CELLS_MOST // view.cols), view.rows)
    return rows, max(min(cols, CELLS_MOST // rows), view.cols)


def view_of_size(view: PtapeTableView, rows: int, cols: int) -> PtapeTableView:
    """One as wide, of which nothing is read."""
    room = PtapeTableView.from_buffer_copy(view)
    room.rows, room.cols, room.lens = rows, cols, None
    return room
