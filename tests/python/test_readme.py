# SPDX-License-Identifier: Apache-2.0
"""The README and docs/: what is shown is what the commands print; every link leads somewhere."""
import glob
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
README = os.path.join(ROOT, "README.md")
PAGES = [README, *sorted(glob.glob(os.path.join(ROOT, "docs", "*.md")))]


def text_of(page):
    with open(page, encoding="utf-8") as f:
        return f.read()


def shown_commands(page):
    """(command, lines shown) of each `pagetape` command in the page's console blocks."""
    for block in re.findall(r"```console\n(.*?)```", text_of(page), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            if command.startswith("pagetape "):
                yield command, shown.splitlines()


def prose_of(page):
    """The page without what is shown as it is: blocks, fenced or indented, and pieces of code."""
    text = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^    .*$|`[^`\n]*`", "", text, flags=re.MULTILINE)


def links_of(page):
    """Where the page's links and pictures lead, but for addresses of the net."""
    for target in re.findall(r"\]\(([^()\s]+)\)", prose_of(page)):
        if "://" not in target:
            yield target


def anchors_of(page):
    """The names of the page's headings, as a link gives them behind its #."""
    text = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    names = []
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        heading = re.sub(r"\]\([^)]*\)", "]", heading)
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        names.append(name + ("-%d" % names.count(name) if name in names else ""))
    return names


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


class Commands(unittest.TestCase):
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

    def assert_prints(self, command, shown, folder):
        words = [PAGETAPE if w == "pagetape" else w for w in shlex.split(command)]
        done = subprocess.run(words, cwd=folder, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, status_of(shown), done.stdout)
        printed = [without_process(line) for line in done.stdout.splitlines() if line]
        shown = [without_process(line) for line in shown]
        self.assertTrue("".join(shown).strip("…"), "shows nothing")
        if words[1] == "record":  # Two processes print, in either order.
            self.assertLessEqual({*shown} - {"…", ""}, {*printed})
        else:
            self.assert_shown(shown, printed)

    def test_every_command_prints_what_is_shown_and_ends_with_that_status(self):
        for page in PAGES:
            # A page can be followed on its own: its commands find what they themselves wrote.
            with tempfile.TemporaryDirectory() as folder:
                for name in ("traces", "tests"):
                    os.symlink(os.path.join(ROOT, name), os.path.join(folder, name))
                for command, shown in shown_commands(page):
                    with self.subTest(command, page=os.path.relpath(page, ROOT)):
                        self.assert_prints(command, shown, folder)

    def test_commands_of_the_readme_and_of_the_pages_are_seen(self):
        self.assertGreater(len(list(shown_commands(README))), 5)
        self.assertGreater(sum(len(list(shown_commands(page))) for page in PAGES[1:]), 20)


class Links(unittest.TestCase):
    def test_every_link_leads_to_a_file_and_a_heading(self):
        for page in PAGES:
            for link in links_of(page):
                with self.subTest(link, page=os.path.relpath(page, ROOT)):
                    path, _, anchor = link.partition("#")
                    path = os.path.join(os.path.dirname(page), path) if path else page
                    self.assertTrue(os.path.exists(path), "no such file")
                    if anchor:
                        self.assertIn(anchor, anchors_of(path))

    def test_the_readme_leads_to_every_page(self):
        led_to = {link.partition("#")[0] for link in links_of(README)}
        self.assertLessEqual({os.path.relpath(page, ROOT) for page in PAGES[1:]}, led_to)


if __name__ == "__main__":
    unittest.main()
