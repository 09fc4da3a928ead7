# SPDX-License-Identifier: Apache-2.0
"""SGLang's adapter where it needs no SGLang: who holds pages, what is told where they are on a GPU,
and the scheduler's hooks on classes with the signatures of 0.5.19 and 0.5.20. The same with
SGLang's own classes: tests/engines."""
import os
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape import recording  # noqa: E402
from pagetape.importhook import shield  # noqa: E402
from pagetape.sglang import Adapter  # noqa: E402
from pagetape.sglang_holders import CACHE, UNRESOLVED, Holders  # noqa: E402
from pagetape.sglang_hooks import PoolHooks, _places_of  # noqa: E402
from pagetape.sglang_owners import Heads, Lanes, Waiting, heads_of  # noqa: E402
from pagetape.sglang_pools import Pools, in_group  # noqa: E402
from pagetape.sglang_scheduler import SchedulerHooks  # noqa: E402


class Events:
    """A recorder that keeps what it is told."""

    def __init__(self):
        self.told, self.launch = [], 0

    def emit(self, ev, **fields):
        self.told.append((ev, *fields.values()))

    def native(self):
        return None

    def last_launch(self):
        return self.launch

    def launch_done(self, ticket):
        self.told.append(("launch_done", ticket))

    def taken(self):
        told, self.told = self.told, []
        return told


class HoldersTest(unittest.TestCase):
    def setUp(self):
        self.events = Events()
        self.pages = Holders(self.events, "F")
        for column, page in enumerate((1, 2, 3)):
            self.pages.hold(page, "A", column)

    def test_what_a_request_leaves_is_the_caches_and_at_no_time_no_ones(self):
        self.pages.returned([3])
        self.pages.left("A")
        self.assertEqual(self.events.taken(), [
            ("free", "F", "A", [3]), ("share", "F", CACHE, [1, 2]), ("free", "F", "A", [1, 2])])
        self.pages.left("A")
        self.assertEqual(self.events.taken(), [])

    def test_a_row_that_names_the_caches_pages_shares_them_until_it_is_left(self):
        self.pages.left("A")
        self.events.taken()
        self.pages.hold(7, "B", 3)
        self.pages.named("B", [(0, 1), (1, 2), (3, 7)])
        self.pages.left("B")
        self.assertEqual(self.events.taken(), [
            ("share", "F", "B", [1, 2], 0), ("share", "F", CACHE, [7]),
            ("free", "F", "B", [7, 1, 2])])

    def test_what_comes_back_is_freed_by_all_that_held_it(self):
        self.pages.named("B", [(0, 1)])
        self.pages.left("A")
        self.events.taken()
        self.pages.returned([1, 2, 9])
        self.assertEqual(self.events.taken(), [
            ("free", "F", "B", [1]), ("free", "F", CACHE, [1, 2]), ("free", "F", UNRESOLVED, [9])])

    def test_what_left_the_window_is_evicted_from_requests_and_freed_by_the_cache(self):
        self.pages.named("B", [(0, 1)])
        self.pages.left("A")
        self.events.taken()
        self.pages.leave([1])
        self.pages.returned([1])
        self.assertEqual(self.events.taken(), [
            ("evict", "F", "B", 0, 1), ("free", "F", CACHE, [1])])

    def test_what_moves_is_at_no_time_no_ones_and_never_the_caches(self):
        self.pages.hold(9, "A", None)
        self.pages.named("B", [(1, 2)])
        self.events.taken()
        self.pages.moved("A", "B")
        self.assertEqual(self.events.taken(), [
            ("share", "F", "B", [1], 0), ("share", "F", "B", [3], 2), ("share", "F", "B", [9]),
            ("free", "F", "A", [1, 2, 3, 9])])
        self.pages.returned([3])
        self.pages.moved("A", "B")
        self.assertEqual(self.events.taken(), [("free", "F", "B", [3])])

    def test_who_holds_nothing_more_is_forgotten(self):
        self.pages.returned([1, 2])
        self.assertEqual(list(self.pages._pages), ["A"])
        self.pages.returned([3])
        self.assertEqual(self.pages._pages, {})

    def test_pages_that_are_not_side_by_side_are_told_apart(self):
        self.pages.named("B", [(0, 1), (2, 3), (3, 9)])
        self.assertEqual(self.events.taken(), [("share", "F", "B", [1], 0),
                                               ("share", "F", "B", [3, 9], 2)])


