# SPDX-License-Identifier: Apache-2.0
"""Finds the function bodies of C++ sources by their braces: for the tidy test's lengths, no more.

It reads clang-formatted code. Comments, literals and preprocessor lines are blanked out; then each
opening brace is judged by the text before it, back to the last ';' or brace of the same scope. A
lambda or a local class counts as part of the function around it.
"""
import collections
import re

# Lines count from 1; both ends belong to the function, from its return type to its last brace.
Function = collections.namedtuple("Function", "name first last")

_BLANKED = re.compile(
    r"""//[^\n]*                                # comment
      | /\*.*?\*/
      | \bR"(?P<mark>[^()\s\\]*)\(.*?\)(?P=mark)"  # raw string
      | "(?:\\.|[^"\\\n])*"
      | (?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'     # not the ' of 1'000
    """, re.DOTALL | re.VERBOSE)

_SCOPE = re.compile(
    r"^(?:inline\s+|export\s+|typedef\s+)*"
    r"(?:namespace\b|class\b|struct\b|union\b|enum\b|extern\b(?!.*\())", re.DOTALL)

# What may stand between a parameter list and the body.
_TAIL = re.compile(
    r"\)\s*(?:(?:const|noexcept|override|final|mutable|try|volatile|&&?|\([^()]*\))\s*"
    r"|->[^(){};]*|requires\b.*)*$", re.DOTALL)


def blank(text):
    """`text` with comments, literals and preprocessor lines blanked, and the same line ends."""
    def spaces(match):
        keep = '""' if match.group(0)[0] in "\"R" else ""
        return keep + re.sub(r"[^\n]", " ", match.group(0))[len(keep):]
    lines, skipping, continued = [], [], False
    for line in _BLANKED.sub(spaces, text).split("\n"):
        directive = re.match(r"\s*#\s*(\w+)", line)
        if directive and not continued:
            word = directive.group(1)
            if word.startswith("if"):
                skipping.append(False)
            elif word in ("else", "elif") and skipping:
                skipping[-1] = True  # a brace opened in both branches is closed just once
            elif word == "endif" and skipping:
                skipping.pop()
        hidden = directive or continued or any(skipping)
        continued = bool(directive or continued) and line.endswith("\\")
        lines.append("" if hidden else line)
    return "\n".join(lines)


def without_template(head):
    """`head` without its leading template<...> and [[...]]."""
    while True:
        head = re.sub(r"^\s*(\[\[[^\]]*\]\]\s*)+", "", head).lstrip()
        match = re.match(r"template\s*<", head)
        if not match:
            return head
        depth, end = 1, match.end()
        while end < len(head) and depth:
            depth += {"<": 1, ">": -1}.get(head[end], 0)
            end += 1
        head = head[end:]


def kind(head):
    """Whether a brace after `head` opens a 'scope', a 'function' or an 'initialiser'."""
    head = without_template(head)
    tail = _TAIL.search(head)
    if _SCOPE.match(head) and not (tail and "(" in head):
        return "scope"
    if _SCOPE.match(head) and not re.search(r"[\w>&*]\s+[\w:~]+\s*\(", head):
        return "scope"
    # Of a constructor, the body follows ')' or '}' of its list; after a name a member's braces.
    if "(" in head and (tail or re.search(r"\)\s*(noexcept\s*)?:.*[)}]\s*$", head, re.DOTALL)):
        return "function"
    return "initialiser"


def name_of(head):
    head = without_template(head)
    if re.match(r"[A-Z]\w*TEST\w*|TEST\w*", head):
        return re.sub(r"\s+", " ", head[:head.index(")") + 1])
    match = re.search(r"(operator\s*\S+?|[\w:~]+)\s*\(", head)
    return match.group(1) if match else "?"


def functions(text):
    """All functions of a source, and whether its braces balanced."""
    found, stack = [], []
    text = blank(text)
    begin, line = 0, 1  # where the present head begins
    for match in re.finditer(r"[{};\n]", text):
        at, mark = match.start(), match.group(0)
        inside = stack and stack[-1][0] != "scope"
        if mark == "\n":
            line += 1
        elif mark == "{":
            head = re.sub(r"^(\s*(public|private|protected)\s*:)+", "", text[begin:at])
            what = "initialiser" if inside else kind(head)
            stack.append((what, head, line - head.lstrip().count("\n")))
            if what != "initialiser":
                begin = at + 1
        elif mark == "}":
            if not stack:
                return found, False
            what, head, first = stack.pop()
            if what == "function":
                found.append(Function(name_of(head), first, line))
            if what != "initialiser":
                begin = at + 1
        elif not inside:
            begin = at + 1
    return found, not stack
