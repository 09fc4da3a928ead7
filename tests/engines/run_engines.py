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
LONG = os.environ.get("PAGETAPE_LONG") == "1"  # Every combination; else one of a kind.


def script(name, folder, out, *arguments):
    out = os.path.join(folder, out + ".ptape")
    subprocess.run(
        ["bash", os.path.join(ROOT, "capture/python", name), os.environ["PAGETAPE_ENGINES"],
         *[out if one is None else one for one in arguments]],
        env=dict(os.environ, PAGETAPE_LIBRARY=LIBRARY), check=True, timeout=1500)
    return out


def record(release, folder, backend="aiter", fault=""):
    out = "-".join([release, backend, fault])
    return script("record_sglang.sh", folder, out, release, None, backend, fault)


def run_transformers(folder, fault="", guard="", drive="transformers_cb.py"):
    """The trace, what the engine printed and what it logged."""
    out = os.path.join(folder, "%s-%s%s.ptape" % (drive[:-3], fault or "clean", guard))
    done = subprocess.run(
        ["bash", os.path.join(ROOT, "capture/python/record_transformers.sh"),
         os.environ["PAGETAPE_ENGINES"], out, fault],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ, PAGETAPE_LIBRARY=LIBRARY, PAGETAPE_GUARD=guard, PAGETAPE_DRIVE=drive),
        check=True, timeout=600)
    return out, done.stdout, done.stderr


def record_transformers(folder, fault=""):
    return run_transformers(folder, fault)[0]


def record_vllm(folder, what=""):
    return script("record_vllm.sh", folder, "vllm-" + what, None, what)


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


# not_in() of lists of ids, each once: a part cut out of one, or all in another order as well.
NOT_IN = """
import random
import torch
from pagetape.sglang_tensors import not_in

draw = random.Random(7)
for case in range(400):
    these = draw.sample(range(-5, 500), draw.randrange(60))
    begin, end = sorted(draw.choices(range(len(these) + 1), k=2))
    others = these[:begin] + these[end:]
    if case % 4 == 0:
        draw.shuffle(others)
    if case % 8 == 0:
        others += [600, 601]
    found = not_in(torch.tensor(these, dtype=torch.int64), torch.tensor(others, dtype=torch.int64))
    assert found == these[begin:end], (these, others, found)
print(case + 1, "lists")
"""


