# SPDX-License-Identifier: Apache-2.0
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape import _abi  # noqa: E402
from pagetape.recording import Recorder, TextRecorder, open_recorder  # noqa: E402


class Lines:
    def __init__(self):
        self.lines = []

    def write(self, line):
        self.lines.append(json.loads(line))

    def close(self):
        self.lines.append("closed")


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
