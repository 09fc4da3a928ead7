#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the unittest cases of one file and writes each one's result as a JUnit test.xml.

    run_unittest.py FILE [--xml OUT] [--skip-all REASON]

OUT is $XML_OUTPUT_FILE, which Bazel sets, unless given. --skip-all runs nothing and counts every
case as skipped. The repository's root is $PAGETAPE_ROOT for the cases and on their module path.
"""
import argparse
import importlib.util
import os
import sys
import time
import traceback
import unittest
import xml.etree.ElementTree as ET

# Through the links of a Bazel sandbox to the source itself.
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


class JunitResult(unittest.TextTestResult):
    """Keeps (class, name, seconds, outcome, text) of each case, in order; one row a case."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rows = []
        self._start = 0.0
        self._failed_subtests = []

    def startTest(self, test):
        super().startTest(test)
        self._start = time.monotonic()
        self._failed_subtests = []

    def _row(self, test, outcome, text):
        seconds = time.monotonic() - self._start if self._start else 0.0
        class_name, _, name = test.id().rpartition(".")
        self.rows.append((class_name, name, seconds, outcome, text))

    def addSuccess(self, test):
        super().addSuccess(test)
        self._row(test, "passed", "")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._row(test, "failure", "".join(traceback.format_exception(*err)))

    def addError(self, test, err):
        # Also what fails in setUpClass, where `test` is a stand-in with an id.
        super().addError(test, err)
        self._row(test, "error", "".join(traceback.format_exception(*err)))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._row(test, "skipped", reason)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._failed_subtests.append(
                "%s\n%s" % (subtest, "".join(traceback.format_exception(*err))))

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self._row(test, "passed", "")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._row(test, "failure", "expected to fail, and did not")

    def stopTest(self, test):
        # A case with failed subtests is reported neither as a success nor as a failure.
        if self._failed_subtests:
            self._row(test, "failure", "\n".join(self._failed_subtests))
        super().stopTest(test)


def load(path):
    """The cases of the file at `path`."""
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return unittest.defaultTestLoader.loadTestsFromModule(module)


def each(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from each(test)
        else:
            yield test


def write_xml(path, name, rows):
    suite = ET.Element("testsuite", name=name, tests=str(len(rows)))
    for class_name, case_name, seconds, outcome, text in rows:
        case = ET.SubElement(
            suite, "testcase", classname=class_name, name=case_name, time="%.3f" % seconds)
        if outcome != "passed":
            # XML has no way to write most control characters.
            text = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
            child = ET.SubElement(case, outcome, message=(text.strip() or outcome).split("\n")[-1])
            child.text = text
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--xml", default=os.environ.get("XML_OUTPUT_FILE"))
    parser.add_argument("--skip-all", metavar="REASON")
    options = parser.parse_args()
    os.environ["PAGETAPE_ROOT"] = ROOT
    sys.dont_write_bytecode = True
    source = os.path.realpath(options.file)
    sys.path[:0] = [ROOT, os.path.dirname(source)]
    name = os.path.splitext(os.path.basename(source))[0]
    try:
        suite = load(source)
    except Exception:  # whatever the file does when it is imported
        if options.skip_all is None:
            traceback.print_exc()
            rows = [(name, "import", 0.0, "error", traceback.format_exc())]
        else:
            rows = [(name, "import", 0.0, "skipped", options.skip_all)]
    else:
        if options.skip_all is None:
            runner = unittest.TextTestRunner(resultclass=JunitResult, verbosity=2)
            rows = runner.run(suite).rows
        else:
            rows = [(*t.id().rsplit(".", 1), 0.0, "skipped", options.skip_all)
                    for t in each(suite)]
    if not rows:  # a file that lost its cases must not pass for a good one
        rows = [(name, "no cases", 0.0, "failure", "%s holds no test case" % name)]
    if options.xml:
        write_xml(options.xml, name, rows)
    sys.exit(any(row[3] in ("failure", "error") for row in rows))


if __name__ == "__main__":
    main()
