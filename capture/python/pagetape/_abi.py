# SPDX-License-Identifier: Apache-2.0
"""ctypes binding of libpagetape_capture.so (capture/pagetape_capture.h, ABI major 1)."""

from __future__ import annotations

import ctypes
import os
from array import array
from itertools import chain
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set

from ._calls import called
from ._structures import (PtapeOptions, PtapeCounts, PtapeAt, PtapeLaunch, PtapeTensor, PtapeRow,
                          PtapeLanes, PtapeLayerLaunch, PtapeLayerPart, PtapeTableView,
                          PtapeTablePart, PtapeGuardLaunch, PtapeGuardFinding)

ABI_MAJOR = 1
E_DROPPED, E_WRITE, E_DEVICE = -2, -3, -5
ABSENT = -(1 << 63)
PAGES, LENS, SLOTS, MAP, OWNERS, NAMES = range(6)  # kinds of device tables


class PtapeError(RuntimeError):
    pass


def library_path() -> Optional[str]:
    """PAGETAPE_LIBRARY, else the library beside the package; None where neither is there."""
    named = os.environ.get("PAGETAPE_LIBRARY")
    if named:
        return named
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libpagetape_capture.so")
    return beside if os.path.exists(beside) else None


def load(path: Optional[str] = None):
    """The library with its signatures, or None where there is none. A library that was named but
    cannot be used is an error: silence would look like a recording."""
    path = path or library_path()
    if path is None:
        return None
    library = ctypes.CDLL(path)
    library.ptape_abi_version.restype = ctypes.c_uint32
    library.ptape_abi_version.argtypes = []
    major = library.ptape_abi_version() >> 16
    if major != ABI_MAJOR:
        raise PtapeError(f"{path}: ABI {major}, this package needs {ABI_MAJOR}")
    library.ptape_open.restype = ctypes.c_void_p
    library.ptape_open.argtypes = [ctypes.POINTER(PtapeOptions)]
    library.ptape_intern.restype = ctypes.c_uint32
    library.ptape_intern.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    _sign_events(library)
    _sign_devices(library)
    for name in ("ptape_flush", "ptape_close"):
        getattr(library, name).restype = ctypes.c_int
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.ptape_last_error.restype = ctypes.c_char_p
    library.ptape_last_error.argtypes = [ctypes.c_void_p]
    library.ptape_stats.restype = PtapeCounts
    library.ptape_stats.argtypes = [ctypes.c_void_p]
    return library


def _sign(library, name: str, result, *arguments) -> None:
    function = getattr(library, name)
    function.restype, function.argtypes = result, list(arguments)


# The arguments of the events that have functions of their own, in their order: the field, and how
# it is given. A list is two arguments.
NAME, REQ, INT, ID, IDS, INTS, LAYERS = range(7)
EVENTS = {
    "alloc": (("pool", NAME), ("req", REQ), ("pages", IDS), ("first", INT)),
    "share": (("pool", NAME), ("req", REQ), ("pages", IDS), ("first", INT)),
    "free": (("pool", NAME), ("req", REQ), ("pages", IDS)),
    "evict": (("pool", NAME), ("req", REQ), ("logical", INT), ("page", ID)),
    "map_set": (("map", NAME), ("pairs", INTS)),
    "map_clear": (("map", NAME), ("from", INTS)),
    "refresh": (("buffer", NAME),),
    "step": (("step", INT), ("mode", NAME), ("batch", INT)),
    "request": (("req", REQ), ("state", NAME)),
    "accept": (("req", REQ), ("drafted", INT), ("accepted", INT)),
    "rewind": (("pool", NAME), ("req", REQ), ("len", INT)),
    "pool_swap": (("backend", NAME), ("layers", LAYERS), ("pool", NAME), ("set", NAME)),
    "swa_state": (("backend", NAME), ("uses_swa", ID), ("swa_pool", NAME),
                  ("derived_from", NAME)),
}


