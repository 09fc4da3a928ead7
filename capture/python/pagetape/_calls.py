# SPDX-License-Identifier: Apache-2.0
"""Functions of the library as CPython calls its own (pagetape_capture.h: "for CPython"): ctypes
prepares each call anew, which costs an engine's thread several times what the function does."""

from __future__ import annotations

import ctypes
import sys
from typing import Callable, Dict

_METH_FASTCALL = 0x80


class _Python(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("as_number", "of_number", "error")]


class _Called(ctypes.Structure):
    _fields_ = [("function", ctypes.c_void_p), ("wide", ctypes.c_uint32),
                ("borrow", ctypes.c_uint32)]


class _MethodDef(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
                ("doc", ctypes.c_char_p)]


_made: Dict[tuple, Callable] = {}


def called(library, name: str, wide: bool = False, borrow: bool = False) -> Callable:
    """The function, which takes whole numbers, of them at most ten: what is an address of another
    object's memory, too. It returns one, of 64 bits where it is `wide`, of an int else. It holds
    the interpreter's lock: it never waits for another thread of Python's. Where it waits for a full
    ring to be drained, which it does without a collector alone, those all wait with it. With
    `borrow` it needs no lock of ours: it returns 1 where its first argument, a recorder, is not the
    process's or is closed, and is not called."""
    key = library._handle, name, borrow
    if key not in _made:
        if _can(library):
            _made[key] = _direct(library, name, wide, borrow)
        else:
            _made[key] = (lambda *_: 1) if borrow else _by_ctypes(library, name, wide)
    return _made[key]


def _can(library) -> bool:
    return sys.implementation.name == "cpython" and hasattr(library, "ptape_python_call")


def _address(function) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value


def _direct(library, name: str, wide: bool, borrow: bool) -> Callable:
    python = ctypes.pythonapi
    api = _Python(*map(_address, (python.PyLong_AsLongLong, python.PyLong_FromLongLong,
                                  python.PyErr_Occurred)))
    library["ptape_python_api"](ctypes.byref(api))
    target = _Called(_address(library[name]), wide, borrow)
    method = _MethodDef(name.encode(), _address(library["ptape_python_call"]), _METH_FASTCALL)
    for kept in (target, method):  # For ever: it is looked at even when the function is gone.
        python.Py_IncRef(ctypes.py_object(kept))
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object,
                             ctypes.c_void_p)(("PyCFunction_NewEx", python))
    return make(ctypes.addressof(method), ctypes.addressof(target), None)


def _by_ctypes(library, name: str, wide: bool) -> Callable:
    function = library[name]
    function.restype = ctypes.c_int64 if wide else ctypes.c_int
    function.argtypes = None

    def call(*arguments):
        return function(*map(ctypes.c_int64, arguments))

    return call
