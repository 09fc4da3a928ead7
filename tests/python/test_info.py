# SPDX-License-Identifier: Apache-2.0
"""What the program tells of itself, held against what it was built from; and `synth`."""
import os
import re
import tempfile
import unittest

from test_cli import PAGETAPE, ROOT, run

# What bazel/build_info.bzl wrote: under Bazel a file of the test, by hand what was built last.
BUILD_INFO = next(p for p in (os.path.join(os.path.dirname(PAGETAPE), "bazel/build_info.h"),
                              os.path.join(ROOT, "bazel-bin/bazel/build_info.h"))
                  if os.path.isfile(p))


def source(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


class Info(unittest.TestCase):
    def test_knows_every_rule_and_outcome(self):
        rules = re.findall(r'\{Rule::k\w+,\s*"(\w+)",', source("verify/rules.h"))
        self.assertEqual(len(rules), 16)
        told = run("info", "--rules").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in told[::2]], rules)
        self.assertEqual({line.split()[0] for line in told[1::2]}, {"needs"})
        outcomes = [line.split()[0] for line in run("info", "--outcomes").stdout.splitlines()]
        self.assertIn("undeclared_pool", outcomes)
        self.assertEqual(len(outcomes), len(set(outcomes)))

    def test_says_whether_it_was_built_with_cuda_and_which(self):
        with open(BUILD_INFO, encoding="utf-8") as f:
            built = dict(re.findall(r"constexpr [\w:]+ (k\w+) = (.*);", f.read()))
        told = dict(line.split(None, 1) for line in run("info", "--build").stdout.splitlines())
        self.assertEqual(set(told), {"compiler", "assertions", "CUDA"})
        if built["kHaveCuda"] == "true":
            version = built["kCudaVersion"].strip('"')
            self.assertRegex(version, r"^\d+\.\d+$")
            self.assertTrue(told["CUDA"].startswith(version + " at build time: "), told["CUDA"])
        else:
            self.assertEqual(told["CUDA"],
                             "not found at build time: the GPU parts are left out")
        self.assertRegex(told["compiler"], r"\d+\.\d+")
        self.assertIn(told["assertions"], ("on", "off"))

    def test_lists_what_can_execute(self):
        done = run("info", "--devices")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"(?m)^cpu +(scalar|avx2|avx512)$")
        self.assertRegex(done.stdout, r"(?m)^cuda ")


class Synth(unittest.TestCase):
    def test_help_lists_every_defect_with_its_sentence(self):
        # {Bug::kNone, "none", "A healthy run.", …: neighbouring strings are one.
        rows = re.findall(r'\{Bug::k\w+,\s*"([^"]+)",\s*((?:"[^"]*"\s*)+),',
                          source("capture/sim/bugs.cc"))
        defects = [(name, "".join(re.findall('"([^"]*)"', text))) for name, text in rows]
        enum = re.search(r"enum class Bug \{(.*?)\};", source("capture/sim/bugs.h"), re.DOTALL)
        self.assertEqual(len(defects), len(re.findall(r"\bk\w+,", enum.group(1))))
        told = run("synth", "--help").stdout.split("\nDefects:\n")[1].splitlines()
        self.assertEqual([tuple(line.split(None, 1)) for line in told], defects)
        self.assertIn("one of %d defects" % (len(defects) - 1), source("README.md"))

    def test_refuses_a_defect_that_it_does_not_list(self):
        done = run("synth", "--bug", "stale", "-o", "x.ptape")
        self.assertEqual(done.returncode, 2)
        self.assertIn("stale-swa", done.stderr)

    def test_writes_the_same_bytes_for_the_same_seed(self):
        with tempfile.TemporaryDirectory() as folder:
            written = []
            for name in ("a.ptape", "b.ptape"):
                trace = os.path.join(folder, name)
                self.assertEqual(
                    run("synth", "--model", "tiny", "--seed", "7", "-o", trace).returncode, 0)
                with open(trace, "rb") as f:
                    written.append(f.read())
            self.assertEqual(*written)
            self.assertEqual(run("verify", trace).returncode, 0)


if __name__ == "__main__":
    unittest.main()
