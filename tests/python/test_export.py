# SPDX-License-Identifier: Apache-2.0
"""What `pagetape export` writes, read by parsers that are not ours."""
import collections
import csv
import json
import os
import re
import sqlite3
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.path.join(ROOT, "traces/golden")
CRASH = os.path.join(GOLDEN, "corpus/S01.bug.jsonl")
DEFECT = os.path.join(GOLDEN, "sglang-0.5.19-defect.ptape")
BUILT = [os.path.join(os.environ.get("TEST_SRCDIR", ""), os.environ.get("TEST_WORKSPACE", ""),
                      "pagetape"), os.path.join(ROOT, "bazel-bin/pagetape")]
PAGETAPE = next(p for p in BUILT if os.path.isfile(p))


def run(*arguments, **options):
    return subprocess.run([PAGETAPE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False, **options)


def findings_of(trace):
    report = json.loads(run("verify", "--format", "json", "--max-findings", "0", trace).stdout)
    return report["findings"]


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)


class Text(Folder):
    def test_is_the_default_and_is_read_again(self):
        out = self.path("x.jsonl")
        self.assertEqual(run("export", DEFECT, "-o", out).returncode, 0)
        self.assertEqual(run("diff", DEFECT, out).returncode, 0)

    def test_a_file_that_is_none_leaves_nothing(self):
        out = self.path("x.jsonl")
        self.assertEqual(run("export", self.path("none"), "-o", out).returncode, 2)
        self.assertEqual(os.listdir(self.folder.name), [])


class Redact(Folder):
    def test_is_a_trace_with_the_same_findings_and_other_names(self):
        out = self.path("x.jsonl")
        self.assertEqual(run("export", DEFECT, "--redact", "-o", out).returncode, 0)
        self.assertIn("matched by what they do", run("diff", DEFECT, out).stdout)
        names = {f["req"]: g["req"] for f, g in zip(findings_of(DEFECT), findings_of(out))}
        self.assertEqual(names.pop(None, None), None)
        self.assertEqual(names, {"A": "r0", "B": "r1", "C": "r2"})
        keys = ("rule", "event", "row", "column", "page")
        places = [[[f[key] for key in keys] for f in findings_of(t)] for t in (DEFECT, out)]
        self.assertEqual(*places)

    def test_is_of_the_text_form(self):
        done = run("export", DEFECT, "--redact", "--to", "chrome")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--redact gives a trace as text", done.stderr)


