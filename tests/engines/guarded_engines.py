# SPDX-License-Identifier: Apache-2.0
"""Live engines under `--guard`, as run_engines.py runs them: an id outside the pool, planted in the
engine's own table or put there by its own defect, reaches no kernel. On the CPU a kernel that
follows it ends the process or refuses it."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import run_engines as live  # noqa: E402

ENGINES = os.environ.get("PAGETAPE_ENGINES", "")
PYTHON = os.path.join(ENGINES, "venv/bin/python")


class Guarded(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_guarded(self, guard, script, *arguments, **environment):
        """The process, the guard's notes and the report."""
        trace = os.path.join(self.folder, "guarded.ptape")
        done = subprocess.run(
            ["bash", os.path.join(live.ROOT, "capture/python", script), ENGINES,
             *(trace if one is None else one for one in arguments)],
            env=dict(os.environ, PAGETAPE_LIBRARY=live.LIBRARY, PAGETAPE_GUARD=guard,
                     PAGETAPE_STRICT="1", **environment),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=1500)
        notes = [e["text"] for e in live.events(trace) if e["ev"] == "note"]
        return done, notes, live.verify(trace)


class GuardedSglang(Guarded):
    def recorded(self, guard, release, backend, fault=""):
        return self.run_guarded(guard, "record_sglang.sh", release, None, backend, fault)

    def test_a_guard_that_finds_nothing_changes_nothing(self):
        for backend, launches in (("triton", 260), ("trtllm_mha", 272)):
            done, notes, report = self.recorded("clamp", "fixed", backend)
            self.assertEqual((done.returncode, notes, report["verdict"], report["launches"]),
                             (0, [], "pass", launches), done.stderr)

    def test_the_defective_release_is_served_on_and_each_launch_noted(self):
        done, notes, report = self.recorded("clamp", "defect", "aiter")
        self.assertEqual(done.returncode, 0, done.stderr)
        outside = {f["event"] for f in report["findings"] if f["rule"] == "OOB_PAGE"}
        self.assertEqual(len(notes), len(outside))
        self.assertTrue(all("id 8 is outside the bound pool of 8" in note for note in notes))

    def test_triton_is_not_given_an_index_that_would_end_the_process(self):
        where = "a read of request A, layer 5, column 1: id 16777216 is outside the bound pool " \
            "of 1344"
        done, notes, report = self.recorded("clamp", "fixed", "triton", "outside")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(notes, [f"guard clamp: {where}; entries outside: 1"])
        self.assertEqual(set(report["counts"]), {"OOB_PAGE"})
        done, notes, _ = self.recorded("raise", "fixed", "triton", "outside")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"pagetape.devices.OutOfBounds: {where}\n", done.stderr)
        self.assertEqual(notes, [f"guard raise: {where}; entries outside: 1"])

    def test_a_page_table_changed_behind_the_recorders_look_is_guarded(self):
        done, notes, report = self.recorded("raise", "fixed", "trtllm_mha", "outside")
        self.assertIn("OutOfBounds: a read of request A, layer 5, column 1: id 16777216 is outside "
                      "the bound pool of 21\n", done.stderr)
        self.assertEqual((len(notes), report["verdict"]), (1, "pass"))


class GuardedVllm(Guarded):
    where = r"a read of request r\d+, layer model.layers.5.self_attn.attn, column 0: id 16777216 " \
        "is outside the bound pool of 60"

    def test_a_guard_that_finds_nothing_changes_nothing(self):
        done, notes, report = self.run_guarded("clamp", "record_vllm.sh", None, "")
        self.assertEqual((done.returncode, notes, report["verdict"]), (0, [], "pass"), done.stderr)
        self.assertIn("20 requests, 771 new tokens", done.stdout)

    def test_clamp_serves_on(self):
        done, notes, report = self.run_guarded("clamp", "record_vllm.sh", None, "outside")
        self.assertNotIn("gave up", done.stdout)
        self.assertEqual(len(notes), 1)
        self.assertRegex(notes[0], f"guard clamp: {self.where}; entries outside: 1")
        self.assertEqual(set(report["counts"]), {"OOB_PAGE"})

    def test_raise_says_where(self):
        done, _, _ = self.run_guarded("raise", "record_vllm.sh", None, "outside")
        self.assertRegex(done.stdout, f"the engine gave up: OutOfBounds: {self.where}")


