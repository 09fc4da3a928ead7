# SPDX-License-Identifier: Apache-2.0
"""`pagetape record` where the disk has no room for all of a trace, and `recover` once it has."""
import os
import resource
import subprocess
import unittest

from test_record import PAGETAPE, Recording

ENGINE = [PAGETAPE, "synth", "--live", "--requests"]
TWO_SEGMENTS = [*ENGINE, "160", "--pace", "0"]  # Of its events; the first one finds room.
FILE_BYTES = 900_000


def without_completions(lines):
    return [line for line in lines if '"launch_done"' not in line]


class FullDisk(Recording):
    """Only a completion is missing in the end, where its launch was in the file already."""

    def lines(self, trace):
        return subprocess.run([PAGETAPE, "export", trace], text=True, stdout=subprocess.PIPE,
                              check=True).stdout.splitlines()

    def whole(self):
        """The run's lines where there is room."""
        done = self.record(*TWO_SEGMENTS, options=["--level", "0", "--ring-size", "64MiB"])
        self.assertEqual(done.returncode, 0, done.stderr)
        trace = self.only_trace()
        self.assertGreater(os.path.getsize(trace), FILE_BYTES)
        lines = self.lines(trace)
        os.remove(trace)
        self.assertEqual(lines[-1], '{"ev": "end"}')
        return lines

    def record_in_little_room(self, *options, engine=TWO_SEGMENTS):
        def small_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, resource.RLIM_INFINITY))

        # The ring's file is no larger than that, or the ring itself would be refused.
        done = self.record("sh", "-c", "ulimit -S -f unlimited; exec " + " ".join(engine),
                           options=["--level", "0", *options], preexec_fn=small_files)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("cannot be written", done.stderr)
        self.assertIn("pagetape recover", done.stderr)

    def recovered(self):
        """The lines of the only trace."""
        again = subprocess.run([PAGETAPE, "recover", self.out], text=True, check=False,
                               stdout=subprocess.PIPE)
        self.assertEqual(again.returncode, 0, again.stdout)
        trace = self.only_trace()
        self.assertEqual(os.stat(trace).st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(self.out), [os.path.basename(trace)])
        self.assertEqual(os.listdir(self.shared), [])
        report = self.verified(trace)
        self.assertIsNone(report["damaged"])
        self.assertEqual(report["counts"], {})
        return self.lines(trace)

    def test_it_ends_the_trace_and_not_the_engine_and_the_rest_is_recovered(self):
        whole = self.whole()
        self.record_in_little_room("--ring-size", "64MiB")
        trace = self.only_trace()
        self.assertIsNone(self.verified(trace)["damaged"])
        before = self.lines(trace)
        self.assertGreater(len(before), 0)
        self.assertTrue(before == whole[:len(before)])
        lines = self.recovered()
        self.assertGreater(len(lines), len(before))
        self.assertTrue(without_completions(lines) == without_completions(whole))

    def test_what_the_ring_has_no_room_for_is_dropped_and_marked(self):
        # So slow that it is drained until the disk is full, and more than it holds comes then.
        self.record_in_little_room("--ring-size", "1MiB",
                                   engine=[*ENGINE, "400", "--pace", "8000"])
        before = self.lines(self.only_trace())
        lines = self.recovered()
        self.assertGreater(len(lines), len(before))
        self.assertTrue(lines[:len(before)] == before)
        self.assertEqual(lines[-1], '{"ev": "end"}')
        self.assertTrue([line for line in lines[len(before):] if '"ev": "dropped"' in line])

    def test_the_recent_past_is_recovered_too(self):
        whole = self.whole()
        self.record_in_little_room("--ring-size", "64MiB", "--last", "1h")
        self.assertEqual(self.traces(), [])  # One is made of the parts at the end.
        self.assertTrue(without_completions(self.recovered()) == without_completions(whole))


if __name__ == "__main__":
    unittest.main()
