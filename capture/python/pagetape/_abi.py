# SPDX-License-Identifier: Apache-2.0
"""ctypes binding of libpagetape_capture.so (capture/pagetape_capture.h, ABI major 1)."""

from __future__ import annotations

import ctypes
import os
from typing import Dict, Optional

ABI_MAJOR = 1
E_DROPPED, E_WRITE = -2, -3


class PtapeOptions(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("path", ctypes.c_char_p),
        ("zstd_level", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("buffer_bytes", ctypes.c_uint64),
        ("block", ctypes.c_int32),
        ("timestamps", ctypes.c_int32),
    ]


class PtapeCounts(ctypes.Structure):
    _fields_ = [
        ("events", ctypes.c_uint64),
        ("dropped", ctypes.c_uint64),
        ("malformed", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
    ]


class PtapeAt(ctypes.Structure):
    _fields_ = [
        ("t", ctypes.c_int64),
        ("stream", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("src", ctypes.c_uint32),
    ]


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
    library.ptape_json.restype = ctypes.c_int
    library.ptape_json.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.ptape_intern.restype = ctypes.c_uint32
    library.ptape_intern.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    array = [ctypes.c_void_p, ctypes.c_size_t]
    buffer = [ctypes.c_void_p, ctypes.POINTER(PtapeAt), ctypes.c_uint32, ctypes.c_int64]
    library.ptape_table.restype = ctypes.c_int
    library.ptape_table.argtypes = [*buffer, ctypes.c_int64, *array] + [ctypes.c_uint32] * 3
    library.ptape_slots.restype = ctypes.c_int
    library.ptape_slots.argtypes = [*buffer, *array]
    for name in ("ptape_flush", "ptape_close"):
        getattr(library, name).restype = ctypes.c_int
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.ptape_last_error.restype = ctypes.c_char_p
    library.ptape_last_error.argtypes = [ctypes.c_void_p]
    library.ptape_stats.restype = PtapeCounts
    library.ptape_stats.argtypes = [ctypes.c_void_p]
    return library


class NativeRecorder:
    """A sink that hands lines of the text form to the recorder's thread."""

    def __init__(self, library, path: str, rank: int = -1) -> None:
        self._library = library
        options = PtapeOptions(size=ctypes.sizeof(PtapeOptions), path=path.encode(), rank=rank)
        # A driven recording must lose nothing and can wait. Under `pagetape record` it may be a
        # server's, which must not: what finds no room there is dropped, counted and marked.
        self._drops = "PAGETAPE_RING_DIR" in os.environ
        options.block = 0 if self._drops else 1
        self._handle = library.ptape_open(ctypes.byref(options))
        self._names: Dict[Optional[str], int] = {None: 0}
        if not self._handle:
            raise PtapeError(library.ptape_last_error(None).decode())

    def write(self, line: str) -> None:
        data = line.encode()
        self._recorded(self._library.ptape_json(self._handle, data, len(data)))

    def table(self, t: Optional[int], buffer: str, row: int, address: int, count: int,
              req: Optional[str], space: str, unit: str) -> None:
        """`count` entries from `address` on, int32, to the row's first columns."""
        self._recorded(self._library.ptape_table(
            self._handle, self._at(t), self._name(buffer), row, 0, address, count,
            self._name(req), self._name(space), self._name(unit)))

    def slots(self, t: Optional[int], buffer: str, address: int, count: int) -> None:
        """`count` slots from `address` on, int64, to the buffer's first places."""
        self._recorded(self._library.ptape_slots(self._handle, self._at(t), self._name(buffer), 0,
                                                 address, count))

    @staticmethod
    def _at(t: Optional[int]):
        return None if t is None else ctypes.byref(PtapeAt(t=t, stream=0, rank=-1, src=0))

    def _name(self, text: Optional[str]) -> int:
        found = self._names.get(text)
        if found is None:
            found = self._names[text] = self._library.ptape_intern(self._handle, text.encode())
        return found

    def _recorded(self, status: int) -> None:
        if status != 0 and not (self._drops and status in (E_DROPPED, E_WRITE)):
            raise PtapeError(self._library.ptape_last_error(self._handle).decode())

    def flush(self) -> None:
        self._check(self._library.ptape_flush(self._handle))

    def counts(self) -> PtapeCounts:
        return self._library.ptape_stats(self._handle)

    def close(self) -> None:
        """Malformed events are found by the writer's thread: they are reported here."""
        self.flush()
        malformed = self.counts().malformed
        message = self._library.ptape_last_error(self._handle).decode()
        handle, self._handle = self._handle, None
        if self._library.ptape_close(handle) != 0 or malformed:
            raise PtapeError(f"{malformed} malformed events; {message}")

    def _check(self, status: int) -> None:
        if status != 0:
            raise PtapeError(self._library.ptape_last_error(self._handle).decode())
