# SPDX-License-Identifier: Apache-2.0
"""What a CUDA graph of SGLang's launches is told anew where it changed, and else as it was."""
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape._abi import Bound  # noqa: E402
from pagetape.graphs import Held  # noqa: E402
from pagetape.sglang_backends import Forward, Table  # noqa: E402
from pagetape.sglang_on_gpu import OnGpu, Read  # noqa: E402


class Index:
    """A tensor of int64 on a GPU, by what is looked at."""

    is_cuda = False  # Its stream would be asked of torch.

    def __init__(self, address, count):
        self.address, self.count = address, count

    def data_ptr(self):
        return self.address

    def numel(self):
        return self.count

    def element_size(self):
        return 8

    def stride(self, *_):
        return 1

    def dim(self):
        return 1

    def storage_offset(self):
        return 0

    def untyped_storage(self):
        return SimpleNamespace(nbytes=lambda: 8 * self.count)

    def as_strided(self, *_):
        return self


MODE = SimpleNamespace(is_decode_or_idle=lambda: True, is_target_verify=lambda: False)
OTHER_MODE = SimpleNamespace(is_decode_or_idle=lambda: True, is_target_verify=lambda: False)


class Recorder:
    def __init__(self):
        self.compared, self.made_ones, self.refills, self.launched = [], [], [], []

    def native(self):
        return self

    def emit(self, *_, **__):
        pass

    def made(self, launches, _stream):
        [one] = launches
        self.made_ones.append(one)
        return SimpleNamespace(launch=one, reqs=one.rows.req)

    def refilled(self, made, reqs, columns):
        if len(made.reqs) != len(reqs):
            return False
        made.reqs = reqs
        self.refills.append([None if one is None else list(one) for one in columns[0]])
        return True

    def layers(self, parts, made):
        self.launched.append((parts.counts, [one and (one.reqs, one.launch.fields)
                                             for one in made]))


