# SPDX-License-Identifier: Apache-2.0
"""The schema as the specification: what is said of each field, held against what is checked."""
import os
import re
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILES = ("traces/trace.capnp", "traces/trace_events.capnp")


def source(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def fields(path):
    """(place, structure, field, type, comment) of each: comments stand at a line's end, and go on
    below. Where a line has several fields, none has a comment of its own."""
    found, structure = [], None
    for number, line in enumerate(source(path).splitlines(), 1):
        code, _, comment = line.partition("#")
        begin = re.match(r"\s*(?:struct|enum) (\w+) \{", code)
        structure = begin.group(1) if begin else structure
        here = re.findall(r"(\w+) @\d+ *:([^;=]*)", code)
        for name, kind in here:
            place = "%s:%d: %s.%s" % (path, number, structure, name)
            own = comment.strip() if len(here) == 1 else ""
            found.append([place, structure, name, kind.strip().split(".")[-1], own])
        if found and not code.strip() and comment and line.index("#") > 8:
            found[-1][-1] += " " + comment.strip()
    return found


FIELDS = [field for path in FILES for field in fields(path)]


def snake_case(name):
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


# How comments write the bounds that limits.cc has.
BOUNDS = {"INT64_MAX": "2^63)", "kMostIds": "2^31)", "kMostSlots": "2^47)", "kMostBytes": "2^62)",
          "kMostPageSlots": "65536]", "kMostHeads": "65536]"}


def ranges():
    """{(event, field): range as comments write it}; an event "" is any."""
    found = {}
    row = r'\{"(\w+)", (-?\w+), (\w+)\}'
    rows = re.findall(r'(?:\{"(\w+)", )?' + row, source("traces/limits.cc"))
    for event, field, low, high in rows:
        low = "(-" + BOUNDS[low[1:]].rstrip(")") if low.startswith("-") else "[" + low
        found[event, field] = "%s, %s" % (low, BOUNDS.get(high, high + "]"))
    return found


def words():
    """{(event, field): its words}; an event "" is an object within one."""
    rows = re.findall(r'\{"(\w*)", "(\w+)", \{("[^}]*")\}\}', source("traces/limits.cc"))
    return {(event, field): re.findall(r"\w+", text) for event, field, text in rows}


class Schema(unittest.TestCase):
    def assert_none(self, faults, rule):
        if faults:
            self.fail("%s:\n  %s" % (rule, "\n  ".join(faults)))

    def test_every_field_is_found(self):
        for path in FILES:
            code = re.sub("#.*", "", source(path))
            count = len(re.findall(r"@\d+\s*:", code))
            self.assertGreater(count, 50)
            self.assertEqual(count, len(fields(path)), path)

    def test_every_field_has_a_comment_of_its_own(self):
        self.assert_none([place for place, _, _, _, comment in FIELDS
                          if not re.search("[A-Za-z]", comment)], "fields without a comment")

    def test_a_comment_says_what_absence_means(self):
        faults = []
        for place, _, _, kind, comment in FIELDS:
            said = {"Names": r"\bnone\b|\brequired\b", "OptInts": r"\babsent\b",
                    "OptFlags": r"\babsent\b", "OptLayerIds": r"\babsent\b"}.get(kind, "")
            if not re.search(said, comment):
                faults.append("%s (%s): %s" % (place, kind, comment))
        self.assert_none(faults, 'no "none", "required" or "absent"')

    def test_ranges_are_those_that_are_checked(self):
        checked = ranges()
        self.assertGreater(len(checked), 40)
        faults, used = [], set()
        for place, structure, name, kind, comment in FIELDS:
            if kind not in ("Ints", "OptInts", "IntLists"):
                continue
            # A pair is one value of `map_set`.
            field = "pairs" if structure == "Pairs" else snake_case(name)
            key = next((k for k in ((snake_case(structure), field), ("", field)) if k in checked),
                       None)
            used.add(key)
            # What has no limits is any integer, or has a must of its own.
            expected = re.escape(checked[key]) if key else r"\bany\b|\(M(?!16)\d+\)"
            if not re.search(expected, comment):
                faults.append("%s: not %s: %s" % (place, checked.get(key, "any"), comment))
        self.assert_none(faults, "comments and traces/limits.cc differ")
        self.assert_none([str(k) for k in set(checked) - used], "limits of no field")

    def test_words_are_those_that_are_checked(self):
        checked = words()
        self.assertGreater(len(checked), 10)
        faults = []
        for place, structure, name, kind, comment in FIELDS:
            if kind != "Names":
                continue
            event, field = snake_case(structure), snake_case(name)
            expected = checked.pop((event, field), None)
            if expected is None and structure == "Reserved":
                expected = checked.pop(("", field), None)
            said = re.search(r"\b[Oo]ne of (.*)", re.sub(r" \([^)]*\)|[:;].*", "", comment))
            found = re.findall(r"\w+", said.group(1)) if said else None
            if "one of its own" not in comment and found != expected:
                faults.append("%s: %s, not %s" % (place, found, expected))
        self.assert_none(faults, "comments and traces/limits.cc differ")
        self.assertEqual(checked, {}, "words of no field")

    def test_musts_are_numbered_and_each_has_a_test(self):
        numbers = [int(n) for n in re.findall(r"(?m)^#   M(\d+) ", source(FILES[0]))]
        self.assertGreater(len(numbers), 10)
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)), "holes or doubles")
        for path in FILES + ("traces/FORMAT.md", "tests/traces/bad_input_test.cc"):
            cited = {int(n) for n in re.findall(r"\bM(\d+)(?!\d)", source(path))}
            self.assertLessEqual(cited, set(numbers), path + " names a must that there is not")
        last = "M1 to M%d)" % len(numbers)
        self.assertIn(last, source(FILES[1]))
        self.assertIn(last, source("traces/FORMAT.md"))
        self.assertEqual(cited, set(numbers), "musts that bad_input_test.cc does not name")


if __name__ == "__main__":
    unittest.main()