class Slots:
    """As a tensor of slots on a GPU: how many there are is known, not which."""

    device = "cuda:0"

    def __init__(self, count):
        self._count = count

    def numel(self):
        return self._count


class TokenAllocator:
    """As TokenToKVPoolAllocator, which hands out pages of one token."""

    def __init__(self):
        self.free_group, self.free_pages = None, 0

    def alloc(self, need_size):
        return Slots(need_size)

    def free(self, free_index):
        if self.free_group is not None:
            self.free_group.append(free_index)

    def free_group_begin(self):
        self.free_group = []

    def free_group_end(self):
        pending, self.free_group = self.free_group, None
        if pending:
            self.free(Slots(sum(one.numel() for one in pending)))

    def clear(self):
        self.free_group = None


class SwaAllocator:
    """As 0.5.19's SWATokenToKVPoolAllocator within a group of frees."""

    def __init__(self, full):
        self.full_attn_allocator, self.swa_attn_allocator = full, object()

    def alloc(self, need_size):
        return Slots(need_size)

    alloc_extend = alloc_decode = alloc

    def alloc_extend_swa_tail(self, take, seq_lens_cpu, swa_tail_len):
        take()

    def free(self, free_index):
        pass

    free_full = free


class Rows:
    """As ReqToTokenPool."""

    def alloc(self, reqs):
        return [req.row for req in reqs]

    def write(self, indices, values):
        pass

    def free(self, req):
        pass


class There:
    """As Owners: who holds the pages of a pool on a GPU."""

    def __init__(self, events, pool):
        self.events, self._pool = events, pool

    def named(self, request, first, pages):
        self.events.told.append(("named", self._pool, request, first, pages))

    def moved(self, holder, to):
        self.events.told.append(("moved", self._pool, holder, to))

    def left(self, holder):
        self.events.told.append(("left", self._pool, holder))


