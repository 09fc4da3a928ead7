# SPDX-License-Identifier: Apache-2.0
"""The command line as people use it: each verb, its exit codes and its messages."""
import json
import os
import re
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.path.join(ROOT, "traces/golden")
CRASH = os.path.join(GOLDEN, "corpus/S01.bug.jsonl")
CLEAN = os.path.join(GOLDEN, "flows/swa-verify-draft-eager.jsonl")
# Under Bazel the program is a file of the test; by hand it is what was built last.
BUILT = [os.path.join(os.environ.get("TEST_SRCDIR", ""), os.environ.get("TEST_WORKSPACE", ""),
                      "pagetape"), os.path.join(ROOT, "bazel-bin/pagetape")]
PAGETAPE = next(p for p in BUILT if os.path.isfile(p))


def run(*arguments):
    return subprocess.run([PAGETAPE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name, content=None):
        path = os.path.join(self.folder.name, name)
        if content is not None:
            with open(path, "wb") as f:
                f.write(content)
        return path

    def imported(self, text):
        out = self.path("imported.ptape")
        self.assertEqual(run("import", text, "-o", out).returncode, 0)
        return out

    def test_verify_exits_with_1_on_findings_and_0_without(self):
        self.assertEqual(run("verify", CRASH).returncode, 1)
        self.assertEqual(run("verify", CLEAN).returncode, 0)

    def test_verify_says_the_verdict_in_its_first_line(self):
        self.assertTrue(run("verify", CRASH).stdout.startswith("FAIL  "))
        self.assertTrue(run("verify", CLEAN).stdout.startswith("PASS  "))

    def test_shrink_writes_a_trace_that_still_has_the_finding_and_a_regression(self):
        out = self.path("repro.ptape")
        done = run("shrink", CRASH, "--rule", "OOB_PAGE", "-o", out, "--emit", "gtest")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(run("verify", "--rule", "OOB_PAGE", out).returncode, 1)
        with open(self.path("repro_test.cc"), encoding="utf-8") as f:
            self.assertIn('HasFinding("OOB_PAGE")', f.read())
        self.assertIn("shrink: ", done.stderr)

    def test_shrink_emits_the_package_that_bazel_builds(self):
        out = self.path("repro.jsonl")
        done = run("shrink", CRASH, "--rule", "OOB_PAGE", "-o", out, "--emit", "bazel", "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr)
        for emitted, kept in (("repro.jsonl", "repro.jsonl"), ("repro.BUILD", "BUILD")):
            with open(self.path(emitted), encoding="utf-8") as f, \
                    open(os.path.join(ROOT, "tests/emitted", kept), encoding="utf-8") as g:
                self.assertEqual(f.read(), g.read())

    def test_the_regression_that_bazel_runs_fails_where_the_finding_is_gone(self):
        for trace, status in ((CRASH, 0), (CLEAN, 1)):
            done = subprocess.run(
                ["sh", os.path.join(ROOT, "verify/finds_one.sh"), PAGETAPE, "verify", "--rule",
                 "OOB_PAGE", trace], stdout=subprocess.PIPE, check=False)
            self.assertEqual(done.returncode, status)

    def test_explore_gives_a_hazard_again_as_a_trace_that_verify_fails(self):
        luck = os.path.join(GOLDEN, "explore/bad_inflight_hazard_loaded_in_time_by_luck.jsonl")
        self.assertEqual(run("verify", luck).returncode, 0)
        done = run("explore", luck, "--format", "json")
        self.assertEqual(done.returncode, 1, done.stderr)
        hazard = json.loads(done.stdout)["hazards"][0]
        self.assertEqual(hazard["rule"], "INFLIGHT_HAZARD")
        out = self.path("order.jsonl")
        again = run("explore", luck, "--seed", str(hazard["seed"]), "-o", out)
        self.assertEqual(again.returncode, 1, again.stderr)
        self.assertIn("the order of seed %d is in %s" % (hazard["seed"], out), again.stderr)
        found = run("verify", out)
        self.assertEqual(found.returncode, 1)
        self.assertIn("INFLIGHT_HAZARD", found.stdout)

    def test_explore_exits_with_0_where_fences_stand_and_1_where_nothing_is_checked(self):
        fenced = os.path.join(GOLDEN, "explore/ok_inflight_hazard_loaded_behind_a_wait.jsonl")
        self.assertEqual(run("explore", fenced).returncode, 0)
        done = run("explore", CLEAN)
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stdout.startswith("NOT CHECKED"))
        self.assertEqual(run("explore", CLEAN, "-o", self.path("order.jsonl")).returncode, 2)
        self.assertFalse(os.path.exists(self.path("order.jsonl")))
        self.assertEqual(run("explore", fenced, "-o", fenced).returncode, 2)
        self.assertEqual(run("explore", self.path("nowhere.ptape")).returncode, 2)

    def test_shrink_without_the_finding_says_so_and_writes_nothing(self):
        out = self.path("repro.ptape")
        done = run("shrink", CLEAN, "--rule", "OOB_PAGE", "-o", out)
        self.assertEqual(done.returncode, 2)
        self.assertIn("no finding of OOB_PAGE", done.stderr)
        self.assertFalse(os.path.exists(out))

    def test_shrink_refuses_a_path_that_cannot_be_written_before_it_searches(self):
        done = run("shrink", CRASH, "--rule", "OOB_PAGE", "-o", self.path("no/folder.jsonl"))
        self.assertEqual(done.returncode, 2)
        self.assertIn("no/folder.jsonl: cannot be written", done.stderr)
        self.assertNotIn("shrink:", done.stderr)

    def test_a_number_below_0_is_wrong_usage(self):
        for arguments in (("blame", CRASH, "--at", "-1"), ("verify", CRASH, "--max-findings", "-1"),
                          ("assert", CRASH, "--max-findings", "-1"),
                          ("selfcheck", CLEAN, "--seed", "-1")):
            done = run(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn("Value -1 not in range", done.stderr)

    def test_assert_says_where_nothing_was_judged(self):
        done = run("assert", self.path("x.jsonl", b'{"ev":"note","text":"a"}\n'))
        self.assertIn("1 event, 0 launches: nothing to judge", done.stdout)
        self.assertNotIn("nothing to judge", run("assert", CLEAN, "--rules", "OOB_PAGE").stdout)

    def test_diff_exits_with_0_on_the_same_and_1_on_a_difference(self):
        self.assertEqual(run("diff", CLEAN, CLEAN).returncode, 0)
        done = run("diff", CRASH.replace(".bug.", ".ok."), CRASH, "--format", "json")
        self.assertEqual(done.returncode, 1)
        self.assertGreater(json.loads(done.stdout)["different"], 0)

    def test_verify_exits_with_2_on_a_file_that_is_none(self):
        done = run("verify", self.path("nowhere.ptape"))
        self.assertEqual(done.returncode, 2)
        self.assertIn("nowhere.ptape", done.stderr)

    def test_verify_exits_with_2_on_an_unknown_event_and_names_its_line(self):
        done = run("verify", self.path("x.jsonl", b'{"ev":"note","text":"a"}\n{"ev":"nope"}\n'))
        self.assertEqual(done.returncode, 2)
        self.assertIn("x.jsonl:2:", done.stderr)
        self.assertIn("nope", done.stderr)

    def test_verify_names_what_was_never_declared(self):
        line = b'{"ev":"alloc","pool":"F","req":"A","pages":[1]}\n'
        done = run("verify", self.path("x.jsonl", line))
        self.assertEqual(done.returncode, 2)
        self.assertIn('undeclared_pool "F"', done.stderr)

    def test_verify_exits_with_3_on_damage_and_reports_what_came_before(self):
        trace = self.imported(CLEAN)
        with open(trace, "rb") as f:
            data = bytearray(f.read())
        data[len(data) // 2] ^= 1
        done = run("verify", "--format", "json", self.path("bad.ptape", bytes(data)))
        self.assertEqual(done.returncode, 3)
        self.assertIsNotNone(json.loads(done.stdout)["damaged"])

    def test_a_required_rule_that_is_not_checked_fails(self):
        self.assertEqual(run("verify", "--require", "INFLIGHT_HAZARD", CLEAN).returncode, 1)
        self.assertEqual(run("verify", "--require", "OOB_PAGE", CLEAN).returncode, 0)

    def test_only_the_rules_asked_for_are_reported(self):
        done = run("verify", "--rule", "OOB_PAGE", "--format", "json", CRASH)
        self.assertEqual(list(json.loads(done.stdout)["counts"]), ["OOB_PAGE"])
        self.assertEqual(run("verify", "--rule", "NO_SUCH", CRASH).returncode, 2)

    def test_what_is_legal_is_flagged_where_the_strict_flags_ask_for_it(self):
        window = os.path.join(GOLDEN, "rules/ok_freed_page_outside_the_window.jsonl")
        padding = os.path.join(GOLDEN, "rules/ok_pad_lane_reads_a_live_page.jsonl")
        for trace, flag, other, rule in (
                (window, "--strict-window", "--strict-pad", "FREED_PAGE"),
                (padding, "--strict-pad", "--strict-window", "PAD_LANE")):
            for flags, counts in (([], {}), ([other], {}), ([flag], {rule: 1})):
                done = run("verify", *flags, "--format", "json", trace)
                self.assertEqual(json.loads(done.stdout)["counts"], counts, flags)
                self.assertEqual(done.returncode, len(counts))

    def test_max_findings_cuts_the_list_and_not_the_counts(self):
        done = json.loads(run("verify", "--max-findings", "1", "--format", "json", CRASH).stdout)
        self.assertEqual(len(done["findings"]), 1)
        self.assertGreater(sum(done["counts"].values()), 1)

    def test_jsonl_gives_a_line_a_finding_and_the_summary_last(self):
        lines = run("verify", "--format", "jsonl", CRASH).stdout.splitlines()
        self.assertEqual(sum(json.loads(lines[-1])["counts"].values()), len(lines) - 1)

    def test_assert_prints_a_line_a_trace_and_fails_on_any(self):
        done = run("assert", CLEAN, CRASH)
        self.assertEqual(done.returncode, 1)
        self.assertEqual([line.split()[0] for line in done.stdout.splitlines()], ["ok", "FAILED"])
        self.assertEqual(run("assert", CLEAN).returncode, 0)

    def test_assert_fails_where_a_rule_is_not_checked_unless_it_may_be(self):
        bare = os.path.join(GOLDEN, "flows/binding-unknown.jsonl")
        self.assertEqual(run("assert", bare).returncode, 1)
        allowed = "OOB_PAGE,WRONG_SPACE,STALE_BINDING,SHORT_TABLE"
        self.assertEqual(run("assert", "--allow-not-checked", allowed, bare).returncode, 0)

    def test_blame_names_the_last_writers_and_where_to_look(self):
        done = run("blame", CRASH, "--at", "9")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("event 8, 1 event before\n    backend d: layer 22 bound to pool S",
                      done.stdout)
        asked = json.loads(run("blame", CRASH, "--at", "9", "--row", "0", "--col", "1", "--layer",
                               "22", "--format", "json").stdout)
        self.assertEqual([link["event"] for link in asked["blame"]], [1, 5, 6, 8, 9])
        self.assertIn("blame TRACE", run("blame", "--help").stdout.replace("[OPTIONS] ", ""))

    def test_blame_exits_with_2_on_what_is_not_there(self):
        for question in (["--at", "99"], ["--at", "3"], ["--at", "9", "--page", "7"], [],
                         ["--at", "9", "--page", "F:7", "--scalar", "x"], ["--at", "-1"],
                         ["--at", "9", "--binding", "d"], ["--at", "9", "--row", "x"]):
            done = run("blame", CRASH, *question)
            self.assertEqual(done.returncode, 2, question)
            self.assertNotEqual(done.stderr, "")

    def test_blame_exits_with_3_where_what_came_before_is_damaged(self):
        trace = self.imported(CLEAN)
        with open(trace, "rb") as f:
            data = bytearray(f.read())
        data[len(data) // 2] ^= 1
        done = run("blame", self.path("bad.ptape", bytes(data)), "--at", "5", "--page", "F:1")
        self.assertEqual(done.returncode, 3)
        self.assertIn("damaged", done.stderr)

    def test_headroom_fails_on_the_margin_and_not_on_luck(self):
        run_of = ["--requests", "80", "--concurrency", "64", "--prompt-tokens", "1024",
                  "--output-tokens", "256"]
        for bug, code in (("stale-swa", 1), ("none", 0)):
            trace = self.path(bug + ".ptape")
            run("synth", "--model", "gemma4-e4b", "--bug", bug, *run_of, "-o", trace)
            self.assertEqual(run("headroom", trace).returncode, 0)
            done = run("headroom", trace, "--min-headroom", "0", "--format", "json")
            self.assertEqual(done.returncode, code, done.stdout)
            failed = [t for t in json.loads(done.stdout)["tables"] if t["failed"]]
            self.assertEqual(len(failed), code)

    def test_join_takes_a_report_a_line_or_an_address(self):
        folder = os.path.join(GOLDEN, "faults")
        trace = os.path.join(folder, "crash.jsonl")
        report = os.path.join(folder, "memcheck.txt")
        for fault in (["--coredump-summary", report], ["--address", "7f12_34310040"],
                      ["--coredump-summary", os.path.join(folder, "coredump.txt"),
                       "--address", "0x7f1234310040"]):
            done = run("join", trace, "--format", "json", *fault)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual([e["entry"] for e in json.loads(done.stdout)["entries"]], [17], fault)

    def test_join_refuses_what_names_no_fault(self):
        folder = os.path.join(GOLDEN, "faults")
        trace = os.path.join(folder, "crash.jsonl")
        for fault in ([], ["--xid", "nothing"], ["--address", "0xg"],
                      ["--coredump-summary", self.path("none")], ["--coredump-summary", trace]):
            done = run("join", trace, *fault)
            self.assertEqual(done.returncode, 2, fault)
            self.assertIn("pagetape", done.stderr)
        self.assertEqual(run("join", self.path("none"), "--address", "0x10").returncode, 2)

    def test_headroom_takes_pages_or_per_cent(self):
        for least in ("x", "-1", "5%%", "1e3", "nan", ""):
            self.assertEqual(run("headroom", CLEAN, "--min-headroom=" + least).returncode, 2, least)
        for least in ("0", "1", "2.5%"):
            self.assertEqual(run("headroom", CLEAN, "--min-headroom", least).returncode, 0, least)
        self.assertEqual(run("headroom", self.path("none")).returncode, 2)
        self.assertIn("own space is safe", " ".join(run("headroom", "--help").stdout.split()))

    def test_export_gives_back_what_import_took(self):
        done = run("export", self.imported(CLEAN))
        with open(CLEAN, encoding="utf-8") as f:
            want = [json.loads(line) for line in f if line.strip()]
        self.assertEqual([json.loads(line) for line in done.stdout.splitlines()], want)

    def test_import_writes_nothing_on_error(self):
        out = self.path("out.ptape")
        done = run("import", self.path("x.jsonl", b'{"ev":"pool"}\n'), "-o", out)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(os.listdir(self.folder.name), ["x.jsonl"])

    def test_compact_adds_keyframes_and_changes_no_event(self):
        out = self.path("out.ptape")
        done = run("compact", CLEAN, "-o", out, "--keyframe-weight", "20")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(run("info", out).stdout, r"keyframes +[1-9]")
        self.assertEqual(run("export", out).stdout, run("export", self.imported(CLEAN)).stdout)

    def test_wrong_usage_exits_with_2(self):
        self.assertEqual(run().returncode, 2)
        self.assertEqual(run("no-such-verb").returncode, 2)

    def test_the_shipped_recordings_of_sglang_show_the_defect_and_its_repair(self):
        defect = os.path.join(GOLDEN, "sglang-0.5.19-defect.ptape")
        report = json.loads(run("verify", "--format", "json", defect).stdout)
        for rule in ("OOB_PAGE", "WRONG_SPACE", "STALE_BINDING"):
            self.assertGreater(report["counts"].get(rule, 0), 0)
        fixed = os.path.join(GOLDEN, "sglang-0.5.20-fixed.ptape")
        self.assertEqual(run("verify", fixed).returncode, 0)

    def test_the_shipped_recordings_of_vllm_show_the_drafter_that_has_another_groups_table(self):
        draft = os.path.join(GOLDEN, "vllm-0.32.0-draft.ptape")
        report = json.loads(run("verify", "--format", "json", "--max-findings", "0", draft).stdout)
        self.assertEqual(report["findings"][0]["rule"], "WRONG_SPACE")
        self.assertEqual({str(f["layer"]).split(".")[0] for f in report["findings"]},
                         {"draft_model"})
        for clean in ("vllm-0.32.0.ptape", "vllm-0.32.0-plain.ptape",
                      "vllm-0.32.0-draft-rerouted.ptape"):
            done = run("verify", "--require", "WRONG_SPACE,WRONG_OWNER,FREED_PAGE,UNINIT_READ,"
                       "ALIASED_WRITE,FREELIST", os.path.join(GOLDEN, clean))
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_debug_runs_a_script_and_prints_each_command(self):
        script = self.path("s", b"# the crash\nuntil rule OOB_PAGE\nshow backend d\nback\nwhere\n")
        done = run("debug", CRASH, "--script", script)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("(pagetape) until rule OOB_PAGE\nevent 9", done.stdout)
        self.assertIn("-> OOB_PAGE at event 9", done.stdout)
        self.assertRegex(done.stdout, r"sliding-window state derived from .* since event \d+")
        self.assertIn("event 8 of 10", done.stdout)
        self.assertEqual(run("debug", CLEAN, "--script", self.path("t", b"goto 5\n")).returncode, 0)

    def test_debug_reads_commands_from_a_pipe(self):
        done = subprocess.run([PAGETAPE, "debug", CLEAN, "--at", "3"], input="back\nquit\nfly\n",
                              stdout=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertIn("(pagetape) back\nevent 2: ", done.stdout)

    def test_debug_names_the_line_of_a_command_in_error(self):
        script = self.path("s", b"next\n\nshow backend nope\nback\n")
        done = run("debug", CLEAN, "--script", script)
        self.assertEqual(done.returncode, 2)
        self.assertIn("s:3: there is no backend \"nope\"", done.stderr)
        self.assertNotIn("back\n", done.stdout)

    def test_debug_exits_with_2_on_wrong_usage_and_3_on_damage(self):
        script = self.path("s", b"goto end\n")
        self.assertEqual(run("debug", self.path("none"), "--script", script).returncode, 2)
        self.assertEqual(run("debug", CLEAN, "--script", self.path("no_script")).returncode, 2)
        self.assertEqual(run("debug", CLEAN, "--at", "999999", "--script", script).returncode, 2)
        trace = self.imported(CLEAN)
        with open(trace, "rb") as f:
            data = bytearray(f.read())
        data[len(data) // 2] ^= 1
        done = run("debug", self.path("bad.ptape", bytes(data)), "--script", script)
        self.assertEqual(done.returncode, 3)
        self.assertIn("damaged at byte", done.stderr)

    def test_replay_finds_keeps_and_compares(self):
        golden = self.path("digest.txt")
        done = run("replay", "--device", "cpu", "--write-golden", golden, CRASH)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("id 40 is outside pool S of 8", done.stdout)
        with open(golden, encoding="utf-8") as f:
            self.assertIn("\nlane ", f.read())
        again = run("replay", "--device", "cpu", "--verify", "3", "--golden", golden, CRASH)
        self.assertIn("3 runs with other grids and threads: the same bits.", again.stdout)
        self.assertNotIn("The digest differs", again.stdout)
        other = run("replay", "--device", "cpu", "--seed", "2", "--golden", golden, CRASH)
        self.assertIn("The digest differs", other.stdout)
        self.assertEqual(run("replay", "--golden", self.path("none"), CRASH).returncode, 2)

    def test_replay_stops_at_an_id_where_asked_and_names_it(self):
        found = run("replay", "--device", "cpu", "--max-findings", "1", CRASH).stdout
        use = re.search(r"^  (event .* is outside pool .*)$", found, re.MULTILINE)
        done = run("replay", "--device", "cpu", "--on-oob", "trap", CRASH)
        self.assertEqual(done.returncode, 2)
        self.assertIn("cpu: stopped at an id that a launch must not use", done.stderr)
        self.assertIn(use[1], done.stdout)

    def test_replay_goes_on_on_the_cpu_or_says_why_not(self):
        self.assertEqual(run("replay", "--device", "tpu", CRASH).returncode, 2)
        self.assertEqual(run("replay", self.path("none")).returncode, 2)
        auto, cuda = run("replay", CRASH), run("replay", "--device", "cuda", CRASH)
        if cuda.returncode == 2:  # There is no GPU.
            self.assertIn("no GPU can be used", cuda.stderr)
            self.assertIn("the CPU replays", auto.stderr)
        self.assertEqual(auto.returncode, 1)

    def test_replay_says_all_of_it_as_json(self):
        done = run("replay", "--device", "cpu", "--format", "json", "--verify", "2", CRASH)
        self.assertEqual(done.returncode, 1)
        report = json.loads(done.stdout)
        self.assertEqual(report["findings"][0]["id"], 40)
        self.assertEqual(report["crosscheck"], {"agreed": 1, "differing": 0})
        self.assertIn("the same bits", done.stderr)
        other = run("replay", "--device", "cpu", "--format", "json", "--no-crosscheck", CRASH)
        self.assertIsNone(json.loads(other.stdout)["crosscheck"])

    def test_assert_writes_what_ci_reads(self):
        damaged = self.path("damaged & <cut>.ptape")
        fixed = os.path.join(GOLDEN, "sglang-0.5.20-fixed.ptape")
        with open(fixed, "rb") as whole, open(damaged, "wb") as cut:
            data = bytearray(whole.read())
            data[len(data) // 2] ^= 0xff
            cut.write(data)
        junit, sarif, summary = self.path("j.xml"), self.path("s.sarif"), self.path("m.md")
        outs = ["--junit", junit, "--sarif", sarif, "--markdown", summary, "--github"]
        allow = ["--allow-not-checked", "GRAPH_STALE"]  # The recording has no graphs.
        done = run("assert", *allow, *outs, CRASH, damaged, fixed)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"(?m)^FAILED  .*S01")
        self.assertRegex(done.stdout, r"(?m)^DAMAGED ")
        self.assertRegex(done.stdout, r"(?m)^ok      .*fixed")
        self.assertRegex(done.stdout,
                         r"(?m)^::error file=.*S01.bug.jsonl,line=\d+,title=OOB_PAGE::")

        suites = xml.etree.ElementTree.parse(junit).getroot()
        self.assertEqual([s.get("name") for s in suites], [CRASH, damaged, fixed])
        self.assertEqual(int(suites.get("errors")), 1)
        for suite in suites:
            self.assertEqual(int(suite.get("tests")), len(suite))
            self.assertEqual(int(suite.get("failures")), len(suite.findall("*/failure")))
        failed = [c.get("name") for c in suites[0] if c.find("failure") is not None]
        self.assertIn("OOB_PAGE", failed)

        # The properties that SARIF 2.1.0 requires.
        with open(sarif, encoding="utf-8") as f:
            log = json.load(f)
        self.assertEqual(log["version"], "2.1.0")
        driver = log["runs"][0]["tool"]["driver"]
        self.assertEqual(driver["name"], "pagetape")
        for result in log["runs"][0]["results"]:
            self.assertEqual(driver["rules"][result["ruleIndex"]]["id"], result["ruleId"])
            self.assertTrue(result["message"]["text"])
            place = result["locations"][0]["physicalLocation"]
            self.assertTrue(place["artifactLocation"]["uri"])
            self.assertGreaterEqual(place.get("region", {"startLine": 1})["startLine"], 1)
        with open(summary, encoding="utf-8") as f:
            self.assertIn("1 of 3 traces passed", f.read())
        self.assertEqual(run("assert", *allow, damaged, fixed).returncode, 3)

        # The same bytes, however many at a time; nothing where a report cannot be written.
        one = run("assert", *allow, "--jobs", "1", "--github", CRASH, damaged, fixed)
        self.assertEqual(one.stdout, done.stdout)
        refused = run("assert", "--junit", self.path("none/j.xml"), fixed)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("cannot be written", refused.stderr)

    def test_what_if_tells_the_patches_apart(self):
        trace = self.path("stale.ptape")
        run("synth", "--model", "tiny", "--bug", "stale-swa", "-o", trace)
        names = ["none", "clamp", "swap-swa-state", "swap-swa-state-graph"]
        done = run("replay", "--device", "cpu", "--format", "json", "--what-if", ",".join(names),
                   trace)
        self.assertEqual(done.returncode, 0, done.stderr)
        none, clamp, fix, without = json.loads(done.stdout)["variants"]
        self.assertEqual([v["name"] for v in (none, clamp, fix, without)], names)
        self.assertGreater(none["oob_reads"], 0)
        self.assertEqual(clamp["oob_reads"], 0)
        self.assertGreater(clamp["wrong_reads"], 0)
        self.assertGreater(clamp["rel_err"]["max"], clamp["rel_err"]["median"])
        self.assertEqual((fix["oob_reads"], fix["wrong_reads"]), (0, 0))
        self.assertGreater(without["oob_reads"], 0)
        wrong = run("replay", "--what-if", "swap", trace)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("swap-swa-state-graph", wrong.stderr)


if __name__ == "__main__":
    unittest.main()
