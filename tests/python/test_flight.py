# SPDX-License-Identifier: Apache-2.0
"""`pagetape record --last … --trigger …` on engines that run, are killed and go wrong."""
import glob
import os
import signal
import subprocess
import time
import unittest

from test_record import (ENDLESS, PAGETAPE, PATIENCE_S, SHORT, Recording, inheriting, status_of,
                         wait_for)

ENGINE = [PAGETAPE, "synth", "--live", "--pace", "400", "--requests", "1000000"]


class Flight(Recording):
    def parts(self):
        return glob.glob(os.path.join(self.out, "*.from-*+*"))

    def dumps(self, cause):
        return glob.glob(os.path.join(self.out, f"*-{cause}-*.ptape"))

    def restated(self, trace):
        """Events of a trace that was cut, up to those that are new; what it says of them."""
        events = self.events(trace)
        for i, event in enumerate(events):
            if event["ev"] == "note" and event["text"].startswith("restated up to here"):
                return i + 1, events
        return 0, events

    def kept_clean(self, trace):
        report = self.verified(trace)
        self.assertIsNone(report["damaged"])
        self.assertEqual(report["counts"], {})
        self.assertNotEqual(report["verdict"], "damaged")
        return report

    def test_the_recent_past_is_kept_and_the_disk_bounded(self):
        collector = self.start(*ENGINE, "--steps", "2400", options=["--last", "1s"])
        most = 0
        while collector.poll() is None:
            most = max(most, len(self.parts()))
            time.sleep(0.02)
        self.assertEqual(collector.returncode, 0)
        trace = self.only_trace()
        self.assertEqual(self.parts(), [])
        self.assertEqual(os.listdir(self.out), [os.path.basename(trace)])
        self.assertEqual(os.stat(trace).st_mode & 0o777, 0o600)
        begin, events = self.restated(trace)
        self.assertGreater(begin, 0)
        self.assertEqual(events[begin]["ev"], "step")
        self.assertEqual(events[-1], {"ev": "end"})
        self.assertGreater(most, 1)
        self.assertLess(most, 20)  # Eight, and what a busy machine adds.
        report = self.kept_clean(trace)
        self.assertEqual(report["verdict"], "pass")

    def test_a_size_bounds_the_disk(self):
        done = self.record(*ENGINE[:4], "0", "--requests", "100000", "--steps", "20000",
                           options=["--last", "128KiB"])
        self.assertEqual(done.returncode, 0, done.stderr)
        trace = self.only_trace()
        self.assertLess(os.path.getsize(trace), 256 << 10)
        self.assertGreater(self.restated(trace)[0], 0)
        self.kept_clean(trace)

    def test_a_planted_fault_is_found_in_what_is_kept(self):
        done = self.record(*ENGINE, "--steps", "1200", "--bug", "stale-swa",
                           options=["--last", "1s"])
        self.assertEqual(done.returncode, 0, done.stderr)
        trace = self.only_trace()
        begin, _ = self.restated(trace)
        self.assertGreater(begin, 0)
        report = self.verified(trace)
        self.assertIn("STALE_BINDING", report["counts"])
        self.assertGreaterEqual(min(f["event"] for f in report["findings"]), begin)

    def test_a_killed_engine_leaves_what_was_kept(self):
        collector = self.start(*ENDLESS, options=["--last", "1s"])
        engine = self.engine_of(collector)
        wait_for(lambda: len(self.parts()) > 4)
        os.kill(engine, signal.SIGKILL)
        self.assertEqual(collector.wait(PATIENCE_S), 128 + 9)
        self.kept_clean(self.only_trace())

    def test_a_killed_collector_leaves_parts_that_are_recovered(self):
        collector = self.start(*ENGINE, "--steps", "1500", options=["--last", "1s"])
        engine = self.engine_of(collector)
        wait_for(lambda: len(self.parts()) > 4)
        with inheriting():
            collector.kill()
            collector.wait()
        self.assertEqual(status_of(engine), 0)
        done = subprocess.run([PAGETAPE, "recover", self.out], text=True, check=False,
                              stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stdout)
        trace = self.only_trace()
        self.assertEqual(os.listdir(self.out), [os.path.basename(trace)])
        self.assertEqual(os.listdir(self.shared), [])
        begin, events = self.restated(trace)
        self.assertEqual(events[-1], {"ev": "end"})
        steps = [e["step"] for e in events[begin:] if e["ev"] == "step"]
        self.assertEqual(steps, list(range(steps[0], steps[-1] + 1)))
        self.assertEqual(self.kept_clean(trace)["verdict"], "pass")

    def test_a_signal_dumps_and_goes_on_and_never_reaches_the_command(self):
        collector = self.start(*ENDLESS, options=["--last", "1h", "--trigger", "usr1=dump"])
        self.engine_of(collector)
        wait_for(self.parts)
        for n in (1, 2):
            collector.send_signal(signal.SIGUSR1)
            wait_for(lambda n=n: len(self.dumps("usr1")) == n)
        self.assertIsNone(collector.poll())
        collector.send_signal(signal.SIGTERM)
        self.assertEqual(collector.wait(PATIENCE_S), 128 + 15)
        dumps = sorted(self.dumps("usr1"), key=os.path.getmtime)
        for dump in dumps:
            self.kept_clean(dump)
        whole = [trace for trace in self.traces() if trace not in dumps]
        self.assertEqual(len(whole), 1)
        counts = [len(self.events(trace)) for trace in dumps + whole]
        self.assertEqual(counts, sorted(counts))

    def test_a_finding_dumps_what_led_to_it(self):
        done = self.record(*SHORT, "--bug", "stale-swa",
                           options=["--check", "--trigger", "finding=dump", "--last", "1h"])
        self.assertEqual(done.returncode, 0, done.stderr)
        dumps = self.dumps("finding-STALE_BINDING") or self.dumps("finding-WRONG_SPACE")
        self.assertEqual(len(dumps), 1)
        self.assertIn("events (finding-", done.stderr)
        self.assertNotEqual(self.verified(dumps[0])["counts"], {})

    def test_start_and_stop(self):
        collector = self.start(*ENDLESS, options=["--trigger", "usr1=start", "--trigger",
                                                  "usr2=stop"])
        self.engine_of(collector)
        time.sleep(0.2)
        self.assertEqual(self.parts(), [])
        collector.send_signal(signal.SIGUSR1)
        wait_for(self.parts)
        collector.send_signal(signal.SIGUSR2)
        wait_for(lambda: self.dumps("usr2"))
        wait_for(lambda: not self.parts())
        collector.send_signal(signal.SIGTERM)
        self.assertEqual(collector.wait(PATIENCE_S), 128 + 15)
        self.assertEqual(self.traces(), self.dumps("usr2"))
        trace = self.only_trace()
        self.assertGreater(self.restated(trace)[0], 0)
        self.kept_clean(trace)

    def test_wrong_usage_is_said(self):
        for options, said in [(["--last", "soon"], "is no time"),
                              (["--trigger", "usr3=dump"], "is not usr1"),
                              (["--trigger", "finding=dump"], "needs --check")]:
            done = self.record("true", options=options)
            self.assertEqual(done.returncode, 2)
            self.assertIn(said, done.stderr)


if __name__ == "__main__":
    unittest.main()
