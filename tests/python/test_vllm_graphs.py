# SPDX-License-Identifier: Apache-2.0
"""vLLM's steps and CUDA graphs on classes with the signatures of 0.32.0's model runner V2, and
tensors that are lists: what its real classes do on a CPU is in tests/engines/vllm_engines.py."""
import json
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape.recording import Recorder  # noqa: E402
from pagetape.vllm import Hooks  # noqa: E402

LAYER = "model.layers.0.attn"


class Tensor:
    """Of one or two dimensions, in the memory of another one or its own."""
    is_cuda = False

    def __init__(self, cells):
        self.cells = cells

    @property
    def shape(self):
        first = self.cells[0] if self.cells else 0
        return (len(self.cells), len(first)) if isinstance(first, list) else (len(self.cells),)

    def numel(self):
        return len(self.cells)

    def data_ptr(self):
        return id(self.cells)

    def stride(self):
        return (1,) * len(self.shape)

    def tolist(self):
        return list(self.cells)

    def __getitem__(self, at):
        if isinstance(at, tuple):
            return Tensor(self.cells[at[0]][at[1]])
        return Tensor(self.cells[at])

    def cpu(self):
        return self

    int = long = contiguous = cpu


class Sink:
    def __init__(self):
        self.events = []

    def write(self, line):
        self.events.append(json.loads(line))

    def flush(self):
        pass

    close = flush


class Impl:
    def do_kv_cache_update(self, layer, key, value, kv_cache, slot_mapping):
        pass

    def forward(self, layer, query, key, value, kv_cache, attn_metadata, output):
        pass


class Attention:
    sliding_window = None

    def __init__(self, impl):
        self.impl, self.layer_name = impl, LAYER
        self.attn_backend = SimpleNamespace(forward_includes_kv_cache_update=False)
        self.kv_cache = Tensor([[0] * 4 for _ in range(6)])


class CUDAGraph:
    told = []  # events when it ran

    def capture_begin(self, pool=None):
        pass

    def capture_end(self):
        pass

    def replay(self):
        CUDAGraph.told.append(len(CUDAGraph.sink.events))


def config(blocks):
    spec = SimpleNamespace(block_size=4, num_kv_heads=1, head_size=8, dtype="torch.bfloat16")
    return SimpleNamespace(num_blocks=blocks, kv_cache_groups=[
        SimpleNamespace(layer_names=[LAYER], kv_cache_spec=spec)])


class Runner:
    """Requests' blocks and lengths are the tests' own."""

    def __init__(self, layer):
        parallel = SimpleNamespace(decode_context_parallel_size=1)
        self.vllm_config = SimpleNamespace(
            parallel_config=parallel,
            compilation_config=SimpleNamespace(static_forward_context={LAYER: layer}))
        self.block_tables = SimpleNamespace(input_block_tables=[Tensor([[0] * 3, [0] * 3])])
        self.input_buffers = SimpleNamespace(query_start_loc=Tensor([0, 0, 0]),
                                             seq_lens=Tensor([0, 0]))
        self.slots = Tensor([-1, -1])
        self.run = lambda: None

    def metadata(self):
        return SimpleNamespace(block_table=self.block_tables.input_block_tables[0],
                               seq_lens=self.input_buffers.seq_lens,
                               query_start_loc=self.input_buffers.query_start_loc)

    def initialize_kv_cache(self, kv_cache_config, is_profiling=False):
        pass

    def prepare_inputs(self, scheduler_output, batch_req_state, batch_desc, num_active_loras):
        lanes = list(scheduler_output.num_scheduled_tokens.items())
        return SimpleNamespace(req_ids=[req for req, _ in lanes],
                               num_scheduled_tokens=Tensor([new for _, new in lanes]))

    def execute_model(self, scheduler_output, dummy_run=False):
        if not dummy_run:
            self.prepare_inputs(scheduler_output, None, None, num_active_loras=0)
        self.run()

    def _dummy_run(self, num_tokens):
        self.execute_model(step(dummy=num_tokens), dummy_run=True)

    def capture_model(self):
        self.run()


def step(**new):
    return SimpleNamespace(num_scheduled_tokens=new)


