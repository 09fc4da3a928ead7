# SPDX-License-Identifier: Apache-2.0
"""Transformers' continuous batching on a GPU in CUDA graphs, and with batches that take turns."""
import os
import signal
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import run_engines as live  # noqa: E402


class TransformersInGraphs(unittest.TestCase):
    def recorded(self, fault="", **env):
        """What the engine printed, the events, the report."""
        if not live.sees_a_gpu(os.path.join(os.environ["PAGETAPE_ENGINES"], "venv/bin/python")):
            self.skipTest("torch sees no GPU")
        with tempfile.TemporaryDirectory() as folder, \
                unittest.mock.patch.dict(os.environ, PAGETAPE_ON_GPU="1", **env):
            trace, printed, _ = live.run_transformers(folder, fault)
            return printed, live.events(trace), live.verify(trace)

    def check_clean(self, printed, recorded, report):
        self.assertTrue(printed.startswith("24 requests, 576 new tokens\n"), printed)
        self.assertEqual((report["verdict"], report["counts"], report["suspects"]["total"]),
                         ("pass", {}, 0))
        kinds = [e["ev"] for e in recorded]
        self.assertFalse({"gap", "note", "dropped"} & set(kinds))
        # Every layer of every step, whether it was called or launched in a graph.
        stored, steps = {}, 0
        for one in recorded:
            if one["ev"] == "step":
                stored, steps = {}, steps + 1
            elif one["ev"] == "store":
                stored[one["layer"]] = stored.get(one["layer"], 0) + 1
            elif one["ev"] == "launch_done" or one["ev"] == "end":
                self.assertIn(set(stored.values()), (set(), {1}), steps)
                self.assertIn(len(stored), (0, 6), steps)
        self.assertEqual(kinds.count("store"), 6 * steps)
        self.assertGreater(report["rules"]["UNINIT_READ"]["judged"], 100)

    def test_graphs(self):
        self.check_clean(*self.recorded(PAGETAPE_GRAPH="1"))

    def test_batches_that_take_turns(self):
        self.check_clean(*self.recorded(PAGETAPE_ASYNC="1"))

    def test_graphs_of_batches_that_take_turns(self):
        self.check_clean(*self.recorded(PAGETAPE_GRAPH="1", PAGETAPE_ASYNC="1"))

    def test_a_cell_that_names_another_requests_block(self):
        _, _, report = self.recorded("cell", PAGETAPE_GRAPH="1")
        self.assertEqual(report["findings"][0]["rule"], "WRONG_OWNER")

    def test_the_graph_launch_that_ends_the_server_is_a_suspect(self):
        """It goes by SIGABRT, as what is left of its graphs cannot be destroyed."""
        python = os.path.join(os.environ["PAGETAPE_ENGINES"], "venv/bin/python")
        if not live.sees_a_gpu(python):
            self.skipTest("torch sees no GPU")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [live.PAGETAPE, "record", "--cupti", "none", "-o", folder, "--python",
                 os.path.join(live.ROOT, "capture/python"), "--", python, "-W", "ignore",
                 os.path.join(live.ROOT, "capture/python/drives/transformers_cb.py")],
                env=dict(os.environ, PAGETAPE_LIBRARY=live.LIBRARY, PAGETAPE_GRAPH="1",
                         PAGETAPE_PLANT="read"),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                timeout=200)
            self.assertEqual(done.returncode, 128 + signal.SIGABRT, done.stderr)
            [name] = [one for one in os.listdir(folder) if one.endswith(".ptape")]
            report = live.verify(os.path.join(folder, name))
            recorded = live.events(os.path.join(folder, name))
        [outside] = [f for f in report["findings"] if f["rule"] == "OOB_PAGE"]
        self.assertIn(outside["event"], report["suspects"]["events"])
        # The table that it reads has the entry as it was planted, and all the others.
        at, launch = outside["event"], recorded[outside["event"]]
        told = [e for e in recorded[:at] if e["ev"] == "table" and e["buffer"] == launch["table"]]
        rows = {e["row"]: e for e in told}  # The last of each.
        self.assertEqual((outside["row"], outside["column"]), (0, 0))
        self.assertTrue(all(row["row"] in rows for row in launch["rows"] if row.get("n", 1)))


if __name__ == "__main__":
    unittest.main()