class GuardedDecoding(Guarded):
    """Transformers' decoding by block table; the attention is a stand-in."""
    drive = "transformers_decode.py"

    def recorded(self, guard, fault=""):
        done, notes, _ = self.run_guarded(guard, "record_transformers.sh", None, fault,
                                          PAGETAPE_DRIVE=self.drive)
        return done, notes

    def test_a_guard_that_finds_nothing_changes_nothing(self):
        without, _ = self.recorded("")
        done, notes = self.recorded("clamp")
        self.assertRegex(done.stdout, r"6 requests, 144 new tokens, [0-9a-f]{8}\n")
        self.assertEqual((done.stdout, notes), (without.stdout, []))

    def test_a_table_with_an_id_beyond_the_cache(self):
        where = r"a read or a write of request req_\d, layer 0, column 0: id 16777216 is outside " \
            "the bound pool of 62"
        done, notes = self.recorded("clamp", "table")
        self.assertIn("6 requests, 144 new tokens", done.stdout)
        self.assertEqual([int(re.search(r"layer (\d)", note).group(1)) for note in notes],
                         [0, 1, 2, 3])
        self.assertRegex(notes[0], f"guard clamp: {where}; entries outside: 1")
        done, notes = self.recorded("raise", "table")
        self.assertRegex(done.stderr, f"pagetape.devices.OutOfBounds: {where}")
        done, notes = self.recorded("log", "table")
        self.assertIn("IndexError: index 16777216 is out of bounds", done.stderr)
        self.assertRegex(notes[0], f"guard log: {where}")


class GuardedLaunches(unittest.TestCase):
    def test_launches_of_sglangs_shapes(self):
        done = subprocess.run(
            [PYTHON, "-W", "ignore", os.path.join(live.ROOT, "tests/engines/launch_guard.py")],
            env=dict(os.environ, PAGETAPE_LIBRARY=live.LIBRARY), check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout)


class GuardedGraphs(Guarded):
    """Transformers on a GPU in CUDA graphs, which have the checks in them."""

    def recorded(self, guard, fault, drive):
        seen = subprocess.run([PYTHON, "-c", "import torch; print(torch.cuda.is_available())"],
                              stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
        if seen != "True":
            self.skipTest("torch sees no GPU")
        done, notes, _ = self.run_guarded(guard, "record_transformers.sh", None, fault,
                                          PAGETAPE_DRIVE=drive, PAGETAPE_GRAPH="1",
                                          PAGETAPE_ON_GPU="1")
        return done.stdout + done.stderr, done.stdout, notes

    def test_lists(self):
        _, without, _ = self.recorded("", "", "transformers_cb.py")
        _, clean, notes = self.recorded("clamp", "", "transformers_cb.py")
        self.assertEqual((clean, notes), (without, []))
        for fault in ("read", "write"):
            _, printed, notes = self.recorded("clamp", fault, "transformers_cb.py")
            self.assertIn("24 requests, 576 new tokens", printed)
            self.assertEqual(len(notes), 1)
        said, _, notes = self.recorded("raise", "read", "transformers_cb.py")
        self.assertIn("layer 5, column 0: id 1099511627776 is outside the bound pool of 992", said)
        self.assertNotIn("CUDA error", said)

    def test_block_tables(self):
        _, without, _ = self.recorded("", "", "transformers_decode.py")
        _, clean, notes = self.recorded("clamp", "", "transformers_decode.py")
        self.assertEqual((clean, notes), (without, []))
        _, printed, notes = self.recorded("clamp", "table", "transformers_decode.py")
        self.assertIn("6 requests, 144 new tokens", printed)
        self.assertEqual(len(notes), 4)
        said, _, _ = self.recorded("raise", "table", "transformers_decode.py")
        self.assertIn("id 16777216 is outside the bound pool of 62", said)
        self.assertNotIn("CUDA error", said)


if __name__ == "__main__":
    unittest.main()
