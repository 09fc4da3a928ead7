# SPDX-License-Identifier: Apache-2.0
"""`pagetape record` as people use it: engines and collectors that end in every way."""
import contextlib
import ctypes
import glob
import json
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Under Bazel the program is a file of the test; by hand it is what was built last.
BUILT = [os.environ.get("PAGETAPE", ""),
         os.path.join(os.environ.get("TEST_SRCDIR", ""), os.environ.get("TEST_WORKSPACE", ""),
                      "pagetape"), os.path.join(ROOT, "bazel-bin/pagetape")]
PAGETAPE = next(p for p in BUILT if os.path.isfile(p))
ENDLESS = [PAGETAPE, "synth", "--live", "--pace", "400", "--requests", "1000000"]
SHORT = [PAGETAPE, "synth", "--live", "--pace", "0", "--requests", "5"]
PATIENCE_S = 60
PR_SET_CHILD_SUBREAPER = 36
HOST = re.escape(socket.gethostname())


def wait_for(condition):
    """What `condition` gives once that is true."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(child) for child in f.read().split()]


@contextlib.contextmanager
def inheriting():
    """What is left behind below this process becomes its child, so that its status can be had."""
    adopt = ctypes.CDLL(None, use_errno=True).prctl
    assert adopt(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        adopt(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def status_of(orphan):
    """As a shell has it, once it has ended."""
    ended = wait_for(lambda: os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOHANG))
    return ended.si_status + (0 if ended.si_code == os.CLD_EXITED else 128)


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return f.read().split()[2]


class Recording(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.out = os.path.join(folder.name, "traces")
        # A folder of the test's own for the rings: what is left there is a fault.
        shared = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.addCleanup(shared.cleanup)
        self.shared = shared.name

    def command(self, *command, options=()):
        return [PAGETAPE, "record", "-o", self.out, "--shared-memory", self.shared,
                *(options or ["--ring-size", "4MiB"]), "--", *command]

    def record(self, *command, options=(), **more):
        return subprocess.run(self.command(*command, options=options), text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def start(self, *command, options=()):
        process = subprocess.Popen(self.command(*command, options=options),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def engine_of(self, collector):
        """The engine's process, once it records."""
        wait_for(lambda: glob.glob(os.path.join(self.out, "*.journal")))
        return wait_for(lambda: children(collector.pid))[0]

    def traces(self):
        return sorted(glob.glob(os.path.join(self.out, "*.ptape")))

    def only_trace(self):
        traces = self.traces()
        self.assertEqual(len(traces), 1)
        return traces[0]

    def verified(self, trace):
        done = subprocess.run([PAGETAPE, "verify", "--format", "json", trace], text=True,
                              stdout=subprocess.PIPE, check=False)
        return json.loads(done.stdout)

    def events(self, trace):
        done = subprocess.run([PAGETAPE, "export", trace], text=True, stdout=subprocess.PIPE,
                              check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]