class GraphsLaunches(unittest.TestCase):
    def setUp(self):
        self.recorder = Recorder()
        self.field = "kv_indices"
        self.fails = False
        pool = SimpleNamespace(pool="full")
        self.pools = SimpleNamespace(there=SimpleNamespace(tell=self.tell), settle=lambda: None,
                                     addresses=False, pages={1: pool}, page_size=1)
        backends = SimpleNamespace(
            recorder=self.recorder, pools=self.pools, name=lambda _backend: "b",
            today=lambda _backend, told: told._replace(field=self.field),
            layer_of=lambda launch: launch.layer,
            bound=lambda *_: Bound("full", 8), bound_of_store=lambda _tensor: Bound("full", 8),
            built={id(self): {"spaces": ("full", "swa")}},
            fields=lambda launch, told, *_: {"mode": launch.batch.forward_mode,
                                             "space": told.space})
        self.on_gpu = OnGpu(backends)
        self.prefixes = None
        self.tensor = tensor = SimpleNamespace(shape=(8,), stride=lambda: (1,), data_ptr=lambda: 7)
        lists = Table(None, "full", Index(100, 64), "kv_indices")
        window = Table(None, "swa", Index(200, 64), "kv_indices")
        slots = Index(300, 3)
        self.captured = Held()
        for layer in range(4):
            launch = Forward(self, layer, None)
            table = window if layer % 2 else lists
            self.captured.append((launch, tensor, slots, False))
            self.captured.append((launch, Read(tensor, table.tensor, "decode", 1,
                                               window=9 if layer % 2 else None,
                                               lens=Index(400, 3) if layer % 2 else None,
                                               lens_cpu=[0, 0, 0] if layer % 2 else None,
                                               indptr=Index(500, 4)), table))

    def tell(self, one, cols=0):
        self.recorder.compared.append((one.buffer, cols))
        return not self.fails

    def replay(self, rids, lens, forward_mode=MODE):
        batch = SimpleNamespace(rids=rids, batch_size=len(rids), seq_lens_cpu=lens, seq_lens=None,
                                extend_prefix_lens_cpu=self.prefixes,
                                forward_mode=forward_mode, spec_info=None)
        self.recorder.compared.clear()
        self.on_gpu.forget()
        self.on_gpu.launched(self.captured, lambda launch: launch._replace(batch=batch))
        return self.recorder.launched[-1]

    def test_layers_that_are_given_the_same_are_told_once(self):
        counts, made = self.replay(["A", "B", None], [3, 20, 1])
        self.assertEqual(counts, [4, 2, 2])
        self.assertEqual([one.store for one in self.recorder.made_ones], [True, False, False])
        self.assertEqual(self.recorder.compared, [
            ("b.full.slots.64", 0), ("b.kv_indices.lists.64", 21),
            ("b.kv_indices.lists.64.1", 20)])
        rows = self.recorder.made_ones[2].rows
        self.assertEqual((rows.len, rows.n, rows.first), ([3, 20, 1], [3, 9, 1], [0, 11, 0]))
        self.assertEqual(made[1][1]["lens"], "b.kv_indices.lists.64.lens")
        self.assertNotIn("lens", made[2][1])

    def test_the_next_batch_has_its_lanes_and_what_changed_in_them(self):
        self.replay(["A", "B", None], [3, 20, 1])
        first = list(self.recorder.compared)
        _, made = self.replay(["A", "C", None], [4, 5, 1])
        self.assertEqual(len(self.recorder.made_ones), 3)
        self.assertEqual([reqs for reqs, _ in made], [["A", "C", None]] * 3)
        # Of those columns that it has: row and n; row and q_len; len, row, q_len, first and n.
        self.assertEqual(self.recorder.refills, [
            [None, None], [None, None], [[4, 5, 1], None, None, [0, 0, 0], [4, 5, 1]]])
        self.assertEqual([one for one, _ in self.recorder.compared], [one for one, _ in first])
        self.assertEqual([cols for _, cols in self.recorder.compared], [0, 6, 5])

    def test_a_batch_of_other_lanes_is_made_anew(self):
        self.replay(["A", "B", None], [3, 20, 1])
        _, made = self.replay(["A", "B"], [4, 21])
        self.assertEqual(len(self.recorder.made_ones), 6)
        self.assertEqual([reqs for reqs, _ in made], [["A", "B"]] * 3)

    def test_another_mode_or_todays_other_lists_are_said(self):
        self.replay(["A", "B", None], [3, 20, 1])
        _, made = self.replay(["A", "B", None], [4, 21, 1], OTHER_MODE)
        self.assertIs(made[1][1]["mode"], OTHER_MODE)
        self.field = "untranslated"
        self.replay(["A", "B", None], [5, 22, 1], OTHER_MODE)
        self.assertEqual([one for one, _ in self.recorder.compared], [
            "b.full.slots.64", "b.untranslated.lists.64", "b.untranslated.lists.64.1"])
        self.assertEqual(len(self.recorder.made_ones), 9)

    def test_what_cannot_be_compared_is_a_gap_and_no_launch(self):
        self.replay(["A", "B", None], [3, 20, 1])
        gaps = []
        self.recorder.emit = lambda event, why, pools: gaps.append((event, pools))
        self.fails = True
        _, made = self.replay(["A", "B", None], [4, 21, 1])
        self.assertEqual((made, gaps), ([None] * 3, [("gap", ["full"])] * 3))
        self.fails = False
        _, made = self.replay(["A", "B", None], [4, 21, 1])
        self.assertEqual([reqs for reqs, _ in made], [["A", "B", None]] * 3)
        self.assertEqual(self.recorder.refills[-1][0], [4, 21, 1])

    def test_what_is_not_told_today_keeps_its_buffer(self):
        """Of two lists that go by one name: those of a prefix that is none are not told."""
        first, second = (Read(self.tensor, Index(at, 64), "extend", 1, lens=Index(at + 1, 3),
                              lens_cpu=[0, 0, 0], indptr=Index(500, 4), cached=at == 100)
                         for at in (100, 200))
        self.captured[:] = [(Forward(self, layer, None), read, Table(None, "full", read.table, "x"))
                            for layer, read in enumerate((first, second))]
        self.field = "x"
        _, made = self.replay(["A", "B", None], [0, 0, 0])
        self.assertEqual([one and one[1]["table"] for one in made], [None, "b.x.lists.64.1"])
        _, made = self.replay(["A", "B", None], [5, 6, 7])
        self.assertEqual([one and one[1]["table"] for one in made],
                         ["b.x.lists.64", "b.x.lists.64.1"])

    def test_a_prompts_graph_reads_what_stood_before(self):
        """Today's prefixes, where those of the capture were asked for."""
        prefixes = Index(400, 3)
        of_capture = SimpleNamespace(extend_prefix_lens=prefixes)
        read = Read(self.tensor, Index(100, 64), "extend", 1, lens=prefixes, lens_cpu=[0, 0, 0],
                    indptr=Index(500, 4), cached=True)
        self.captured[:] = [(Forward(self, 0, of_capture), read,
                             Table(None, "full", read.table, "kv_indices"))]
        self.prefixes = [3, 2, 1]
        self.replay(["A", "B", "C"], [8, 9, 7])
        [made] = self.recorder.made_ones
        self.assertEqual((made.rows.len, made.rows.q_pos), ([3, 2, 1], [3, 2, 1]))


if __name__ == "__main__":
    unittest.main()
