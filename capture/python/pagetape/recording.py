# SPDX-License-Identifier: Apache-2.0
"""What every adapter writes through: names for objects, and one event at a time."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from json.encoder import encode_basestring_ascii
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ._abi import ABSENT, NUMBERS, Bound, LayerLaunches, Rows
from .importhook import shield, strict


IDS = (1 - (1 << 31), (1 << 31) - 1)  # One beyond them is told as the nearest, which no pool holds.


_told_rank: Optional[int] = None


def rank_is(number: int) -> None:
    """Which one this process is of several that serve one model, as its engine knows: for a trace
    that is opened from here on."""
    global _told_rank
    _told_rank = number


def rank() -> int:
    """As the engine told, else by $RANK or $LOCAL_RANK; -1: it is not known."""
    if _told_rank is not None:
        return _told_rank
    for name in ("RANK", "LOCAL_RANK"):
        given = os.environ.get(name, "")
        if given.isdecimal():
            return int(given)
    return -1


class Written(str):
    """A field's value as JSON text already: what many events repeat is made once."""


def line_of(event: Dict[str, Any]) -> str:
    """As json.dumps() writes it, which looks at more than most events have."""
    return "{" + ", ".join([f'"{key}": {_written(value)}' for key, value in event.items()]) + "}"


def _written(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return encode_basestring_ascii(value)
    if kind is int:
        return str(value)
    return value if kind is Written else json.dumps(value)


class Launch(NamedTuple):
    """A launch but for its layer and where its tensor lies. `fields`: the others of its event."""

    store: bool
    rows: Rows
    bound: Bound
    fields: Dict[str, Any]


def _said(launch: Launch) -> Dict[str, Any]:
    """The fields of its event in the text form."""
    columns = {name: column for name, column in launch.rows._asdict().items() if column}
    rows = [{name: value for name, value in zip(columns, lane) if name == "req" or
             (value is not None and (name not in NUMBERS or value != ABSENT))}
            for lane in zip(*columns.values())]
    bound = {name: value for name, value in launch.bound._asdict().items()
             if value not in (None, ())}
    return {"ev": "store" if launch.store else "attention", "rows": Written(json.dumps(rows)),
            "bound": bound, **launch.fields}


def ints(tensor) -> List[int]:
    return [int(v) for v in tensor.tolist()]


def _opened_for_its_owner(path: str, flags: int) -> int:
    """Whatever the umask says, and one that an earlier run left there too."""
    fd = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
    os.fchmod(fd, 0o600)
    return fd


class TextRecorder:
    """Writes the text form of the trace model (one JSON object a line). It needs no library, and
    what it writes is a whole trace: `pagetape import` makes the binary form of it."""

    def __init__(self, path: str) -> None:
        # A temporary name until the trace is complete: half a file is never taken for one.
        self._path = path
        self._partial = path + ".partial"
        self._file = open(self._partial, "w", encoding="utf-8", opener=_opened_for_its_owner)
        os.register_at_fork(before=self.flush)  # Or a child would write the same lines again.

    def write(self, line: str) -> None:
        self._file.write(line + "\n")

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        self._file.write('{"ev": "end"}\n')
        self._file.close()
        os.replace(self._partial, self._path)


class Nowhere:
    """Where no trace could be opened."""

    def write(self, line: str) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class LateSink:
    """Opens its sink with the first event that is more than a header or a note: of the Python
    processes of a server, those that hold no engine's objects leave no trace.

    A forked child opens a sink of its own, with the same header: the parent's records nothing in
    it. What its parent recorded before the fork is not in the child's trace.

    It is opened in the middle of an engine's work: what hinders that is said, and the engine goes
    on unrecorded. PAGETAPE_STRICT=1 raises instead."""

    _HELD = ('{"ev": "header"', '{"ev": "note"')

    def __init__(self, make: Callable) -> None:
        self._make = make
        self.sink = None
        self._held: List[str] = []
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self.sink = None

    def write(self, line: str) -> None:
        if self.sink is None:
            if line.startswith(self._HELD):
                self._held.append(line)
                return
            self.sink = self._opened()
            for held in self._held:
                self.sink.write(held)
        self.sink.write(line)

    def _opened(self):
        try:
            return self._make()
        except Exception as error:
            if strict():
                raise
            print(f"pagetape: process {os.getpid()} is not recorded: {error}", file=sys.stderr)
            shield.stopped = True  # What hooks would find out is told nobody.
            return Nowhere()

    def flush(self) -> None:
        if self.sink is not None:
            self.sink.flush()

    def close(self) -> None:
        if self.sink is not None:
            self.sink.close()


class Recorder:
    """Threads: emit and name may be called from any thread; the order of calls is the order of
    the events. `sink` has write(line), flush() and close()."""

    def __init__(self, sink, timestamps: bool = False) -> None:
        self.sink = sink
        self._late = isinstance(sink, LateSink)
        self.events = 0
        self._timestamps = timestamps
        self._lock = threading.RLock()
        self._names: Dict[int, str] = {}
        self._kept: list = []
        self._next: Dict[str, int] = {}
        self._closed = False
        self._before_close: List[Callable[[], None]] = []
        # A child forked while another thread held the lock would wait for it for ever.
        os.register_at_fork(before=self._lock.acquire, after_in_parent=self._lock.release,
                            after_in_child=self._lock.release)

    @property
    def lock(self):
        """Whose holder alone records, but for launches that were `prepared`. Again and again by one
        thread."""
        return self._lock

    def name(self, obj: Any, kind: str) -> str:
        """A name that stays the object's own: `kind` and a number in order of first mention. The
        object is kept alive, since id() of a dead object comes back for another one."""
        with self._lock:
            found = self._names.get(id(obj))
            if found is None:
                number = self._next.get(kind, 0)
                self._next[kind] = number + 1
                found = self._names[id(obj)] = f"{kind}{number}"
                self._kept.append(obj)
            return found

    def known(self, obj: Any) -> Optional[str]:
        with self._lock:
            return self._names.get(id(obj))

    def emit(self, ev: str, **fields) -> None:
        with self._lock:
            if self._closed:
                return
            native = self.native()
            if native is None or not native.event(ev, fields):
                event = {"ev": ev}
                event.update(fields)
                if self._timestamps:
                    event.setdefault("t", time.monotonic_ns())
                self.sink.write(line_of(event))
            self.events += 1

    def again_and_again(self, ev: str, **fields) -> Callable[[], None]:
        """emit() of an event that stays what it is: its text is made once."""
        line = line_of({"ev": ev, **fields})

        def write() -> None:
            native = self.native()
            if native is None:  # Its time is a part of the text.
                return self.emit(ev, **fields)
            with self._lock:
                native.write(line)
                self.events += 1

        return write

    def table_rows(self, buffer: str, cells, counts: List[int], reqs: List[Optional[str]],
                   space: Optional[str]) -> None:
        """Of each row of a table its first entries: a tensor of int32 in this process's memory, a
        row's one after the other."""
        native = self.native()
        if native is None:
            for row, (count, req) in enumerate(zip(counts, reqs)):
                self.table(buffer, row, cells[row, :count], req, space, None)
            return
        with self._lock:
            native.table_rows(buffer, cells.data_ptr(), cells.stride(0), counts, reqs, space, None)
            self.events += len(counts)

    def table(self, buffer: str, row: int, cells, req: Optional[str], space: Optional[str],
              unit: Optional[str]) -> None:
        """The entries of a row from its first column on: a tensor of int32 in this process's
        memory, one after the other. Many cells cost a copy, where the sink can take them so."""
        native = self.native()
        if native is None:
            said = {"req": req, "space": space, "unit": unit}
            self.emit("table", buffer=buffer, row=row, col=0, pages=ints(cells),
                      **{name: value for name, value in said.items() if value is not None})
            return
        with self._lock:
            native.table(buffer, row, cells.data_ptr(), cells.numel(), req, space, unit)
            self.events += 1

    def slots(self, buffer: str, values) -> None:
        """The buffer's slots from the first on: a tensor of int64, as for `table`."""
        native = self.native()
        if native is None:
            self.emit("slots", buffer=buffer, values=ints(values))
            return
        with self._lock:
            native.slots(buffer, values.data_ptr(), values.numel())
            self.events += 1

    def step(self, step: int, mode: str, batch: int) -> None:
        """The event `step`, as quickly as it can be written."""
        native = self.native()
        if native is None:
            return self.emit("step", step=step, mode=mode, batch=batch)
        with self._lock:
            native.step(step, mode, batch)
            self.events += 1

    def made(self, launches: List[Launch], stream: int = 0):
        """What launches() takes: made once for all the layers that are given the same. On the CUDA
        stream at that address; 0: the host's own work."""
        native = self.native()
        if native is None:
            return [_said(one) for one in launches]
        return LayerLaunches(native, launches, stream)

    def again(self, made, rows: List[Rows]) -> bool:
        """Gives what was made the lanes of another batch. False: it is to be made anew."""
        if type(made) is list or made.native is not self.native():
            return False
        made.again(rows)
        return True

    def refilled(self, made, reqs, columns: List[list]) -> bool:
        """The same of as many lanes, by each launch's columns of numbers; of such as are what they
        were, None."""
        return type(made) is not list and made.native is self.native() \
            and made.refilled(reqs, columns)

    def launches(self, made, layer, address: Optional[int]) -> None:
        """The launches of a layer, by number or name, on its K tensor at that address."""
        if type(made) is list:
            place = {} if address is None else {"ptr": address}
            for event in made:
                self.emit(**{**event, "layer": layer, "bound": {**event["bound"], **place}})
            return
        with self._lock:
            native = made.native
            if native is self.native():  # Not a process's that was forked meanwhile.
                native.layer(made, layer, ABSENT if address is None else address)
                self.events += made.count

    def layers(self, parts, made: list) -> None:
        """The launches of many layers (_abi.LayerParts), each one of those made; None: not told.
        Needs native()."""
        with self._lock:
            if parts.native is self.native():
                self.events += parts.native.layers(parts, made)

    def prepared(self, made, layer: int, address: Optional[int]) -> tuple:
        """launches() of these, looked up: NativeRecorder.layer_call(), and what its arguments
        point to. Needs native()."""
        return (*made.native.layer_call(made, layer, ABSENT if address is None else address), made)

    def counted(self, made, layers: int) -> None:
        """So many layers' launches are recorded by what was prepared."""
        with self._lock:
            self.events += layers * made.count

    def failed(self, status: int) -> None:
        """What was prepared has returned that, less than 0."""
        native = self.native()
        if native is not None:
            native.recorded(status)

    def on_stream(self, stream: int) -> Dict[str, int]:
        """An event's field for what is put on the CUDA stream at that address; 0: the host's."""
        native = self.native()
        return {"stream": native.stream(stream)} if stream and native is not None else {}

    def compare(self, table, stream: int, view=None) -> bool:
        """Tells what a DeviceTable holds by then on that stream, where it is this view. Needs
        native()."""
        with self._lock:
            self.events += 1
            return table.compare(stream, view)

    def compare_all(self, tables, stream: int) -> bool:
        """The same of several: TogetherCompared."""
        with self._lock:
            self.events += tables.count
            return tables.compare(stream)

    def named(self, table, view, request: str, first: int, stream: int) -> bool:
        """Tells which pages a request's row names: DeviceTable.named()."""
        with self._lock:
            self.events += 1
            return table.named(view, request, first, stream)

    def moved(self, table, holder: str, to: str, keeps: bool) -> None:
        """Tells that what one holds another one does: DeviceTable.moved()."""
        if self.native() is None:
            return
        with self._lock:
            self.events += 1
            table.moved(holder, to, keeps)

    def replayed(self, tables, stream: int) -> None:
        """Tells what DeviceTables held in a graph that compares them and was launched there."""
        if self.native() is None:
            return
        with self._lock:
            self.events += len(tables)
            for table in tables:
                table.replayed(stream)

    def last_launch(self) -> int:
        """The launch that this thread recorded last, for launch_done(); 0: not known."""
        native = self.native()
        return native.last_launch() if native is not None else 0

    def launch_done(self, ticket: int) -> None:
        """That launch has completed, and with it what its stream was given before."""
        native = self.native()
        if native is not None and ticket:
            with self._lock:
                native.launch_done(ticket)
                self.events += 1

    def native(self):
        """The library's recorder, where that is what is written to; else None. The trace is open
        once something was recorded (LateSink)."""
        sink = self.sink.sink if self._late else self.sink
        return sink if not self._closed and hasattr(sink, "table") else None

    def before_close(self, told: Callable[[], None]) -> None:
        """told() when there is nothing more to come."""
        self._before_close.append(told)

    def close(self) -> None:
        """A told() that fails fails this, once the sink is closed."""
        with self._lock:
            if self._closed:
                return
            try:
                for told in self._before_close:
                    told()
            finally:
                self._closed = True
                self.sink.close()


def open_recorder(path: str, timestamps: Optional[bool] = None, late: bool = False) -> Recorder:
    """A path ending in .jsonl gets the text form. Any other gets the binary form where the
    library can be loaded; without it, text is written to the same path with .jsonl added."""
    if timestamps is None:
        timestamps = os.environ.get("PAGETAPE_TIMESTAMPS", "1") not in ("", "0")
    if late:
        return Recorder(LateSink(lambda: _open_sink(path, timestamps)), timestamps)
    return Recorder(_open_sink(path, timestamps), timestamps)


def _open_sink(path: str, timestamps: bool):
    if path.endswith(".jsonl"):
        return TextRecorder(path)
    from . import _abi

    library = _abi.load()
    if library is None:
        return TextRecorder(path + ".jsonl")
    return _abi.NativeRecorder(library, path, rank=rank(), timestamps=timestamps)