class Record(Recording):
    def test_check_judges_while_it_records_and_leaves_the_status(self):
        for bug, verdict in [("stale-swa", "FAIL: "), ("none", "no finding in ")]:
            run = subprocess.run(
                self.command(*SHORT, "--bug", bug, options=["--check"]),
                capture_output=True, text=True, timeout=PATIENCE_S, check=False)
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assertIn(verdict, run.stderr)
            self.assertEqual(" s: STALE_BINDING at event " in run.stderr, bug != "none")

    def test_a_run_is_recorded_and_nothing_is_left_behind(self):
        done = self.record(*SHORT)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.listdir(self.shared), [])
        trace = self.only_trace()
        self.assertEqual(os.listdir(self.out), [os.path.basename(trace)])
        self.assertEqual(os.stat(trace).st_mode & 0o777, 0o600)
        report = self.verified(trace)
        self.assertEqual(report["verdict"], "pass")
        self.assertEqual(report["suspects"], {"total": 0, "events": []})
        self.assertEqual(self.events(trace)[-1], {"ev": "end"})

    def test_nothing_is_open_to_others_while_it_runs(self):
        self.addCleanup(os.umask, os.umask(0))
        for options in ([], ["--last", "1h"]):
            collector = self.start(*ENDLESS, options=options)
            self.engine_of(collector)
            wait_for(lambda: len(os.listdir(self.out)) > 1)  # The journal and what it is of.
            [folder] = os.listdir(self.shared)
            self.assertRegex(folder, "^pagetape-[0-9a-f]{32}$")
            folder = os.path.join(self.shared, folder)
            self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700)
            [ring] = os.listdir(folder)
            self.assertRegex(ring, r"^[0-9a-f]{32}\.ring$")
            for path in (os.path.join(folder, ring), *glob.glob(os.path.join(self.out, "*"))):
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o600, path)
            collector.send_signal(signal.SIGTERM)
            self.assertEqual(collector.wait(PATIENCE_S), 128 + 15)
            self.assertEqual(os.stat(self.only_trace()).st_mode & 0o777, 0o600)
            os.remove(self.only_trace())

    def test_it_returns_what_the_command_did(self):
        self.assertEqual(self.record("sh", "-c", "exit 7").returncode, 7)
        self.assertEqual(self.record("sh", "-c", "kill -TERM $$").returncode, 128 + 15)
        self.assertEqual(self.record("no-such-command").returncode, 127)
        self.assertEqual(self.record("/").returncode, 126)

    def test_its_own_failures_are_125(self):
        self.out = "/proc/nowhere"
        self.assertEqual(self.record("true").returncode, 125)

    def test_long_runs_get_keyframes(self):
        self.record(PAGETAPE, "synth", "--live", "--model", "gemma4-e4b", "--requests", "160",
                    "--concurrency", "64", "--prompt-tokens", "4096", "--output-tokens", "1024",
                    options=["--ring-size", "64MiB"])
        info = subprocess.run([PAGETAPE, "info", self.only_trace()], text=True, check=True,
                              stdout=subprocess.PIPE).stdout
        self.assertRegex(info, r"keyframes +[1-9]")

    def test_an_engine_killed_anywhere_leaves_a_whole_trace_with_its_suspects(self):
        generator = random.Random(1)
        suspects = 0
        for _ in range(10):
            collector = self.start(*ENDLESS)
            engine = self.engine_of(collector)
            time.sleep(generator.random() * 0.2)
            os.kill(engine, signal.SIGKILL)
            self.assertEqual(collector.wait(PATIENCE_S), 128 + 9)
            trace = self.only_trace()
            report = self.verified(trace)
            self.assertIsNone(report["damaged"])
            self.assertEqual(report["counts"], {})
            suspects += report.get("suspects", {"total": 0})["total"]
            os.remove(trace)
        self.assertGreater(suspects, 0)

    def test_a_signal_to_the_collector_reaches_the_command(self):
        collector = self.start(*ENDLESS)
        self.engine_of(collector)
        collector.send_signal(signal.SIGTERM)
        self.assertEqual(collector.wait(PATIENCE_S), 128 + 15)
        self.assertIsNone(self.verified(self.only_trace())["damaged"])

    def test_the_engine_outlives_its_collector_and_its_trace_is_recovered(self):
        collector = self.start(PAGETAPE, "synth", "--live", "--pace", "400", "--requests", "40")
        engine = self.engine_of(collector)
        time.sleep(0.3)
        with inheriting():
            collector.kill()
            collector.wait()
        early = subprocess.run([PAGETAPE, "recover", self.out], text=True, check=False,
                               stdout=subprocess.PIPE)
        self.assertEqual(early.returncode, 2)
        self.assertIn("still writes", early.stdout)
        self.assertEqual(status_of(engine), 0)
        done = subprocess.run([PAGETAPE, "recover", self.out], text=True, check=False,
                              stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stdout)
        trace = self.only_trace()
        self.assertEqual(os.stat(trace).st_mode & 0o777, 0o600)
        self.assertEqual(self.verified(trace)["verdict"], "pass")
        self.assertEqual(self.events(trace)[-1], {"ev": "end"})
        self.assertEqual(os.listdir(self.out), [os.path.basename(trace)])
        self.assertEqual(os.listdir(self.shared), [])

    def test_nothing_to_recover_is_said(self):
        os.mkdir(self.out)
        done = subprocess.run([PAGETAPE, "recover", self.out], text=True, check=False,
                              stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 2)
        self.assertIn("no recording was left unfinished", done.stderr)

    def test_a_stalled_collector_costs_events_and_says_so(self):
        command = [*SHORT[:-1], "400"]
        self.record(*command, options=["--ring-size", "64MiB"])
        undisturbed = self.verified(self.only_trace())
        self.assertEqual(undisturbed["verdict"], "pass")
        os.remove(self.only_trace())
        collector = self.start(*command, options=["--ring-size", "64KiB"])
        engine = wait_for(lambda: children(collector.pid))[0]
        collector.send_signal(signal.SIGSTOP)
        # The engine goes on to its end while nothing is taken.
        wait_for(lambda: state_of(engine) == "Z")
        collector.send_signal(signal.SIGCONT)
        self.assertEqual(collector.wait(PATIENCE_S), 0)
        trace = self.only_trace()
        report = self.verified(trace)
        dropped = sum(e["events"] for e in self.events(trace) if e["ev"] == "dropped")
        self.assertGreater(dropped, 0)
        self.assertEqual(report["counts"], {})
        self.assertIn(f"{dropped} dropped", collector.stderr.read())
        # What became unknown is not taken for right.
        unchecked, before = ({(one["rule"], one["object"]) for one in each["not_checked"]}
                             for each in (report, undisturbed))
        self.assertTrue(report["verdict"] == "incomplete" or unchecked - before,
                        (report["verdict"], unchecked))

    def test_two_ranks_and_their_children_get_a_trace_each(self):
        engine = " ".join(SHORT)
        done = self.record("sh", "-c", f"{engine} & (exec {engine}) & wait; {engine}")
        self.assertEqual(done.returncode, 0, done.stderr)
        traces = self.traces()
        self.assertEqual(len(traces), 3)
        for trace in traces:
            self.assertEqual(self.verified(trace)["verdict"], "pass")
            self.assertRegex(os.path.basename(trace), rf"^{HOST}-[0-9]+\.ptape$")

    def test_a_process_left_behind_by_the_command_is_recorded_to_its_end(self):
        done = self.record("sh", "-c", f"{' '.join(ENDLESS)} --steps 100 & sleep 0.2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.events(self.only_trace())[-1], {"ev": "end"})

    def test_without_shared_memory_the_process_writes_and_the_loss_is_said(self):
        self.shared = "/nowhere"
        self.addCleanup(os.umask, os.umask(0))
        done = self.record(*SHORT)
        self.assertEqual(done.returncode, 0)
        self.assertIn("is lost if", done.stderr)
        self.assertEqual(os.stat(self.only_trace()).st_mode & 0o777, 0o600)
        self.assertEqual(self.verified(self.only_trace())["verdict"], "pass")

    def test_a_trace_asked_for_by_name_is_written_under_it(self):
        path = os.path.join(self.folder, "mine.ptape")
        self.record(PAGETAPE, "synth", "-o", path)
        self.assertEqual(self.verified(path)["verdict"], "pass")
        self.assertEqual(self.traces(), [])


# A server with an idle parent, a spawned rank and a forked one.
SERVER = """
import multiprocessing, sys
def rank(number):
    import pagetape
    recorder = pagetape.active().recorder
    recorder.emit("header", format=1, engine="one of the test's own")
    recorder.emit("step", step=number)
if __name__ == "__main__":
    for number, method in enumerate(("spawn", "fork")):
        child = multiprocessing.get_context(method).Process(target=rank, args=(number,))
        child.start()
        child.join()
        assert child.exitcode == 0
"""


# An engine that knows which of several ranks it is, and processes to which a launcher says it.
RANKS = """
import os, subprocess, sys
import pagetape
from pagetape import recording
if sys.argv[1:] == ["engine"]:
    recording.rank_is(5)
else:
    for given, what in (({"RANK": "3", "LOCAL_RANK": "1"}, "told"), ({"LOCAL_RANK": "1"}, "told"),
                        ({"RANK": "3"}, "engine")):
        if not sys.argv[1:]:
            environment = {**os.environ, **given}
            subprocess.run([sys.executable, __file__, what], env=environment, check=True)
recorder = pagetape.active().recorder
recorder.emit("header", format=1)
recorder.emit("step", step=1)
"""


# A process that records, and is another program from then on.
EXEC = """
import os, pagetape
recorder = pagetape.active().recorder
recorder.emit("header", format=1)
recorder.emit("step", step=1)
os.execv(%r, %r)
"""

# Clocks that go back, and forward by decades.
CLOCK = """
import pagetape
recorder = pagetape.active().recorder
recorder.emit("header", format=1)
for step, t in enumerate((10**18, 5, 2 * 10**18, -7, 10**18)):
    recorder.emit("step", step=step, t=t)
"""
FAULT_AT_AN_EARLIER_TIME = CLOCK + """
recorder.emit("pool", pool="F", pages=8, page_size=16, t=-10**9)
recorder.emit("alloc", pool="F", req="A", pages=[8], t=-10**9)
"""

# The rank that torchrun told a process.
RANK = """
import os
from pagetape import _abi
rank = int(os.environ["RANK"])
native = _abi.NativeRecorder(_abi.load(), "named by the collector", rank=rank)
native.write('{"ev": "header", "format": 1}')
native.write('{"ev": "step", "step": %d}' % rank)
native.close()
"""


class Python(Recording):
    """What is handed out, unpacked somewhere: nothing is said to it but `record -- python …`."""

    def setUp(self):
        super().setUp()
        dist = os.path.join(os.path.dirname(PAGETAPE), "pagetape.tar.gz")
        if not os.path.isfile(dist):
            self.skipTest("//:dist is not built")
        subprocess.run(["tar", "-C", self.folder, "-xf", dist], check=True)
        self.pagetape = os.path.join(self.folder, "pagetape/pagetape")
        self.script = os.path.join(self.folder, "server.py")
        with open(self.script, "w", encoding="utf-8") as f:
            f.write(SERVER)

    def command(self, *command, options=()):
        return [self.pagetape, *super().command(*command, options=options)[1:]]

    def test_its_pages_are_there_under_the_names_that_they_call_each_other(self):
        folder = os.path.dirname(self.pagetape)
        with open(os.path.join(folder, "README.md"), encoding="utf-8") as file:
            pages = set(re.findall(r"\]\((docs/[a-z]+\.md)", file.read()))
        self.assertGreater(len(pages), 3)
        self.assertEqual(sorted(pages), sorted(
            "docs/" + name for name in os.listdir(os.path.join(folder, "docs"))))

    def test_ranks_are_recorded_with_nothing_changed_in_them(self):
        done = self.record("python3", self.script)
        self.assertEqual(done.returncode, 0, done.stderr)
        steps = [[e["step"] for e in self.events(trace) if e["ev"] == "step"]
                 for trace in self.traces()]
        self.assertEqual(sorted(steps), [[0], [1]])

    def test_ranks_are_in_the_names_of_traces_and_in_their_events(self):
        self.script_of(RANKS)
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("RANK", "LOCAL_RANK")}
        done = self.record("python3", self.script, env=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        ranks = {}
        for trace in self.traces():
            named = re.search(r"-rank(\d+)\.ptape$", trace)
            step = [e for e in self.events(trace) if e["ev"] == "step"][0]
            ranks[named and int(named.group(1))] = step.get("rank")
        self.assertEqual(ranks, {3: 3, 1: 1, 5: 5, None: None})

    def script_of(self, text):
        with open(self.script, "w", encoding="utf-8") as f:
            f.write(text)

    def test_a_process_that_becomes_another_leaves_its_trace_and_the_other_one_too(self):
        self.script_of(EXEC % (SHORT[0], SHORT))
        done = self.record("python3", self.script)
        self.assertEqual(done.returncode, 0, done.stderr)
        ends = sorted(self.events(trace)[-1]["ev"] for trace in self.traces())
        self.assertEqual(ends, ["end", "step"])
        for trace in self.traces():
            self.assertIsNone(self.verified(trace)["damaged"])

    def test_a_clock_that_jumps_is_recorded_as_it_says_and_changes_nothing(self):
        self.script_of(CLOCK)
        for options in ([], ["--check"], ["--last", "1s"]):
            done = self.record("python3", self.script, options=options)
            self.assertEqual(done.returncode, 0, done.stderr)
            trace = self.traces()[-1]
            events = self.events(trace)
            self.assertEqual([e["ev"] for e in events], ["header"] + ["step"] * 5 + ["end"])
            self.assertEqual([(e["step"], e["t"]) for e in events[1:-1]],
                             list(enumerate((10**18, 5, 2 * 10**18, -7, 10**18))))
            self.assertEqual(self.verified(trace)["verdict"], "pass")
            self.assertEqual([name for name, _ in self.spans(trace)],
                             [f"step {step}" for step in range(5)])
            self.assertGreaterEqual(min(lasted for _, lasted in self.spans(trace)), 0)
            os.remove(trace)

    def test_no_finding_is_before_the_beginning(self):
        self.script_of(FAULT_AT_AN_EARLIER_TIME)
        done = self.record("python3", self.script, options=["--check"])
        self.assertRegex(done.stderr, r"pagetape: [0-9]+\.[0-9]+ s: OOB_PAGE at event ")

    @staticmethod
    def spans(trace):
        """What began and ended in a picture of the trace: names and how long each took."""
        done = subprocess.run([PAGETAPE, "export", "--to", "chrome", trace], text=True, check=True,
                              stdout=subprocess.PIPE)
        marks = [e for e in json.loads(done.stdout)["traceEvents"] if e["ph"] in "BE"]
        return [(begin["name"], end["ts"] - begin["ts"])
                for begin, end in zip(marks[::2], marks[1::2])]

    def test_a_rank_that_is_told_is_in_the_traces_name_and_its_events(self):
        self.script_of(RANK)
        engine = f"python3 {self.script}"
        done = self.record("sh", "-c", f"RANK=0 {engine} & RANK=13 {engine} & wait")
        self.assertEqual(done.returncode, 0, done.stderr)
        ranks = {}
        for trace in self.traces():
            name = re.fullmatch(rf"{HOST}-[0-9]+-rank([0-9]+)\.ptape", os.path.basename(trace))
            self.assertIsNotNone(name, trace)
            ranks[int(name.group(1))] = [e.get("rank") for e in self.events(trace)
                                         if e["ev"] == "step"]
        self.assertEqual(ranks, {0: [0], 13: [13]})

    def test_a_sitecustomize_that_was_there_is_run(self):
        with open(os.path.join(self.folder, "sitecustomize.py"), "w", encoding="utf-8") as f:
            f.write("print('the other one')")
        done = self.record("python3", "-c", "import sitecustomize; print(sitecustomize.__file__)",
                           env=dict(os.environ, PYTHONPATH=self.folder))
        self.assertEqual(done.stdout.splitlines(),
                         ["the other one", os.path.join(self.folder, "sitecustomize.py")])

    def test_none_leaves_python_alone(self):
        done = self.record("python3", "-c", "import sys; print('pagetape' in sys.modules)",
                           options=["--python", "none"])
        self.assertEqual(done.stdout, "False\n")


if __name__ == "__main__":
    unittest.main()
