# SPDX-License-Identifier: Apache-2.0
"""vLLM's model runner V2, and CUDA graphs of both runners that hold attention, on a CPU, where
Triton's kernels are interpreted and a graph is a call that is made again (vllm_graphs_on_cpu.py).
What the launches are is known: those of the recording of V1 without graphs."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import run_engines as live  # noqa: E402
from gpu_engines import launches  # noqa: E402


class Recorded:
    """Recordings by runner, in graphs or not, and by what the drive plants; each is made once."""
    environment = {}
    shipped = os.path.join(live.GOLDEN, "vllm-0.32.0-plain.ptape")

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.runs = {}

    def recorded(self, what, **environment):
        """The trace and what the drive printed."""
        environment = {**self.environment, **environment}
        key = (what, *environment.items())
        if key not in self.runs:
            trace = os.path.join(self.folder.name, f"{len(self.runs)}.ptape")
            done = subprocess.run(
                ["bash", os.path.join(live.ROOT, "capture/python/record_vllm.sh"),
                 os.environ["PAGETAPE_ENGINES"], trace, what],
                env=dict(os.environ, PAGETAPE_LIBRARY=live.LIBRARY, **environment),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                timeout=1500)
            if done.returncode:
                raise AssertionError(done.stderr)
            self.runs[key] = trace, done.stdout
        return self.runs[key]

    def check_clean(self, what, **environment):
        trace, _ = self.recorded(what, **environment)
        report = live.verify(trace)
        self.assertEqual((report["verdict"], report["counts"]), ("pass", {}))
        for rule in live.LiveVllm.judged:
            self.assertGreater(report["rules"][rule]["judged"], 100, rule)
        self.assertFalse({"gap", "note"} & {e["ev"] for e in live.events(trace)})
        return trace

    def findings(self, what, **environment):
        return live.verify(self.recorded(what, **environment)[0])["findings"]

    def check_cell(self, **environment):
        self.assertEqual([(f["rule"], f["layer"]) for f in self.findings("cell", **environment)],
                         [("WRONG_OWNER", 5)])

    def check_slot(self, **environment):
        first, *others = self.findings("slot", **environment)
        self.assertEqual((first["rule"], first["layer"]), ("WRONG_OWNER", 5))
        # What should have been written there was not.
        self.assertEqual({f["rule"] for f in others}, {"UNINIT_READ"})


class VllmRunnerV2(Recorded, unittest.TestCase):
    environment = {"PAGETAPE_RUNNER": "2"}

    def test_its_launches_are_those_of_v1(self):
        trace = self.check_clean("plain")
        self.assertEqual(launches(trace), launches(self.shipped))
        self.assertEqual(live.verify(trace)["launches"], 2436)
        self.assertEqual(live.verify(trace)["suspects"]["total"], 0)

    def test_drafts_are_accepted_and_rejected(self):
        told = [(e["drafted"], e["accepted"]) for e in live.events(self.check_clean(""))
                if e["ev"] == "accept"]
        self.assertTrue(any(accepted for _, accepted in told))
        self.assertTrue(any(accepted < drafted for drafted, accepted in told))

    def test_a_draft_model_gets_its_own_groups_table(self):
        trace = self.check_clean("draft")
        self.assertTrue([e for e in live.events(trace) if e["ev"] == "attention"
                         and str(e["layer"]).startswith("draft_model")])

    @unittest.skipUnless(live.LONG, "as without being ahead: with PAGETAPE_LONG=1")
    def test_a_scheduler_that_is_a_step_ahead_is_clean(self):
        self.check_clean("async")

    def test_a_cell_that_names_another_requests_block(self):
        self.check_cell()

    def test_a_token_stored_in_another_requests_block(self):
        self.check_slot()

    def test_a_layer_that_gets_another_groups_table(self):
        findings = self.findings("table")
        self.assertEqual({(f["rule"], f["layer"]) for f in findings}, {("WRONG_SPACE", 0)})
        self.assertEqual(len({f["event"] for f in findings}), 1)

    def test_a_block_freed_under_a_request_that_goes_on(self):
        findings = self.findings("freed")
        self.assertEqual((findings[0]["rule"], findings[0]["layer"]), ("FREED_PAGE", 5))

    def test_an_id_outside_the_pool_reaches_no_kernel(self):
        where = r"a read of request r\d+, layer model.layers.5.self_attn.attn, column 0: id " \
            "16777216 is outside the bound pool of 60"
        trace, printed = self.recorded("outside", PAGETAPE_GUARD="clamp")
        notes = [e["text"] for e in live.events(trace) if e["ev"] == "note"]
        self.assertNotIn("gave up", printed)
        self.assertEqual(len(notes), 1)
        self.assertRegex(notes[0], f"guard clamp: {where}; entries outside: 1")
        _, printed = self.recorded("outside", PAGETAPE_GUARD="raise")
        self.assertRegex(printed, f"the engine gave up: OutOfBounds: {where}")


class VllmGraphs(Recorded):
    def test_launches_are_those_of_calls(self):
        trace = self.check_clean("plain")
        self.assertEqual(launches(trace), launches(self.shipped))
        _, printed = self.recorded("plain")
        steps, graphs = re.search(r"(\d+) steps, (\d+) in a graph", printed).groups()
        self.assertGreater(int(graphs), int(steps) // 2)
        self.assertEqual(live.verify(trace)["rules"]["GRAPH_STALE"]["judged"], int(graphs))

    def test_what_is_compared_as_on_a_gpu_is_the_same(self):
        """With the lanes that the scheduler asked for, and lengths that are compared, too."""
        trace = self.check_clean("plain", PAGETAPE_COMPARED="1")
        self.assertEqual(launches(trace), launches(self.shipped))
        self.assertEqual(launches(trace, nobodys=True),
                         launches(self.recorded("plain")[0], nobodys=True))
        self.assertTrue(all("lens" in e for e in live.events(trace) if e["ev"] == "attention"))

    def test_padding_is_nobodys_and_neither_read_nor_written(self):
        trace = self.recorded("plain")[0]
        padding = [row for *what, rows in launches(trace, nobodys=True) for row in rows]
        self.assertGreater(len(padding), 100)
        self.assertLessEqual(set(padding), {"(None, 0, 1, 0, [])", *(
            repr((None, [-1] * n)) for n in range(1, 8))})

    def test_drafts_are_clean(self):
        self.check_clean("")

    def test_a_cell_that_names_another_requests_block(self):
        self.check_cell()

    @unittest.skipUnless(live.LONG, "as a cell: with PAGETAPE_LONG=1")
    def test_a_token_stored_in_another_requests_block(self):
        self.check_slot()

    def test_padding_that_is_stored_in_a_requests_block(self):
        self.assertEqual([(f["rule"], f["layer"], f["req"]) for f in self.findings("pad")],
                         [("PAD_LANE", 5, None)])


    def test_a_table_that_the_runner_has_left(self):
        findings = self.findings("moved")
        self.assertEqual((findings[0]["rule"], findings[0]["object"]),
                         ("GRAPH_STALE", "runner0.group5.memory"))
        # What it reads there is of the steps before.
        self.assertEqual({f["layer"] for f in findings if f["layer"] is not None}, {5})


class VllmGraphsOfV1(VllmGraphs, unittest.TestCase):
    environment = {"PAGETAPE_GRAPH": "1"}


class VllmGraphsOfV2(VllmGraphs, unittest.TestCase):
    environment = {"PAGETAPE_GRAPH": "1", "PAGETAPE_RUNNER": "2"}


if __name__ == "__main__":
    unittest.main()
