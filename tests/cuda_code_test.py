#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What code for GPUs the built program holds, read from its fat binary: no GPU is needed."""
import os
import struct
import unittest

MAGIC = struct.pack("<I", 0xBA55ED50)
PTX, ELF = 1, 2


def program():
    path = os.path.join(os.environ["TEST_SRCDIR"], os.environ["TEST_WORKSPACE"], "pagetape")
    with open(path, "rb") as f:
        return f.read()


def images(data):
    """[(kind, architecture)] for each fat binary: a header of 16 bytes, then images with theirs."""
    found = []
    at = data.find(MAGIC)
    while at >= 0:
        header, size = struct.unpack_from("<HQ", data, at + 6)
        held, image, end = [], at + header, at + header + size
        while image + 64 <= end:
            kind, _, length, payload = struct.unpack_from("<HHIQ", data, image)
            if kind not in (1, 2, 4, 8, 16, 32, 64):
                break
            held.append((kind, struct.unpack_from("<I", data, image + 28)[0]))
            image += length + payload
        if held:
            found.append(held)
        at = data.find(MAGIC, at + 4)
    return found


class CudaCodeTest(unittest.TestCase):
    def test_every_fat_binary_holds_code_for_each_gpu(self):
        found = images(program())
        if not found:
            self.skipTest("the program was built without CUDA")
        # A translation unit has one fat binary, in which each architecture has all its kernels.
        # (That of the runtime's own is of no architecture of ours.)
        ours = [held for held in found if (ELF, 90) in held]
        self.assertTrue(ours, found)
        for held in ours:
            self.assertIn((ELF, 100), held)
            self.assertIn((PTX, 90), held)


if __name__ == "__main__":
    unittest.main()
