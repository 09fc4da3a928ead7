# SPDX-License-Identifier: Apache-2.0
import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape import _abi  # noqa: E402
from pagetape.recording import (  # noqa: E402
    LateSink, Recorder, TextRecorder, Written, line_of, open_recorder)


class Lines:
    def __init__(self):
        self.lines = []

    def write(self, line):
        self.lines.append(json.loads(line))

    def close(self):
        self.lines.append("closed")


class LineTest(unittest.TestCase):
    def test_it_is_what_json_writes(self):
        event = {"ev": "x", "text": 'a "b"\n\u00e9', "n": -3, "yes": True, "no": None, "half": 0.5,
                 "pages": [1, 2], "bound": {"pool": "F"}, "from": []}
        self.assertEqual(line_of(event), json.dumps(event))

    def test_what_is_written_already_stays(self):
        self.assertEqual(line_of({"ev": "x", "rows": Written('[{"n":1}]')}),
                         '{"ev": "x", "rows": [{"n":1}]}')


class LateSinkTest(unittest.TestCase):
    def test_headers_and_notes_alone_open_nothing(self):
        recorder = Recorder(LateSink(self.fail))
        recorder.emit("header", format=1)
        recorder.emit("note", text="a hook was skipped")
        recorder.close()

    def test_the_first_event_opens_it_and_what_was_held_goes_before(self):
        lines = Lines()
        recorder = Recorder(LateSink(lambda: lines))
        recorder.emit("header", format=1)
        self.assertEqual(lines.lines, [])
        recorder.emit("step", step=1)
        recorder.emit("note", text="later")
        recorder.close()
        self.assertEqual([line if line == "closed" else line["ev"] for line in lines.lines],
                         ["header", "step", "note", "closed"])

    def test_an_engine_goes_on_where_none_can_be_opened(self):
        def make():
            raise OSError("no such library")

        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            recorder = Recorder(LateSink(make))
            recorder.emit("step", step=1)
            recorder.emit("step", step=2)
            recorder.close()
        self.assertEqual(said.getvalue(),
                         f"pagetape: process {os.getpid()} is not recorded: no such library\n")
        with mock.patch.dict(os.environ, PAGETAPE_STRICT="1"):
            self.assertRaises(OSError, Recorder(LateSink(make)).emit, "step", step=1)

    def test_a_forked_child_opens_its_own(self):
        with tempfile.TemporaryDirectory() as folder:
            recorder = Recorder(LateSink(
                lambda: TextRecorder(os.path.join(folder, f"{os.getpid()}.jsonl"))))
            recorder.emit("header", format=1)
            recorder.emit("step", step=1)
            child = os.fork()
            if child == 0:
                recorder.emit("step", step=2)
                recorder.close()
                os._exit(0)
            os.waitpid(child, 0)
            recorder.close()
            for pid, step in ((os.getpid(), 1), (child, 2)):
                with open(os.path.join(folder, f"{pid}.jsonl"), encoding="utf-8") as f:
                    events = [json.loads(line) for line in f]
                self.assertEqual([e["ev"] for e in events], ["header", "step", "end"])
                self.assertEqual(events[1]["step"], step)


class RecorderTest(unittest.TestCase):
    def test_names_are_an_objects_own_and_numbered_by_first_mention(self):
        recorder = Recorder(Lines())
        a, b = [], []
        self.assertEqual(recorder.name(a, "pool"), "pool0")
        self.assertEqual(recorder.name(b, "pool"), "pool1")
        self.assertEqual(recorder.name(a, "backend"), "pool0")
        self.assertEqual(recorder.known(b), "pool1")
        self.assertIsNone(recorder.known([]))

    def test_a_dead_objects_name_is_not_given_to_another(self):
        recorder = Recorder(Lines())
        names = {recorder.name(object(), "pool") for _ in range(100)}
        self.assertEqual(len(names), 100)

    def test_ev_comes_first_and_null_is_kept(self):
        sink = Lines()
        Recorder(sink).emit("swa_state", backend="d", uses_swa=False, swa_pool=None)
        self.assertEqual(list(sink.lines[0]), ["ev", "backend", "uses_swa", "swa_pool"])
        self.assertIsNone(sink.lines[0]["swa_pool"])

    def test_timestamps_only_where_asked(self):
        sink = Lines()
        Recorder(sink, timestamps=True).emit("note", text="x")
        Recorder(sink).emit("note", text="x")
        self.assertIn("t", sink.lines[0])
        self.assertNotIn("t", sink.lines[1])

    def test_nothing_is_written_after_the_end(self):
        sink = Lines()
        recorder = Recorder(sink)
        recorder.close()
        recorder.emit("note", text="late")
        recorder.close()
        self.assertEqual(sink.lines, ["closed"])

    def test_the_sink_is_closed_whatever_there_was_to_be_told(self):
        sink = Lines()
        recorder = Recorder(sink)
        recorder.before_close([].pop)
        with self.assertRaises(IndexError):
            recorder.close()
        recorder.close()
        self.assertEqual(sink.lines, ["closed"])


class TextRecorderTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "run.jsonl")

    def test_the_file_has_its_name_only_when_it_is_whole(self):
        recorder = open_recorder(self.path, timestamps=False)
        recorder.emit("note", text="x")
        self.assertFalse(os.path.exists(self.path))
        recorder.close()
        self.assertFalse(os.path.exists(self.path + ".partial"))
        lines = [json.loads(line) for line in Path(self.path).read_text().splitlines()]
        self.assertEqual(lines, [{"ev": "note", "text": "x"}, {"ev": "end"}])

    def test_it_is_its_owners_alone_from_its_first_byte_on(self):
        partial = Path(self.path + ".partial")
        partial.touch(mode=0o644)  # Of a run that was killed.
        self.addCleanup(os.umask, os.umask(0))
        for left in (True, False):
            self.assertEqual(partial.exists(), left)
            recorder = open_recorder(self.path, timestamps=False)
            recorder.emit("note", text="x")
            self.assertEqual(partial.stat().st_mode & 0o777, 0o600)
            recorder.close()
            self.assertEqual(Path(self.path).stat().st_mode & 0o777, 0o600)

    def test_it_is_not_written_through_a_link(self):
        target = Path(self.path + ".target")
        target.write_text("of someone else")
        os.symlink(target, self.path + ".partial")
        self.assertRaises(OSError, open_recorder, self.path)
        self.assertEqual(target.read_text(), "of someone else")

    def test_binary_path_without_the_library_gets_text_beside_it(self):
        if _abi.library_path() is not None:
            self.skipTest("the library is there")
        path = self.path.replace(".jsonl", ".ptape")
        recorder = open_recorder(path, timestamps=False)
        self.assertIsInstance(recorder.sink, TextRecorder)
        recorder.close()
        self.assertTrue(os.path.exists(path + ".jsonl"))

    def test_a_library_that_was_named_and_is_not_there_is_an_error(self):
        os.environ["PAGETAPE_LIBRARY"] = self.path
        self.addCleanup(os.environ.pop, "PAGETAPE_LIBRARY")
        with self.assertRaises(OSError):
            open_recorder(self.path.replace(".jsonl", ".ptape"))


if __name__ == "__main__":
    unittest.main()
