# SPDX-License-Identifier: Apache-2.0
"""What SGLang's adapter tells of K and V that come from elsewhere, on classes with the signatures
of 0.5.19 and 0.5.20. The same with SGLang's own classes: tests/engines/cached_engines.py."""
import enum
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape import recording  # noqa: E402
from pagetape.importhook import NotHere  # noqa: E402
from pagetape.sglang_pools import Pools  # noqa: E402
from pagetape.sglang_transfers import RECEIVERS, Transfers  # noqa: E402


class State(str, enum.Enum):
    MAMBA = "mamba"
    SWA = "swa"


class Events(recording.Recorder):
    """A recorder that keeps what it is told."""

    def __init__(self):
        super().__init__(recording.Nowhere())
        self.told = []

    def emit(self, ev, **fields):
        self.told.append((ev, fields))


class Receiver:
    def send_metadata(self, kv_indices, aux_index=None, state_indices=None,
                      decode_prefix_len=None):
        pass


class PreallocQueue:
    def __init__(self, pool, draft, states, **scheduler):
        self.token_to_kv_pool, self.draft_token_to_kv_pool = pool, draft
        self.scheduler = SimpleNamespace(**scheduler)
        self.kv_manager = SimpleNamespace(kv_args=SimpleNamespace(state_types=states))


class TransferQueue:
    def _commit_transfer_to_req(self, entry):
        if entry.comes:
            entry.req.output_ids.append(1)
        entry.kv_receiver = None


class Row(list):
    """A row's slots, as far as a tensor is asked of them."""

    def __getitem__(self, index):
        found = super().__getitem__(index)
        return Row(found) if isinstance(index, slice) else found

    def __floordiv__(self, by):
        return Row(one // by for one in self)

    def tolist(self):
        return list(self)


class Rows(dict):
    def __getitem__(self, at):
        return super().__getitem__(at[0])[at[1]]


class Map(list):
    def __getitem__(self, slots):
        return Row(list.__getitem__(self, slot) for slot in slots)


class TransfersTest(unittest.TestCase):
    def setUp(self):
        self.events = Events()
        pools = Pools(self.events, False)
        pools.page_size = 64
        self.transfers = Transfers(pools)
        full, swa = object(), object()
        self.pool = SimpleNamespace(full_kv_pool=full, swa_kv_pool=swa)
        self.draft = object()
        for one, kind in ((full, "full"), (swa, "swa"), (self.draft, "pool")):
            self.events.name(one, kind)
        self.module = SimpleNamespace(
            DecodePreallocQueue=type("DecodePreallocQueue", (PreallocQueue,), {}),
            DecodeTransferQueue=type("DecodeTransferQueue", (TransferQueue,), {}))
        self.transfers.arrivals(self.module)
        self.receiver = type("Receiver", (Receiver,), {})
        self.transfers._receiver("MooncakeKVReceiver")(
            SimpleNamespace(MooncakeKVReceiver=self.receiver))

    def arrive(self, comes=True, end=300, pages=(4, 5, 6, 7, 8), states=((9,), (2, 3))):
        receiver = self.receiver()
        receiver.send_metadata(list(pages), 0, states, decode_prefix_len=0)
        self.assertEqual(self.events.told, [])  # Nothing came yet.
        req = SimpleNamespace(rid="A", output_ids=[], kv=SimpleNamespace(kv_committed_len=end))
        self.module.DecodeTransferQueue()._commit_transfer_to_req(
            SimpleNamespace(kv_receiver=receiver, req=req, comes=comes))
        return self.events.told

    def test_a_prompt_that_came_fills_the_pages_that_were_asked_for(self):
        self.module.DecodePreallocQueue(self.pool, self.draft, [State.MAMBA, State.SWA])
        self.assertEqual(self.arrive(), [
            ("fill", {"pool": "full0", "req": "A", "pages": [4, 5, 6, 7, 8],
                      "slots": [64, 64, 64, 64, 44]}),
            ("fill", {"pool": "swa0", "req": "A", "pages": [2, 3], "slots": [64, 44]}),
            ("fill", {"pool": "pool0", "req": "A", "pages": [4, 5, 6, 7, 8],
                      "slots": [64, 64, 64, 64, 44]})])

    def test_whole_pages_have_no_slots(self):
        self.module.DecodePreallocQueue(self.draft, None, [])
        self.assertEqual(self.arrive(end=320, states=None), [
            ("fill", {"pool": "pool0", "req": "A", "pages": [4, 5, 6, 7, 8]})])

    def test_one_that_was_refused_fills_nothing(self):
        self.module.DecodePreallocQueue(self.pool, None, [State.MAMBA, State.SWA])
        self.assertEqual(self.arrive(comes=False), [])

    def test_pages_of_the_hosts_memory_are_not_taken_for_the_pools(self):
        self.module.DecodePreallocQueue(self.pool, None, [State.SWA], enable_hisparse=True)
        self.assertEqual(self.arrive(), [])

    def test_each_kind_of_transfer_has_its_receiver(self):
        self.assertEqual([module for module, *_ in self.transfers.receivers()],
                         ["sglang.srt.disaggregation." + one for one in RECEIVERS])
        with self.assertRaises(NotHere):
            self.transfers._receiver("MoriKVReceiver")(SimpleNamespace())

    def test_what_comes_back_from_the_host_is_in_the_rows_pages(self):
        class Req:
            rid, seqlen, kv = "A", 131, SimpleNamespace(req_pool_idx=1)

            def load_kv_cache(self, req_to_token_pool, token_to_kv_pool_allocator):
                pass

        self.transfers.restored(SimpleNamespace(Req=Req))
        slots = Row([*range(320, 384), *range(64, 128), *range(448, 512)])
        allocator = SimpleNamespace(
            get_kvcache=lambda: self.pool,
            full_to_swa_index_mapping=Map([0] * 128 + [0] * 192 + [0] * 64 + [0] * 64 +
                                          list(range(192, 256))))
        Req().load_kv_cache(SimpleNamespace(req_to_token=Rows({1: slots})), allocator)
        self.assertEqual(self.events.told, [
            ("fill", {"pool": "full0", "req": "A", "pages": [5, 1, 7], "slots": [64, 64, 2]}),
            ("fill", {"pool": "swa0", "req": "A", "pages": [3], "slots": [2]})])


if __name__ == "__main__":
    unittest.main()