class VllmTest(unittest.TestCase):
    def setUp(self):
        self.sink = CUDAGraph.sink = Sink()
        CUDAGraph.told = []
        self.hooks = Hooks(Recorder(self.sink))
        self.runner_class = type("GPUModelRunner", (), dict(vars(Runner)))
        graph = self.graph_class = type("CUDAGraph", (), dict(vars(CUDAGraph)))
        self.context = None
        contexts = SimpleNamespace(get_forward_context=lambda: self.context,
                                   is_forward_context_available=lambda: self.context is not None)
        torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
        modules = mock.patch.dict(sys.modules, {
            "torch": torch, "torch.cuda.graphs": SimpleNamespace(CUDAGraph=graph),
            "vllm": SimpleNamespace(), "vllm.forward_context": contexts})
        modules.start()
        self.addCleanup(modules.stop)
        self.hooks.second_runner(SimpleNamespace(GPUModelRunner=self.runner_class))
        self.warmup = SimpleNamespace(warmup_kernels=lambda runner, execute_model, sample: (
            execute_model(step(_warmup_0_=1))), run_mixed_prefill_decode_warmup=lambda: None)
        self.hooks.warmup(self.warmup)
        attention = type("Attention", (Attention,), {"__init__": Attention.__init__})
        self.hooks.layers(SimpleNamespace(Attention=attention))
        self.layer = attention(type("Impl", (), dict(vars(Impl)))())
        self.runner = self.runner_class(self.layer)

    def events(self, *kinds):
        return [one for one in self.sink.events if one["ev"] in kinds]

    def launches(self):
        return self.events("store", "attention")

    def declare(self):
        self.runner.initialize_kv_cache(config(6))

    def calls(self, metadata=None):
        """The layer's, as in a forward pass."""
        metadata = metadata or self.runner.metadata()
        before, self.context = self.context, SimpleNamespace(attn_metadata={LAYER: metadata})
        self.layer.impl.do_kv_cache_update(self.layer, None, None, self.layer.kv_cache,
                                           self.runner.slots)
        self.layer.impl.forward(self.layer, None, None, None, self.layer.kv_cache, metadata, None)
        self.context = before

    def captured(self, metadata=None, calls=None):
        graph = self.graph_class()

        def capture():
            graph.capture_begin(pool=None)
            (calls or self.calls)(*([metadata] if metadata is not None else []))
            graph.capture_end()

        self.runner.run = capture
        self.runner.capture_model()
        self.assertEqual(self.launches(), [])
        return graph

    def holds(self, blocks, lens, slots):
        """What the runner writes into its tensors for a step of one request or two."""
        self.runner.block_tables.input_block_tables[0].cells[:] = blocks
        self.runner.input_buffers.seq_lens.cells[:] = lens
        self.runner.slots.cells[:] = slots
        lanes = sum(1 for length in lens if length)
        self.runner.input_buffers.query_start_loc.cells[:] = [0, 1, lanes]

    def steps(self, run, **new):
        self.runner.run = run
        self.runner.execute_model(step(**new))


class StepsTest(VllmTest):
    def test_lanes_are_in_the_order_of_the_batch_that_was_prepared(self):
        self.declare()
        self.holds([[4, 5, 0], [2, 0, 0]], [5, 3], [20, 10])
        self.steps(self.calls, B=1, A=1)
        store, attention = self.launches()
        self.assertEqual(store["rows"], [{"req": "B", "row": 0, "n": 1},
                                         {"req": "A", "row": 1, "n": 1}])
        self.assertEqual(attention["rows"], [{"req": "B", "len": 5, "row": 0, "q_len": 1},
                                             {"req": "A", "len": 3, "row": 1, "q_len": 1}])
        self.assertEqual([(e["req"], e["pages"]) for e in self.events("table")],
                         [("B", [4, 5]), ("A", [2])])
        self.assertEqual(self.events("gap"), [])

    def test_a_cache_to_profile_with_is_none(self):
        self.runner.initialize_kv_cache(config(2), is_profiling=True)
        self.steps(self.calls, A=1)
        self.assertEqual(self.sink.events, [])
        self.declare()
        self.assertEqual([e["pages"] for e in self.events("pool")], [6])

    def test_a_cache_of_another_size_is_the_pool_said_again(self):
        self.declare()
        self.runner.initialize_kv_cache(config(9))
        self.assertEqual([(e["pool"], e["pages"]) for e in self.events("pool")],
                         [("group0", 6), ("group0", 9)])

    def test_dummy_batches_and_warmup_are_no_requests(self):
        self.declare()
        self.runner.run = self.calls
        self.holds([[4, 0, 0], [0] * 3], [1, 0], [16, -1])
        self.runner._dummy_run(1)
        self.warmup.warmup_kernels(self.runner, self.runner.execute_model, None)
        self.assertEqual(self.events("step", "store", "attention", "gap"), [])
        self.steps(self.calls, A=1)
        self.assertEqual(len(self.launches()), 2)

    def test_micro_batches_are_not_told(self):
        self.runner.vllm_config.parallel_config.use_ubatching = True
        self.declare()
        self.steps(self.calls, A=1)
        self.assertEqual([e["text"] for e in self.events("note")],
                         ["launches with micro-batches: not recorded"])
        self.assertEqual(self.launches(), [])


