# SPDX-License-Identifier: Apache-2.0
"""Device tables and the guard as Python calls them, on tensors in this process's memory. Torch is
not needed: what stands in for its tensors has their methods."""
import json
import os
import sys
import tempfile
import types
import unittest
from array import array
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "capture" / "python"))

from pagetape import _abi, devices, guarding, tensors  # noqa: E402
from pagetape.recording import Launch, Recorder  # noqa: E402

BUILT = [os.path.join(os.environ.get("TEST_SRCDIR", ""), os.environ.get("TEST_WORKSPACE", ""),
                      "capture/libpagetape_capture.so"),
         str(ROOT / "bazel-bin/capture/libpagetape_capture.so")]
LIBRARY = next(path for path in BUILT if os.path.isfile(path))
TORCH = types.SimpleNamespace(
    frombuffer=lambda memory, dtype: memoryview(memory).cast("B").cast(dtype))
ROWS, COLUMNS = 3, 4


class Tensor:
    """One dimension of integers."""

    is_cuda = False

    def __init__(self, dtype, values):
        self.dtype = dtype
        self.values = array(dtype, values)

    def data_ptr(self):
        return self.values.buffer_info()[0]

    def element_size(self):
        return self.values.itemsize

    def numel(self):
        return len(self.values)

    def dim(self):
        return 1

    def stride(self, _dimension):
        return 1


class OnTheHost(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "trace.jsonl")
        self.native = _abi.NativeRecorder(_abi.load(LIBRARY), self.path)
        self.recorder = Recorder(self.native)
        self.recorder.emit("pool", pool="kv", pages=100, page_size=1)
        self.recorder.emit("backend", backend="target")
        # Three lists: 10 11 | 20 | 30 31 32, and what is left of a longer one.
        self.cells = Tensor("q", [10, 11, 20, 30, 31, 32, 77, 78])
        self.starts = Tensor("i", [0, 2, 3, 6])

    def events(self, kind):
        self.recorder.close()
        with open(self.path, encoding="utf-8") as trace:
            return [e for e in map(json.loads, trace) if e["ev"] == kind]

    def table(self):
        self.recorder.emit("buffer", buffer="lists")
        view = devices.view_of(self.cells, COLUMNS, self.starts)
        return devices.DeviceTable(self.native, view, "lists", "kv", "slot")


