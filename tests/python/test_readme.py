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


def status_of(shown):
    """The exit status of which the lines shown tell: 1 with findings or a difference."""
    # `debug` shows a finding behind an arrow. What `record --check` judges leaves its status alone.
    found = re.compile(r"(FAIL|FAILED|DIFFERENT|HAZARD)  |-> [A-Z_]+ at event ")
    return int(any(found.match(line) for line in shown))


def blocks_of(shown):
    """The lines shown, in blocks between those left out ("…")."""
    blocks = [[]]
    for line in shown:
        if line == "…":
            blocks.append([])
        elif line:
            blocks[-1].append(line)
    return blocks


class Readme(unittest.TestCase):
    def assert_shown(self, shown, printed):
        """Each block stands in what is printed, in order; the first begins it, the last ends it."""
        at = 0
        blocks = blocks_of(shown)
        for i, block in enumerate(blocks):
            last = len(printed) - len(block)
            starts = range(at, last + 1) if i > 0 else [0]
            if i == len(blocks) - 1:
                starts = [start for start in starts if start == last or not block]
            found = [start for start in starts if printed[start:start + len(block)] == block]
            self.assertTrue(found, "%s\nis not (there) in\n%s" % (
                "\n".join(block), "\n".join(printed)))
            at = found[0] + len(block)

    def test_every_command_prints_what_is_shown_and_ends_with_that_status(self):
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
                    self.assertEqual(done.returncode, status_of(shown), done.stdout)
                    printed = [without_process(line) for line in done.stdout.splitlines() if line]
                    shown = [without_process(line) for line in shown]
                    self.assertTrue("".join(shown).strip("…"), "shows nothing")
                    if words[1] == "record":  # Two processes print, in either order.
                        self.assertLessEqual({*shown} - {"…", ""}, {*printed})
                    else:
                        self.assert_shown(shown, printed)


if __name__ == "__main__":
    unittest.main()
