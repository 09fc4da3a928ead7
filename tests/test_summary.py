#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sums the test cases of a `bazel test` and prints 'N passed, N failed, N skipped' last.

    bazel test //... --build_event_json_file=events.json; status=$?
    tests/test_summary.py events.json $status [more JUnit files]

Exits with status, or 1 if a case failed nevertheless. Which tests ran, and how each ended, comes
from Bazel's own event file, so that a stale test.xml in bazel-testlogs is never counted. Cases are
counted from each target's test.xml; a target, test or not, that failed or was not built, without
a failing case to show for it, counts as one failure. Why cases were skipped is said, and what a
test's log reports in lines that begin with 'report: ' is repeated.
"""
import collections
import json
import sys
import urllib.parse
import xml.etree.ElementTree as ET


class Totals:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.reasons = collections.Counter()

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.reasons.update(other.reasons)

    def __str__(self):
        return "%d passed, %d failed, %d skipped" % (self.passed, self.failed, self.skipped)


def count_cases(path):
    totals = Totals()
    for case in ET.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            totals.failed += 1
        elif case.get("status") == "notrun":
            pass  # GoogleTest lists what is disabled or filtered out, too
        elif case.get("result") in ("skipped", "suppressed") or case.find("skipped") is not None:
            totals.skipped += 1
            skipped = case.find("skipped")
            message = (skipped.get("message") or "") if skipped is not None else ""
            totals.reasons[message.strip().split("\n")[-1] or "no reason given"] += 1
        else:
            totals.passed += 1
    return totals


class Events:
    """What the event file says of each test target."""

    def __init__(self, path):
        self.results = {}  # label -> {(run, shard): (attempt, its last result)}
        self.status = {}  # label -> PASSED, FAILED, ...
        self.broken = set()
        with open(path) as lines:
            for line in lines:
                self._take(json.loads(line))
        # Of what is no test, too: a library that no test needs may be broken.
        for label in self.broken:
            self.status.setdefault(label, "NOT BUILT")

    def _take(self, event):
        ident = event.get("id", {})
        if "testResult" in ident and "testResult" in event:
            key = ident["testResult"]
            runs = self.results.setdefault(key["label"], {})
            slot, attempt = (key.get("run"), key.get("shard")), int(key.get("attempt", 1))
            if attempt >= runs.get(slot, (0, None))[0]:
                runs[slot] = (attempt, event["testResult"])
        elif "targetCompleted" in ident and not event.get("completed", {}).get("success"):
            self.broken.add(ident["targetCompleted"]["label"])
        elif "testSummary" in ident and "testSummary" in event:
            self.status[ident["testSummary"]["label"]] = event["testSummary"]["overallStatus"]

    def labels(self):
        return sorted(set(self.results) | set(self.status))

    def outputs(self, label, name):
        for _, result in self.results.get(label, {}).values():
            for out in result.get("testActionOutput", []):
                if out["name"] == name and out["uri"].startswith("file://"):
                    yield urllib.parse.unquote(out["uri"][len("file://"):])


def count_target(events, label):
    totals = Totals()
    for path in events.outputs(label, "test.xml"):
        try:
            totals.add(count_cases(path))
        except (OSError, ET.ParseError):
            pass  # a test that crashed leaves half a file; its status says that it failed
    status = events.status.get(label, "NO SUMMARY")
    ok = status in ("PASSED", "FLAKY")
    if not ok and totals.failed == 0:
        totals.failed = 1
    if not ok or "-v" in sys.argv:
        print("%-50s %-16s %s" % (label, status, totals))
    return totals


def print_reports(events):
    for label in events.labels():
        for path in events.outputs(label, "test.log"):
            with open(path, errors="replace") as log:
                for line in log:
                    if line.startswith("report: "):
                        print(line[len("report: "):].rstrip())


def main():
    arguments = [a for a in sys.argv[1:] if a != "-v"]
    status = int(arguments[1])
    totals = Totals()
    try:
        events = Events(arguments[0])
    except (OSError, ValueError) as error:  # Bazel ended before, or while, it wrote it
        print("no test results: %s" % error)
        status = status or 1
    else:
        for label in events.labels():
            totals.add(count_target(events, label))
        print_reports(events)
    if status and not totals.failed:
        print("bazel exited with %d without a failing test (4: no tests; else a build or usage "
              "error)" % status)
        # The last line is what gets read: it must not look as if all were well.
        totals.failed += status != 4
    for path in arguments[2:]:
        totals.add(count_cases(path))
    for reason, count in sorted(totals.reasons.items()):
        print("skipped %d: %s" % (count, reason))
    print(totals)
    sys.exit(status or bool(totals.failed))


if __name__ == "__main__":
    main()
