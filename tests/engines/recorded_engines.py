# SPDX-License-Identifier: Apache-2.0
"""Live engines under `pagetape record`, as a server is: with its ring and collector, killed while
it runs, with prompts that must not be in the trace. run_engines.py has what the hooks see."""
import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import run_engines as live  # noqa: E402
from gpu_engines import Seen  # noqa: E402

ENGINES = os.environ.get("PAGETAPE_ENGINES", "")
PYTHON = os.path.join(ENGINES, "venv/bin/python")
ADAPTERS = os.path.join(live.ROOT, "capture/python")
LAUNCHES = ("attention", "store", "copy")
TOKENS = 5  # In a row, of which four differ, are no coincidence.
PATIENCE_S = 600
DUMPED = re.compile(r"-(finding-[A-Z_]+|guard)-\d{8}T\d{6}Z\.ptape$")


class Run(NamedTuple):
    """What is asked of `record` and of recorded_drive.py."""
    plant: str = ""
    options: tuple = ()
    tokens: int = 1  # Which ones: as recorded_drive.py draws them.
    kill_at: int = 0  # The attention call in which the engine is killed.
    timeless: bool = False  # No times and no addresses: the same in every run.


class Done:
    """What came of it."""

    def __init__(self, folder, drive, path, run, **environment):
        self.out, self.shared, said = (os.path.join(folder, name)
                                       for name in ("traces", "rings", "said"))
        self.run = run
        for made in (folder, self.shared, said):
            os.mkdir(made)
        self._said = said
        environment = dict(
            os.environ, PAGETAPE_STRICT="1", PAGETAPE_LIBRARY=live.LIBRARY, PYTHONHASHSEED="0",
            PAGETAPE_PLANT=run.plant, PYTHONPATH=":".join([ADAPTERS + "/drives", *path]),
            **{"CUDA_VISIBLE_DEVICES": "", **environment})
        environment.pop("PAGETAPE_DIGEST_KEY", None)
        if run.timeless:
            environment.update(PAGETAPE_TIMESTAMPS="0", PAGETAPE_ADDRESSES="0")
        command = [
            live.PAGETAPE, "record", "-o", self.out, "--shared-memory", self.shared, "--python",
            ADAPTERS, *run.options, "--", PYTHON, "-W", "ignore",
            os.path.join(os.path.dirname(os.path.abspath(__file__)), "recorded_drive.py"), drive,
            said, str(run.tokens), str(run.kill_at)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.PIPE) as process:
            try:
                if run.kill_at:
                    os.kill(self._told_call(process), signal.SIGKILL)
                self.printed, self.logged = process.communicate(timeout=PATIENCE_S)
            except BaseException:
                process.kill()
                raise
        self.status = process.returncode

    def _told_call(self, process):
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and process.poll() is None:
            if os.path.exists(os.path.join(self._said, "call.json")):
                return self.said("call")
            time.sleep(0.05)
        raise AssertionError("that call was never made")

    def said(self, what):
        with open(os.path.join(self._said, what + ".json"), encoding="utf-8") as file:
            return json.load(file)

    def traces(self, cause=""):
        """Those that were dumped for that cause, or else those that were not dumped."""
        named = {trace: DUMPED.search(trace) for trace in glob.glob(self.out + "/*.ptape")}
        return [trace for trace, found in named.items() if (found[1] if found else "") == cause]


