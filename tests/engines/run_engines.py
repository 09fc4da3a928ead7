# SPDX-License-Identifier: Apache-2.0
"""Live engine tests: the engines' own classes, recorded here and now, and judged.

Needs $PAGETAPE_ENGINES (made by capture/python/engines_env.sh) and a built pagetape. No torch is
imported here: each recording runs in a process of the engines' own environment."""
import json
import os
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGETAPE = os.path.join(ROOT, "bazel-bin/pagetape")
LIBRARY = os.path.join(ROOT, "bazel-bin/capture/libpagetape_capture.so")
GOLDEN = os.path.join(ROOT, "traces/golden")


def record(release, folder):
    out = os.path.join(folder, release + ".ptape")
    subprocess.run(
        ["bash", os.path.join(ROOT, "capture/python/record_sglang.sh"),
         os.environ["PAGETAPE_ENGINES"], release, out],
        env=dict(os.environ, PAGETAPE_LIBRARY=LIBRARY), check=True, timeout=1500)
    return out


def run_transformers(folder, fault="", guard=""):
    """The trace, what the engine printed and what it logged."""
    out = os.path.join(folder, "transformers-%s%s.ptape" % (fault or "clean", guard))
    done = subprocess.run(
        ["bash", os.path.join(ROOT, "capture/python/record_transformers.sh"),
         os.environ["PAGETAPE_ENGINES"], out, fault],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ, PAGETAPE_LIBRARY=LIBRARY, PAGETAPE_GUARD=guard), check=True,
        timeout=600)
    return out, done.stdout, done.stderr


def record_transformers(folder, fault=""):
    return run_transformers(folder, fault)[0]


def run(*arguments):
    return subprocess.run([PAGETAPE, *arguments], stdout=subprocess.PIPE, text=True, check=False)


def verify(trace):
    return json.loads(run("verify", "--format", "json", "--max-findings", "0", trace).stdout)


def events(trace):
    return [json.loads(line) for line in run("export", trace).stdout.splitlines()]


