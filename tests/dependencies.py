#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks Bazel for every dependency path that must not be: traces <- replay <- verify <- gui, and
traces <- capture. Each forbidden pair is a test case; ./test runs them and adds them to its count.

It is a program of its own, not a Bazel test, as a query inside a test would wait for the server
that runs the test. $BAZEL names the program to ask.
"""
import os
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What each folder may reach, through however many steps.
MAY_USE = {
    "traces": set(),
    "replay": {"traces"},
    "verify": {"traces", "replay"},
    "capture": {"traces"},
    "gui": {"traces", "replay", "verify"},
}


def query(expression):
    done = subprocess.run(
        [os.environ.get("BAZEL", "bazel"), "query", "--noshow_progress", "--noimplicit_deps",
         expression],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise AssertionError("bazel query '%s' failed:\n%s" % (expression, done.stderr.strip()))
    return done.stdout.split()


def has_targets(folder):
    for _, _, files in os.walk(os.path.join(ROOT, folder)):
        if "BUILD" in files:
            return True
    return False


class DependencyTest(unittest.TestCase):
    def assert_no_path(self, user, used):
        for folder in (user, used):
            if not has_targets(folder):
                self.skipTest("%s/ has no targets yet" % folder)
        path = query("somepath(//%s/..., //%s/...)" % (user, used))
        if path:
            self.fail("%s/ must not depend on %s/:\n  %s" % (user, used, "\n  ".join(path)))

    def test_program_has_no_window(self):
        if not has_targets("gui"):
            self.skipTest("gui/ has no targets yet")
        # The verb is a table entry and an exec.
        windows = "@imgui//... + //bazel/system:glfw + //bazel/system:gl + //bazel/system:egl"
        path = query(f"somepath(//:pagetape, (//gui/... except //gui:verbs) + {windows})")
        self.assertEqual(path, [], "pagetape execs the viewer, it does not link it")

    def test_no_folder_is_open_to_everyone(self):
        for folder in MAY_USE:
            if has_targets(folder):
                with self.subTest(folder):
                    self.assertEqual(
                        query('attr("visibility", "//visibility:public", //%s/...)' % folder), [])


def add_case(user, used):
    setattr(DependencyTest, "test_%s_does_not_depend_on_%s" % (user, used),
            lambda self: self.assert_no_path(user, used))


for one, allowed in MAY_USE.items():
    for other in [*MAY_USE, "tests"]:
        if other != one and other not in allowed:
            add_case(one, other)

if __name__ == "__main__":
    unittest.main()
