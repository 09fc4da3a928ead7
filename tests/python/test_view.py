# SPDX-License-Identifier: Apache-2.0
"""`pagetape view`, which runs the viewer beside it, without a screen."""
import os
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CRASH = os.path.join(ROOT, "traces/golden/corpus/S01.bug.jsonl")
RUNFILES = os.path.join(os.environ.get("TEST_SRCDIR", ""), os.environ.get("TEST_WORKSPACE", ""))
BIN = next(p for p in (RUNFILES, os.path.join(ROOT, "bazel-bin"))
           if os.path.isfile(os.path.join(p, "pagetape")))


def run(folder, *arguments):
    return subprocess.run([os.path.join(folder, "pagetape"), "view", *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)


class ViewTest(unittest.TestCase):
    def setUp(self):
        # Copies: beside a link's target there may be another viewer.
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        shutil.copy(os.path.join(BIN, "pagetape"), self.folder.name)

    def view(self, *arguments):
        shutil.copy(os.path.join(BIN, "gui/pagetape-view"), self.folder.name)
        done = run(self.folder.name, *arguments)
        if "EGL" in done.stderr:
            self.skipTest(done.stderr.strip())
        return done

    def test_without_a_viewer_it_says_where_it_looked(self):
        done = run(self.folder.name, CRASH)
        self.assertEqual(done.returncode, 2)
        self.assertIn(os.path.join(self.folder.name, "pagetape-view"), done.stderr)

    def test_a_script_plays_inputs_and_the_panes_say_what_they_show(self):
        script = os.path.join(self.folder.name, "keys.txt")
        with open(script, "w", encoding="utf-8") as f:
            f.write("next-finding\nblame\n")
        done = self.view("--script", script, "--texts", "-", CRASH)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("Why event", done.stdout)

    def test_a_wrong_line_of_a_script_is_named(self):
        script = os.path.join(self.folder.name, "keys.txt")
        with open(script, "w", encoding="utf-8") as f:
            f.write("next-finding\nfly\n")
        done = self.view("--script", script, "--texts", "-", CRASH)
        self.assertEqual(done.returncode, 2)
        self.assertIn("keys.txt:2", done.stderr)

    def test_a_file_that_is_none_is_named(self):
        done = self.view("--texts", "-", "nowhere.ptape")
        self.assertEqual(done.returncode, 2)
        self.assertIn("nowhere.ptape", done.stderr)


if __name__ == "__main__":
    unittest.main()
