# SPDX-License-Identifier: Apache-2.0
"""Whose the lanes of vLLM's launches are where that is not as plain as in test_vllm_graphs.py:
pieces captured without metadata, layers whose lanes are no batch's, stages without some groups."""
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from pagetape.graphs import Graphs  # noqa: E402
from pagetape.vllm_runners import First  # noqa: E402
import test_vllm_graphs as graphs  # noqa: E402
from test_vllm_graphs import LAYER, Tensor  # noqa: E402


class PiecesTest(graphs.VllmTest):
    """V1 captures them without metadata: what they store is the pass's."""

    def setUp(self):
        super().setUp()
        self.declare()
        self.holds([[4, 0, 0], [2, 0, 0]], [1, 3], [16, 10])

        def store():
            self.context = SimpleNamespace(attn_metadata=None)
            self.layer.impl.do_kv_cache_update(self.layer, None, None, self.layer.kv_cache,
                                               self.runner.slots)
            self.context = None

        self.piece = self.captured(calls=store)

    def run_with(self, metadata):
        def run():
            self.context = SimpleNamespace(attn_metadata={LAYER: metadata})
            self.piece.replay()
            self.layer.impl.forward(self.layer, None, None, None, self.layer.kv_cache, metadata,
                                    None)
            self.context = None

        self.steps(run, B=1, A=1)

    def test_a_store_has_the_lanes_of_the_pass(self):
        self.run_with(self.runner.metadata())
        store, attention = self.launches()
        self.assertEqual(attention["ev"], "attention")
        self.assertEqual((store["ev"], [row["req"] for row in store["rows"]]),
                         ("store", ["B", "A"]))
        self.assertEqual(self.events("gap"), [])

    def test_a_pass_that_says_nothing_of_the_layer_leaves_the_step_a_gap(self):
        self.run_with(SimpleNamespace())
        self.assertEqual((self.launches(), len(self.events("gap"))), ([], 1))


class LeftOutTest(graphs.VllmTest):
    def why(self):
        self.holds([[4, 0, 0], [2, 0, 0]], [1, 3], [16, 10])
        self.assertEqual(self.launches(), [])
        return {(one["why"], *one.get("pools", ())) for one in self.events("gap")}

    def test_chunks_are_no_lanes_of_the_batchs(self):
        self.declare()
        chunks = self.runner.metadata()
        chunks.make_virtual_batches_block_table = None
        self.steps(lambda: self.calls(chunks), A=1)
        self.assertIn(("launches of chunked local attention are not recorded", "group0"),
                      self.why())

    def test_nor_in_a_graph(self):
        self.declare()
        chunks = self.runner.metadata()
        chunks.make_virtual_batches_block_table = None
        self.steps(self.captured(chunks).replay, A=1)
        self.assertIn(("launches of chunked local attention are not recorded", "group0"),
                      self.why())

    def test_an_encoders_tokens_are_not_the_batchs(self):
        self.declare()
        self.layer.attn_type = "encoder_decoder"
        self.steps(self.calls, A=1)
        self.assertIn(("launches of cross-attention are not recorded", "group0"), self.why())

    def test_one_gap_for_all_layers_of_a_pass(self):
        self.declare()
        self.layer.attn_type = "encoder_decoder"
        self.steps(lambda: self.calls(self.runner.metadata()), A=1)
        told = [one for one in self.events("gap") if "cross" in one["why"]]
        self.assertEqual(len(told), 1)


class StagesTest(graphs.VllmTest):
    """A pipeline's stage that has no layer of a group has that group's block table all the same."""

    def test_tables_are_told_as_their_own_groups(self):
        config = graphs.config(6)
        absent = SimpleNamespace(layer_names=[],
                                 kv_cache_spec=config.kv_cache_groups[0].kv_cache_spec)
        config.kv_cache_groups.insert(0, absent)
        tables = self.runner.block_tables.input_block_tables
        own = tables[0]
        tables.insert(0, Tensor([[0] * 3, [0] * 3]))
        self.runner.metadata = lambda: SimpleNamespace(
            block_table=own, seq_lens=self.runner.input_buffers.seq_lens,
            query_start_loc=self.runner.input_buffers.query_start_loc)
        self.runner.initialize_kv_cache(config)
        own.cells[:] = [[4, 0, 0], [2, 0, 0]]
        self.runner.input_buffers.seq_lens.cells[:] = [1, 3]
        self.runner.input_buffers.query_start_loc.cells[:] = [0, 1, 2]
        self.runner.slots.cells[:] = [16, 10]
        self.steps(self.calls, B=1, A=1)
        [attention] = self.events("attention")
        self.assertEqual((attention["space"], attention["bound"]["pool"]), ("group1", "group1"))


class FirstTest(unittest.TestCase):
    def test_new_tokens_are_those_that_the_runner_prepared(self):
        """It may have left out drafts that the scheduler asked for."""
        starts = SimpleNamespace(np=Tensor([0, 1, 5, 5]))
        first = First(SimpleNamespace(input_batch=SimpleNamespace(req_ids=["A", "B"]),
                                      query_start_loc=starts))
        first.begins({"A": 4, "B": 4})
        self.assertEqual(first.lanes(), [("A", 1), ("B", 4)])

    def test_releases_that_keep_them_otherwise(self):
        first = First(SimpleNamespace(input_batch=SimpleNamespace(req_ids=["A", "B"]),
                                      query_start_loc=Tensor([0, 1, 5])))
        first.begins({"B": 4})
        self.assertEqual(first.lanes(), [("A", 0), ("B", 4)])


class FailedCaptureTest(unittest.TestCase):
    def test_holds_nothing(self):
        class CUDAGraph:
            def capture_begin(self):
                raise RuntimeError("no memory")

            def capture_end(self):
                pass

            def replay(self):
                pass

        held = Graphs(lambda _held: None)
        held.hook(SimpleNamespace(CUDAGraph=CUDAGraph))
        with self.assertRaises(RuntimeError):
            CUDAGraph().capture_begin()
        self.assertFalse(held.capturing)


if __name__ == "__main__":
    unittest.main()
