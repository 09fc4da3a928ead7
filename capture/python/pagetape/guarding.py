# SPDX-License-Identifier: Apache-2.0
"""The guard of launches whose tables may be anywhere: engines make a table for each step, or keep
one for each graph. A launch's table is checked where it is, on the launch's stream, and the launch
is given a copy without what is outside its pool (devices.py).

A copy serves all launches of one stream and bound by turns: it is written by a check and read by
the launch behind it. It is larger than any table was yet. What a CUDA graph captured goes on using
the copy it was captured with, so none is given back before the end.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from ._abi import PtapeError, PtapeGuardLaunch
from .devices import (MOST_CELLS, Guard, OutOfBounds, capturing, mode_asked, stream_of, tensor_at,
                      view_of)
from .importhook import strict

# Launches by whose number a finding names its request; those of graphs come on top, and stay.
_REMEMBERED = 4096
_COPY_MOST = 1 << 26  # cells


class Read(NamedTuple):
    """A launch that is about to read a table."""

    layer: Any
    bound: int  # entries lie in [0, bound)
    page_size: int = 1  # tokens of an entry
    window: int = 0  # tokens, the query's own too; 0: full
    q_len: int = 1  # the most new tokens of a row
    lens: Any = None  # tensor of each row's tokens; None: all that the table has is read
    starts: Any = None  # of index lists: tensor of one more than there are rows
    batch: Any = None  # what the engine calls it, for `request_of`
    each: int = 1  # so many rows, one behind the other, are of one request
    what: str = "a read"


class _Copy:
    """Room for the tables of one stream, width and bound."""

    def __init__(self, guard: Guard, like, cells: int, reserved: int) -> None:
        self.library, self.cells = guard.library, cells
        view = view_of(like, cells)
        view.rows, view.cols, view.col_stride, view.row_stride = 1, cells, 1, cells
        self._handle = self.library.ptape_guard_table(guard.handle, view, reserved)
        if not self._handle:
            raise PtapeError(self.library.ptape_last_error(None).decode())
        self._flat = None
        if guard.mode != "log":
            self._flat = tensor_at(self.library.ptape_guarded_cells(self._handle), like, cells)
        self._shaped: Dict[tuple, Any] = {}

    def check(self, view, launch, stream: int) -> int:
        return self.library.ptape_guard_check_at(self._handle, view, launch, stream)

    def given(self, table):
        """The copy in the table's shape; in the mode log, the table itself."""
        if self._flat is None:
            return table
        shape = tuple(table.shape)
        found = self._shaped.get(shape)
        if found is None:
            found = self._shaped[shape] = self._flat[:table.numel()].view(shape)
        return found

    def close(self) -> None:
        self.library.ptape_guarded_close(self._handle)