class LiveSglang(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.defect = record("defect", cls.folder.name)
        cls.fixed = record("fixed", cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_the_defective_release_is_found_out(self):
        report = verify(self.defect)
        self.assertEqual(report["verdict"], "fail")
        for rule in ("OOB_PAGE", "WRONG_SPACE", "STALE_BINDING"):
            self.assertGreater(report["counts"].get(rule, 0), 0, rule)

    def test_the_first_id_out_of_bounds_is_the_page_count(self):
        outside = [f for f in verify(self.defect)["findings"] if f["rule"] == "OOB_PAGE"]
        self.assertEqual(outside[0]["page"], outside[0]["bound"])

    def test_the_pool_swap_is_among_the_causes(self):
        kinds = [e["ev"] for e in events(self.defect)]
        firsts = {}
        for finding in verify(self.defect)["findings"]:
            firsts.setdefault(finding["rule"], finding)
        for rule in ("OOB_PAGE", "WRONG_SPACE", "STALE_BINDING"):
            causes = {kinds[c] for c in firsts[rule]["cause"]}
            self.assertIn("pool_swap", causes, rule)
            self.assertIn("swa_state", causes, rule)

    def test_the_fixed_release_is_clean(self):
        report = verify(self.fixed)
        self.assertEqual(report["verdict"], "pass")
        self.assertEqual(report["counts"], {})
        self.assertGreater(report["launches"], 100)

    def test_the_fixed_release_passes_the_ci_verb(self):
        # CUDA graphs are not driven on a CPU, and the recording says so.
        done = run("assert", "--allow-not-checked", "GRAPH_STALE", self.fixed)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_the_recordings_are_those_that_are_shipped(self):
        for release, trace in (("defect", self.defect), ("fixed", self.fixed)):
            shipped = [name for name in os.listdir(GOLDEN)
                       if name.startswith("sglang-") and name.endswith("-%s.ptape" % release)]
            self.assertEqual(len(shipped), 1, shipped)
            self.assertEqual(events(trace), events(os.path.join(GOLDEN, shipped[0])))


class LiveTransformers(unittest.TestCase):
    """generate_batch itself: a small random model on the CPU, and faults planted from outside."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.clean = record_transformers(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def planted(self, fault):
        report = verify(record_transformers(self.folder.name, fault))
        self.assertEqual(report["verdict"], "fail")
        return report

    def test_the_engine_as_it_is_is_clean(self):
        report = verify(self.clean)
        self.assertEqual(report["verdict"], "pass")
        self.assertEqual(report["counts"], {})
        for rule in ("OOB_PAGE", "WRONG_SPACE", "STALE_BINDING", "SHORT_TABLE", "FREED_PAGE",
                     "WRONG_OWNER", "ALIASED_WRITE", "UNINIT_READ", "FREELIST"):
            self.assertGreater(report["rules"][rule]["judged"], 100, rule)

    def test_the_recording_holds_what_the_engine_did(self):
        recorded = events(self.clean)
        states = {e["state"] for e in recorded if e["ev"] == "request"}
        self.assertEqual(states, {"arrive", "run", "preempt", "resume", "finish"})
        # The twice answered prompts were forked, the repeated ones found each other's blocks.
        self.assertLessEqual({"alloc", "free", "share", "copy", "prefix_key", "prefix_hit",
                              "prefix_drop"}, {e["ev"] for e in recorded})
        layers = {e["layer"] for e in recorded if e["ev"] == "attention"}
        self.assertEqual(layers, set(range(6)))
        self.assertEqual({e["layer"] for e in recorded if e["ev"] == "store"}, layers)
        windows = {e["layer"]: e.get("window") for e in recorded if e["ev"] == "attention"}
        self.assertEqual(windows[0], 40)
        self.assertIsNone(windows[5])
        # No step went by unseen, and no hook was left out.
        self.assertFalse([e for e in recorded if e["ev"] in ("gap", "note")])

    def test_the_rolling_buffer_is_read_beyond_its_first_round(self):
        rows = [row for e in events(self.clean) if e["ev"] == "attention" and "window" in e
                for row in e["rows"] if row["len"] > 40]
        self.assertTrue(rows)
        self.assertEqual({row["n"] for row in rows}, {39})

    def test_a_cell_that_names_another_requests_block(self):
        findings = self.planted("cell")["findings"]
        self.assertEqual(findings[0]["rule"], "WRONG_OWNER")
        self.assertTrue(findings[0]["pool"].startswith("full"))

    def test_blocks_freed_under_a_request_that_goes_on(self):
        findings = self.planted("freed")["findings"]
        self.assertEqual(findings[0]["rule"], "FREED_PAGE")
        self.assertTrue(findings[0]["pool"].startswith("swa"))

    def test_a_layer_that_gets_another_groups_table(self):
        report = self.planted("table")
        self.assertEqual(set(report["counts"]), {"WRONG_SPACE"})
        self.assertEqual({f["layer"] for f in report["findings"]}, {0})
        self.assertEqual(len({f["event"] for f in report["findings"]}), 1)

    # --- an index beyond the pool, which the CPU's kernels refuse and a GPU's would follow

    def guarded(self, fault, guard):
        """What the engine printed and logged, the guard's notes, the findings."""
        trace, printed, logged = run_transformers(self.folder.name, fault, guard)
        notes = [e["text"] for e in events(trace) if e["ev"] == "note"]
        return printed, logged, notes, verify(trace)["findings"]

    def test_log_notes_the_index_and_changes_nothing(self):
        printed, logged, notes, findings = self.guarded("read", "log")
        self.assertEqual(len(notes), 1)
        self.assertRegex(notes[0], "guard log: a read of request req_.*, layer 5, column 0: id "
                                   "1099511627776 is outside the bound pool of 992")
        self.assertEqual(findings[0]["rule"], "OOB_PAGE")
        self.assertIn(f"request {findings[0]['req']},", notes[0])
        error = "IndexError: index out of range in self"
        without = self.guarded("read", "")
        self.assertEqual(printed, without[0])
        self.assertTrue(error in logged and error in without[1])

    def test_clamp_serves_on(self):
        for fault in ("read", "write"):
            printed, _, notes, findings = self.guarded(fault, "clamp")
            self.assertEqual(printed, "24 requests, 576 new tokens\n")
            self.assertEqual(len(notes), 1)
            self.assertIn("OOB_PAGE", {f["rule"] for f in findings})

    def test_raise_ends_the_step_with_where_it_was(self):
        for fault in ("read", "write"):
            _, logged, notes, findings = self.guarded(fault, "raise")
            where = (f"a {fault} of request {findings[0]['req']}, layer 5, column 0: id "
                     "1099511627776 is outside the bound pool of 992")
            self.assertIn(f"pagetape.devices.OutOfBounds: {where}\n", logged)
            self.assertEqual(len(notes), 1)
            self.assertIn(where, notes[0])

    def test_a_guard_that_finds_nothing_changes_nothing(self):
        trace, printed, _ = run_transformers(self.folder.name, "", "clamp")
        self.assertEqual(printed, "24 requests, 576 new tokens\n")
        self.assertEqual(events(trace), events(self.clean))


class TransformersOnAGpu(unittest.TestCase):
    """The same engine with its tensors on a GPU, where an index beyond the pool ends the context."""

    RUNS = (("", ""), ("cell", ""), ("read", ""), ("read", "raise"), ("read", "clamp"),
            ("write", "clamp"))

    @classmethod
    def setUpClass(cls):
        python = os.path.join(os.environ["PAGETAPE_ENGINES"], "venv/bin/python")
        seen = subprocess.run([python, "-c", "import torch; print(torch.cuda.is_available())"],
                              stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
        cls.runs = {}
        if seen != "True":
            return
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        os.environ["PAGETAPE_ON_GPU"] = "1"
        cls.addClassCleanup(os.environ.pop, "PAGETAPE_ON_GPU")
        with ThreadPoolExecutor() as pool:
            done = pool.map(lambda run: run_transformers(cls.folder.name, *run), cls.RUNS)
            cls.runs = dict(zip(cls.RUNS, done))

    def setUp(self):
        if not self.runs:
            self.skipTest("torch sees no GPU")

    def of(self, fault="", guard=""):
        """What the engine printed and logged, the notes, the report."""
        trace, printed, logged = self.runs[fault, guard]
        notes = [e["text"] for e in events(trace) if e["ev"] == "note"]
        return printed, logged, notes, verify(trace)

    def test_the_engine_as_it_is_is_clean(self):
        printed, _, notes, report = self.of()
        self.assertEqual(printed, "24 requests, 576 new tokens\n")
        self.assertEqual((report["verdict"], report["counts"], notes), ("pass", {}, []))
        self.assertGreater(report["rules"]["UNINIT_READ"]["judged"], 100)
        self.assertEqual(report["suspects"]["total"], 0)

    def test_a_cell_that_names_another_requests_block(self):
        self.assertEqual(self.of("cell")[3]["findings"][0]["rule"], "WRONG_OWNER")

    def test_the_launch_that_ends_the_context_is_a_suspect(self):
        printed, _, _, report = self.of("read")
        self.assertNotIn("576 new tokens", printed)
        [outside] = [f for f in report["findings"] if f["rule"] == "OOB_PAGE"]
        self.assertIn(outside["event"], report["suspects"]["events"])

    def test_clamp_serves_on(self):
        for fault in ("read", "write"):
            printed, _, notes, report = self.of(fault, "clamp")
            self.assertEqual(printed, "24 requests, 576 new tokens\n")
            self.assertEqual(len(notes), 1)
            self.assertIn("OOB_PAGE", report["counts"])

    def test_raise_ends_the_step_with_where_it_was(self):
        printed, logged, _, report = self.of("read", "raise")
        where = (f"a read of request {report['findings'][0]['req']}, layer 5, column 0: id "
                 "1099511627776 is outside the bound pool of 992")
        self.assertIn(where, printed + logged)
        self.assertNotIn("CUDA error", printed + logged)


if __name__ == "__main__":
    unittest.main()
