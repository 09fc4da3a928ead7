# SPDX-License-Identifier: Apache-2.0
"""SGLang's own classes and vLLM's engine with their tensors on a GPU, as run_engines.py runs them
on a CPU: the same launches, the same findings, and torch sees no call of the recorder's in a step
wait for the GPU (what the library does where a table is opened, it does not see). Skipped where
torch sees no GPU."""
import os
import re
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cached_engines as cached  # noqa: E402
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


def launches(trace, nobodys=False):
    """Lanes of a launch in no order: vLLM's runners have orders of their own. Either those of
    requests or nobody's, and launches that have some."""
    told = [(*what, sorted(repr(row) for row in rows if (row[0] is None) == nobodys))
            for *what, rows in Seen(trace).launches]
    return [one for one in told if one[-1]]


class OnAGpu:
    """Each of RUNS is recorded once, beside the others."""
    script = ""

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
    def recorded(cls, name, *arguments, **environment):
        """The trace, which stands in the place of None; what the drive printed and logged."""
        trace = os.path.join(cls.folder.name, name + ".ptape")
        done = subprocess.run(
            ["bash", os.path.join(live.ROOT, "capture/python", cls.script),
             os.environ["PAGETAPE_ENGINES"], *(trace if one is None else one for one in arguments)],
            env={**os.environ, "PAGETAPE_LIBRARY": live.LIBRARY, "PAGETAPE_ON_GPU": "1",
                 "PAGETAPE_STRICT": "1", **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600)
        if done.returncode:
            raise AssertionError(done.stdout)
        return trace, done.stdout

    def setUp(self):
        if not self.runs:
            self.skipTest("torch sees no GPU")

    def report(self, *run):
        return live.verify(self.runs[run][0])

    def kinds(self, *run):
        return {e["ev"] for e in live.events(self.runs[run][0])}

    def notes(self, *run):
        return [e["text"] for e in live.events(self.runs[run][0]) if e["ev"] == "note"]

    def test_nothing_was_left_to_copies(self):
        for run in self.runs:
            self.assertFalse({"gap", "dropped"} & self.kinds(*run), run)
            if "outside" not in run:
                self.assertEqual(self.notes(*run), [], run)


class SglangOnAGpu(OnAGpu, unittest.TestCase):
    RUNS = (("defect", "aiter", "", ""), ("fixed", "aiter", "", ""), ("fixed", "triton", "", ""),
            ("fixed", "triton", "row", ""), ("fixed", "trtllm_mha", "", ""),
            ("fixed", "trtllm_mha", "stale", ""), ("fixed", "triton", "", "clamp"),
            ("fixed", "triton", "outside", "clamp"), ("fixed", "trtllm_mha", "outside", "clamp"))
    script = "record_sglang.sh"

    @classmethod
    def record(cls, release, backend, fault, guard):
        return cls.recorded("-".join([release, backend, fault, guard]), release, None, backend,
                            fault, PAGETAPE_GUARD=guard)

    @staticmethod
    def golden(release):
        [name] = [name for name in os.listdir(live.GOLDEN)
                  if re.fullmatch(rf"sglang-.*-{release}\.ptape", name)]
        return os.path.join(live.GOLDEN, name)

    def test_launches_are_those_of_the_recordings_on_a_cpu(self):
        for release in ("defect", "fixed"):
            launches = Seen(self.runs[release, "aiter", "", ""][0]).launches
            self.assertEqual(len(launches), 272)
            self.assertEqual(launches, Seen(self.golden(release)).launches)

    def test_the_defective_release_is_found_out_as_on_a_cpu(self):
        report = self.report("defect", "aiter", "", "")
        self.assertEqual(report["verdict"], "fail")
        self.assertEqual(report["counts"], live.verify(self.golden("defect"))["counts"])
        self.assertLessEqual({"OOB_PAGE", "WRONG_SPACE", "STALE_BINDING"}, set(report["counts"]))

    def test_the_fixed_release_is_clean(self):
        for backend, launches in (("aiter", 272), ("triton", 260), ("trtllm_mha", 272)):
            report = self.report("fixed", backend, "", "")
            self.assertEqual((report["verdict"], report["counts"], report["launches"]),
                             ("pass", {}, launches))
            self.assertGreater(report["rules"]["UNINIT_READ"]["judged"], 100)

    def test_trtllm_mha_with_the_fact_it_once_cached(self):
        self.assertEqual(set(self.report("fixed", "trtllm_mha", "stale", "")["counts"]), {
            "OOB_PAGE", "WRONG_SPACE", "STALE_BINDING", "FREED_PAGE", "WRONG_OWNER"})

    def test_a_row_that_names_another_requests_page(self):
        report = self.report("fixed", "triton", "row", "")
        self.assertEqual(set(report["counts"]), {"WRONG_OWNER"})
        self.assertEqual({(f["layer"], f["req"]) for f in report["findings"]}, {(5, "A")})

    def test_a_guard_that_finds_nothing_changes_nothing(self):
        guarded, plain = (Seen(self.runs["fixed", "triton", "", guard][0]).launches
                          for guard in ("clamp", ""))
        self.assertEqual(guarded, plain)

    def test_no_kernel_is_given_an_index_that_would_end_the_process(self):
        for backend, bound in (("triton", 1344), ("trtllm_mha", 21)):
            run = "fixed", backend, "outside", "clamp"
            self.assertEqual(self.notes(*run), [
                "guard clamp: a read of request A, layer 5, column 1: id 16777216 is outside the "
                f"bound pool of {bound}; entries outside: 1"])

    def test_the_recorder_waits_in_no_step(self):
        for run in self.RUNS:
            if run[2] != "outside":  # Whose entry it is may be asked of the GPU.
                self.assertIn("the recorder waited 0 times", self.runs[run][1], run)


class SglangDecodesOnAGpu(OnAGpu, unittest.TestCase):
    """Steps of 64 requests, called and in a CUDA graph, each with a row that once names another
    request's page. The drive ends where any call in a step waits, the engine's own too."""
    RUNS = (("", ""), ("", "row"), ("1", ""), ("1", "row"))
    script = "record_sglang.sh"

    @classmethod
    def record(cls, graph, fault):
        return cls.recorded("decode" + graph + fault, "fixed", None, "trtllm_mha", fault,
                            PAGETAPE_DRIVE="sglang_decode.py", PAGETAPE_GRAPH=graph)

    def test_nothing_waits_in_a_step(self):
        for (graph, _), (_, printed) in self.runs.items():
            self.assertIn("42 layers, in a graph, " if graph else "42 layers, recorded", printed)
            self.assertIn("; nothing waited", printed)

    def test_decode_steps_of_many_requests_are_clean(self):
        for graph in ("", "1"):
            report = self.report(graph, "")
            self.assertEqual((report["verdict"], report["counts"]), ("pass", {}))
            self.assertGreater(report["launches"], 5000)

    def test_a_graphs_launches_read_what_calls_read(self):
        """Each of them with its own tables, which a kernel in the graph builds, and two padding
        lanes more. Before the capture the layers are called once, for nobody."""
        for fault in ("", "row"):
            called, in_a_graph = (Seen(self.runs[graph, fault][0]).launches for graph in ("", "1"))
            launched, of_nobody, padded = [], 0, set()
            for *what, rows in in_a_graph:
                requests = [row for row in rows if row[0] is not None]
                of_nobody += not requests
                if requests:
                    prompt = what[0] == "attention" and any(row[2] > 1 for row in requests)
                    padding = len(rows) - len(requests)
                    self.assertIn(padding, (0, 2))
                    padded.add((prompt, padding))
                    launched.append((*what, requests))
            self.assertEqual(of_nobody, 2 * 42)
            self.assertIn((False, 2), padded)
            self.assertNotIn((True, 2), padded)
            self.assertEqual(launched, called)

    def test_a_row_that_names_another_requests_page(self):
        for graph in ("", "1"):
            report = self.report(graph, "row")
            self.assertEqual(set(report["counts"]), {"WRONG_OWNER"})
            self.assertEqual({(f["step"], f["req"]) for f in report["findings"]}, {(30, "r0")})
            self.assertEqual({f["layer"] for f in report["findings"]}, {5, 11, 17, 23, 29, 35, 41})


class SglangCachesOnAGpu(OnAGpu, unittest.TestCase):
    """Its prefix caches, a session's requests, and a server that decodes what others prefilled:
    what becomes of each page is told as it is on a CPU, of pages that several hold, too."""
    RUNS = cached.DRIVEN
    script = "record_sglang.sh"

    @classmethod
    def record(cls, drive, cache, page, fault):
        return cls.recorded(cached.name_of(drive, cache, page, fault), "fixed", None, "", fault,
                            PAGETAPE_DRIVE=f"sglang_{drive}.py", PAGETAPE_CACHE=cache,
                            PAGETAPE_PAGE=page)

    def test_what_becomes_of_each_page_is_told_as_on_a_cpu(self):
        for run in self.RUNS:
            there = cached.histories(self.runs[run][0])
            self.assertGreater(len(there), 5, run)
            self.assertEqual(there, cached.histories(cached.shipped(*run)), run)

    def test_several_hold_a_page(self):
        for run in self.RUNS:
            there = cached.histories(self.runs[run][0])
            shared = {one[1] for told in there.values() for one in told if one[0] == "share"}
            self.assertEqual(bool(shared - {"#cache"}), run[0] != "decode_server", run)

    def test_what_it_does_is_clean_and_judged(self):
        for run in self.RUNS:
            report = self.report(*run)
            if run[3]:
                first = report["findings"][0]
                self.assertEqual((first["rule"], first["req"]), ("FREED_PAGE", "E"))
                continue
            self.assertEqual((report["verdict"], report["counts"]), ("pass", {}), run)
            for rule in ("WRONG_OWNER", "FREED_PAGE", "ALIASED_WRITE", "UNINIT_READ", "FREELIST"):
                self.assertGreater(report["rules"][rule]["judged"], 0, (run, rule))


class VllmOnAGpu(OnAGpu, unittest.TestCase):
    """EngineCore itself, its attention the Triton backend's: with the drive's drafts and without, a
    step ahead, with a fault planted, and with an id outside the pool under guard."""
    RUNS = (("", ""), ("plain", ""), ("plain", "clamp"), ("async", ""), ("cell", ""), ("slot", ""),
            ("table", ""), ("outside", "clamp"), ("outside", "raise"))
    script = "record_vllm.sh"
    where = r"a read of request r\d+, layer model.layers.5.self_attn.attn, column 0: id 16777216 " \
        "is outside the bound pool of 60"

    @classmethod
    def record(cls, what, guard):
        return cls.recorded("-".join(["vllm", what, guard]), None, what, PAGETAPE_GUARD=guard)

    def findings(self, what):
        return self.report(what, "")["findings"]

    def test_launches_are_those_of_the_recording_on_a_cpu(self):
        """Without drafts: which of these are accepted is the model's, whose weights are drawn where
        they stand."""
        recorded = Seen(os.path.join(live.GOLDEN, "vllm-0.32.0-plain.ptape")).launches
        self.assertGreater(len(recorded), 1000)
        for guard in ("", "clamp"):
            self.assertEqual(Seen(self.runs["plain", guard][0]).launches, recorded)

    def test_the_engine_as_it_is_is_clean(self):
        for what in ("", "plain", "async"):
            report = self.report(what, "")
            self.assertEqual((report["verdict"], report["counts"]), ("pass", {}))
            for rule in live.LiveVllm.judged:
                self.assertGreater(report["rules"][rule]["judged"], 100, rule)

    def test_a_cell_that_names_another_requests_block(self):
        self.assertEqual([(f["rule"], f["layer"]) for f in self.findings("cell")],
                         [("WRONG_OWNER", 5)])

    def test_a_token_stored_in_another_requests_block(self):
        findings = self.findings("slot")
        self.assertEqual((findings[0]["rule"], findings[0]["layer"]), ("WRONG_OWNER", 5))
        self.assertEqual({f["rule"] for f in findings[1:]}, {"UNINIT_READ"})

    def test_a_layer_that_gets_another_groups_table(self):
        findings = self.findings("table")
        self.assertEqual({(f["rule"], f["layer"]) for f in findings}, {("WRONG_SPACE", 0)})
        self.assertEqual(len({f["event"] for f in findings}), 1)

    def test_an_id_outside_the_pool_reaches_no_kernel(self):
        notes, report = self.notes("outside", "clamp"), self.report("outside", "clamp")
        self.assertNotIn("gave up", self.runs["outside", "clamp"][1])
        self.assertEqual((len(notes), set(report["counts"])), (1, {"OOB_PAGE"}))
        self.assertRegex(notes[0], f"guard clamp: {self.where}; entries outside: 1")
        self.assertRegex(self.runs["outside", "raise"][1],
                         f"the engine gave up: OutOfBounds: {self.where}")

    def test_the_recorder_waits_in_no_step(self):
        for run in self.RUNS:
            if run[0] != "outside":  # Whose entry it is may be asked of the GPU.
                own, others = re.search(r"the recorder waited (\d+) times, others (\d+)",
                                        self.runs[run][1]).groups()
                self.assertEqual(own, "0", run)
                if run[0] != "async":  # The engine itself, once a step: what waits is seen.
                    self.assertGreater(int(others), 0, run)


class VllmRunnersOnAGpu(OnAGpu, unittest.TestCase):
    """Model runner V2, and decoding steps of both runners in CUDA graphs."""
    RUNS = (("2", "", "plain"), ("2", "", "cell"), *((runner, "1", what) for runner in "12"
                                                     for what in ("plain", "", "cell", "pad")))
    script = "record_vllm.sh"

    @classmethod
    def record(cls, runner, graph, what):
        return cls.recorded("-".join(["vllm", runner, graph, what]), None, what,
                            PAGETAPE_RUNNER=runner, PAGETAPE_GRAPH=graph)

    def test_launches_are_those_of_the_recording_on_a_cpu(self):
        shipped = launches(os.path.join(live.GOLDEN, "vllm-0.32.0-plain.ptape"))
        for run in self.RUNS:
            if run[2] == "plain":
                self.assertEqual(launches(self.runs[run][0]), shipped, run)

    def test_graphs_have_padding_that_is_nobodys(self):
        for runner in "12":
            padding = launches(self.runs[runner, "1", "plain"][0], nobodys=True)
            self.assertGreater(len(padding), 100)
            self.assertLessEqual({row for *_, rows in padding for row in rows}, {
                "(None, 0, 1, 0, [])", *(repr((None, [-1] * n)) for n in range(1, 8))})

    def test_the_engine_as_it_is_is_clean(self):
        for run in self.RUNS:
            if run[2] in ("", "plain"):
                report = self.report(*run)
                self.assertEqual((report["verdict"], report["counts"], report["suspects"]["total"]),
                                 ("pass", {}, 0), run)
                for rule in live.LiveVllm.judged:
                    self.assertGreater(report["rules"][rule]["judged"], 100, (rule, run))

    def test_a_cell_that_names_another_requests_block(self):
        for run in self.RUNS:
            if run[2] == "cell":
                self.assertEqual([(f["rule"], f["layer"]) for f in self.report(*run)["findings"]],
                                 [("WRONG_OWNER", 5)], run)

    def test_padding_that_is_stored_in_a_requests_block(self):
        for runner in "12":
            findings = self.report(runner, "1", "pad")["findings"]
            self.assertEqual([(f["rule"], f["layer"], f["req"]) for f in findings],
                             [("PAD_LANE", 5, None)])

    def test_the_recorder_waits_in_no_step(self):
        for run in self.RUNS:
            self.assertIn("the recorder waited 0 times", self.runs[run][1], run)


if __name__ == "__main__":
    unittest.main()