def _sign_events(library) -> None:
    _sign(library, "ptape_forget", ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
    _sign(library, "ptape_launch_init", None, ctypes.POINTER(PtapeLaunch))


def _sign_devices(library) -> None:
    """Tables and guards: since ABI 1.4; streams: since 1.5; whether a table stands: 1.10; pages
    named and moved: 1.11."""
    handle, at, view = ctypes.c_void_p, ctypes.POINTER(PtapeAt), ctypes.POINTER(PtapeTableView)
    _sign(library, "ptape_table_open", handle, handle, view, ctypes.c_int,
          *[ctypes.c_uint32] * 4)
    _sign(library, "ptape_table_compare", ctypes.c_int, handle, at, handle)
    _sign(library, "ptape_table_compare_at", ctypes.c_int, handle, view, at, handle)
    _sign(library, "ptape_tables_compare", ctypes.c_int, handle, ctypes.c_size_t, at, handle)
    _sign(library, "ptape_guard_open", handle, handle, ctypes.c_int, ctypes.c_int)
    _sign(library, "ptape_guard_table", handle, handle, view, ctypes.c_int64)
    _sign(library, "ptape_guarded_cells", handle, handle)
    _sign(library, "ptape_guard_check", ctypes.c_int, handle, ctypes.POINTER(PtapeGuardLaunch),
          handle)
    _sign(library, "ptape_guard_check_at", ctypes.c_int, handle, view,
          ctypes.POINTER(PtapeGuardLaunch), handle)
    _sign(library, "ptape_guard_poll", ctypes.c_int, handle, ctypes.POINTER(PtapeGuardFinding))
    _sign(library, "ptape_table_replayed", ctypes.c_int, handle, at, ctypes.c_uint32)
    _sign(library, "ptape_table_stands", ctypes.c_int, handle)
    _sign(library, "ptape_pages_named", ctypes.c_int, handle, view, ctypes.c_uint32,
          ctypes.c_int64, at, handle)
    _sign(library, "ptape_pages_moved", ctypes.c_int, handle, ctypes.c_uint32, ctypes.c_uint32,
          ctypes.c_int, at)
    for closing in ("ptape_table_close", "ptape_guarded_close", "ptape_guard_close"):
        _sign(library, closing, ctypes.c_int, handle)
    _sign(library, "ptape_stream", ctypes.c_int32, handle)


def _within(value: int, bits: int) -> int:
    if not -(1 << bits) <= value < 1 << bits:
        raise OverflowError
    return value


def _flat(values) -> Iterable:
    """Numbers, or pairs of them one behind the other."""
    return chain.from_iterable(values) if values and not isinstance(values[0], int) else values


class Rows(NamedTuple):
    """A launch's lanes by column; a column of None says nothing of any lane. `pages` and `slots`
    are a list for each lane."""

    req: List[Optional[str]]
    len: Optional[List[int]] = None
    row: Optional[List[int]] = None
    q_len: Optional[List[int]] = None
    q_pos: Optional[List[int]] = None
    first: Optional[List[int]] = None
    n: Optional[List[int]] = None
    pages: Optional[List[List[int]]] = None
    slots: Optional[List[List[int]]] = None


NUMBERS = Rows._fields[1:7]


class Bound(NamedTuple):
    """The tensor really passed, but for its address."""

    pool: Optional[str]
    pages: int
    shape: tuple = ()
    stride: tuple = ()


class Launch:
    """A launch's record, made once for all the layers that are given the same. `fields` are the
    event's."""

    def __init__(self, native: "NativeRecorder", store: bool, rows: Rows, bound: Bound,
                 fields: Dict) -> None:
        self.store = store
        self.made = made = PtapeLaunch()
        native.library.ptape_launch_init(made)
        made.size = ctypes.sizeof(PtapeLaunch)
        self._kept: list = []  # What it points to, but for its lanes.
        made.bound_pool, made.bound_pages = native.name(bound.pool), bound.pages
        if bound.shape:
            tensor = PtapeTensor(ctypes.sizeof(PtapeTensor), len(bound.shape),
                                 *(_array("q", sizes, self._kept)[0]
                                   for sizes in (bound.shape, bound.stride)))
            self._kept.append(tensor)
            made.bound = ctypes.addressof(tensor)
        for field, value in fields.items():
            setattr(made, field, native.name(value) if isinstance(value, str) else value)
        self._form: Optional[tuple] = None
        self._lanes: Any = None
        self.lanes(native, rows)

    def lanes(self, native: "NativeRecorder", rows: Rows) -> None:
        names = native.requests(rows.req)
        if rows.pages is None and rows.slots is None:
            self._by_column(names, rows[1:7])
        else:
            self._by_row(names, rows)

    def refilled(self, names: array, columns: List[Optional[array]]) -> bool:
        """In the place of the last batch's lanes, which were as many and had as many columns. None:
        that column is what it was."""
        count = len(names)
        if self._form is None or self._form[0] != count or len(columns) != len(self._form[1]) \
                or any(column is not None and len(column) != count for column in columns):
            return False
        self._names[:] = names
        for position, column in enumerate(columns):
            if column is not None:
                self._numbers[position * count:(position + 1) * count] = column
        return True

    def _by_column(self, names: array, columns: tuple) -> None:
        """Into the place of the last batch's, where that had as many lanes."""
        columns = [(number, column) for number, column in enumerate(columns)
                   if column is not None]
        listed: List[int] = []
        for _, column in columns:
            listed.extend(column)
        numbers = array("q", listed)  # Of one list it is made in half the time.
        if len(numbers) != len(names) * len(columns):
            raise ValueError("columns of a launch's lanes are not as long as these are many")
        form = len(names), [number for number, _ in columns]
        if form == self._form:
            self._names[:], self._numbers[:] = names, numbers
            return
        self._form, self._names, self._numbers = form, names[:], numbers
        self._lanes = lanes = PtapeLanes(ctypes.sizeof(PtapeLanes), 0, len(names),
                                         self._names.buffer_info()[0])
        for position, (number, _) in enumerate(columns):
            setattr(lanes, NUMBERS[number],
                    numbers.buffer_info()[0] + 8 * len(names) * position)
        self.made.lanes, self.made.rows, self.made.n_rows = ctypes.addressof(lanes), None, 0

    def _by_row(self, names: array, rows: Rows) -> None:
        self._form, self._lanes = None, []
        kept = self._lanes
        numbers = zip(*(column or [ABSENT] * len(names) for column in rows[1:7]))
        lists = zip(*(column or [None] * len(names) for column in (rows.pages, rows.slots)))
        made = (PtapeRow * len(names))(*(
            (name, 0, *given, *_array("i", pages, kept), *_array("q", slots, kept))
            for name, given, (pages, slots) in zip(names, numbers, lists)))
        kept.append(made)
        self.made.lanes, self.made.rows = None, ctypes.addressof(made)
        self.made.n_rows = len(names)


def _array(kind: str, values, kept: list) -> tuple:
    """Where they stand, and how many. Only None, which is no list, stands nowhere."""
    if values is None:
        return None, 0
    kept.append(array(kind, values or [0]))
    return kept[-1].buffer_info()[0], len(values)


class LayerLaunches:
    """The launches of one layer in their order, on the CUDA stream at that address (0: the host's
    own work): made once for all the layers that are given the same. `launches` are what a Launch
    is made of, each."""

    def __init__(self, native: "NativeRecorder", launches: List[tuple], stream: int) -> None:
        self.native = native
        self._launches = [Launch(native, *one) for one in launches]
        self.count = len(launches)
        self._array = (PtapeLayerLaunch * self.count)(*(self._given(one) for one in self._launches))
        self._place = PtapeAt(t=ABSENT, stream=native.stream(stream) if stream else 0, rank=-1)
        self.place = ctypes.addressof(self._place)
        self.given = ctypes.addressof(self._array), self.count

    @staticmethod
    def _given(one: Launch) -> tuple:
        return ctypes.addressof(one.made), one.store, 0

    def first(self) -> tuple:
        return self._given(self._launches[0])

    def refilled(self, reqs, columns: List[list]) -> bool:
        """The same of as many lanes, by Launch.refilled(); False: not of all."""
        names = self.native.requests(reqs)
        return all([one.refilled(names, said) for one, said in zip(self._launches, columns)])

    def again(self, rows: List[Rows]) -> None:
        """Of another batch, whose launches have other lanes alone."""
        for one, said in zip(self._launches, rows):
            one.lanes(self.native, said)


class LayerParts:
    """Which launch, layer and K tensor's address each of a graph's launches is of: made once, as
    what they have in common is made anew for each batch."""

    def __init__(self, native: "NativeRecorder", parts: List[tuple]) -> None:
        self.native = native
        self.counts = [0] * (1 + max(launch for launch, _, _ in parts))
        for launch, _, _ in parts:
            self.counts[launch] += 1
        self._array = (PtapeLayerPart * len(parts))(
            *((address, 0, native.name(layer), launch, 0) if isinstance(layer, str) else
              (address, layer, 0, launch, 0) for launch, layer, address in parts))
        self.given = ctypes.addressof(self._array), len(parts)


# So many names of requests that have ended are kept, for what is still to be said of them.
ENDED_KEPT = 1024


class NativeRecorder:
    """A sink that hands events to the recorder's thread: those of EVENTS, tables and launches as
    they are, others as lines of the text form."""

    def __init__(self, library, path: str, rank: int = -1, timestamps: bool = False) -> None:
        """With `timestamps`, events that bring no time get the library's."""
        self.library = library
        options = PtapeOptions(size=ctypes.sizeof(PtapeOptions), path=path.encode(), rank=rank,
                               timestamps=timestamps)
        # A driven recording must lose nothing and can wait. Under `pagetape record` it may be a
        # server's, which must not: what finds no room there is dropped, counted and marked.
        self._drops = "PAGETAPE_RING_DIR" in os.environ
        options.block = 0 if self._drops else 1
        self.handle = library.ptape_open(ctypes.byref(options))
        self._names: Dict[Optional[str], int] = {None: 0}
        self._requests: Set[str] = set()  # Names that are requests'.
        self._ended: Dict[str, None] = {}
        self._events = {event: (called(library, "ptape_" + event), fields,
                                {field for field, _ in fields})
                        for event, fields in EVENTS.items()}
        self._streams: Dict[int, int] = {}
        self._last_requests: tuple = ((), array("I"))
        self._json, self._step, self._table, self._slots, self._table_rows, self._layer, \
            self._layer_named, self._layers, self._launch_done = (
                called(library, "ptape_" + name) for name in (
                    "json", "step", "table", "slots", "table_rows", "layer", "layer_named",
                    "layers", "launch_done"))
        self._last_launch = called(library, "ptape_last_launch", wide=True)
        self._layer_unlocked = called(library, "ptape_layer", borrow=True)
        # Used by one thread at a time: the recorder's lock is held.
        self._place = PtapeAt(t=ABSENT, stream=0, rank=-1, src=0)
        self._place_given = ctypes.byref(self._place)
        if not self.handle:
            raise PtapeError(library.ptape_last_error(None).decode())

    def write(self, line: str) -> None:
        data = array("B", line.encode())
        self.recorded(self._json(self.handle, *data.buffer_info()))

    def event(self, event: str, said: Dict) -> bool:
        """False where the library takes it as text alone."""
        function, fields, names = self._events.get(event, (None, (), ()))
        if function is None or not said.keys() <= names:
            return False
        held: list = []  # What is pointed to.
        arguments = [self.handle, 0]
        try:
            for field, how in fields:
                value = said.get(field)
                if how == NAME:
                    arguments.append(self.name(value))
                elif how == REQ:
                    arguments.append(self.request(value))
                elif how == INT:
                    arguments.append(ABSENT if value is None else _within(value, 63))
                elif how == ID:
                    arguments.append(_within(value, 31))
                elif how == LAYERS and value == "*":
                    arguments += (0, 0)
                else:
                    held.append(array("q", _flat(value)) if how == INTS else array("i", value))
                    arguments += (held[-1].buffer_info()[0], len(value))
        except (TypeError, OverflowError):  # Layers by name, a number beyond 32 bits.
            return False
        self.recorded(function(*arguments))
        if event == "request":
            self._lives(said["req"], said["state"] not in ("finish", "abort"))
        return True

    def request(self, req: Optional[str]) -> int:
        """Its name's id. A name that something else has is not given back."""
        if req is not None and req not in self._names:
            self._requests.add(req)
        return self.name(req)

    def requests(self, reqs) -> array:
        """Of each. Batches mostly are of the same as the last one."""
        reqs = tuple(reqs)
        if reqs != self._last_requests[0]:
            self._last_requests = reqs, array("I", [self.request(req) for req in reqs])
        return self._last_requests[1]

    def _lives(self, req: str, alive: bool) -> None:
        """What is kept of a request's name is given back some time after its end."""
        self._ended.pop(req, None)
        if alive or req not in self._requests:
            return
        self._ended[req] = None
        if len(self._ended) > ENDED_KEPT:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._requests.remove(oldest)
            self.library.ptape_forget(self.handle, self._names.pop(oldest))
            self._last_requests = (), array("I")

    def table_rows(self, buffer: str, address: int, stride: int, counts: List[int],
                   reqs: List[Optional[str]], space: Optional[str], unit: Optional[str]) -> None:
        """Of each row its first entries, int32, the rows `stride` entries apart."""
        held = array("Q", counts), array("I", [self.request(req) for req in reqs])
        self.recorded(self._table_rows(
            self.handle, 0, self.name(buffer), address, stride, held[0].buffer_info()[0],
            held[1].buffer_info()[0], len(counts), self.name(space), self.name(unit)))

    def table(self, buffer: str, row: int, address: int, count: int, req: Optional[str],
              space: str, unit: str) -> None:
        """`count` entries from `address` on, int32, to the row's first columns."""
        self.recorded(self._table(
            self.handle, 0, self.name(buffer), row, 0, address, count, self.name(req),
            self.name(space), self.name(unit)))

    def slots(self, buffer: str, address: int, count: int) -> None:
        """`count` slots from `address` on, int64, to the buffer's first places."""
        self.recorded(self._slots(self.handle, 0, self.name(buffer), 0, address, count))

    def step(self, step: int, mode: str, batch: int) -> None:
        self.recorded(self._step(self.handle, 0, step, self.name(mode), batch))

    def layer(self, launches: LayerLaunches, layer, address: int) -> None:
        """Records them for that layer, whose K tensor is at that address."""
        record = self._layer
        if isinstance(layer, str):
            record, layer = self._layer_named, self.name(layer)
        self.recorded(record(self.handle, launches.place, layer, address, *launches.given))

    def layers(self, parts: LayerParts, made: List[Optional[LayerLaunches]]) -> int:
        """Records the parts of those that were made, of one launch each; how many there are."""
        told = [number for number, one in enumerate(made) if one is not None]
        if told:
            launches = (PtapeLayerLaunch * len(made))(
                *((None, 0, 0) if one is None else one.first() for one in made))
            self.recorded(self._layers(self.handle, made[told[0]].place,
                                       ctypes.addressof(launches), len(made), *parts.given))
        return sum(parts.counts[number] for number in told)

    def layer_call(self, launches: LayerLaunches, layer: int, address: int) -> tuple:
        """The same as a function, and its arguments, to be called without a lock. It returns 1
        where this recorder is closed, or is not the process's: then nothing was recorded."""
        return self._layer_unlocked, (self.handle or 0, launches.place, layer, address,
                                      *launches.given)

    def last_launch(self) -> int:
        """The ticket of the launch that this thread recorded last."""
        return self._last_launch(self.handle)

    def launch_done(self, ticket: int) -> None:
        self.recorded(self._launch_done(self.handle, 0, ticket))

    def stream(self, address: int) -> int:
        """What events call the CUDA stream at that address."""
        found = self._streams.get(address)
        if found is None:
            found = self._streams[address] = self.library.ptape_stream(address)
        return found

    def at(self, stream: int):
        """Now, on the CUDA stream at that address; 0: the host's own work."""
        if stream == 0:
            return None
        self._place.stream = self.stream(stream)
        return self._place_given

    def name(self, text: Optional[str]) -> int:
        found = self._names.get(text)
        if found is None:
            found = self._names[text] = self.library.ptape_intern(self.handle, text.encode())
        return found

    def error(self) -> str:
        return self.library.ptape_last_error(self.handle).decode()

    def recorded(self, status: int) -> None:
        if status != 0 and not (self._drops and status in (E_DROPPED, E_WRITE)):
            raise PtapeError(self.error())

    def flush(self) -> None:
        self._check(self.library.ptape_flush(self.handle))

    def counts(self) -> PtapeCounts:
        return self.library.ptape_stats(self.handle)

    def close(self) -> None:
        """Malformed events are found by the writer's thread: they are reported here."""
        self.flush()
        malformed = self.counts().malformed
        message = self.library.ptape_last_error(self.handle).decode()
        handle, self.handle = self.handle, None
        if self.library.ptape_close(handle) != 0 or malformed:
            raise PtapeError(f"{malformed} malformed events; {message}")

    def _check(self, status: int) -> None:
        if status != 0:
            raise PtapeError(self.library.ptape_last_error(self.handle).decode())