class LiveSglangBackends(unittest.TestCase):
    """The backends that no release has the defect in: metadata and routing their own, the Triton
    backend's attention kernels in Triton's interpreter, those of trtllm_mha stand-ins."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def clean(self, backend, launches):
        trace = record("fixed", self.folder, backend)
        report = verify(trace)
        self.assertEqual(report["verdict"], "pass")
        self.assertEqual(report["launches"], launches)
        recorded = [e for e in events(trace) if e["ev"] == "attention"]
        # Both index spaces, by target and draft, and the sliding layers with their window.
        self.assertEqual({(e["backend"], e["space"], "window" in e) for e in recorded},
                         {(b, s, s == "swa0") for b in ("backend0", "backend1")
                          for s in ("full0", "swa0")})
        return recorded

    def found(self, backend, fault):
        return verify(record("fixed", self.folder, backend, fault))

    def test_page_lists_are_compared_by_what_was_cut_out_or_put_in(self):
        done = subprocess.run(
            [os.path.join(os.environ["PAGETAPE_ENGINES"], "venv/bin/python"), "-c", NOT_IN],
            env=dict(os.environ, PYTHONPATH=os.path.join(ROOT, "capture/python")),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "400 lists\n"))

    def test_triton_is_clean(self):
        recorded = self.clean("triton", 260)
        self.assertEqual({e["kernel"] for e in recorded},
                         {"decode_attention_fwd", "extend_attention_fwd"})

    def test_trtllm_mha_is_clean(self):
        recorded = self.clean("trtllm_mha", 272)
        self.assertEqual({e["kernel"] for e in recorded}, {
            "trtllm_batch_decode_with_kv_cache", "trtllm_batch_context_with_kv_cache"})

    def test_trtllm_mha_with_the_fact_it_once_cached(self):
        report = self.found("trtllm_mha", "stale")
        self.assertEqual(set(report["counts"]), {"OOB_PAGE", "WRONG_SPACE", "STALE_BINDING",
                                                 "FREED_PAGE", "WRONG_OWNER"})
        self.assertEqual({f["backend"] for f in report["findings"]}, {"backend1"})
        outside = [f for f in report["findings"] if f["rule"] == "OOB_PAGE"]
        self.assertEqual(outside[0]["page"], outside[0]["bound"])

    def test_a_row_that_names_another_requests_page(self):
        for backend in ("triton", "trtllm_mha"):
            report = self.found(backend, "row")
            self.assertEqual(set(report["counts"]), {"WRONG_OWNER"}, backend)
            self.assertEqual({(f["layer"], f["req"]) for f in report["findings"]}, {(5, "A")})
            self.assertEqual(len({f["event"] for f in report["findings"]}), 1)


class LiveEngine:
    """An engine recorded once as it is, and anew with each fault planted from outside."""
    judged = ("OOB_PAGE", "WRONG_SPACE", "STALE_BINDING", "SHORT_TABLE", "FREED_PAGE",
              "WRONG_OWNER", "ALIASED_WRITE", "UNINIT_READ", "FREELIST")

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.clean = cls.record(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def planted(self, fault):
        report = verify(self.record(self.folder.name, fault))
        self.assertEqual(report["verdict"], "fail")
        return report

    def test_the_engine_as_it_is_is_clean(self):
        report = verify(self.clean)
        self.assertEqual(report["verdict"], "pass")
        self.assertEqual(report["counts"], {})
        for rule in self.judged:
            self.assertGreater(report["rules"][rule]["judged"], 100, rule)


class LiveVllm(LiveEngine, unittest.TestCase):
    """EngineCore itself: a small random model on the CPU."""
    record = staticmethod(record_vllm)
    judged = LiveEngine.judged + ("WINDOW_EVICTED",)

    def test_the_recording_holds_what_the_engine_did(self):
        recorded = events(self.clean)
        kinds = {e["ev"] for e in recorded}
        self.assertLessEqual({"alloc", "free", "evict", "share", "prefix_key", "prefix_hit",
                              "prefix_drop", "accept", "rewind"}, kinds)
        # No step went by unseen, and no hook was left out.
        self.assertFalse({"gap", "note"} & kinds)
        states = {e["state"] for e in recorded if e["ev"] == "request"}
        self.assertEqual(states, {"arrive", "run", "preempt", "resume", "finish", "abort"})
        pools = {e["pool"]: e for e in recorded if e["ev"] == "pool"}
        self.assertEqual(len(pools), 6)
        self.assertEqual({e["allocator"] for e in pools.values()}, {"blocks"})
        launches = [e for e in recorded if e["ev"] == "attention"]
        self.assertEqual({e["layer"] for e in launches}, set(range(6)))
        for one in launches:
            self.assertEqual(one["space"], one["bound"]["pool"])
            self.assertEqual(one.get("window"), 40 if pools[one["space"]]["kind"] == "swa"
                             else None)

    def test_drafts_are_accepted_and_rejected(self):
        drafts = [(e["drafted"], e["accepted"]) for e in events(self.clean) if e["ev"] == "accept"]
        self.assertTrue(any(accepted for _, accepted in drafts))
        self.assertTrue(any(accepted < drafted for drafted, accepted in drafts))

    def test_launches_whose_output_was_read_are_complete(self):
        self.assertEqual(verify(self.clean)["suspects"]["total"], 0)

    def test_no_token_is_in_the_recording(self):
        keys = [e["key"] for e in events(self.clean) if e["ev"] == "prefix_key"]
        self.assertTrue(all(len(key) == 16 for key in keys))
        fields = {name for e in events(self.clean) for name in e}
        self.assertFalse([name for name in fields if "token" in name or "prompt" in name])

    def test_a_scheduler_that_is_a_step_ahead_is_clean(self):
        report = verify(record_vllm(self.folder.name, "async"))
        self.assertEqual((report["verdict"], report["counts"]), ("pass", {}))
        self.assertGreater(report["launches"], 1000)

    def test_the_recording_without_drafts_is_the_one_that_is_shipped(self):
        """But for keys: a processor's arithmetic decides between tokens about alike."""
        shipped = os.path.join(GOLDEN, "vllm-0.32.0-plain.ptape")
        told, expected = ([{**e, "key": None} for e in events(trace)]
                          for trace in (record_vllm(self.folder.name, "plain"), shipped))
        self.assertEqual(told, expected)

    def test_a_draft_model_gets_another_groups_table(self):
        findings = self.planted("draft")["findings"]
        self.assertEqual(findings[0]["rule"], "WRONG_SPACE")
        self.assertEqual({str(f["layer"]).split(".")[0] for f in findings}, {"draft_model"})

    def test_a_draft_model_with_its_own_groups_table_is_clean(self):
        trace = record_vllm(self.folder.name, "group")
        self.assertEqual(verify(trace)["verdict"], "pass")
        self.assertTrue([e for e in events(trace) if e["ev"] == "attention"
                         and str(e["layer"]).startswith("draft_model")])

    def test_a_cell_that_names_another_requests_block(self):
        findings = self.planted("cell")["findings"]
        self.assertEqual([(f["rule"], f["layer"]) for f in findings], [("WRONG_OWNER", 5)])

    def test_a_token_stored_in_another_requests_block(self):
        findings = self.planted("slot")["findings"]
        self.assertEqual((findings[0]["rule"], findings[0]["layer"]), ("WRONG_OWNER", 5))
        # What should have been written there was not.
        self.assertEqual({f["rule"] for f in findings[1:]}, {"UNINIT_READ"})

    def test_a_block_freed_under_a_request_that_goes_on(self):
        findings = self.planted("freed")["findings"]
        self.assertEqual(findings[0]["rule"], "FREED_PAGE")
        self.assertEqual({f["layer"] for f in findings}, {5})

    def test_a_block_that_is_given_out_twice(self):
        findings = self.planted("twice")["findings"]
        self.assertEqual(findings[0]["rule"], "ALIASED_WRITE")

    def test_a_layer_that_gets_another_groups_table(self):
        findings = self.planted("table")["findings"]
        self.assertEqual({(f["rule"], f["layer"]) for f in findings}, {("WRONG_SPACE", 0)})
        self.assertEqual(len({f["event"] for f in findings}), 1)