class OnAGpuTest(unittest.TestCase):
    """What a row comes to name there is told where that may be others than it had."""

    def setUp(self):
        for patched in (mock.patch.dict(sys.modules, torch=mock.MagicMock()),
                        mock.patch("pagetape.sglang_pools.capturing", lambda pages: False),
                        mock.patch("pagetape.sglang_pools.pages_named",
                                   lambda slots, begin, page_size: slots.numel() // page_size)):
            patched.start()
            self.addCleanup(patched.stop)
        self.events = Events()
        self.pools = Pools(self.events, False)
        self.pools.page_size = 4
        module = SimpleNamespace(MHATokenToKVPool=type("MHATokenToKVPool", (), {}),
                                 ReqToTokenPool=type("ReqToTokenPool", (Rows,), {}))
        module.ReqToTokenPool.__init__ = lambda table: None
        self.hooks = PoolHooks(self.pools)
        self.hooks.memory_pool(module)
        self.rows = module.ReqToTokenPool()
        tokens = SimpleNamespace(
            TokenToKVPoolAllocator=type("TokenToKVPoolAllocator", (TokenAllocator,), {}))
        self.hooks.token_allocator(tokens)
        self.tokens = self.follow(tokens.TokenToKVPoolAllocator(), "F")

    def follow(self, allocator, pool):
        self.pools.pages[id(allocator)] = Holders(self.events, pool)
        self.pools.owners[id(allocator)] = There(self.events, pool)
        self.pools.kept.append(allocator)
        return allocator

    def arrive(self, rid, row, found):
        self.rows.alloc([SimpleNamespace(rid=rid, row=row, prefix_indices=Slots(found))])

    def write(self):
        """Tokens 8 to 72 of row 1."""
        self.rows.write((1, slice(8, 72)), Slots(64))
        self.pools.settle()
        return self.events.taken()

    def test_what_is_found_is_named(self):
        self.arrive("A", 1, 64)
        self.arrive("B", 2, 8)
        self.assertEqual(self.events.taken(), [
            ("request", "A", "arrive"), ("named", "F", "A", 0, 16),
            ("request", "B", "arrive"), ("named", "F", "B", 0, 2)])

    def test_what_is_written_to_a_row_is_named(self):
        self.arrive("A", 1, 0)
        self.assertEqual(self.write()[1:], [("named", "F", "A", 2, 16)])
        self.rows.write((2, slice(8, 72)), Slots(64))  # No one's.
        self.rows.write((1, slice(8, 8)), Slots(0))
        self.rows.write((1, 8), Slots(1))
        self.pools.settle()
        self.assertEqual(self.events.taken(), [])

    def test_a_pair_of_pools_is_told_of_both(self):
        pair = SimpleNamespace(full_attn_allocator=self.tokens, full_to_swa_index_mapping=None,
                               swa_attn_allocator=self.follow(type(self.tokens)(), "S"))
        self.pools._paired.append(pair)
        self.pools.maps[id(pair)] = None
        self.pools.map_pages[id(pair)] = SimpleNamespace(of=lambda pages: -pages,
                                                         tell=lambda mapping: None)
        self.arrive("A", 1, 0)
        self.assertEqual(self.write()[1:], [("named", "F", "A", 2, 16),
                                            ("named", "S", "A", 2, -16)])

    def test_a_sessions_next_request_has_the_row_of_the_one_before(self):
        self.arrive("A", 1, 0)
        self.arrive("A", 1, 0)  # Its next chunk.
        self.arrive("B", 1, 0)
        self.rows.free(SimpleNamespace(req_pool_idx=1))
        self.assertEqual(self.events.taken(), [
            ("request", "A", "arrive"), ("request", "B", "arrive"), ("moved", "F", "A", "B"),
            ("request", "A", "finish"), ("left", "F", "B"), ("request", "B", "finish")])

    def test_a_row_ends_with_its_request_wherever_a_release_has_its_number(self):
        for number, req in enumerate((SimpleNamespace(req_pool_idx=0),
                                      SimpleNamespace(req_pool_idx=1, kv=None),
                                      SimpleNamespace(req_pool_idx=2, kv=SimpleNamespace()),
                                      SimpleNamespace(kv=SimpleNamespace(req_pool_idx=3)))):
            self.arrive("A", number, 0)
            self.rows.free(req)
            self.assertEqual(self.events.taken(), [
                ("request", "A", "arrive"), ("left", "F", "A"), ("request", "A", "finish")], number)


class GroupsTest(unittest.TestCase):
    def test_of_all_releases(self):
        for held_back, fields in ((False, {}), (False, {"free_group": None}),
                                  (True, {"free_group": []})):
            self.assertEqual(in_group(SimpleNamespace(**fields)), held_back)
        for outside in (True, False):
            older = SimpleNamespace(free_group=[], is_not_in_free_group=outside)
            self.assertEqual(in_group(older), not outside)

    def test_an_older_release_frees_at_once_and_its_requests_end(self):
        events = Events()
        pools = Pools(events, False)
        module = SimpleNamespace(TokenToKVPoolAllocator=type("Older", (TokenAllocator,), {}))
        PoolHooks(pools).token_allocator(module)
        allocator = module.TokenToKVPoolAllocator()
        allocator.free_group, allocator.is_not_in_free_group = [], True
        pools.pages[id(allocator)] = Holders(events, "F")
        pools.kept.append(allocator)
        pools.rows[1] = "A"
        pools.leave(1)
        pages = mock.Mock(**{"numel.return_value": 1, "tolist.return_value": [7]})
        allocator.free(pages)
        self.assertEqual(events.taken(), [("request", "A", "finish"),
                                          ("free", "F", UNRESOLVED, [7])])


class DecodeServerTest(unittest.TestCase):
    """What others prefilled has rows and pages before it comes."""

    def setUp(self):
        self.events = Events()
        self.pools = Pools(self.events, False)
        self.pools.pages[1] = Holders(self.events, "F")
        self.seen = []

        def alloc_for_decode_prealloc(allocator, *, req, fill_len, delta_len, prefix_len,
                                      total_prefix_len, prefix_indices, uses_swa_tail,
                                      swa_tail_len, req_to_token_pool=None):
            self.seen.append(self.pools.lanes)

        self.module = SimpleNamespace(
            DecodeReqToTokenPool=type("DecodeReqToTokenPool", (Rows,), {}),
            alloc_for_decode_prealloc=alloc_for_decode_prealloc)
        self.module.DecodeReqToTokenPool.__init__ = lambda table: None
        PoolHooks(self.pools).decode_server(self.module)

    def allocate(self, req, found):
        self.module.alloc_for_decode_prealloc(
            None, req=req, fill_len=9, delta_len=9 - found, prefix_len=found,
            total_prefix_len=found, prefix_indices=Slots(found) if found else None,
            uses_swa_tail=False, swa_tail_len=0)

    def test_its_rows_are_followed_and_it_says_for_whom_it_allocates(self):
        rows = self.module.DecodeReqToTokenPool()
        self.assertEqual(self.pools.row_tables, [rows])
        req = SimpleNamespace(rid="A", row=1, req_pool_idx=1)
        rows.alloc([req])
        self.allocate(req, 0)
        rows.free(req)
        self.assertEqual(self.seen, [Lanes(["A"], [0], [9])])
        self.assertEqual(self.events.taken(), [("request", "A", "arrive"),
                                               ("request", "A", "finish")])


class TailTest(unittest.TestCase):
    """Of a prompt that comes from elsewhere the window's part alone has SWA pages."""

    def test_its_pages_stand_behind_those_that_have_none(self):
        pools = Pools(Events(), False)
        full, swa = object(), object()
        pair = type("Pair", (SwaAllocator,), {})(full)
        pair.page_size = 64
        PoolHooks(pools).swa_allocator(SimpleNamespace(SWATokenToKVPoolAllocator=type(pair)))
        pools.maps[id(pair)] = None
        pools.pages = {id(full): Holders(None, "F"), id(swa): Holders(None, "S")}
        pools.pair_there = mock.Mock()
        pools.lanes = Lanes(["A"], [0], [256])

        def take():
            pools.taken(full, [1, 2, 3, 4], {page: (0, page - 1) for page in (1, 2, 3, 4)})
            pools.taken(swa, [7, 8], {7: (0, 0), 8: (0, 1)})
            pools.waiting_there.append(Waiting(
                SimpleNamespace(pool="S"), None, None, 0, Heads([0], [0], [0]), None, None))

        pair.alloc_extend_swa_tail(take, seq_lens_cpu=mock.Mock(
            **{"tolist.return_value": [256]}), swa_tail_len=128)
        self.assertEqual([(one.column, one.page, one.full_page, one.owner)
                          for one in pools.waiting[4:]], [(2, 7, 3, "A"), (3, 8, 4, "A")])
        [there] = pools.waiting_there
        self.assertEqual((there.columns, there.heads.columns), (2, [2]))


class PairTest(unittest.TestCase):
    """Where pages begin is found out once for both pools, but where the second one's differ."""

    def test_it_is_asked_by_each_call_anew(self):
        pools, looked = Pools(Events(), False), []

        def heads():
            return pools._heads("alloc_extend", Slots(4), (), {})[1]

        class Pair(SwaAllocator):
            def alloc_extend(self):
                return [heads(), heads()]

            def alloc_extend_swa_tail(self, seq_lens_cpu, swa_tail_len):
                return [heads(), heads()]

        pair = Pair(object())
        PoolHooks(pools).swa_allocator(SimpleNamespace(SWATokenToKVPoolAllocator=Pair))
        pair.page_size, pools.maps[id(pair)] = 64, None
        pools.pages = {id(pair.full_attn_allocator): Holders(None, "F")}
        pools.pair_there = pools.move_tail = mock.Mock()
        lens = mock.Mock(**{"tolist.return_value": [256]})
        with mock.patch("pagetape.sglang_pools.heads_of",
                        lambda *_: looked.append(0) or Heads([0], [0], [0])), \
                mock.patch("pagetape.sglang_pools.to_device", lambda *_: len(looked)):
            self.assertEqual(pair.alloc_extend(), [1, 1])
            self.assertEqual(pair.alloc_extend(), [2, 2])
            self.assertEqual(pair.alloc_extend_swa_tail(seq_lens_cpu=lens, swa_tail_len=64), [3, 4])
            self.assertEqual([heads(), heads()], [5, 6])


class DraftsPoolTest(unittest.TestCase):
    """A draft model's own pool is addressed by the target's ids, for which alone is allocated."""

    def test_it_has_the_targets_space_where_it_is_as_large(self):
        events = Events()
        pools = Pools(events, False)

        def pool(slots):
            view = mock.Mock(shape=(slots, 1, 16), dtype="torch.bfloat16")
            view.stride.return_value = view.element_size.return_value = 1
            return SimpleNamespace(page_size=64, k_buffer=[view], v_buffer=[view])

        events.name = lambda pool, kind: f"{kind}{len(events.told)}"
        for kind, slots in (("full", 512), ("swa", 128), ("pool", 512), ("pool", 128)):
            pools.declare_pool(pool(slots), kind, [])
        self.assertEqual([told[1:3] + told[10:] for told in events.taken()], [
            ("full0", 8), ("swa1", 2), ("pool2", 8, "full0"), ("pool3", 2)])


class LanesTest(unittest.TestCase):
    lanes = Lanes(["A", "B"], [3, 0], [5, 1])

    def test_pages_of_one_token(self):
        self.assertEqual(_places_of([7, 8, 9], self.lanes), {7: (0, 3), 8: (0, 4), 9: (1, 0)})
        self.assertEqual(_places_of([7, 8], self.lanes), {})  # It was for something else.
        self.assertEqual(_places_of([7], None), {})

    def test_on_a_gpu(self):
        heads = heads_of("alloc", Slots(3), 1, (), {}, self.lanes)
        self.assertEqual((heads.at, heads.lanes, heads.columns), ([0, 1, 2], [0, 0, 1], [3, 4, 0]))
        heads = heads_of("alloc", Slots(2), 1, (), {}, Lanes(["A", "B"], [7, 4], [8, 5]))
        self.assertEqual((heads.at, heads.lanes, heads.columns), ([0, 1], [0, 1], [7, 4]))
        heads = heads_of("alloc", Slots(7), 4, (), {}, Lanes(["A", "B"], [3, 7], [9, 8]))
        self.assertEqual((heads.at, heads.lanes, heads.columns), ([1, 5], [0, 0], [1, 2]))

    def test_functions_that_allocate_say_for_whom(self):
        seen = []

        def alloc_for_extend(batch):
            seen.append(pools.lanes)

        def alloc_for_decode(batch, token_per_req):
            seen.append(pools.lanes)

        def alloc_for_spec_decode(tree_cache, req_to_token_pool, *, reqs, req_pool_indices,
                                  cur_kv_lens, cur_kv_lens_cpu, nxt_kv_lens, nxt_kv_lens_cpu,
                                  num_needed_tokens, batch=None):
            seen.append(pools.lanes)

        module = SimpleNamespace(alloc_for_extend=alloc_for_extend,
                                 alloc_for_decode=alloc_for_decode,
                                 alloc_for_spec_decode=alloc_for_spec_decode)
        pools = Pools(Events(), False)
        hooks = PoolHooks(pools)
        hooks.batches(module)
        hooks.drafts(module)
        reqs, lens = [SimpleNamespace(rid="A")], SimpleNamespace(tolist=lambda: [5])
        batch = SimpleNamespace(reqs=reqs, prefix_lens=[2], seq_lens_cpu=lens)
        module.alloc_for_extend(batch)
        module.alloc_for_decode(batch, token_per_req=1)
        module.alloc_for_spec_decode(None, None, reqs=reqs, req_pool_indices=None, cur_kv_lens=None,
                                     cur_kv_lens_cpu=lens, nxt_kv_lens=None, nxt_kv_lens_cpu=lens,
                                     num_needed_tokens=0)
        module.alloc_for_extend(SimpleNamespace(**vars(batch), is_dllm=lambda: True))
        self.assertEqual(seen, [Lanes(["A"], [2], [5]), Lanes(["A"], [5], [6]),
                                Lanes(["A"], [5], [5]), None])
        self.assertIsNone(pools.lanes)


class Mode:
    def __init__(self, name):
        self.name = name

    def is_idle(self):
        return self.name == "IDLE"

    def is_decode(self):
        return self.name == "DECODE"


class SchedulerTest(unittest.TestCase):
    def setUp(self):
        self.addCleanup(setattr, shield, "stopped", False)
        self.addCleanup(setattr, recording, "_told_rank", None)
        self.events = Events()
        self.backends = SimpleNamespace(completes=False)
        adapter = SimpleNamespace(
            recorder=self.events, backends=self.backends,
            step=lambda number, mode, batch: self.events.emit("step", n=number, m=mode, b=batch))
        events = self.events

        class Scheduler:
            def __init__(self, server_args, port_args, gpu_id, tp_rank, moe_ep_rank, pp_rank,
                         attn_cp_rank, moe_dp_rank, dp_rank):
                self.forward_ct = 0

            def run_batch(self, batch, pp_proxy_tensors=None):
                self.forward_ct += 1
                events.launch += 10
                return batch.result

            def process_batch_result(self, batch, result):
                pass

        hooks = SchedulerHooks(adapter)
        module = SimpleNamespace(Scheduler=Scheduler)
        hooks.rank(module)
        hooks.scheduler(module)
        self.cls = Scheduler

    def scheduler(self, tensor=1, pipeline=1, tp_rank=0, pp_rank=0, dp_rank=None, **args):
        return self.cls(SimpleNamespace(tp_size=tensor, pp_size=pipeline, **args), None, 0,
                        tp_rank, 0, pp_rank, 0, 0, dp_rank)

    @staticmethod
    def batch(mode="DECODE", **result):
        return SimpleNamespace(forward_mode=Mode(mode), result=SimpleNamespace(**result),
                               reqs=[SimpleNamespace(rid="A"), SimpleNamespace(rid="B")])

    def test_steps_and_what_is_complete_once_results_are_read(self):
        scheduler, first, second = self.scheduler(), self.batch("EXTEND"), self.batch()
        ran = scheduler.run_batch(first), scheduler.run_batch(second)
        # Where steps overlap, results of one are processed when the next one was launched.
        scheduler.process_batch_result(first, ran[0])
        scheduler.process_batch_result(second, ran[1])
        self.assertEqual(self.events.taken(), [
            ("step", 1, "extend", 2), ("step", 2, "decode", 2), ("launch_done", 10),
            ("launch_done", 20)])

    def test_what_has_no_results_here_completes_nothing(self):
        scheduler = self.scheduler()
        for batch in (self.batch("IDLE"), self.batch(pp_hidden_states_proxy_tensors={})):
            scheduler.process_batch_result(batch, scheduler.run_batch(batch))
        self.assertEqual([told[0] for told in self.events.taken()], ["step", "step"])

    def test_one_stage_alone_tells_which_launches_are_complete(self):
        for stages in (1, 2, 1):
            self.scheduler(pipeline=stages)
            self.assertEqual(self.backends.completes, stages == 1)

    def test_drafts_that_were_accepted(self):
        scheduler = self.scheduler()
        batch = self.batch(accept_lens=SimpleNamespace(tolist=lambda: [4, 1]),
                           speculative_num_draft_tokens=4)
        scheduler.process_batch_result(batch, scheduler.run_batch(batch))
        self.assertEqual(self.events.taken()[2:], [("accept", "A", 3, 3), ("accept", "B", 3, 0)])

    def test_a_rank_is_told_where_there_are_several(self):
        with mock.patch.dict(os.environ, clear=True):
            self.scheduler()
            self.assertEqual(recording.rank(), -1)
            self.scheduler(tensor=4, pipeline=2, tp_rank=1, pp_rank=1)
            self.assertEqual(recording.rank(), 5)

    def test_no_two_of_a_server_have_one_rank(self):
        told = []
        with mock.patch.object(recording, "rank_is", told.append):
            for replica in range(2):
                for stage in range(2):
                    for part in range(3):
                        self.scheduler(3, 2, part, stage, replica, dp_size=2)
            self.assertEqual(told, list(range(12)))
            told.clear()
            for replica in range(2):
                self.scheduler(dp_rank=replica, dp_size=2, enable_dp_attention=False)
            for part in range(4):  # Replicas of the attention alone are parts of one group.
                self.scheduler(4, 1, part, 0, part // 2, dp_size=2, enable_dp_attention=True)
            self.scheduler(ep_join_rank_offset=4)  # It joins the four.
            self.scheduler(dp_size=2)  # Which one it is was not told.
        self.assertEqual(told, [0, 1, 0, 1, 2, 3, 4])


if __name__ == "__main__":
    unittest.main()
