#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What code for GPUs the built program holds, read from its fat binary: no GPU is needed."""
import ctypes
import os
import struct
import unittest

MAGIC = struct.pack("<I", 0xBA55ED50)
PTX, ELF = 1, 2
PROGBITS = 1
ZSTD = 0x8000  # Great images are compressed.


def program():
    path = os.path.join(os.environ["TEST_SRCDIR"], os.environ["TEST_WORKSPACE"], "pagetape")
    with open(path, "rb") as f:
        return f.read()


def decompressed(packed, size):
    decompress = ctypes.CDLL("libzstd.so.1").ZSTD_decompress
    decompress.restype = ctypes.c_size_t
    decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    whole = ctypes.create_string_buffer(size)
    assert decompress(whole, size, packed, len(packed)) == size
    return whole.raw


def images(data):
    """For each fat binary: {(kind, architecture): image}. It is a header of 16 bytes, then images,
    each behind a header of its own."""
    found = []
    at = data.find(MAGIC)
    while at >= 0:
        header, size = struct.unpack_from("<HQ", data, at + 6)
        held, image, end = {}, at + header, at + header + size
        while image + 64 <= end:
            kind, _, length, payload = struct.unpack_from("<HHIQ", data, image)
            if kind not in (1, 2, 4, 8, 16, 32, 64):
                break
            arch = struct.unpack_from("<I", data, image + 28)[0]
            held[kind, arch] = data[image + length : image + length + payload]
            if struct.unpack_from("<Q", data, image + 40)[0] & ZSTD:
                packed = struct.unpack_from("<I", data, image + 16)[0]
                size_then = struct.unpack_from("<Q", data, image + 56)[0]
                held[kind, arch] = decompressed(held[kind, arch][:packed], size_then)
            image += length + payload
        if held:
            found.append(held)
        at = data.find(MAGIC, at + 4)
    return found


def kernels(elf):
    """Names of the functions that machine code is there for: each has a section of its own."""
    assert elf[:4] == b"\x7fELF", "the machine code is compressed in a way that is not known here"
    (table,) = struct.unpack_from("<Q", elf, 40)
    size, count, names = struct.unpack_from("<HHH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQ", elf, table + i * size) for i in range(count)]
    texts = elf[sections[names][4] :]
    found = set()
    for name, kind, *_ in sections:
        text = texts[name : texts.index(b"\0", name)].decode()
        if kind == PROGBITS and text.startswith(".text."):
            found.add(text[len(".text.") :])
    return found


def attention_kernels():
    for head_dim in (64, 128, 256, 512):
        yield "combineILi%dEE" % head_dim
        for dtype in ("Bf16", "Fp16", "E4m3"):
            for own_rows in (0, 1):
                way = len(dtype), dtype, head_dim, own_rows
                yield "attendINS0_3WayINS0_%d%sELi%dELb%dEEELb1EE" % way


class CudaCodeTest(unittest.TestCase):
    def setUp(self):
        found = images(program())
        if not found:
            self.skipTest("the program was built without CUDA")
        # A translation unit has one fat binary, in which each architecture has all its kernels.
        # (That of the runtime's own is of no architecture of ours.)
        self.ours = [held for held in found if (ELF, 90) in held]
        self.assertTrue(self.ours)

    def test_every_kernel_has_code_for_each_gpu(self):
        for held in self.ours:
            self.assertIn((PTX, 90), held)
            names = kernels(held[ELF, 90])
            self.assertTrue(names)
            self.assertEqual(kernels(held[ELF, 100]), names)

    def test_the_kernels_of_a_replay_are_there_by_name(self):
        names = set().union(*(kernels(held[ELF, 100]) for held in self.ours))
        for kernel in [*attention_kernels(), "store_tokens", "copy_tokens"]:
            self.assertEqual(len([name for name in names if kernel in name]), 1, kernel)


if __name__ == "__main__":
    unittest.main()
