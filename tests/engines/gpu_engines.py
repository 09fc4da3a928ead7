# SPDX-License-Identifier: Apache-2.0
"""SGLang's own classes with their tensors on a GPU, as run_engines.py runs them on a CPU: the same
launches, the same findings, and no call of the recorder's in a step waits for the GPU. Skipped
where torch sees none."""
import os
import re
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import run_engines as live  # noqa: E402


class Seen:
    """What the launches of a trace read and store, whatever the form in which it is told."""

    def __init__(self, trace):
        self._buffers = {}  # of tables by row, of lengths and slots
        self._pools = {}
        self.launches = []
        for event in live.events(trace):
            getattr(self, "_" + event["ev"], lambda _event: None)(event)

    def _pool(self, event):
        self._pools[event["pool"]] = event["page_size"]

    def _values(self, *buffer):
        return self._buffers.setdefault(buffer, {})

    def _table(self, event):
        self._values(event["buffer"], event["row"]).update(
            enumerate(event["pages"], event.get("col", 0)))

    def _lens(self, event):
        self._values(event["buffer"]).update(enumerate(event["values"], event.get("row", 0)))

    _slots = _lens

    def _attention(self, event):
        size = event.get("page_size", self._pools[event["bound"]["pool"]])
        rows = []
        for row in event["rows"]:
            length = row.get("len")
            if length is None:
                length = self._values(event["lens"])[row["row"]]
            pages = row.get("pages")
            if pages is None:
                cells = self._values(event["table"], row["row"])
                pages = [cells.get(i) for i in range(row.get("n", -(-length // size)))]
            rows.append((row["req"], length, row.get("q_len", 1), row.get("first") or 0, pages))
        self._add(event, rows)

    def _store(self, event):
        rows = []
        for row in event["rows"]:
            slots = row.get("slots")
            if slots is None:
                held = self._values(event["slots"])
                slots = [held[i] for i in range(row["row"], row["row"] + row["n"])]
            rows.append((row["req"], slots))
        self._add(event, rows)

    def _add(self, event, rows):
        what = [event.get(name) for name in ("ev", "backend", "layer", "space", "window", "mode")]
        self.launches.append((*what, event["bound"]["pool"], event["bound"]["pages"], rows))


class SglangOnAGpu(unittest.TestCase):
    RUNS = (("defect", "aiter", ""), ("fixed", "aiter", ""), ("fixed", "triton", ""),
            ("fixed", "triton", "row"), ("fixed", "trtllm_mha", ""),
            ("fixed", "trtllm_mha", "stale"), ("fixed", "trtllm_mha", "decode"))

    @classmethod
    def setUpClass(cls):
        cls.runs = {}
        if not live.sees_a_gpu(os.path.join(os.environ["PAGETAPE_ENGINES"], "venv/bin/python")):
            return
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        with ThreadPoolExecutor() as pool:
            cls.runs = dict(zip(cls.RUNS, pool.map(lambda run: cls.record(*run), cls.RUNS)))

    @classmethod
    def record(cls, release, backend, fault):
        """The trace, what the drive printed and logged."""
        trace = os.path.join(cls.folder.name, "-".join([release, backend, fault]) + ".ptape")
        environment = dict(os.environ, PAGETAPE_LIBRARY=live.LIBRARY, PAGETAPE_ON_GPU="1",
                           PAGETAPE_STRICT="1")
        if fault == "decode":
            environment["PAGETAPE_DRIVE"], fault = "sglang_decode.py", ""
        done = subprocess.run(
            ["bash", os.path.join(live.ROOT, "capture/python/record_sglang.sh"),
             os.environ["PAGETAPE_ENGINES"], release, trace, backend, fault],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=600)
        if done.returncode:
            raise AssertionError(done.stdout)
        return trace, done.stdout

    def setUp(self):
        if not self.runs:
            self.skipTest("torch sees no GPU")

    def report(self, *run):
        return live.verify(self.runs[run][0])

    @staticmethod
    def golden(release):
        [name] = [name for name in os.listdir(live.GOLDEN)
                  if re.fullmatch(rf"sglang-.*-{release}\.ptape", name)]
        return os.path.join(live.GOLDEN, name)

    def test_launches_are_those_of_the_recordings_on_a_cpu(self):
        for release in ("defect", "fixed"):
            launches = Seen(self.runs[release, "aiter", ""][0]).launches
            self.assertEqual(len(launches), 272)
            self.assertEqual(launches, Seen(self.golden(release)).launches)

    def test_the_defective_release_is_found_out_as_on_a_cpu(self):
        report = self.report("defect", "aiter", "")
        self.assertEqual(report["verdict"], "fail")
        self.assertEqual(report["counts"], live.verify(self.golden("defect"))["counts"])
        self.assertLessEqual({"OOB_PAGE", "WRONG_SPACE", "STALE_BINDING"}, set(report["counts"]))

    def test_the_fixed_release_is_clean(self):
        for backend, launches in (("aiter", 272), ("triton", 260), ("trtllm_mha", 272)):
            report = self.report("fixed", backend, "")
            self.assertEqual((report["verdict"], report["counts"], report["launches"]),
                             ("pass", {}, launches))
            self.assertGreater(report["rules"]["UNINIT_READ"]["judged"], 100)

    def test_trtllm_mha_with_the_fact_it_once_cached(self):
        self.assertEqual(set(self.report("fixed", "trtllm_mha", "stale")["counts"]), {
            "OOB_PAGE", "WRONG_SPACE", "STALE_BINDING", "FREED_PAGE", "WRONG_OWNER"})

    def test_a_row_that_names_another_requests_page(self):
        report = self.report("fixed", "triton", "row")
        self.assertEqual(set(report["counts"]), {"WRONG_OWNER"})
        self.assertEqual({(f["layer"], f["req"]) for f in report["findings"]}, {(5, "A")})

    def test_the_recorder_waits_in_no_step(self):
        for run in self.RUNS:
            printed = self.runs[run][1]
            # The drive of decode steps ends where any call waits, the engine's own too.
            wanted = "; nothing waited" if run[2] == "decode" else "the recorder waited 0 times"
            self.assertIn(wanted, printed)

    def test_decode_steps_of_many_requests_are_clean(self):
        report = self.report("fixed", "trtllm_mha", "decode")
        self.assertEqual((report["verdict"], report["counts"]), ("pass", {}))
        self.assertGreater(report["launches"], 5000)

    def test_nothing_was_left_to_copies(self):
        for trace, _ in self.runs.values():
            kinds = {e["ev"] for e in live.events(trace)}
            self.assertFalse({"note", "gap", "dropped"} & kinds)


if __name__ == "__main__":
    unittest.main()