class OnAGpuTest(VllmTest):
    """What is compared there is told by the library: here, that it is asked to, and the lanes."""

    def setUp(self):
        super().setUp()
        self.told = []
        tensors = self.hooks.launches._tensors
        tensors.takes = lambda tensor: True
        tensors.lens = lambda buffer, values: self.tell("lens", buffer, values.tolist())
        tensors.slots = lambda buffer, values: self.tell("slots", buffer, values.tolist())
        tensors.table = lambda buffer, cells, *_: self.tell("table", buffer, cells.tolist())

    def tell(self, *what):
        self.told.append(what)
        return True

    def test_a_graphs_lanes_are_the_batchs_and_its_padding(self):
        self.declare()
        graph = self.captured()
        for blocks in ([[4, 5, 0], [0] * 3], [[3, 5, 0], [0] * 3]):
            del self.told[:], self.sink.events[:]
            self.holds(blocks, [5, 0], [20, -1])
            self.steps(graph.replay, B=1)
            store, attention = self.launches()
            self.assertEqual(store["rows"], [{"req": "B", "row": 0, "n": 1},
                                             {"req": None, "row": 1, "n": 1}])
            self.assertEqual(attention["rows"], [{"req": "B", "row": 0, "q_len": 1},
                                                 {"req": None, "row": 1}])
            self.assertEqual(attention["lens"], "runner0.lens")
            self.assertEqual(self.told, [("slots", "runner0.group0.slots", [20, -1]),
                                         ("lens", "runner0.lens", [5, 0]),
                                         ("table", "runner0.group0", blocks)])

    def test_a_table_that_cannot_be_compared_is_a_gap(self):
        self.declare()
        graph = self.captured()
        self.hooks.launches._tensors.table = lambda *_: False
        self.holds([[4, 5, 0], [0] * 3], [5, 0], [20, -1])
        self.steps(graph.replay, B=1)
        self.assertEqual([e["ev"] for e in self.events("store", "attention", "gap")],
                         ["store", "gap", "gap"])


