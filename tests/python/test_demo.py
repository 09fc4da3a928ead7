# SPDX-License-Identifier: Apache-2.0
"""./demo where no engine can be had, in a checkout of its own whose Bazel has built already."""
import os
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.path.join(ROOT, "traces/golden")
RUNFILES = os.path.join(os.environ.get("TEST_SRCDIR", ""), os.environ.get("TEST_WORKSPACE", ""))
BIN = next(p for p in (RUNFILES, os.path.join(ROOT, "bazel-bin"))
           if os.path.isfile(os.path.join(p, "pagetape")))
DEFECT, FIXED = "sglang-0.5.19-defect.ptape", "sglang-0.5.20-fixed.ptape"
# What the script calls. There is no apt among it: the test installs nothing.
TOOLS = ("bash", "cat", "dirname", "find", "ls", "mkdir", "readlink", "sed")


class Demo(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = folder.name
        for name in ("bazel-bin/gui", "traces/golden", "bin", "bazel"):
            os.makedirs(self.path(name))
        shutil.copy(os.path.join(ROOT, "demo"), self.top)
        shutil.copy(os.path.join(ROOT, "bazel/prerequisites.sh"), self.path("bazel"))
        for program in ("pagetape", "gui/pagetape-view"):
            shutil.copy(os.path.join(BIN, program), self.path("bazel-bin", program))
        for trace in (DEFECT, FIXED):
            shutil.copy(os.path.join(GOLDEN, trace), self.path("traces/golden"))
        for tool in TOOLS:
            os.symlink(shutil.which(tool), self.path("bin", tool))
        with open(self.path("bin/bazel"), "w", encoding="utf-8") as f:
            f.write('#!/bin/sh\necho "$@" >> "$0.called"\n')
        os.chmod(self.path("bin/bazel"), 0o755)

    def path(self, *names):
        return os.path.join(self.top, *names)

    def demo(self, *arguments):
        env = {"PATH": self.path("bin"), "HOME": self.path("home"), "BAZEL": self.path("bin/bazel"),
               "PAGETAPE_DEMO": self.path("out")}
        return subprocess.run([self.path("demo"), *arguments], env=env, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def assert_shows_the_shipped(self, done):
        self.assertEqual(done.returncode, 0, done.stdout)
        at = 0
        for told in ("== Building pagetape\n",
                     "== Using the recordings of SGLang that come with pagetape\n",
                     "== With the fault\n", "$ bazel-bin/pagetape verify traces/golden/" + DEFECT,
                     "\nFAIL  traces/golden/" + DEFECT, "OOB_PAGE",
                     "== With its repair\n", "\nPASS  traces/golden/" + FIXED,
                     "== What the fault looks like\n",
                     "== Where the traces are, and what to try next\n", DEFECT, FIXED,
                     "pagetape --help"):
            self.assertIn(told, done.stdout[at:])
            at = done.stdout.index(told, at) + len(told)
        with open(self.path("bin/bazel.called"), encoding="utf-8") as f:
            built = f.read().split()
        self.assertEqual(built[0], "build")
        self.assertEqual(built[-3:], ["//:pagetape", "//capture:libpagetape_capture.so",
                                      "//gui:pagetape-view"])
        picture = self.path("out/crash.png")
        if "No picture is drawn here: " not in done.stdout:
            self.assertIn("1920 by 1080 pixels: " + picture, done.stdout)
            with open(picture, "rb") as f:
                self.assertEqual(f.read(8), b"\x89PNG\r\n\x1a\n")

    def test_offline_shows_the_shipped_recordings_and_asks_for_no_engine(self):
        done = self.demo("--offline")
        self.assert_shows_the_shipped(done)
        self.assertNotIn("Installing", done.stdout)
        self.assertFalse(os.path.exists(self.path("home")))

    def test_without_an_engine_it_says_so_and_shows_the_shipped_recordings(self):
        done = self.demo()
        self.assert_shows_the_shipped(done)
        self.assertIn("SGLang cannot be installed here.\n", done.stdout)

    def test_a_verdict_that_is_not_the_expected_one_fails(self):
        shutil.copy(os.path.join(GOLDEN, DEFECT), self.path("traces/golden", FIXED))
        done = self.demo("--offline")
        self.assertEqual(done.returncode, 1)
        self.assertIn("demo: expected status 0, got 1", done.stdout)

    def test_without_recordings_it_fails(self):
        os.remove(self.path("traces/golden", FIXED))
        done = self.demo("--offline")
        self.assertEqual(done.returncode, 1)
        self.assertIn("traces/golden holds no such recordings", done.stdout)

    def test_a_build_that_fails_ends_it(self):
        with open(self.path("bin/bazel"), "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\nexit 1\n")
        done = self.demo("--offline")
        self.assertEqual(done.returncode, 1)
        self.assertNotIn("verify", done.stdout)

    def test_says_how_it_is_called(self):
        done = self.demo("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("./demo --offline", done.stdout)
        done = self.demo("--online")
        self.assertEqual(done.returncode, 2)
        self.assertIn("unknown option --online", done.stdout)


if __name__ == "__main__":
    unittest.main()
