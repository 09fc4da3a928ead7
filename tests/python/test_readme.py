# SPDX-License-Identifier: Apache-2.0
"""The README's commands, run: what it shows is what they print."""
import os
import re
import shlex
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILT = [os.path.join(os.environ.get("TEST_SRCDIR", ""), os.environ.get("TEST_WORKSPACE", ""),
                      "pagetape"), os.path.join(ROOT, "bazel-bin/pagetape")]
PAGETAPE = next(p for p in BUILT if os.path.isfile(p))


def shown_commands():
    """(command, lines shown) of each `pagetape` command in the README's console blocks."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        blocks = re.findall(r"```console\n(.*?)```", f.read(), re.DOTALL)
    for block in blocks:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            if command.startswith("pagetape "):
                yield command, shown.splitlines()


def without_process(line):
    """A trace that `record` wrote is named after its host and process."""
    return re.sub(r"[^/ ]+-\d+\.ptape", "HOST-PID.ptape", line)


class Readme(unittest.TestCase):
    def test_every_command_prints_what_is_shown(self):
        commands = list(shown_commands())
        self.assertGreater(len(commands), 3)
        with tempfile.TemporaryDirectory() as folder:
            for name in ("traces", "tests"):
                os.symlink(os.path.join(ROOT, name), os.path.join(folder, name))
            for command, shown in commands:
                with self.subTest(command):
                    words = [PAGETAPE if w == "pagetape" else w for w in shlex.split(command)]
                    done = subprocess.run(
                        words, cwd=folder, text=True, stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT, check=False)
                    printed = [without_process(line) for line in done.stdout.splitlines()]
                    for line in shown:
                        if line not in ("…", ""):  # "…": lines left out.
                            self.assertIn(without_process(line), printed)


if __name__ == "__main__":
    unittest.main()