class LiveTransformers(LiveEngine, unittest.TestCase):
    """generate_batch itself: a small random model on the CPU."""
    record = staticmethod(record_transformers)

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

    # --- lists that are compared where they are, as on a GPU

    def test_lists_compared_where_they_are_tell_the_same(self):
        tables = run_transformers(self.folder.name, drive="transformers_tables.py")[0]
        report, copied = verify(tables), verify(self.clean)
        self.assertEqual((report["verdict"], report["counts"]), ("pass", {}))
        for rule in self.judged:
            self.assertEqual(report["rules"][rule]["judged"], copied["rules"][rule]["judged"], rule)

        def launches(trace):
            return [(e["ev"], e["layer"], e["space"], e["bound"],
                     [(row["req"], row.get("len"), row["n"]) for row in e["rows"]])
                    for e in events(trace) if e["ev"] in ("attention", "store")]

        self.assertEqual(launches(tables), launches(self.clean))

    def test_faults_are_found_in_lists_compared_where_they_are(self):
        def found(fault):
            return verify(run_transformers(self.folder.name, fault,
                                           drive="transformers_tables.py")[0])["findings"]

        self.assertEqual(found("cell")[0]["rule"], "WRONG_OWNER")
        self.assertEqual({(f["rule"], f["layer"]) for f in found("table")}, {("WRONG_SPACE", 0)})

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
            printed, logged, notes, findings = self.guarded(fault, "clamp")
            self.assertEqual(printed, "24 requests, 576 new tokens\n", logged)
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


def sees_a_gpu(python):
    seen = subprocess.run([python, "-c", "import torch; print(torch.cuda.is_available())"],
                          stdout=subprocess.PIPE, text=True, check=False)
    return seen.stdout.strip() == "True"


class TransformersOnAGpu(unittest.TestCase):
    """The same engine with its tensors on a GPU, where an index beyond the pool ends it."""

    RUNS = (("", ""), ("cell", ""), ("read", ""), ("read", "raise"), ("read", "clamp"),
            ("write", "clamp"))

    @classmethod
    def setUpClass(cls):
        python = os.path.join(os.environ["PAGETAPE_ENGINES"], "venv/bin/python")
        cls.runs = {}
        if not sees_a_gpu(python):
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


# CUDA is initialised, then the process forks: in the child CUDA is lost, the parent goes on.
FORK = """
import ctypes
import os
import torch
from pagetape.recording import open_recorder

numbers = torch.ones(1 << 20, device="cuda")
print(int((numbers * 2).sum().item()) >> 20, flush=True)
child = os.fork()
if child == 0:
    refused = ctypes.CDLL("libcuda.so.1").cuCtxSynchronize() != 0
    recorder = open_recorder(os.environ["PAGETAPE_OUT"])
    recorder.emit("header", format=1, engine="the child")
    recorder.emit("note", text="of the child")
    refused = ctypes.CDLL("libcuda.so.1").cuCtxSynchronize() != 0 and refused
    recorder.close()
    os._exit(0 if refused else 1)  # As multiprocessing's children end.
assert os.waitpid(child, 0)[1] == 0
print(int((numbers * 3).sum().item()) >> 20, flush=True)
"""


class ForkOnAGpu(unittest.TestCase):
    """A server that forks after CUDA was initialised, CUDA's calls recorded through CUPTI."""

    def test_each_process_has_its_own_whole_trace(self):
        python = os.path.join(os.environ["PAGETAPE_ENGINES"], "venv/bin/python")
        if not sees_a_gpu(python):
            self.skipTest("torch sees no GPU")
        cupti = os.path.join(ROOT, "bazel-bin/capture/libpagetape_cupti.so")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [PAGETAPE, "record", "--cupti", cupti, "-o", folder, "--python",
                 os.path.join(ROOT, "capture/python"), "--", python, "-W", "ignore", "-c", FORK],
                env=dict(os.environ, PAGETAPE_LIBRARY=LIBRARY,
                         PYTHONPATH=os.path.join(ROOT, "capture/python")),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=200)
            self.assertEqual((done.returncode, done.stdout), (0, "2\n3\n"), done.stderr)
            traces = [events(os.path.join(folder, name)) for name in os.listdir(folder)
                      if name.endswith(".ptape")]
        child, parent = sorted(traces, key=len)
        self.assertEqual({e["ev"] for e in child} - {"cuda_error"}, {"header", "note", "end"})
        kinds = [e["ev"] for e in parent]
        self.assertGreaterEqual(kinds.count("kernel"), 4)
        self.assertFalse({"gap", "dropped", "cuda_error"} & set(kinds))
        self.assertEqual(kinds[-1], "end")


if __name__ == "__main__":
    unittest.main()