class Recorded:
    """Each of RUNS is recorded once, two at a time."""
    path = ()
    runs = {
        "clean": Run(timeless=True),
        "others": Run(timeless=True, tokens=2),
        "fault": Run("cell", ("--check", "--trigger", "finding=dump", "--last", "1h")),
    }

    @classmethod
    def setUpClass(cls):
        # In memory, as rings are: their folder is made here.
        folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        cls.addClassCleanup(folder.cleanup)
        with ThreadPoolExecutor(2) as pool:
            done = pool.map(lambda name: Done(os.path.join(folder.name, name), cls.drive, cls.path,
                                              cls.runs[name]), cls.runs)
            cls.done = dict(zip(cls.runs, done))

    def only_trace(self, name):
        """It is all that is left, and its owner's alone."""
        done = self.done[name]
        self.assertEqual(len(done.traces()), 1, done.logged)
        self.assertEqual(os.listdir(done.shared), [])
        for left in os.listdir(done.out):
            self.assertRegex(left, r"\.ptape$")
            self.assertEqual(os.stat(os.path.join(done.out, left)).st_mode & 0o777, 0o600, left)
        return done.traces()[0]

    def test_the_engine_as_it_is_is_recorded_and_clean(self):
        done, trace = self.done["clean"], self.only_trace("clean")
        self.assertEqual(done.status, 0, done.logged)
        self.assertIn(self.served, done.printed)
        report = live.verify(trace)
        self.assertEqual((report["verdict"], report["counts"]), ("pass", {}))
        for rule in live.LiveEngine.judged:
            self.assertGreater(report["rules"][rule]["judged"], 100, rule)
        events = live.events(trace)
        self.assertFalse({"gap", "dropped", "note"} & {e["ev"] for e in events})
        self.assertEqual(events[-1], {"ev": "end"})

    def test_a_planted_fault_is_found_while_it_is_served_and_dumped(self):
        done = self.done["fault"]
        self.only_trace("fault")
        [dump] = done.traces("finding-WRONG_OWNER")
        first = live.verify(dump)["findings"][0]
        self.assertEqual((first["rule"], first["layer"]), ("WRONG_OWNER", 5))
        self.assertRegex(done.logged,
                         f"pagetape: [0-9.]+ s: WRONG_OWNER at event {first['event']:,}, ")
        self.assertIn(": FAIL: ", done.logged)

    # --- the recent past

    def test_the_recent_past_is_what_the_run_ended_with(self):
        done, trace = self.done["last"], self.only_trace("last")
        self.assertEqual(done.status, 0, done.logged)
        report = live.verify(trace)
        self.assertEqual((report["verdict"], report["counts"]), ("pass", {}))
        events, whole = live.events(trace), live.events(self.only_trace("clean"))
        begin = 1 + next(i for i, e in enumerate(events) if e["ev"] == "note"
                         and e["text"].startswith("restated up to here"))
        kept = [e for e in events[begin:] if e["ev"] != "launch_done"]  # Which number events.
        self.assertGreater(len(kept), 20)
        self.assertGreater(min(e["step"] for e in kept if e["ev"] == "step"), 1)
        whole = [e for e in whole if e["ev"] != "launch_done"][-len(kept):]
        self.assertEqual(self.without_keys(kept), self.without_keys(whole))

    # --- killed in a launch

    def test_a_killed_engine_leaves_all_up_to_the_launch_it_was_killed_in(self):
        done, trace = self.done["killed"], self.only_trace("killed")
        self.assertEqual(done.status, 128 + signal.SIGKILL)
        self.assertIn("its process was killed", done.logged)
        report, events = live.verify(trace), live.events(trace)
        self.assertEqual((report["damaged"], report["counts"]), (None, {}))
        self.assertFalse({"gap", "dropped", "end"} & {e["ev"] for e in events})
        layers = [e["layer"] for e in events if e["ev"] == "attention"]
        self.assertEqual(layers, [i % 6 for i in range(done.run.kill_at - self.not_served)])
        last = [e for e in events if e["ev"] in LAUNCHES][-2:]
        self.assertEqual([e["layer"] for e in last], [layers[-1]] * 2)

    # --- privacy

    @staticmethod
    def without_keys(events):
        return [{name: value for name, value in event.items() if name != "key"} for event in events]

    @staticmethod
    def rows_of(tokens):
        return {row for row in zip(*(tokens[i:] for i in range(TOKENS)))
                if len(set(row)) >= TOKENS - 1}

    def test_other_tokens_give_the_same_recording(self):
        """So nothing in it depends on what is said, but for the keys of blocks offered."""
        one, other = (live.events(self.only_trace(name)) for name in ("clean", "others"))
        self.assertEqual(self.without_keys(one), self.without_keys(other))
        said = [self.done[name].said("tokens") for name in ("clean", "others")]
        self.assertEqual(*([len(tokens) for tokens in each] for each in said))
        # Few answers of a model of random weights are the same to both.
        self.assertGreater(sum(tokens not in said[1] for tokens in said[0]), len(said[0]) // 2)

    def test_no_row_of_tokens_is_in_the_recording(self):
        tokens = self.done["clean"].said("tokens")
        rows = set().union(*map(self.rows_of, tokens))
        self.assertGreater(len(rows), 200)
        lines = live.run("export", self.only_trace("clean")).stdout.splitlines()
        lines.append(json.dumps({"ev": "note", "text": f"such as {tokens[0]}"}))
        found = [line for line in lines
                 if rows & self.rows_of([int(n) for n in re.findall(r"-?\d+", line)])]
        self.assertEqual(found, lines[-1:])


class Planted:
    def given_whole(self, done, trace):
        """The event of the launch that was given the index outside: the whole list is told."""
        [finding] = [f for f in live.verify(trace)["findings"] if f["rule"] == "OOB_PAGE"]
        before = [e["ev"] for e in live.events(trace)[:finding["event"]]]
        rows = Seen(trace).launches[before.count("attention") + before.count("store")][-1]
        given = [min(index, 2**31 - 1) for index in done.said("planted")]
        self.assertGreater(len(given), 50)
        self.assertEqual([cell for row in rows for cell in row[-1]], given)
        return finding["event"]


class RecordedTransformers(Recorded, Planted, unittest.TestCase):
    drive, served, not_served = "transformers_cb", "40 requests, 960 new tokens\n", 6
    raised = ("--guard", "raise", "--check", "--trigger", "finding=dump", "--last", "1h")
    runs = {**Recorded.runs, "killed": Run(kill_at=1000),
            "last": Run(options=("--level", "0", "--last", "512KiB"), timeless=True),
            "clamp": Run("read", ("--guard", "clamp")), "raise": Run("read", raised)}
    where = r"a read of request req_\d+, layer 5, column 0: id 1099511627776 is outside the " \
        "bound pool of 992"

    def test_a_long_recording_has_keyframes(self):
        info = live.run("info", self.only_trace("clean")).stdout
        self.assertRegex(info, r"keyframes +[1-9]")

    def test_launches_that_had_begun_when_it_was_killed_are_the_suspects(self):
        trace = self.only_trace("killed")
        events = live.events(trace)
        done = max(e["event"] for e in events if e["ev"] == "launch_done")
        begun = [i for i, e in enumerate(events) if i > done and e["ev"] in LAUNCHES]
        self.assertEqual(live.verify(trace)["suspects"], {"total": len(begun), "events": begun})
        self.assertEqual([events[i]["layer"] for i in begun if events[i]["ev"] == "attention"],
                         list(range((self.runs["killed"].kill_at - 1) % 6 + 1)))

    def test_blocks_offered_have_numbers_of_our_own(self):
        one, other = ([e["key"] for e in live.events(self.only_trace(name)) if "key" in e]
                      for name in ("clean", "others"))
        self.assertGreater(len(one), 100)
        self.assertEqual(one, other)

    def test_a_guard_that_clamps_serves_on(self):
        done = self.done["clamp"]
        self.assertEqual((done.status, done.printed), (0, self.served), done.logged)
        [note] = [e["text"] for e in live.events(self.only_trace("clamp")) if e["ev"] == "note"]
        self.assertRegex(note, f"guard clamp: {self.where}")

    def test_a_guard_that_raises_leaves_a_dump_of_what_led_to_it(self):
        done = self.done["raise"]
        self.only_trace("raise")
        self.assertRegex(done.logged, f"pagetape.devices.OutOfBounds: {self.where}")
        for cause in ("finding-OOB_PAGE", "guard"):
            [dump] = done.traces(cause)
            self.assertEqual(live.verify(dump)["findings"][0]["rule"], "OOB_PAGE", cause)
            self.given_whole(done, dump)


class RecordedVllm(Recorded, unittest.TestCase):
    """Its adapter records no completions: which launches had not ended is not known."""
    drive, path = "vllm_v1", (os.path.join(ENGINES, "vllm"),)
    served, not_served = "20 requests, 777 new tokens", 0
    runs = {**Recorded.runs, "clean": Run("plain", timeless=True),
            "others": Run("plain", timeless=True, tokens=2),
            "last": Run("plain", ("--level", "0", "--last", "96KiB"), timeless=True),
            "killed": Run("plain", kill_at=200)}

    def test_the_same_tokens_have_other_keys_in_each_run(self):
        keys = [{e["key"] for e in live.events(self.only_trace(name)) if "key" in e}
                for name in ("clean", "killed")]
        for each in keys:
            self.assertGreater(len(each), 20)
            self.assertTrue(all(re.fullmatch("[0-9a-f]{16}", key) for key in each))
        self.assertFalse(keys[0] & keys[1])


class FaultOnAGpu(Planted, unittest.TestCase):
    """An index beyond the pool ends the GPU's context, and with it all that is served."""

    def test_the_launch_that_ended_it_is_the_last_suspect_and_its_list_is_whole(self):
        if not live.sees_a_gpu(PYTHON):
            self.skipTest("torch sees no GPU")
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            done = Done(os.path.join(folder, "fault"), "transformers_cb", (), Run("read"),
                        PAGETAPE_ON_GPU="1",
                        CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
            self.assertNotIn("960 new tokens", done.printed)
            trace = max(done.traces(), key=os.path.getsize)  # CUPTI's own has no launches.
            report = live.verify(trace)
            self.assertIsNone(report["damaged"])
            self.assertEqual(self.given_whole(done, trace), report["suspects"]["events"][-1])


if __name__ == "__main__":
    unittest.main()
