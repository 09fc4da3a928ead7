# SPDX-License-Identifier: Apache-2.0
"""Events and launches as the library takes them, against the same as text."""
import json
import os
import sys
import tempfile
import threading
import unittest
from array import array
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "capture" / "python"))

from pagetape import _abi, _calls  # noqa: E402
from pagetape.recording import Launch, Recorder, TextRecorder  # noqa: E402

BUILT = [ROOT / "capture/libpagetape_capture.so",
         ROOT / "bazel-bin/capture/libpagetape_capture.so"]
LIBRARY = str(next(path for path in BUILT if path.is_file()))


class Lists:
    """As a tensor of int32 on the CPU."""

    def __init__(self, rows):
        self.rows, self.cells = rows, array("i", [cell for row in rows for cell in row])

    def data_ptr(self):
        return self.cells.buffer_info()[0]

    def stride(self, _dimension):
        return len(self.rows[0])

    def __getitem__(self, place):
        row, columns = place
        return Cells(self.rows[row][columns])


class Cells(list):
    def tolist(self):
        return self


EVENTS = (
    dict(ev="pool", pool="F", pages=8, page_size=16),
    dict(ev="request", req="A", state="arrive"),
    dict(ev="alloc", pool="F", req="A", pages=[1, 2], first=0),
    dict(ev="alloc", pool="F", req="#cache", pages=[]),
    dict(ev="share", pool="F", req="B", pages=[2], first=0),
    dict(ev="free", pool="F", req="B", pages=[2]),
    dict(ev="evict", pool="F", req="A", logical=0, page=1),
    dict(ev="map_set", map="m", pairs=[[1, 2], [3, 4]]),
    dict(ev="map_set", map="m", pairs=[]),
    {"ev": "map_clear", "map": "m", "from": [1, 3]},
    dict(ev="refresh", buffer="b"),
    dict(ev="step", step=7, mode="decode", batch=2),
    dict(ev="accept", req="A", drafted=3, accepted=1),
    dict(ev="rewind", pool="F", req="A", len=9),
    dict(ev="pool_swap", backend="t", layers="*", pool="F"),
    dict(ev="pool_swap", backend="t", layers=[0, 1], pool="F", set="W"),
    dict(ev="swa_state", backend="t", uses_swa=False, swa_pool=None, derived_from="F"),
    # What the library takes as text alone.
    dict(ev="pool_swap", backend="t", layers=["draft.0"], pool="F"),
    dict(ev="alloc", pool="F", req="A", pages=[3], first=2, stream=1),
    dict(ev="note", text="x"),
)


LAUNCHES = (
    Launch(False, _abi.Rows(["A", None], [7, 2], q_len=[1, 1], first=[5, _abi.ABSENT],
                            pages=[[3, 4], []]),
           _abi.Bound("F", 8, (8, 16), (16, 1)), dict(backend="t", mode="decode", kernel="k")),
    Launch(True, _abi.Rows(["A"], slots=[[48, 49]]), _abi.Bound(None, 8), dict(backend="t")),
    Launch(False, _abi.Rows(["A", "B"], [7, 2], [0, 1], [1, 1], n=[3, _abi.ABSENT]),
           _abi.Bound("F", 8), dict(backend="t", table="b", table_rows=4, window=40)),
)


