#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a program can check of how this repository is written, each rule a test case."""
import ast
import collections
import os
import re
import shutil
import statistics
import subprocess
import unittest

import cpp_functions

ROOT = os.environ["PAGETAPE_ROOT"]

FOLDERS = {"traces", "replay", "verify", "capture", "gui", "tests", "bazel", "docs", ".ci"}
TOP_FILES = {
    "BUILD", "LICENSE", "README.md", "WORKSPACE", "demo", "pagetape.cc", "test",
    ".bazelignore", ".bazelrc", ".clang-format", ".clang-tidy", ".gitattributes", ".gitignore",
}
SCRIPTS = {"test", "demo", ".ci/run"}
CPP = (".h", ".cc", ".cu", ".cuh")
SOURCES = CPP + (".py", ".sh", ".bzl", ".capnp")

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
FUNCTION_LINES_MAX_KERNEL_OR_PANE = 120
COLUMNS_MAX = 100

# A type's definition, not that of a template for some arguments.
TYPE = re.compile(r"(?:enum|(?:enum )?(?:struct|class|union)) "
                  r"(?:\[\[\w+\]\] |alignas\(\w+\) )?(\w+)(?: final)?(?: : [^{;]*)?(?: \{.*)?$")
# A declaration of another namespace's, whose end has no comment.
DECLARED = re.compile(r"^namespace \w+ \{\n(?:(?:class|struct) \w+;\n)+\}\n", re.MULTILINE)

# The other side of CUPTI's calls, in a test that is built where its headers are.
PLAYS_CUPTI = "tests/capture/mock_cuda.cc"

# Files in traces/, replay/, verify/ and capture/ which no test is named for, and why.
_CLI = "tests/python/test_cli.py runs the verb"
_RECORD = "tests/python/test_record.py: engines and collectors that end in every way"
_TABLES = "device_tables_test and test_device_tables.py"
_SIM = "sim_test runs the whole engine"
_STATE = "state_test and golden_test: State::apply is what it is part of"
_MACHINE = "machine_test: every instruction set, several threads, against double precision"
_SESSION = "session_test: a whole replay, against the verifier and across passes"
_JUDGE = "golden_test: each rule's ok_ and bad_, and judge_launch_test"
_DEBUGGER = "debugger_test: each condition and each thing to show"
_CODEC = "codec_test"
_WHAT_IF = "what_if_test: variants of whole traces"
_EXPLORE = "explore_test: its goldens, and every order held to the dependencies pair by pair"
_VIEWER = "viewer_test: what the panes are told"
_PICTURE = "picture_test: drawn off the screen, with what the panes say"
_ASSERT = "assert_traces_test, and test_cli.py reads what it writes"