class LaunchGuard:
    """`request_of(batch, row)` names a request; it may wait, since something was found. `reserved`
    is the entry that stands in for a bad one, of every pool."""

    def __init__(self, recorder, request_of: Callable[[Any, int], Optional[str]],
                 reserved: int = 0) -> None:
        self.mode = mode_asked()
        self.batch: Any = None  # of the graphs that are replayed
        self._recorder, self._request_of, self._reserved = recorder, request_of, reserved
        self._guards: Dict[int, Guard] = {}  # by GPU; -1: of tables on the host
        self._copies: Dict[tuple, _Copy] = {}
        self._all: List[_Copy] = []
        self._own: Set[int] = set()  # addresses of copies
        self._launches: List[Optional[Tuple[Read, Any]]] = [None] * _REMEMBERED
        self._next = 0
        self._launch = PtapeGuardLaunch(size=ctypes.sizeof(PtapeGuardLaunch))
        self._said: Set[str] = set()
        self._stopped = False

    def given(self, table, read: Read):
        """What the launch is to be given in the place of `table`. Raises OutOfBounds in the mode
        raise where one was found by now, this launch's at the earliest."""
        if self.mode is None or self._stopped or table.data_ptr() in self._own:
            return table
        try:
            given = self._checked(table, read)
        except Exception as error:  # The engine must not fall over what does not fit it.
            if strict():
                raise
            self._stopped = True
            self._say(f"launches are not guarded from here on: {type(error).__name__}: {error}")
            return table
        if not capturing(table):
            self.report()
        return given

    def _checked(self, table, read: Read):
        native = self._recorder.native()
        if native is None:
            self._say("launches are not guarded without libpagetape_capture.so")
            return table
        if table.dim() > 2 or table.numel() == 0:
            return table
        view = self._view(table, read)
        copy = self._copy_for(native, table, read) if view is not None else None
        if copy is None:
            return table
        launch = self._launch
        launch.layer, launch.bound = self._number(table, read), read.bound
        launch.page_size, launch.window, launch.q_len = read.page_size, read.window, read.q_len
        launch.lens, launch.len_bytes = None, 4
        if read.lens is not None:
            launch.lens, launch.len_bytes = read.lens.data_ptr(), read.lens.element_size()
        # What a GPU refuses, the engine is about to learn from its own call.
        done = copy.check(ctypes.byref(view), ctypes.byref(launch), stream_of(table)) == 0
        return copy.given(table) if done else table

    def _view(self, table, read: Read):
        """Of the rows that have a length; None where it is no table that can be checked."""
        for beside in (read.lens, read.starts):
            if beside is not None and (beside.is_cuda != table.is_cuda or beside.dim() != 1
                                       or beside.stride(0) != 1):
                self._say("a launch whose lengths lie elsewhere than its table is not guarded")
                return None
        if read.starts is not None:
            if table.stride(-1) != 1:
                self._say("index lists with gaps between their entries are not guarded")
                return None
            rows = read.starts.numel() - 1
            return view_of(table, min(table.numel(), (MOST_CELLS - rows) // rows),
                           read.starts) if rows > 0 else None
        view = view_of(table, table.shape[-1])
        if read.lens is not None:
            view.rows = min(view.rows, read.lens.numel())
        return view if view.rows > 0 else None

    def _copy_for(self, native, table, read: Read) -> Optional[_Copy]:
        place = table.device.index if table.is_cuda else -1
        key = (place, stream_of(table), table.element_size(), read.bound)
        copy, cells = self._copies.get(key), table.numel()
        if copy is not None and copy.cells >= cells:
            return copy
        if cells > _COPY_MOST:
            self._say(f"a table of {cells} entries is not guarded")
            return None
        if capturing(table):
            self._say("a launch was captured before one like it was guarded: it is not guarded")
            return None
        try:
            if place not in self._guards:
                self._guards[place] = Guard(native, self.mode, not table.is_cuda)
            copy = _Copy(self._guards[place], table, 1 << (cells - 1).bit_length(),
                         self._reserved)
        except PtapeError as error:
            if strict():
                raise
            self._say(f"launches are not guarded: {error}")
            return None
        self._copies[key] = copy
        self._all.append(copy)
        if self.mode != "log":
            self._own.add(copy.given(table).data_ptr())
        return copy

    def _number(self, table, read: Read) -> int:
        """By which a finding is the launch's. What it was given is let go of."""
        batch = weakref.ref(read.batch) if hasattr(read.batch, "__weakref__") else None
        kept = read._replace(lens=None, starts=None, batch=None)
        if capturing(table):
            self._launches.append((kept, None))
            return len(self._launches) - 1
        self._next = (self._next + 1) % _REMEMBERED
        self._launches[self._next] = (kept, batch)
        return self._next

    def report(self) -> None:
        """Notes what was found by now; in the mode raise, raises the first of it."""
        found = self.note()
        if found and self.mode == "raise":
            raise found[0]

    def note(self) -> List[OutOfBounds]:
        errors = []
        for guard in self._guards.values():
            found = guard.poll()
            while found is not None:
                errors.append(self._error(found))
                self._recorder.emit("note", text=f"guard {self.mode}: {errors[-1]}; entries "
                                                 f"outside: {found.bad}")
                found = guard.poll()
        return errors

    def _error(self, found) -> OutOfBounds:
        read, batch = self._launches[found.layer]
        batch, request = batch() if batch is not None else self.batch, None
        if batch is not None:
            try:
                request = self._request_of(batch, found.row // read.each)
            except Exception:  # It may be in the memory of a GPU that is lost.
                if strict():
                    raise
        return OutOfBounds(read.what, request, read.layer, found.column, found.id, found.bound)

    def _say(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._recorder.emit("note", text=f"guard: {what}")

    def close(self) -> None:
        for copy in self._all:
            copy.close()
        for guard in self._guards.values():
            guard.close()
        self._guards, self._copies, self._all, self.mode = {}, {}, [], None
