# SPDX-License-Identifier: Apache-2.0
import sys
import types
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape.graphs import Graphs  # noqa: E402


class GraphsTest(unittest.TestCase):
    def setUp(self):
        self.told = []

        class CUDAGraph:
            def capture_begin(graph, pool=None):
                self.told.append(("begins", pool))

            def capture_end(graph):
                self.told.append("ends")

            def replay(graph):
                self.told.append("runs")

        self.make = CUDAGraph
        self.graphs = Graphs(self.told.append)
        self.graphs.hook(types.SimpleNamespace(CUDAGraph=CUDAGraph))

    def captured(self, *what):
        graph = self.make()
        graph.capture_begin(pool="p")
        for one in what:
            self.graphs.captured(one)
        graph.capture_end()
        self.told.clear()
        return graph

    def test_what_was_captured_is_told_behind_each_launch(self):
        graph = self.captured(1, 2)
        graph.replay()
        graph.replay()
        self.assertEqual(self.told, ["runs", [1, 2], "runs", [1, 2]])

    def test_graphs_keep_apart_what_was_captured_into_them(self):
        one, other = self.captured(1), self.captured(2)
        other.replay()
        one.replay()
        self.assertEqual(self.told, ["runs", [2], "runs", [1]])

    def test_a_graph_that_is_captured_anew_has_the_new_alone(self):
        graph = self.captured(1)
        graph.capture_begin(pool="p")
        self.graphs.captured(3)
        graph.capture_end()
        self.told.clear()
        graph.replay()
        self.assertEqual(self.told, ["runs", [3]])

    def test_what_comes_without_a_capture_is_nobodys(self):
        graph = self.captured()
        self.graphs.captured(1)
        graph.replay()
        self.assertEqual(self.told, ["runs"])

    def test_where_torch_has_waited_for_the_gpu_it_is_told(self):
        def synchronize(device=None):
            told.append(("waits", device))

        told = self.told
        cuda = types.SimpleNamespace(synchronize=synchronize, current_device=lambda: 1)
        torch = types.SimpleNamespace(
            cuda=cuda, device=lambda one: types.SimpleNamespace(index={"cuda": None}.get(one, one)))
        graphs = Graphs(told.append, "_apart", waited=lambda: told.append("waited"))
        graphs.hook(types.SimpleNamespace(CUDAGraph=self.make, torch=torch))
        cuda.synchronize()
        self.make().capture_begin()  # Who calls it need not have waited.
        for device in ("cuda", 1, 0):  # The last is another one.
            cuda.synchronize(device)
        self.assertEqual(told, [("waits", None), "waited", ("begins", None), ("waits", "cuda"),
                                "waited", ("waits", 1), "waited", ("waits", 0)])

    def test_a_graph_from_before_is_left_alone(self):
        self.make().replay()
        self.assertEqual(self.told, ["runs"])


if __name__ == "__main__":
    unittest.main()