WITHOUT_TEST = {
    "capture/collector.cc": _RECORD,
    "capture/injection.cc": _RECORD,
    "capture/cupti/cupti_inject.cc": "test_cupti.py, on a played driver and CUPTI",
    "capture/doctor.cc": "test_doctor.py, on engines that are played",
    "capture/doctor_verb.cc": "test_doctor.py",
    "capture/flight_parts.cc": "flight_test joins them",
    "capture/device_guard.cc": "example_engine_test and test_guard.py",
    "capture/example/example_main.cc": "test_device_tables.py runs it",
    "capture/guard_device_absent.cc": "test_guard.py where there is no toolkit",
    "capture/record_verb.cc": _RECORD,
    "capture/recover.cc": _RECORD,
    "capture/recover_verb.cc": _RECORD,
    "capture/table_delta_absent.cc": _TABLES,
    "capture/table_state.cc": "device_tables_test",
    "capture/sim/bugs.cc": _SIM,
    "capture/sim/draft_runner.cc": _SIM,
    "capture/sim/engine.cc": _SIM,
    "capture/sim/models.cc": _SIM,
    "capture/sim/planter.cc": _SIM,
    "capture/sim/prefix_cache.cc": _SIM,
    "capture/sim/setup.cc": _SIM,
    "capture/sim/synth.cc": _SIM,
    "capture/sim/tables.cc": _SIM,
    "capture/sim/tape.cc": _SIM,
    "capture/sim/target_runner.cc": _SIM,
    "capture/synth_verb.cc": "tests/python/test_info.py runs the verb",
    "gui/app/explain.cc": _VIEWER,
    "gui/app/moment.cc": _VIEWER,
    "gui/app/pool_history.cc": "trace_index_test: the histories of a trace's pools",
    "gui/app/state_blocks.cc": _VIEWER,
    "gui/app/viewer_compare.cc": "comparison_test",
    "gui/app/viewer_findings.cc": _VIEWER,
    "gui/app/viewer_palette.cc": _VIEWER,
    "gui/app/viewer_range.cc": _VIEWER,
    "gui/app/viewer_session.cc": _VIEWER,
    "gui/ink.cc": _PICTURE,
    "gui/measure.cc": _PICTURE,
    "gui/offscreen.cc": _PICTURE,
    "gui/pagetape_view.cc": _CLI,
    "gui/pool_pane.cc": _PICTURE,
    "gui/side_panes.cc": _PICTURE,
    "gui/table_pane.cc": _PICTURE,
    "gui/timeline_pane.cc": _PICTURE,
    "gui/view_verb.cc": _CLI,
    "gui/viewer_frame.cc": _PICTURE,
    "gui/what_if_pane.cc": _PICTURE,
    "gui/window.cc": "needs a screen",
    "replay/apply_graph.cc": _STATE,
    "replay/apply_launch.cc": _STATE,
    "replay/apply_store.cc": _STATE,
    "replay/apply_pages.cc": _STATE,
    "replay/apply_setup.cc": _STATE,
    "replay/attend_cpu.cc": _MACHINE,
    "replay/compact_verb.cc": _CLI,
    "replay/cpu_machine.cc": _MACHINE,
    "replay/cuda_machine_absent.cc": "cuda_machine_test where there is no toolkit",
    "replay/execute_attention.cc": _SESSION,
    "replay/execute_compare.cc": _WHAT_IF,
    "replay/execute_writes.cc": _SESSION,
    "replay/executor.cc": _SESSION,
    "replay/lanes.cc": _SESSION,
    "replay/leaf.cc": _MACHINE,
    "replay/missing.cc": "timeline_test and verify_test: what is known behind damage",
    "replay/refusal.cc": "verify_test and session_test: the sentence of an event refused",
    "replay/survey.cc": _SESSION,
    "replay/team.cc": _MACHINE,
    "traces/codec_in.cc": _CODEC,
    "traces/codec_out.cc": _CODEC,
    "traces/column.cc": _CODEC,
    "traces/columns.cc": _CODEC,
    "traces/import_verb.cc": _CLI,
    "traces/limits.cc": "check_event_test and bad_input_test",
    "traces/names.cc": "text_parse_test and every other test: nothing goes without it",
    "traces/reader_index.cc": "reader_test",
    "verify/conflicts.cc": _EXPLORE,
    "verify/event_dependencies.cc": _EXPLORE,
    "verify/explore_file.cc": _EXPLORE,
    "verify/explore_text.cc": _EXPLORE,
    "verify/explore_verb.cc": _CLI,
    "verify/mutation_entry.cc": "selfcheck_test",
    "verify/orders.cc": _EXPLORE,
    "verify/mutation_event.cc": "selfcheck_test",
    "verify/mutation_write.cc": "selfcheck_test",
    "verify/selfcheck_text.cc": "selfcheck_test",
    "verify/selfcheck_verb.cc": _CLI,
    "verify/assert_github.cc": _ASSERT,
    "verify/assert_junit.cc": _ASSERT,
    "verify/assert_markdown.cc": _ASSERT,
    "verify/assert_sarif.cc": _ASSERT,
    "verify/assert_verb.cc": _CLI,
    "verify/blame_text.cc": "blame_trace_test",
    "verify/blame_verb.cc": _CLI,
    "verify/export_verb.cc": "tests/python/test_export.py runs the verb",
    "verify/export_walk.cc": "export_chrome_test: traces whole, refused and damaged",
    "verify/fetch.cc": "verify_test, and blame_trace_test for the steps",
    "verify/headroom_text.cc": "headroom_test",
    "verify/headroom_verb.cc": _CLI,
    "verify/condition.cc": _DEBUGGER,
    "verify/debug_verb.cc": _CLI,
    "verify/info_verb.cc": "tests/python/test_info.py runs the verb",
    "verify/inspect.cc": _DEBUGGER,
    "verify/join_text.cc": "join_test",
    "verify/join_verb.cc": _CLI,
    "verify/judge_entry.cc": _JUDGE,
    "verify/judge_events.cc": _JUDGE,
    "verify/judge_lane.cc": _JUDGE,
    "verify/judge_pages.cc": _JUDGE,
    "verify/past.cc": "blame_trace_test: with keyframes and without",
    "verify/replay_report.cc": _CLI,
    "verify/replay_verb.cc": _CLI,
    "verify/rewriter.cc": _WHAT_IF,
    "verify/right_page.cc": _WHAT_IF,
    "verify/variant.cc": _WHAT_IF,
    "verify/verify_verb.cc": _CLI,
    "verify/what_if_report.cc": _WHAT_IF,
    "verify/anonymous.cc": "shrink_test",
    "verify/diff_verb.cc": _CLI,
    "verify/diff_text.cc": "diff_test",
    "verify/meaning.cc": "diff_test",
    "verify/request_match.cc": "diff_test",
    "verify/turns.cc": "diff_test",
    "verify/oracle.cc": "shrink_test",
    "verify/reducer.cc": "shrink_test",
    "verify/regression.cc": "shrink_test",
    "verify/shrink_verb.cc": _CLI,
    "verify/slice.cc": "shrink_test",
}


