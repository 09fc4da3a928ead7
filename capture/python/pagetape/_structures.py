# SPDX-License-Identifier: Apache-2.0
"""The structures of capture/pagetape_capture.h."""

from __future__ import annotations

import ctypes


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


class PtapeLaunch(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("backend", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("n_layers", ctypes.c_size_t),
        ("rows", ctypes.c_void_p),
        ("n_rows", ctypes.c_size_t),
        *[(name, ctypes.c_uint32) for name in ("mode", "space", "unit", "table", "lens", "slots",
                                               "kernel", "bound_pool")],
        *[(name, ctypes.c_int64) for name in ("bound_pages", "bound_ptr", "window", "page_size",
                                              "table_rows", "table_cols")],
        ("lanes", ctypes.c_void_p),
        ("bound", ctypes.c_void_p),
    ]


class PtapeTensor(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("n_dims", ctypes.c_uint32),
        ("shape", ctypes.c_void_p),
        ("stride", ctypes.c_void_p),
    ]


class PtapeRow(ctypes.Structure):
    _fields_ = [
        ("req", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        *[(name, ctypes.c_int64) for name in ("len", "row", "q_len", "q_pos", "first", "n")],
        ("pages", ctypes.c_void_p),
        ("n_pages", ctypes.c_size_t),
        ("slots", ctypes.c_void_p),
        ("n_slots", ctypes.c_size_t),
    ]


class PtapeLanes(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("n_lanes", ctypes.c_size_t),
        *[(name, ctypes.c_void_p) for name in ("req", "len", "row", "q_len", "q_pos", "first",
                                               "n")],
    ]


class PtapeLayerLaunch(ctypes.Structure):
    _fields_ = [
        ("launch", ctypes.c_void_p),
        ("store", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class PtapeLayerPart(ctypes.Structure):
    _fields_ = [
        ("bound_ptr", ctypes.c_int64),
        ("layer", ctypes.c_int32),
        ("name", ctypes.c_uint32),
        ("launch", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class PtapeTableView(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("cell_bytes", ctypes.c_uint32),
        ("cells", ctypes.c_void_p),
        ("rows", ctypes.c_uint32),
        ("cols", ctypes.c_uint32),
        ("row_stride", ctypes.c_int64),
        ("col_stride", ctypes.c_int64),
        ("starts", ctypes.c_void_p),
        ("start_bytes", ctypes.c_uint32),
        ("on_host", ctypes.c_uint32),
        ("capacity", ctypes.c_int64),
        ("lens", ctypes.c_void_p),
        ("len_bytes", ctypes.c_uint32),
        ("len_unit", ctypes.c_uint32),
    ]


class PtapeTablePart(ctypes.Structure):
    _fields_ = [
        ("table", ctypes.c_void_p),
        ("view", ctypes.c_void_p),
    ]


class PtapeGuardLaunch(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("layer", ctypes.c_int32),
        *[(name, ctypes.c_int64) for name in ("bound", "page_size", "window", "q_len")],
        ("lens", ctypes.c_void_p),
        ("len_bytes", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class PtapeGuardFinding(ctypes.Structure):
    _fields_ = [
        ("id", ctypes.c_int64),
        ("bound", ctypes.c_int64),
        ("bad", ctypes.c_uint64),
        ("row", ctypes.c_uint32),
        ("col", ctypes.c_uint32),
        ("layer", ctypes.c_int32),
        ("reserved", ctypes.c_uint32),
    ]