class GraphsTest(VllmTest):
    def test_a_graphs_launches_are_those_of_the_step_with_its_tensors_then(self):
        self.declare()
        graph = self.captured()
        for blocks, lens, slots, new in (
                ([[4, 5, 0], [2, 0, 0]], [5, 3], [20, 10], {"B": 1, "A": 1}),
                ([[3, 0, 0], [2, 0, 0]], [2, 4], [13, 11], {"C": 1, "A": 1})):
            del self.sink.events[:]
            self.holds(blocks, lens, slots)
            self.steps(graph.replay, **new)
            store, attention = self.launches()
            self.assertEqual([row["req"] for row in store["rows"]], list(new))
            self.assertEqual([(row["req"], row["len"]) for row in attention["rows"]],
                             list(zip(new, lens)))
            self.assertEqual([e["values"] for e in self.events("slots")], [slots])
            self.assertEqual([(e["req"], e["pages"][0]) for e in self.events("table")],
                             [(req, row[0]) for req, row in zip(new, blocks)])
            self.assertEqual(self.events("gap"), [])

    def test_they_are_told_ahead_of_it(self):
        self.declare()
        graph = self.captured()
        self.holds([[4, 0, 0], [2, 0, 0]], [1, 3], [16, 10])
        self.steps(graph.replay, B=1, A=1)
        self.assertEqual(CUDAGraph.told, [len(self.sink.events)])

    def test_what_it_has_room_for_beyond_the_batch_is_padding(self):
        self.declare()
        graph = self.captured()
        self.holds([[4, 5, 0], [5, 0, 0]], [5, 0], [20, -1])
        self.steps(graph.replay, B=1)
        store, attention = self.launches()
        self.assertEqual(store["rows"], [{"req": "B", "row": 0, "n": 1},
                                         {"req": None, "row": 1, "n": 1}])
        self.assertEqual(attention["rows"], [{"req": "B", "len": 5, "row": 0, "q_len": 1},
                                             {"req": None, "len": 0, "row": 1}])
        self.assertEqual([e["values"] for e in self.events("slots")], [[20, -1]])

    def test_a_length_that_was_left_behind_the_batch_is_told(self):
        self.declare()
        graph = self.captured()
        self.holds([[4, 0, 0], [5, 3, 0]], [1, 6], [16, -1])
        self.runner.input_buffers.query_start_loc.cells[:] = [0, 1, 1]
        self.steps(graph.replay, B=1)
        self.assertEqual(self.launches()[1]["rows"][1], {"req": None, "len": 6, "row": 1})
        self.assertEqual(self.events("table")[-1]["pages"], [5, 3])

    def test_whose_memory_it_reads_is_frozen_with_it(self):
        self.declare()
        graph = self.captured()
        self.assertEqual([e for e in self.events("graph_capture", "buffer")], [
            {"ev": "buffer", "buffer": "runner0.group0.memory"},
            {"ev": "graph_capture", "graph": "graph0", "buffers": ["runner0.group0.memory"]}])
        self.holds([[4, 0, 0], [2, 0, 0]], [1, 3], [16, 10])
        for _ in range(2):
            del self.sink.events[:]
            self.steps(graph.replay, B=1, A=1)
            self.assertEqual(self.sink.events[1], {"ev": "graph_launch", "graph": "graph0"})
            self.assertNotIn("runner0.group0.memory",
                             [e["buffer"] for e in self.events("buffer")])

    def test_memory_that_the_runner_has_left_is_said_again(self):
        self.declare()
        graph = self.captured()

        def other_tables():
            self.runner.block_tables.input_block_tables = [Tensor([[0] * 3, [0] * 3])]

        def other_cache():
            self.layer.kv_cache = Tensor([[0] * 4 for _ in range(6)])
            self.runner.initialize_kv_cache(config(6))

        for change in (other_tables, other_cache):
            change()
            del self.sink.events[:]
            self.steps(graph.replay, B=1, A=1)
            self.assertEqual(self.sink.events[1:3], [
                {"ev": "buffer", "buffer": "runner0.group0.memory"},
                {"ev": "graph_launch", "graph": "graph0"}])

    def test_dummy_batches_in_a_graph_are_nobodys(self):
        self.declare()
        self.runner.run = self.captured().replay
        self.runner._dummy_run(2)
        self.assertEqual(self.events("step", "store", "attention", "gap"), [])

    def test_a_graph_that_makes_its_own_lengths_is_a_gap_of_its_pools(self):
        self.declare()
        metadata = self.runner.metadata()
        metadata.query_start_loc = Tensor([0, 1, 2])
        graph = self.captured(metadata)
        self.holds([[4, 0, 0], [2, 0, 0]], [1, 3], [16, 10])

        def run():
            self.calls()
            graph.replay()

        self.steps(run, B=1, A=1)
        self.assertEqual(len(self.launches()), 2)
        self.assertEqual([(e["why"], e["pools"]) for e in self.events("gap")], [
            ("a CUDA graph that makes its own lengths and slots", ["group0"])])

    def test_a_graph_of_layers_without_a_table_leaves_the_step_a_gap(self):
        self.declare()
        graph = self.captured(SimpleNamespace())
        self.steps(graph.replay, A=1)
        self.assertEqual(self.launches(), [])
        self.assertEqual(len(self.events("gap")), 1)

    def test_a_pass_of_pieces_has_its_slots_told_once(self):
        """Graphs with a layer's store each, between layers that are called."""
        self.declare()

        def store(metadata=None):
            self.context = SimpleNamespace(attn_metadata={LAYER: self.runner.metadata()})
            self.layer.impl.do_kv_cache_update(self.layer, None, None, self.layer.kv_cache,
                                               self.runner.slots)
            self.context = None

        pieces = [self.captured(calls=store) for _ in range(2)]
        self.holds([[4, 0, 0], [2, 0, 0]], [1, 3], [16, 10])

        def run():
            metadata = self.runner.metadata()
            self.context = SimpleNamespace(attn_metadata={LAYER: metadata})
            for piece in pieces:
                piece.replay()
                self.layer.impl.forward(self.layer, None, None, None, self.layer.kv_cache,
                                        metadata, None)
            self.context = None

        self.steps(run, B=1, A=1)
        self.assertEqual([e["ev"] for e in self.launches()], ["store", "attention"] * 2)
        self.assertEqual(len(self.events("slots")), 1)
        self.assertEqual(len(self.events("table")), 2)


if __name__ == "__main__":
    unittest.main()