def tracked_files():
    """Paths of what belongs to the repository: with git, all that it does not ignore."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if done.returncode == 0 and done.stdout:
        paths = {p for p in done.stdout.decode().split("\0") if p}
        return sorted(p for p in paths if os.path.isfile(os.path.join(ROOT, p)))
    paths = []  # an unpacked archive, or someone else's checkout
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in (".git", ".cache", "__pycache__")
                      and not (folder == ROOT and f.startswith("bazel-"))]
        paths += [os.path.relpath(os.path.join(folder, f), ROOT) for f in files
                  if f not in ("compile_commands.json", ".bazelrc.user")]
    return sorted(paths)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


FILES = [p for p in tracked_files() if not os.path.islink(os.path.join(ROOT, p))]
CODE = [p for p in FILES if p.endswith(SOURCES) or p in SCRIPTS]
CPP_FILES = [p for p in FILES if p.endswith(CPP)]


def functions_of(path):
    """(name, lines) of each function of a C++ or Python source."""
    text = read(path)
    if path.endswith(".py"):
        return [(n.name, n.end_lineno - n.lineno + 1) for n in ast.walk(ast.parse(text))
                if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    found, balanced = cpp_functions.functions(text)
    assert balanced, "the braces of %s do not balance as cpp_functions.py reads them" % path
    return [(f.name, f.last - f.first + 1) for f in found]


def types_of(text):
    """Types that a C++ source defines, but for those within others and in unnamed namespaces."""
    found, spaces = [], []
    for line in DECLARED.sub("", text).split("\n"):
        if opened := re.match(r"(?:inline )?namespace ?([\w:]*) ?\{", line):
            spaces.append(opened[1])
        elif re.match(r"\}  // namespace", line):
            spaces.pop()
        elif "" not in spaces:
            if defined := TYPE.match(line):
                found.append("::".join([*spaces, defined[1]] if spaces else ["", defined[1]]))
    assert not spaces, spaces
    return found


def quantiles(values):
    values = sorted(values)
    return statistics.median_low(values), values[min(len(values) - 1, len(values) * 95 // 100)]


class TidyTest(unittest.TestCase):
    def assert_none(self, faults, rule):
        if faults:
            self.fail("%s:\n  %s" % (rule, "\n  ".join(sorted(faults))))

    def test_top_level_holds_only_what_the_architecture_names(self):
        entries = {p.split("/")[0] for p in FILES}
        self.assert_none(entries - FOLDERS - TOP_FILES, "these do not belong at the top level")

    def test_files_are_short(self):
        lengths = {p: read(p).count("\n") for p in CODE}
        print("\nreport: files: %d, %d lines, median %d, p95 %d" % (
            len(lengths), sum(lengths.values()), *quantiles(lengths.values())), flush=True)
        self.assert_none(["%s: %d lines" % (p, n) for p, n in lengths.items()
                          if n > FILE_LINES_MAX], "files over %d lines" % FILE_LINES_MAX)

    def test_functions_are_short(self):
        faults, lengths = [], []
        for path in [p for p in CODE if p.endswith(CPP + (".py",))]:
            long_kind = path.endswith((".cu", ".cuh")) or path.startswith("gui/")
            limit = FUNCTION_LINES_MAX_KERNEL_OR_PANE if long_kind else FUNCTION_LINES_MAX
            for name, lines in functions_of(path):
                if path.endswith(CPP):
                    lengths.append(lines)
                if lines > limit:
                    faults.append("%s: %s has %d lines, of %d" % (path, name, lines, limit))
        if lengths:
            print("\nreport: C++ functions: %d, lines median %d, p95 %d" % (
                len(lengths), *quantiles(lengths)), flush=True)
        self.assert_none(faults, "functions too long")

    def test_function_finder_finds_each_kind_and_nothing_else(self):
        text = "\n".join([
            "namespace a {", "constexpr int kTable[] = {1, 2};", "struct S {", " public:",
            "  S(int x) : x_{x}, y_(2) {", "  }", "  int x_{0};", "  bool operator()(int) const {",
            "    auto f = [] { return '{'; };", "    return f() == R\"({)\"[0];", "  }", "};",
            "template <class T, int N = (2 > 1)>", "T Get(T t) {", "#if A", "  if (t) {", "#else",
            "  if (!t) {", "#endif", "  }", "}", "TEST(Suite, Name) {", "}", "}  // namespace a"])
        found, balanced = cpp_functions.functions(text)
        self.assertTrue(balanced)
        self.assertEqual([tuple(f) for f in found], [
            ("S", 5, 6), ("operator()", 8, 11), ("Get", 13, 21), ("TEST(Suite, Name)", 22, 23)])

    def test_lines_fit_in_100_columns(self):
        faults = []
        for path in CODE + [p for p in FILES if os.path.basename(p) in ("BUILD", "WORKSPACE")]:
            for number, line in enumerate(read(path).split("\n"), 1):
                # An address cannot be broken.
                if len(line) > COLUMNS_MAX and "://" not in line:
                    faults.append("%s:%d: %d columns" % (path, number, len(line)))
        self.assert_none(faults, "lines too long")

    def test_cpp_is_as_clang_format_writes_it(self):
        program = shutil.which("clang-format-14") or shutil.which("clang-format")
        if not program:
            self.skipTest("clang-format is not installed")
        version = subprocess.run([program, "--version"], stdout=subprocess.PIPE, check=True,
                                 text=True).stdout
        if not re.search(r"version 14\.", version):
            self.skipTest("clang-format is not version 14, and versions differ in their taste")
        if not CPP_FILES:
            self.skipTest("no C++ yet")
        done = subprocess.run([program, "--dry-run", "-Werror", "--style=file", *CPP_FILES],
                              cwd=ROOT, stderr=subprocess.PIPE, check=False, text=True)
        faults = set(re.findall(r"^(\S+?):\d+:\d+: error", done.stderr, re.MULTILINE))
        self.assert_none(faults, "run %s -i on these" % os.path.basename(program))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_source_includes_its_own_header_first(self):
        # So that every header is compiled once with nothing before it.
        faults = []
        for path in [p for p in CPP_FILES if p.endswith((".cc", ".cu"))]:
            own = os.path.splitext(path)[0] + ".h"
            includes = re.findall(r'^#include\s+["<]([^">]+)[">]', read(path), re.MULTILINE)
            if own in CPP_FILES and includes[:1] != [own]:
                faults.append("%s: first includes %s" % (path, (includes or ["nothing"])[0]))
        self.assert_none(faults, "a source's first include is its own header")

    def test_base_names_are_unique(self):
        families = collections.defaultdict(set)
        for path in FILES:
            stem, suffix = os.path.splitext(path)
            if suffix in SOURCES and os.path.basename(path) not in ("__init__.py", "defs.bzl"):
                # x.h, x.cc, x.cu and x.capnp of one folder are one thing.
                one_thing = stem if suffix in CPP + (".capnp",) else path
                families[os.path.basename(stem)].add(one_thing)
        self.assert_none(["%s: %s" % (n, ", ".join(sorted(p))) for n, p in families.items()
                          if len(p) > 1], "base names used twice")

    def test_type_names_are_unique(self):
        # Two of one name in one namespace are one to the linker: what is inline of one, its
        # destructor or a container of it, stands in for the other's, and nothing says so.
        places = collections.defaultdict(set)
        for path in CPP_FILES:
            for name in types_of(read(path)):
                places[name].add(path)
        self.assertGreater(len(places), 300)
        self.assert_none(["%s: %s" % (n, ", ".join(sorted(p))) for n, p in places.items()
                          if len(p) > 1], "type names used twice in one namespace")

    def test_type_finder_finds_what_the_linker_sees(self):
        text = "\n".join([
            "namespace CLI {", "class App;", "}", "namespace a {", "struct S {",
            "  struct Inner {", "  };", "};", "class Declared;", "struct S::Later {", "};",
            "class Final final : public S {", "};", "enum class E : int {", "};",
            "enum Plain { kOne = (1), kTwo };", "template <>", "struct T<int> {", "};",
            "struct alignas(16) Wide {", "};", "class Long : public S,", "             Other {",
            "};", "struct S function();", "namespace {", "struct Own {", "};",
            "}  // namespace", "}  // namespace a", "struct Outer {", "};"])
        self.assertEqual(types_of(text), ["a::S", "a::Final", "a::E", "a::Plain", "a::Wide",
                                          "a::Long", "::Outer"])

    def test_every_source_has_a_test_named_for_it(self):
        tests = {os.path.basename(p) for p in FILES
                 if p.startswith("tests/") and p.endswith("_test.cc")}
        faults, used = [], set()
        for path in FILES:
            folder, name = path.split("/")[0], os.path.basename(path)
            if folder in ("traces", "replay", "verify", "capture", "gui") and name.endswith(".cc"):
                if name[:-len(".cc")] + "_test.cc" in tests:
                    continue
                used.add(path)
                if path not in WITHOUT_TEST:
                    faults.append("%s: no tests/**/%s_test.cc" % (path, name[:-len(".cc")]))
        self.assert_none(faults, "sources without a test")
        self.assert_none(set(WITHOUT_TEST) - used, "exceptions that are none any more")

    def test_nothing_is_downloaded_by_the_build(self):
        forbidden = re.compile(
            r"\b(http_archive|http_file|http_jar|git_repository|new_git_repository|maven_\w+"
            r"|\w+\.download(_and_extract)?)\b")
        faults = []
        for path in FILES:
            if path == "WORKSPACE" or path.endswith(".bzl"):
                faults += ["%s: %s" % (path, m.group(0)) for m in forbidden.finditer(read(path))]
        self.assert_none(faults, "the build works offline")

    def test_sources_begin_with_their_licence(self):
        faults = []
        for path in CODE:
            lines = read(path).split("\n")
            first = lines[1] if lines[0].startswith("#!") else lines[0]
            if not re.fullmatch(r"(//|#|/\*) SPDX-License-Identifier: Apache-2\.0( \*/)?", first):
                faults.append(path)
        self.assert_none(faults, "no SPDX line first (after #!)")

    def test_no_notes_to_self_are_left(self):
        # Each pattern is written so that it does not find itself.
        note = re.compile(r"TODO\(now\)|\bFIX[M]E\b|\bXX[X]\b")
        faults = []
        for path in CODE:
            for number, line in enumerate(read(path).split("\n"), 1):
                if note.search(line):
                    faults.append("%s:%d: %s" % (path, number, line.strip()))
        self.assert_none(faults, "notes to self")

    def test_cuda_headers_stay_in_capture_and_in_replays_kernels(self):
        cuda = re.compile(
            r'^\s*#\s*include\s*["<](cuda\w*\.h|cuda/[^">]*|cupti\w*\.h|cooperative_groups[^">]*'
            r'|device_launch_parameters\.h|curand\w*\.h|nvtx\w*/?[^">]*)[">]', re.MULTILINE)
        faults = []
        for path in CPP_FILES:
            kernel = path.endswith((".cu", ".cuh")) and path.split("/")[0] in ("replay", "tests")
            if not kernel and not path.startswith("capture/") and path != PLAYS_CUPTI:
                faults += ["%s: %s" % (path, m.group(1)) for m in cuda.finditer(read(path))]
        self.assert_none(faults, "these build on a machine without CUDA")

    def test_cupti_is_included_by_one_file(self):
        users = [p for p in CPP_FILES if p != PLAYS_CUPTI and
                 re.search(r'^\s*#\s*include\s*["<]cupti\w*\.h', read(p), re.MULTILINE)]
        self.assertLessEqual(len(users), 1, users)


if __name__ == "__main__":
    unittest.main()
