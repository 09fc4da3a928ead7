# SPDX-License-Identifier: Apache-2.0
"""`pagetape view`, which runs the viewer beside it, without a screen."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CRASH = os.path.join(ROOT, "traces/golden/corpus/S01.bug.jsonl")
BINARY = os.path.join(ROOT, "traces/golden/sglang-0.5.20-fixed.ptape")
RUNFILES = os.path.join(os.environ.get("TEST_SRCDIR", ""), os.environ.get("TEST_WORKSPACE", ""))
BIN = next(p for p in (RUNFILES, os.path.join(ROOT, "bazel-bin"))
           if os.path.isfile(os.path.join(p, "pagetape")))


def run(folder, *arguments):
    # No display, whoever runs this.
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run([os.path.join(folder, "pagetape"), "view", *arguments], env=env,
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

    def synth(self, bug):
        trace = os.path.join(self.folder.name, bug + ".jsonl")
        subprocess.run([os.path.join(self.folder.name, "pagetape"), "synth", "--model", "tiny",
                        "--bug", bug, "-o", trace], stdout=subprocess.DEVNULL, check=True)
        return trace

    def play(self, trace, *commands):
        """What the panes say in the end."""
        script = os.path.join(self.folder.name, "keys.txt")
        with open(script, "w", encoding="utf-8") as f:
            f.write("\n".join(commands) + "\n")
        done = self.view("--script", script, "--texts", "-", trace)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_the_tour_finds_the_cause_and_its_repair_in_six_inputs(self):
        # "wait" is what a person does meanwhile.
        texts = self.play(self.synth("stale-swa"), "next-finding", "blame", "follow 1", "return",
                          "what-if", "wait")
        for said in ("STALE  swa_state: no window pool", "Why event", "the pool swap",
                     "reads the right pages", "STALE_BINDING"):
            self.assertIn(said, texts)
        self.assertRegex(texts, r"first wrong read at event \d+: none, clamp")

    def test_two_traces_are_compared_on_one_axis(self):
        crash = self.synth("stale-swa")
        done = self.view("--compare", self.synth("none"), "--texts", "-", crash)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("steps of requests differ", done.stdout)
        self.assertIn("other target pool bound", done.stdout)
        self.assertRegex(done.stdout, r"first difference at event \d+")
        done = self.view("--compare", "nowhere.ptape", "--texts", "-", CRASH)
        self.assertEqual(done.returncode, 2)
        self.assertIn("nowhere.ptape", done.stderr)

    def test_bookmarks_of_the_side_file_are_shown_and_it_is_left_as_it_is(self):
        trace = self.synth("stale-swa")
        side = {"selected": 3, "begin": 0, "end": 9, "hidden_rules": ["WRONG_SPACE"], "layer": "",
                "request": "", "colours": "age", "dark": False,
                "bookmarks": [{"event": 60, "note": "the swap"}]}
        with open(trace + ".view.json", "w", encoding="utf-8") as f:
            json.dump(side, f)
        texts = self.play(trace, "next-bookmark", "bookmark another note")
        self.assertIn("event 60", texts)
        self.assertIn("bookmark at event 60 another note", texts)
        self.assertNotIn("(hidden)", texts)  # How it was looked at is a window's.
        with open(trace + ".view.json", encoding="utf-8") as f:
            self.assertEqual(json.load(f), side)
        with open(trace + ".view.json", "w", encoding="utf-8") as f:
            f.write("[]")
        done = self.view("--texts", "-", trace)
        self.assertEqual(done.returncode, 0)
        self.assertIn("is no session of this viewer", done.stderr)

    def test_a_picture_of_a_clean_trace_is_of_its_end_and_says_what_was_not_checked(self):
        picture = os.path.join(self.folder.name, "clean.png")
        done = self.view("--screenshot", picture, "--texts", "-", BINARY)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("the recording ends", done.stdout)
        self.assertIn("Backend backend1", done.stdout)
        self.assertRegex(done.stdout, r"GRAPH_STALE  the trace  \(needs")

    def test_a_trace_with_times_says_them(self):
        self.assertIn("event  ·  time", self.play(self.synth("none"), "first"))

    def test_a_trace_without_times_says_none(self):
        trace = os.path.join(self.folder.name, "untimed.jsonl")
        with open(self.synth("stale-swa"), encoding="utf-8") as f, \
                open(trace, "w", encoding="utf-8") as out:
            for line in f:
                event = json.loads(line)
                event.pop("t", None)
                out.write(json.dumps(event) + "\n")
        texts = self.play(trace, "next-finding", "range 0 100")
        self.assertIn("100 events", texts)
        self.assertNotRegex(texts, r"\d ms")

    def test_a_damaged_file_is_shown_and_the_damage_named(self):
        with open(BINARY, "rb") as f:
            good = f.read()
        damaged = os.path.join(self.folder.name, "damaged.ptape")
        with open(damaged, "wb") as f:
            f.write(good[:len(good) // 2] + b"\xff" * 64 + good[len(good) // 2 + 64:])
        done = self.view("--texts", "-", damaged)
        self.assertIn(done.returncode, (0, 3))  # 3: nothing before the damage can be shown.
        self.assertIn("damage", done.stdout + done.stderr)
        with open(damaged, "wb") as f:
            f.write(b"\x00" * 64)
        done = self.view("--texts", "-", damaged)
        self.assertIn(done.returncode, (2, 3))
        self.assertIn("damaged.ptape", done.stderr)

    def test_without_a_display_it_says_what_draws_without_one(self):
        done = self.view(CRASH)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--screenshot", done.stderr)

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
