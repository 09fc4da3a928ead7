# SPDX-License-Identifier: Apache-2.0
"""capture/python/engines_env.sh with a Python that installs nothing: what is made, when anew."""
import os
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "capture/python/engines_env.sh")

# As `python -m venv DIR` and what that makes: pip notes what it is given, and an import works
# while the folder has what pip put there.
PYTHON = """#!/bin/sh
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *"pip install"*)
    [ ! -e "$FAKE/offline" ] || exit 1
    echo "$*" >> "$FAKE/calls"
    case "$*" in *" --target "*) for last; do :; done; mkdir -p "$last" ;; esac
    [ -e "$FAKE/broken" ] || touch "$(dirname "$0")/whole" ;;
  *"-m compileall "*)
    for last; do :; done
    basename "$last" >> "$FAKE/compiled"
    [ ! -e "$FAKE/full" ] || echo "No space left on device" >&2
    exit 1 ;;
  "-I -c import "*)
    [ ! -e "$FAKE/killed" ] || exit 137
    [ -e "$(dirname "$0")/whole" ] || { echo "undefined symbol: ncclCommResume" >&2; exit 1; } ;;
esac
"""


class EnginesEnv(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = folder.name
        self.python = self.path("python")
        with open(self.python, "w", encoding="utf-8") as f:
            f.write(PYTHON)
        os.chmod(self.python, 0o755)

    def path(self, *names):
        return os.path.join(self.top, *names)

    def touch(self, name):
        open(self.path(name), "w", encoding="utf-8").close()

    def installed(self, status=0):
        """Which requirements pip was given, and what was said."""
        if os.path.exists(self.path("calls")):
            os.remove(self.path("calls"))
        env = {**os.environ, "PAGETAPE_PYTHON": self.python, "FAKE": self.top}
        done = subprocess.run(["bash", SCRIPT, self.path("engines")], env=env, text=True,
                              check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, status, done.stdout)
        if not os.path.exists(self.path("calls")):
            return [], done.stdout
        with open(self.path("calls"), encoding="utf-8") as f:
            calls = [line.split(" -r ")[1].split()[0] for line in f]
        return [os.path.basename(one)[len("requirements-"):-len(".txt")] for one in calls], \
            done.stdout

    def compiled(self):
        with open(self.path("compiled"), encoding="utf-8") as f:
            return f.read().split()

    def test_all_is_installed_once(self):
        made, said = self.installed()
        self.assertEqual(made, ["engines", "sglang-defect", "sglang-fixed", "vllm"])
        self.assertIn("engines: installed in", said)
        made, said = self.installed()
        self.assertEqual(made, [])
        self.assertIn("is up to date", said)

    def test_what_was_installed_is_compiled_once(self):
        parts = ["venv", "sglang-defect", "sglang-fixed", "vllm"]
        self.installed()
        self.assertEqual(self.compiled(), parts)
        self.installed()
        self.assertEqual(self.compiled(), parts)
        os.remove(self.path("engines/venv/bin/whole"))
        self.installed()
        self.assertEqual(self.compiled(), parts + ["venv"])
        # By a version that compiled nothing; and ended early.
        os.remove(self.path("engines/vllm.compiled"))
        self.touch("full")
        self.installed()
        os.remove(self.path("full"))
        for _ in range(2):
            self.installed()
            self.assertEqual(self.compiled(), parts + ["venv", "vllm", "vllm"])

    def test_what_lost_a_file_is_installed_anew(self):
        self.installed()
        os.remove(self.path("engines/venv/bin/whole"))
        made, said = self.installed()
        self.assertEqual(made, ["engines"])
        self.assertIn("does not load, and is installed anew: undefined symbol: ncclComm", said)
        self.assertEqual(self.installed()[0], [])

    def test_what_never_loads_is_an_error_and_installed_once(self):
        self.touch("broken")
        for made in (["engines", "sglang-defect", "sglang-fixed", "vllm"], []):
            calls, said = self.installed(status=1)
            self.assertEqual(calls, made)
            self.assertIn("undefined symbol: ncclCommResume", said)
            self.assertIn("engines: what was installed does not load", said)

    def test_what_lost_a_file_and_cannot_be_had_again_is_a_failure(self):
        self.installed()
        os.remove(self.path("engines/venv/bin/whole"))
        self.touch("offline")
        self.installed(status=1)

    def test_a_python_that_was_killed_says_nothing_of_what_is_there(self):
        self.installed()
        self.touch("killed")
        self.assertEqual(self.installed()[0], [])

    def test_without_an_index_nothing_is_had(self):
        self.touch("offline")
        self.assertIn("cannot be installed here", self.installed(status=75)[1])


if __name__ == "__main__":
    unittest.main()