class NativeRecorderTest(unittest.TestCase):
    """Events as they are and as text come to the same."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "run.jsonl")

    def written(self, native, say):
        recorder = Recorder(_abi.NativeRecorder(_abi.load(LIBRARY), self.path) if native
                            else TextRecorder(self.path))
        say(recorder)
        events = recorder.events
        recorder.close()
        lines = [json.loads(line) for line in Path(self.path).read_text().splitlines()]
        self.assertEqual(len(lines), events + 1)
        return lines

    def both(self, say):
        native = self.written(True, say)
        self.assertEqual(native, self.written(False, say))
        return native

    def test_events(self):
        said = self.both(lambda recorder: [recorder.emit(**event) for event in EVENTS])

        self.assertEqual([event for event in said[:-1] if event["ev"] != "swa_state"],
                         [event for event in EVENTS if event["ev"] != "swa_state"])

    def test_no_text_is_made_of_events_that_have_functions(self):
        recorder = Recorder(_abi.NativeRecorder(_abi.load(LIBRARY), self.path))
        with mock.patch.object(recorder.sink, "write") as write:
            for event in EVENTS[1:-3]:
                recorder.emit(**event)
            recorder.launches(recorder.made([LAUNCHES[0]]), 3, None)
        recorder.close()
        write.assert_not_called()

    def test_what_is_no_list_but_holds_numbers_is_as_one(self):
        """As an engine has them: by columns of arrays, of sets, of integers of another kind."""
        class Number:
            def __init__(self, value):
                self.value = value

            def __index__(self):
                return self.value

        class Column:  # As numpy's: it is neither true nor false.
            def __iter__(self):
                return map(Number, (3, 4))

            def __len__(self):
                return 2

            def __bool__(self):
                raise ValueError

        recorder = Recorder(_abi.NativeRecorder(_abi.load(LIBRARY), self.path))
        for pages in ([Number(3), Number(4)], Column(), {3, 4}, range(3, 5), (3, 4)):
            recorder.emit("alloc", pool="F", req="A", pages=pages)
        recorder.close()
        lines = [json.loads(line) for line in Path(self.path).read_text().splitlines()]
        self.assertEqual([line["pages"] for line in lines[:-1]], [[3, 4]] * 5)

    def test_launches(self):
        def say(recorder):
            made = recorder.made(LAUNCHES)
            recorder.launches(made, 3, None)
            recorder.launches(made, "draft.0", 4096)

        first, *_ = self.both(say)
        self.assertEqual(first["rows"], [{"req": "A", "len": 7, "q_len": 1, "first": 5,
                                          "pages": [3, 4]}, {"req": None, "len": 2, "q_len": 1,
                                                             "pages": []}])

    def test_launches_of_many_layers_are_those_of_each(self):
        """What is not made is left out."""
        recorder = Recorder(_abi.NativeRecorder(_abi.load(LIBRARY), self.path))
        native, absent = recorder.native(), _abi.ABSENT
        parts = _abi.LayerParts(native, [(0, 3, 4096), (1, 3, absent), (2, 3, absent),
                                         (0, "draft.0", absent), (2, 4, 8192)])
        made = [recorder.made([LAUNCHES[0]]), None, recorder.made([LAUNCHES[1]])]
        before = recorder.events
        recorder.layers(parts, made)
        self.assertEqual(recorder.events - before, 4)
        recorder.layers(parts, [None] * 3)
        for number, layer, address in ((0, 3, 4096), (2, 3, None), (0, "draft.0", None),
                                       (2, 4, 8192)):
            recorder.launches(made[number], layer, address)
        recorder.close()
        events = [json.loads(line) for line in Path(self.path).read_text().splitlines()][:-1]
        self.assertEqual(len(events), 8)
        self.assertEqual(events[:4], events[4:])

    def test_a_layer_that_was_looked_up_is_recorded_without_a_lock_until_the_end(self):
        recorder = Recorder(_abi.NativeRecorder(_abi.load(LIBRARY), self.path))
        made = recorder.made([LAUNCHES[0]])
        call, arguments, _held = recorder.prepared(made, 3, None)
        returned = []
        engine = threading.Thread(target=lambda: returned.append(call(*arguments)), daemon=True)
        with recorder.lock:
            engine.start()
            engine.join(60)
        self.assertEqual(len(returned), 1, "it waits for the lock")
        quick = returned[0] == 0
        recorder.launches(recorder.made([LAUNCHES[0]]), 3, None)
        recorder.close()
        self.assertEqual(call(*arguments), 1)
        call, arguments, _held = recorder.prepared(made, 3, None)
        self.assertEqual(call(*arguments), 1)
        events = [json.loads(line) for line in Path(self.path).read_text().splitlines()][:-1]
        self.assertEqual(events, [events[-1]] * (1 + quick))
        self.assertEqual(quick, _calls._can(_abi.load(LIBRARY)))

    def test_a_tables_rows(self):
        cells = Lists([[1, 2, 3], [4, 5, 6]])
        said = self.both(lambda recorder: recorder.table_rows("b", cells, [2, 0], ["A", None], "F"))
        self.assertEqual(said[:-1], [
            {"ev": "table", "buffer": "b", "row": 0, "col": 0, "pages": [1, 2], "req": "A",
             "space": "F"},
            {"ev": "table", "buffer": "b", "row": 1, "col": 0, "pages": [], "space": "F"}])

    def test_what_it_writes_is_its_owners_alone(self):
        self.addCleanup(os.umask, os.umask(0))
        for path in (self.path, self.path.replace(".jsonl", ".ptape")):
            recorder = Recorder(_abi.NativeRecorder(_abi.load(LIBRARY), path))
            recorder.emit(**EVENTS[0])
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600, path)
            recorder.close()

    def test_names_of_requests_that_ended_are_given_back(self):
        counts = []

        def say(recorder):
            for number in range(10 * _abi.ENDED_KEPT):
                req = f"r{number}"
                recorder.emit("request", req=req, state="arrive")
                recorder.emit("alloc", pool="F", req=req, pages=[1])
                recorder.emit("request", req=req, state="abort" if number % 2 else "finish")
                if number % _abi.ENDED_KEPT == 0:
                    counts.append(len(getattr(recorder.sink, "_names", ())))
            # One that comes again is known as before.
            recorder.emit("request", req="r0", state="arrive")

        self.both(say)
        counts = counts[:10]
        self.assertLess(counts[-1], _abi.ENDED_KEPT + 10)
        self.assertEqual(counts[2:], counts[2:3] * 8)

    def test_a_name_that_something_else_has_stays(self):
        recorder = Recorder(_abi.NativeRecorder(_abi.load(LIBRARY), self.path))
        recorder.emit("step", step=1, mode="decode", batch=0)
        known = recorder.sink.name("decode")
        for req in ("decode", *map(str, range(2 * _abi.ENDED_KEPT))):
            recorder.emit("request", req=req, state="finish")
        self.assertEqual(recorder.sink.name("decode"), known)
        recorder.close()


class WithoutDirectCallsTest(NativeRecorderTest):
    """The same through ctypes, as with another Python than CPython."""

    def setUp(self):
        super().setUp()
        for patched in (mock.patch.object(_calls, "_can", return_value=False),
                        mock.patch.dict(_calls._made, clear=True)):
            patched.start()
            self.addCleanup(patched.stop)


class CalledTest(unittest.TestCase):
    def setUp(self):
        self.library = _abi.load(LIBRARY)

    def test_what_is_no_number_is_an_error_and_no_call(self):
        step = _calls.called(self.library, "ptape_step")
        for wrong in (None, "1", 1.5, 1 << 64):
            with self.assertRaises((TypeError, OverflowError)):
                step(0, 0, wrong, 0, 0)

    def test_what_is_returned_is_an_int_or_wide(self):
        self.assertEqual(_calls.called(self.library, "ptape_step")(0, 0, -1, 0, 0), -1)
        self.assertEqual(_calls.called(self.library, "ptape_last_launch", wide=True)(0), 0)

    def test_more_arguments_than_any_function_has_are_refused(self):
        self.assertEqual(_calls.called(self.library, "ptape_step")(*range(11)), -1)


if __name__ == "__main__":
    unittest.main()