class Chrome(Folder):
    def exported(self, trace):
        out = self.path("x.json")
        done = run("export", trace, "--to", "chrome", "-o", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(out, encoding="utf-8") as f:
            return json.load(f)["traceEvents"], done.stderr

    def simulated(self, bug):
        trace = self.path("run.ptape")
        done = run("synth", "--bug", bug, "--requests", "6", "-o", trace)
        self.assertEqual(done.returncode, 0, done.stderr)
        return trace

    def check_nesting(self, events):
        stacks, times = collections.defaultdict(list), {}
        for e in events:
            lane = e["pid"], e.get("tid")
            if e["ph"] == "M":
                continue
            self.assertGreaterEqual(e["ts"], times.get(lane, e["ts"]))
            times[lane] = e["ts"]
            if e["ph"] == "B":
                stacks[lane].append(e["name"])
            elif e["ph"] == "E":
                stacks[lane].pop()
        self.assertGreater(len(stacks), 0)
        self.assertEqual([s for s in stacks.values() if s], [])

    def check_findings(self, events, trace):
        lanes = {(e["pid"], e["tid"]): e["args"]["name"]
                 for e in events if e.get("name") == "thread_name"}
        shown = {e["args"]["id"]: e for e in events if e.get("cat") == "finding"}
        wanted = findings_of(trace)
        self.assertEqual(len(shown), len(wanted))
        for finding in wanted:
            instant = shown[finding["id"]]
            self.assertEqual(instant["ph"], "i")
            self.assertEqual(instant["name"], finding["rule"])
            self.assertEqual(instant["args"]["event"], finding["event"])
            self.assertEqual(lanes[instant["pid"], instant["tid"]],
                             finding["backend"] or finding["pool"] or "steps")
        return shown

    def test_shows_every_finding_on_its_lane_and_slices_lie_within_each_other(self):
        for trace in (DEFECT, self.simulated("stale-swa")):
            with self.subTest(trace):
                events, _ = self.exported(trace)
                self.check_nesting(events)
                self.assertGreater(len(self.check_findings(events, trace)), 0)

    def test_times_are_those_of_the_events_in_microseconds(self):
        trace = self.simulated("stale-swa")
        events, said = self.exported(trace)
        self.assertEqual(said, "")
        lines = [json.loads(line) for line in run("export", trace).stdout.splitlines()]
        launches = [e for e in events if e.get("cat") == "launch"]
        self.assertGreater(len(launches), 0)
        for e in launches:
            self.assertAlmostEqual(e["ts"], lines[e["args"]["event"]]["t"] / 1000)

    def test_has_a_lane_for_each_backend_pool_and_stream(self):
        trace = self.simulated("none")
        events, _ = self.exported(trace)
        lanes = {e["args"]["name"] for e in events if e.get("name") == "thread_name"}
        for line in run("export", trace).stdout.splitlines():
            event = json.loads(line)
            if event["ev"] in ("backend", "pool"):
                self.assertIn(event[event["ev"]], lanes)
            if event["ev"] in ("attention", "graph_launch"):
                self.assertIn("stream %d" % event.get("stream", 0), lanes)

    def test_every_request_has_a_slice_of_its_own(self):
        trace = self.simulated("none")
        events, _ = self.exported(trace)
        lives = collections.Counter(e["name"] for e in events
                                    if e["ph"] == "B" and e["args"].get("event") is not None
                                    and e["cat"] == "request")
        for i in range(6):
            self.assertEqual(lives["r%d" % i], 1)

    def test_a_trace_without_times_is_told_by_the_index_of_its_events(self):
        events, said = self.exported(CRASH)
        self.assertIn("no event has a time", said)
        launch = next(e for e in events if e.get("cat") == "launch")
        self.assertEqual(launch["ts"], launch["args"]["event"])

    def test_says_what_it_left_out(self):
        done = run("export", DEFECT, "--to", "chrome", "--max-findings", "3")
        self.assertEqual(done.returncode, 0)
        self.assertIn("the first 3 of 728 findings", done.stderr)
        shown = [e for e in json.loads(done.stdout)["traceEvents"] if e.get("cat") == "finding"]
        self.assertEqual(len(shown), 3)

    def test_what_can_be_read_of_a_damaged_trace_is_written(self):
        with open(DEFECT, "rb") as f:
            whole = bytearray(f.read())
        whole[len(whole) // 2] ^= 1
        damaged = self.path("damaged.ptape")
        with open(damaged, "wb") as f:
            f.write(whole)
        done = run("export", damaged, "--to", "chrome", "-o", self.path("x.json"))
        self.assertEqual(done.returncode, 3, done.stderr)

    def test_refuses_a_pipe_which_can_be_read_once(self):
        done = run("export", "/dev/stdin", "--to", "chrome", input="")
        self.assertEqual(done.returncode, 2)
        self.assertIn("reads a trace twice", done.stderr)


class Csv(Folder):
    def exported(self, trace):
        out = self.path("csv")
        done = run("export", trace, "--to", "csv", "-o", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        tables = {}
        for name in os.listdir(out):
            with open(os.path.join(out, name), encoding="utf-8", newline="") as f:
                tables[name[:-len(".csv")]] = list(csv.DictReader(f, strict=True))
        return tables

    def test_holds_every_event_in_the_file_of_its_kind(self):
        tables = self.exported(DEFECT)
        lines = [json.loads(line) for line in run("export", DEFECT).stdout.splitlines()]
        self.assertEqual(sum(len(rows) for name, rows in tables.items() if name != "findings"),
                         len(lines))
        for name, rows in tables.items():
            for row in rows if name != "findings" else ():
                event = lines[int(row["event"])]
                self.assertEqual(event["ev"], name)
                if "req" in event:
                    self.assertEqual(row["req"], event["req"])
                if "pages" in event and name != "pool":
                    self.assertEqual(json.loads(row["pages"]), event["pages"])

    def test_holds_the_findings(self):
        rows = self.exported(DEFECT)["findings"]
        wanted = findings_of(DEFECT)
        self.assertEqual([r["id"] for r in rows], [f["id"] for f in wanted])
        self.assertEqual([r["message"] for r in rows], [f["message"] for f in wanted])

    def test_needs_a_folder_that_is_free(self):
        self.assertIn("needs -o", run("export", DEFECT, "--to", "csv").stderr)
        self.exported(CRASH)
        again = run("export", DEFECT, "--to", "csv", "-o", self.path("csv"))
        self.assertEqual(again.returncode, 2)
        self.assertIn("is not empty", again.stderr)

    def test_a_trace_that_cannot_be_read_leaves_no_folder(self):
        done = run("export", self.path("none"), "--to", "csv", "-o", self.path("csv"))
        self.assertEqual(done.returncode, 2)
        self.assertFalse(os.path.exists(self.path("csv")))


class Sqlite(Folder):
    def exported(self, trace):
        out = self.path("run.db")
        done = run("export", trace, "--to", "sqlite", "-o", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        database = sqlite3.connect(out)
        self.addCleanup(database.close)
        return database

    def test_holds_every_event_and_every_finding(self):
        database = self.exported(DEFECT)
        lines = [json.loads(line) for line in run("export", DEFECT).stdout.splitlines()]
        for kind, count in collections.Counter(line["ev"] for line in lines).items():
            self.assertEqual(database.execute('SELECT count(*) FROM "%s"' % kind).fetchone(),
                             (count,))
        wanted = [(f["id"], f["event"], f["page"]) for f in findings_of(DEFECT)]
        found = database.execute("SELECT id, event, page FROM findings ORDER BY rowid").fetchall()
        self.assertEqual(found, wanted)

    def test_the_query_of_the_docs_gives_what_is_shown_there(self):
        with open(os.path.join(ROOT, "docs/export.md"), encoding="utf-8") as f:
            sql, shown = re.search(r"```sql\n(.*?)```\n\n```\n(.*?)```", f.read(),
                                   re.DOTALL).groups()
        rows = self.exported(DEFECT).execute(sql).fetchall()
        printed = ["|".join("" if v is None else str(v) for v in row) for row in rows]
        self.assertGreater(len(printed), 0)
        self.assertEqual(printed, shown.splitlines())


if __name__ == "__main__":
    unittest.main()
