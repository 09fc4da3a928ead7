#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program needs only the C and C++ run time; the capture library opens beside an engine."""
import os
import re
import subprocess
import unittest

RUN_TIME = re.compile(
    r"(libc|libm|libpthread|libstdc\+\+|libgcc_s|ld-linux[-\w]*)\.so(\.\d+)?")
SANITIZER = re.compile(r"lib(asan|ubsan|tsan|clang_rt[-\w.]*)\.so")


def dynamic(program):
    path = os.path.join(os.environ["TEST_SRCDIR"], os.environ["TEST_WORKSPACE"], program)
    return subprocess.run(["readelf", "--dynamic", "--wide", path],
                          stdout=subprocess.PIPE, check=True, text=True).stdout


def needed():
    return re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic("pagetape"))


class DtNeededTest(unittest.TestCase):
    def test_only_the_c_and_cxx_run_time(self):
        libraries = needed()
        if any(SANITIZER.match(name) for name in libraries):
            self.skipTest("a sanitizer's run time is a shared library")
        self.assertIn("libc.so.6", libraries)
        self.assertEqual([n for n in libraries if not RUN_TIME.fullmatch(n)], [])

    def test_no_search_path_of_the_build_machine(self):
        said = dynamic("pagetape")
        paths = [p for entry in re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", said)
                 for p in entry.split(":") if p and not p.startswith("$ORIGIN")]
        self.assertEqual(paths, [])

    def test_the_capture_library_can_be_opened_by_an_engine_that_runs(self):
        # The static block of threads has little room left by then.
        self.assertNotIn("STATIC_TLS", dynamic("capture/libpagetape_capture.so"))


if __name__ == "__main__":
    unittest.main()
