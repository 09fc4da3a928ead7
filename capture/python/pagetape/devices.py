# SPDX-License-Identifier: Apache-2.0
"""Index tensors where the engine's kernels read them: compared with what was told of them, and
guarded. On a GPU both are put on the engine's current stream; neither waits nor takes memory but
when it is opened. Nothing here imports torch: an engine that brings a tensor has done so.

Tensors hold int32 or int64. With `starts`, a tensor of one more than there are rows, `cells` is a
list of index lists: row r is cells[starts[r] : starts[r + 1]].
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import List, NamedTuple, Optional

from ._abi import (E_DEVICE, PAGES, SLOTS, NativeRecorder, PtapeError, PtapeGuardFinding,
                   PtapeGuardLaunch, PtapeTablePart, PtapeTableView)

MODES = ("log", "raise", "clamp")  # as the library counts them
MOST_CELLS = (1 << 30) - 1  # of a view, with a length for each row


class OutOfBounds(RuntimeError):
    """A launch was about to read or write outside the pool that it was given."""

    for_the_engine = True  # See importhook.Shield.

    def __init__(self, what: str, request: Optional[str], layer: int, column: int, entry: int,
                 bound: int) -> None:
        super().__init__(f"{what} of request {request}, layer {layer}, column {column}: id {entry} "
                         f"is outside the bound pool of {bound}")
        self.what, self.request, self.layer = what, request, layer
        self.column, self.id, self.bound = column, entry, bound


def mode_asked() -> Optional[str]:
    """`pagetape record --guard`."""
    mode = os.environ.get("PAGETAPE_GUARD", "")
    if mode not in ("", *MODES):
        raise ValueError(f"PAGETAPE_GUARD is {mode}: not one of {', '.join(MODES)}")
    return mode or None


def stream_of(tensor) -> int:
    """The address of the stream on which the engine now works with the tensor; 0 on the host."""
    if not tensor.is_cuda:
        return 0
    return sys.modules["torch"]._C._cuda_getCurrentRawStream(tensor.device.index)


def capturing(tensor) -> bool:
    """What is put on the tensor's stream is captured, and does not run."""
    return tensor.is_cuda and sys.modules["torch"]._C._cuda_isCurrentStreamCapturing()


def view_of(cells, cols: int, starts=None, rows: Optional[int] = None, lens=None,
            unit: int = 1) -> PtapeTableView:
    """With `lens`, of each row so many tokens are there, a cell for `unit` of them."""
    view = PtapeTableView(size=ctypes.sizeof(PtapeTableView), cell_bytes=cells.element_size(),
                          cells=cells.data_ptr(), cols=cols, col_stride=cells.stride(-1),
                          capacity=cells.numel(), on_host=not cells.is_cuda, start_bytes=4)
    if starts is not None:
        view.rows = starts.numel() - 1 if rows is None else rows
        view.starts, view.start_bytes = starts.data_ptr(), starts.element_size()
    else:
        view.rows = 1 if cells.dim() == 1 else cells.shape[0]
        view.row_stride = cells.stride(0)
    if lens is not None:
        view.lens, view.len_bytes, view.len_unit = lens.data_ptr(), lens.element_size(), unit
    return view


class DeviceTable:
    """A buffer of the trace whose changes are told by comparing it where it is."""

    def __init__(self, native: NativeRecorder, view: PtapeTableView, buffer: str, space: str = "",
                 unit: str = "", slots: bool = False, kind: int = PAGES, lens: str = "") -> None:
        self._native = native
        self.in_graph = False  # A compare of it is in a graph, which may run as long as that lives.
        self.buffer, self.rows, self.cols = buffer, view.rows, view.cols
        names = (native.name(text or None) for text in (buffer, lens, space, unit))
        self._handle = native.library.ptape_table_open(
            native.handle, view, SLOTS if slots else kind, *names)
        if not self._handle:
            raise PtapeError(native.library.ptape_last_error(None).decode())

    def compare(self, stream: int, view: Optional[PtapeTableView] = None) -> bool:
        """Told here, in the trace, is what the table holds by then on the stream at this address,
        with a view: where it is that. False where the GPU refuses: the engine is about to learn
        that from its own call."""
        library, at = self._native.library, self._native.at(stream)
        if view is None:
            status = library.ptape_table_compare(self._handle, at, stream)
        else:
            status = library.ptape_table_compare_at(self._handle, view, at, stream)
        if status == E_DEVICE:
            return False
        self._native.recorded(status)
        return True

    def named(self, view: PtapeTableView, request: str, first: int, stream: int) -> bool:
        """Of a table NAMES: the request's row has these pages from its logical page `first` on. As
        compare()."""
        native = self._native
        status = native.library.ptape_pages_named(
            self._handle, view, native.request(request), first, native.at(stream), stream)
        if status == E_DEVICE:
            return False
        native.recorded(status)
        return True

    def moved(self, holder: str, to: str, keeps: bool) -> None:
        """Of a table OWNERS: what one holds another one does; `keeps`: at the same places."""
        native = self._native
        native.recorded(native.library.ptape_pages_moved(
            self._handle, native.request(holder), native.name(to), keeps, None))

    def replayed(self, stream: int) -> None:
        """A graph with a compare of it in it was launched on the stream at this address."""
        self._native.recorded(self._native.library.ptape_table_replayed(
            self._handle, self._native.at(stream), 1))

    def stands(self) -> bool:
        """Is what was told of it known, so that a compare in a graph, of changes alone, will do?"""
        return self._native.library.ptape_table_stands(self._handle) == 1

    @property
    def handle(self) -> Optional[int]:
        return self._handle

    def holds(self, rows: int, cols: int) -> bool:
        return rows <= self.rows and cols <= self.cols

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle:
            self._native.library.ptape_table_close(handle)