class DeviceTableTest(OnTheHost):
    def test_first_all_lists_are_told_then_what_changed(self):
        table = self.table()
        self.recorder.compare(table, 0)
        self.cells.values[4] = 39
        self.recorder.compare(table, 0)
        table.close()
        told = [(e["row"], e.get("col", 0), e["pages"]) for e in self.events("table")]
        self.assertEqual(told, [(0, 0, [10, 11]), (1, 0, [20]), (2, 0, [30, 31, 32]),
                                (2, 1, [39])])

    def test_it_holds_so_many_rows_and_columns(self):
        table = self.table()
        self.assertTrue(table.holds(ROWS, COLUMNS))
        self.assertFalse(table.holds(ROWS + 1, 1))
        self.assertFalse(table.holds(1, COLUMNS + 1))
        table.close()

    def test_a_table_grows_where_it_was_too_small_and_there_alone(self):
        """Lists one entry longer each step, then lanes: it is made a few times, and never refused
        for room that nobody asked for."""
        def view(rows, cols, lists=True):
            return _abi.PtapeTableView(rows=rows, cols=cols, starts=1 if lists else None)

        for lists in (True, False):
            held, made = (0, 0), 0
            for cols in range(1, 30000):
                if cols > held[1]:
                    held, made = tensors.room_for(view(32, cols, lists), _abi.PAGES, held), made + 1
                    self.assertEqual((held[0], held[1] >= cols), (64, True), cols)
            self.assertLess(made, 18)
        self.assertEqual(tensors.room_for(view(65, 100), _abi.PAGES, (64, 512)), (130, 512))
        # As much as there may be; what was held of the other is given up for it.
        most = tensors.CELLS_MOST
        self.assertEqual(tensors.room_for(view(32, most // 40), _abi.PAGES, (64, 512)),
                         (40, most // 40))
        self.assertEqual(tensors.room_for(view(32, most // 32), _abi.PAGES, (64, 512)),
                         (32, most // 32))
        self.assertIsNone(tensors.room_for(view(32, most // 32 + 1), _abi.PAGES, (64, 512)))
        self.assertEqual(tensors.room_for(view(1, 40), _abi.LENS, (1, 32)), (1, 80))

    def test_slots_of_a_plain_tensor(self):
        self.recorder.emit("buffer", buffer="writes")
        view = devices.view_of(self.cells, 8)
        table = devices.DeviceTable(self.native, view, "writes", slots=True)
        self.recorder.compare(table, 0)
        table.close()
        self.assertEqual(self.events("slots")[0]["values"], [10, 11, 20, 30, 31, 32, 77, 78])

    def test_lists_with_gaps_between_their_entries_are_not_told(self):
        told = tensors.Tensors(self.recorder)
        self.addCleanup(told.close)
        lists = tensors.of_lists("lists", self.cells, self.starts, "kv")
        self.assertTrue(told.tell(lists, COLUMNS))
        with mock.patch.object(self.cells, "stride", lambda _dimension: 2):
            self.assertFalse(told.tell(lists, COLUMNS))

    def test_a_table_without_columns_is_refused(self):
        with self.assertRaisesRegex(_abi.PtapeError, "without a buffer, rows or columns"):
            devices.DeviceTable(self.native, devices.view_of(self.cells, 0), "lists")


class GuardTest(OnTheHost):
    def guarded(self, mode):
        guard = devices.Guard(self.native, mode, on_host=True)
        self.addCleanup(guard.close)
        with mock.patch.dict(sys.modules, torch=TORCH):
            guarded = devices.Guarded(guard, self.cells, self.starts, reserved=99)
        self.addCleanup(guarded.close)
        return guard, guarded

    def test_a_good_launch_is_not_found(self):
        guard, guarded = self.guarded("log")
        guarded.check(5, 100, 0)
        self.assertIsNone(guard.poll())

    def test_what_is_found_has_its_place_and_bound(self):
        self.cells.values[4] = 1 << 40
        guard, guarded = self.guarded("log")
        guarded.check(5, 100, 0)
        self.assertEqual(guard.poll(), devices.Finding(5, 2, 1, 1 << 40, 100, 1))
        self.assertIsNone(guard.poll())

    def test_log_gives_the_launch_the_tensor_itself(self):
        self.assertIsNone(self.guarded("log")[1].copy)

    def test_clamp_gives_it_a_copy_in_which_bad_entries_are_the_reserved_one(self):
        self.cells.values[1] = -1
        guarded = self.guarded("clamp")[1]
        guarded.check(0, 100, 0)
        self.assertEqual(list(guarded.copy), [10, 99, 20, 30, 31, 32, 99, 99])
        self.assertEqual(self.cells.values[1], -1)

    def test_what_stands_behind_the_lists_is_not_looked_at(self):
        self.cells.values[7] = -1
        guard, guarded = self.guarded("raise")
        guarded.check(0, 100, 0)
        self.assertIsNone(guard.poll())


class Table(Tensor):
    """Rows of integers, as a tensor of two dimensions, on the host."""

    shape = (2, 3)

    def dim(self):
        return 2

    def stride(self, dimension):
        return (3, 1)[dimension]


class Batch:
    name = "r"


class LaunchGuardTest(OnTheHost):
    def setUp(self):
        super().setUp()
        with mock.patch.dict(os.environ, PAGETAPE_GUARD="log"):
            self.guard = guarding.LaunchGuard(self.recorder,
                                              lambda batch, row: f"{batch.name}{row}")
        self.addCleanup(self.guard.close)
        self.batch = Batch()

    def launch(self, values, lens=(3, 3), **read):
        table = Table("i", values)
        read = guarding.Read(layer=4, bound=100, lens=Tensor("i", lens), batch=self.batch, **read)
        self.assertIs(self.guard.given(table, read), table)

    def notes(self):
        return [e["text"] for e in self.events("note")]

    def test_tables_at_other_places_are_launches_of_one_guard(self):
        self.launch([1, 2, 3, 4, 5, 6])
        self.launch([1, 2, 3, 4, 5, 100])
        self.launch([1, -2, 3, 4, 5, 100], lens=(1, 3))
        self.assertEqual(self.notes(), [
            "guard log: a read of request r1, layer 4, column 2: id 100 is outside the bound pool "
            "of 100; entries outside: 1"] * 2)

    def test_what_has_left_the_window_is_not_looked_at(self):
        self.launch([-1, 2, 3, 4, 5, 6], lens=(48, 20), page_size=16, window=20)
        self.assertEqual(self.notes(), [])

    def test_rows_without_a_length_are_not_looked_at(self):
        self.launch([1, 2, 3, 400, 500, 600], lens=(3,))
        self.assertEqual(self.notes(), [])

    def test_lengths_that_are_elsewhere_leave_the_launch_alone(self):
        lens = Tensor("i", [3, 3])
        lens.is_cuda = True
        table = Table("i", [400] * 6)
        read = guarding.Read(layer=4, bound=3, lens=lens)
        for _ in range(2):
            self.assertIs(self.guard.given(table, read), table)
        self.assertEqual(self.notes(), ["guard: a launch whose lengths lie elsewhere than its "
                                        "table is not guarded"])

    def test_lists_with_gaps_are_not_guarded(self):
        lists = Tensor("i", [1, 400, 2, 400])
        read = guarding.Read(layer=4, bound=3, starts=Tensor("i", [0, 1, 2]))
        with mock.patch.object(lists, "stride", lambda _dimension: 2):
            self.assertIs(self.guard.given(lists, read), lists)
        self.assertEqual(self.notes(), ["guard: index lists with gaps between their entries are "
                                        "not guarded"])

    def test_a_batch_that_is_gone_has_no_name(self):
        self.launch([1, 2, 3, 4, 5, 6])
        read = guarding.Read(layer=4, bound=3, what="a write")
        self.guard.given(Table("i", [1, 2, 3, 0, 0, 0]), read)
        self.assertEqual(self.notes(), ["guard log: a write of request None, layer 4, column 2: id "
                                        "3 is outside the bound pool of 3; entries outside: 1"])

    def test_what_does_not_fit_it_leaves_the_engine_alone(self):
        odd = types.SimpleNamespace(data_ptr=lambda: 1)
        read = guarding.Read(layer=4, bound=3)
        with mock.patch.dict(os.environ, PAGETAPE_STRICT="1"), self.assertRaises(AttributeError):
            self.guard.given(odd, read)
        with mock.patch.dict(os.environ, PAGETAPE_STRICT=""):
            self.assertIs(self.guard.given(odd, read), odd)
        self.launch([100] * 6)
        [said] = self.notes()
        self.assertIn("launches are not guarded from here on: AttributeError", said)


class LaunchTest(OnTheHost):
    def test_one_record_serves_all_layers(self):
        rows = _abi.Rows(["A", None], [7, 2], [0, 1], [1, _abi.ABSENT], n=[3, 2])
        made = self.recorder.made([Launch(False, rows, _abi.Bound("kv", 100), dict(
            backend="target", table="lists", page_size=1, unit="slot"))])
        for layer in (3, 4, "draft.0"):
            self.recorder.launches(made, layer, 4096)
        first, second, third = self.events("attention")
        self.assertEqual(first["layer"], 3)
        self.assertEqual(first["rows"], [{"req": "A", "len": 7, "row": 0, "q_len": 1, "n": 3},
                                         {"req": None, "len": 2, "row": 1, "n": 2}])
        self.assertEqual(first["bound"], {"pool": "kv", "pages": 100, "ptr": 4096})
        self.assertEqual({**second, "layer": 3}, first)
        self.assertEqual({**third, "layer": 3}, {**first})
        self.assertEqual((second["layer"], third["layer"]), (4, "draft.0"))

    def test_its_completion_names_it(self):
        self.recorder.emit("buffer", buffer="writes")
        launch = Launch(True, _abi.Rows(["A"], row=[0], n=[1]), _abi.Bound(None, 8),
                        dict(backend="target", slots="writes"))
        self.recorder.launches(self.recorder.made([launch]), 0, None)
        self.recorder.launch_done(self.recorder.last_launch())
        self.assertEqual(self.events("launch_done")[0]["event"], 3)


class ModeTest(unittest.TestCase):
    def mode(self, word):
        with mock.patch.dict(os.environ, PAGETAPE_GUARD=word):
            return devices.mode_asked()

    def test_none_is_asked_for_where_it_is_not_said(self):
        self.assertIsNone(self.mode(""))

    def test_another_word_is_an_error(self):
        self.assertEqual(self.mode("raise"), "raise")
        with self.assertRaisesRegex(ValueError, "not one of log, raise, clamp"):
            self.mode("rise")

    def test_the_exception_says_where(self):
        error = devices.OutOfBounds("a read", "A", 5, 2, 992, 992)
        self.assertEqual(str(error), "a read of request A, layer 5, column 2: id 992 is outside "
                                     "the bound pool of 992")
        self.assertEqual((error.request, error.layer, error.column, error.id, error.bound),
                         ("A", 5, 2, 992, 992))


if __name__ == "__main__":
    unittest.main()
