# SPDX-License-Identifier: Apache-2.0
"""Device tables under `pagetape record`: the example engine, whose tables are on the host, and
engines and collectors that are killed."""
import glob
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def built(variable, path):
    """A program: named by the environment, a file of the test, or what was built last."""
    places = [os.environ.get(variable, ""),
              os.path.join(os.environ.get("TEST_SRCDIR", ""),
                           os.environ.get("TEST_WORKSPACE", ""), path),
              os.path.join(ROOT, "bazel-bin", path)]
    return next(place for place in places if os.path.isfile(place))


PAGETAPE = built("PAGETAPE", "pagetape")
ENGINE = built("PAGETAPE_EXAMPLE", "capture/example_engine")
ENDLESS = [ENGINE, "--steps", "1000000000", "unused.ptape"]
PATIENCE_S = 60


class DeviceTables(unittest.TestCase):
    def setUp(self):
        for name, place in (("out", None), ("shared", "/dev/shm")):
            folder = tempfile.TemporaryDirectory(dir=place)
            self.addCleanup(folder.cleanup)
            setattr(self, name, folder.name)

    def start(self, *command):
        collector = subprocess.Popen(
            [PAGETAPE, "record", "-o", self.out, "--shared-memory", self.shared, "--ring-size",
             "1MiB", "--", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(collector.wait)
        self.addCleanup(collector.kill)
        return collector

    def engine_of(self, collector):
        """The engine's process, once a segment of its trace has been written."""
        self.wait_for(lambda: any(os.path.getsize(p) > 100_000 for p in self.traces()))
        with open(f"/proc/{collector.pid}/task/{collector.pid}/children", encoding="ascii") as f:
            engine = int(f.read().split()[0])
        self.addCleanup(self.kill, engine)
        return engine

    @staticmethod
    def kill(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def wait_for(self, condition):
        until = time.monotonic() + PATIENCE_S
        while not condition():
            self.assertLess(time.monotonic(), until, "it did not come to that")
            time.sleep(0.01)

    def traces(self):
        return glob.glob(os.path.join(self.out, "*.ptape"))

    def verify(self):
        [trace] = self.traces()
        done = subprocess.run([PAGETAPE, "verify", "--format", "json", trace], check=False,
                              stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    def recovered(self):
        """What recover says, once the engine is gone."""
        while True:
            done = subprocess.run([PAGETAPE, "recover", self.out], check=False, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if "still writes" not in done.stdout:
                self.assertEqual(done.returncode, 0, done.stdout)
                return done.stdout
            time.sleep(0.01)

    def test_the_collector_tells_what_changed_and_leaves_nothing_behind(self):
        self.assertEqual(self.start(ENGINE, "--bad-id", "unused.ptape").wait(), 0)
        report = self.verify()
        self.assertEqual(list(report["counts"]), ["OOB_PAGE"])
        self.assertEqual(report["findings"][0]["step"], 20)
        self.assertEqual(os.listdir(self.shared), [])

    def test_what_a_killed_engine_compared_is_in_the_trace(self):
        collector = self.start(*ENDLESS)
        os.kill(self.engine_of(collector), signal.SIGKILL)
        self.assertEqual(collector.wait(), 128 + signal.SIGKILL)
        report = self.verify()
        self.assertEqual(report["counts"], {})
        self.assertGreater(report["rules"]["OOB_PAGE"]["judged"], 1000)
        self.assertEqual(os.listdir(self.shared), [])

    def test_what_a_killed_collector_left_is_recovered_without_loss_or_repetition(self):
        collector = self.start(*ENDLESS)
        engine = self.engine_of(collector)
        collector.kill()
        collector.wait()
        time.sleep(0.1)  # The engine's ring fills.
        os.kill(engine, signal.SIGKILL)
        said = self.recovered()
        self.assertGreater(int(re.search(r"(\d+) of them from the ring", said).group(1)), 0)
        [trace] = self.traces()
        exported = subprocess.run([PAGETAPE, "export", trace], check=True, stdout=subprocess.PIPE)
        events = [json.loads(line) for line in exported.stdout.splitlines()]
        dropped = next((i for i, e in enumerate(events) if e["ev"] == "dropped"), len(events))
        # The lengths of all lanes change in each step.
        lens = [e["values"] for e in events[:dropped] if e["ev"] == "lens"]
        steps = [e["step"] for e in events[:dropped] if e["ev"] == "step"]
        self.assertEqual(steps, list(range(len(steps))))
        self.assertIn(len(steps) - len(lens), (0, 1))
        report = self.verify()
        self.assertEqual(report["counts"], {})
        self.assertIsNone(report["damaged"])
        self.assertEqual(os.listdir(self.shared), [])


if __name__ == "__main__":
    unittest.main()