class TogetherCompared:
    """Tables of one GPU that are compared at once, each where its view says then."""

    def __init__(self, native: NativeRecorder, tables: List[DeviceTable],
                 views: List[PtapeTableView]) -> None:
        self.native, self.count = native, len(tables)
        self._kept = views
        self._parts = (PtapeTablePart * len(tables))(
            *((table.handle, ctypes.addressof(view)) for table, view in zip(tables, views)))

    def compare(self, stream: int) -> bool:
        """As of each table alone."""
        status = self.native.library.ptape_tables_compare(
            self._parts, self.count, self.native.at(stream), stream)
        if status == E_DEVICE:
            return False
        self.native.recorded(status)
        return True


class Finding(NamedTuple):
    """The first bad entry of a launch."""

    layer: int
    row: int
    column: int
    id: int
    bound: int
    bad: int  # entries of that launch


class Guard:
    """Of one kind of launch, on the GPU or on the host."""

    def __init__(self, native: NativeRecorder, mode: str, on_host: bool) -> None:
        self.library = native.library
        self.mode = mode
        # Without a recorder: what is found is noted by the caller, who knows the request.
        self.handle = self.library.ptape_guard_open(None, MODES.index(mode), int(on_host))
        if not self.handle:
            raise PtapeError(self.library.ptape_last_error(None).decode())
        self._finding = PtapeGuardFinding()

    def poll(self) -> Optional[Finding]:
        """The next launch with bad entries, of those whose checks have run."""
        if self.library.ptape_guard_poll(self.handle, self._finding) != 1:
            return None
        found = self._finding
        return Finding(found.layer, found.row, found.col, found.id, found.bound, found.bad)

    def close(self) -> None:
        handle, self.handle = self.handle, None
        if handle:
            self.library.ptape_guard_close(handle)


class Guarded:
    """A tensor of one dimension that stays where it is, and that launches read as index lists,
    behind a guard."""

    def __init__(self, guard: Guard, cells, starts, reserved: int) -> None:
        self._library = guard.library
        self.in_graph = False  # As of a DeviceTable.
        rows = starts.numel() - 1
        cols = min(cells.numel(), (MOST_CELLS - rows) // rows)
        view = view_of(cells, cols, starts)
        self._handle = self._library.ptape_guard_table(guard.handle, view, reserved)
        if not self._handle:
            raise PtapeError(self._library.ptape_last_error(None).decode())
        self._launch = PtapeGuardLaunch(size=ctypes.sizeof(PtapeGuardLaunch), page_size=1, q_len=1)
        self._given = ctypes.byref(self._launch)
        self.copy = None  # what a launch is to be given instead of the tensor
        if guard.mode != "log":
            self.copy = tensor_at(self._library.ptape_guarded_cells(self._handle), cells,
                                  cells.numel())

    def check(self, layer: int, bound: int, stream: int) -> bool:
        """False where the GPU refuses: see DeviceTable.compare."""
        self._launch.layer, self._launch.bound = layer, bound
        return self._library.ptape_guard_check(self._handle, self._given, stream) == 0

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle:
            self._library.ptape_guarded_close(handle)


class _DeviceArray:
    """Memory of a GPU's as torch takes it from others."""

    def __init__(self, address: int, count: int, width: int) -> None:
        self.__cuda_array_interface__ = {"shape": (count,), "typestr": f"<i{width}", "version": 2,
                                         "data": (address, False), "strides": None}


def tensor_at(address: int, like, count: int):
    """So much memory there as a tensor of the same type and place as `like`. Not its owner."""
    torch = sys.modules["torch"]
    if like.is_cuda:
        return torch.as_tensor(_DeviceArray(address, count, like.element_size()),
                               device=like.device)
    memory = (ctypes.c_char * (count * like.element_size())).from_address(address)
    return torch.frombuffer(memory, dtype=like.dtype)
