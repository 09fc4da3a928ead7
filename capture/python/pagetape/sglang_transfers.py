# SPDX-License-Identifier: Apache-2.0
"""K and V that no store of this process writes into SGLang's pages: what another server prefilled,
and what was kept in the host's memory of a request that was retracted. Each is told as a `fill`.

A server that only decodes gives the pages a prompt's K and V are to come to as host's lists to a
receiver of the transfer's kind (send_metadata), so that nothing on a GPU is asked. What came counts
once the server itself takes it to have come.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional
from weakref import WeakKeyDictionary

from .importhook import NotHere, after, around, expect
from .recording import ints
from .sglang_pools import Pools, of_request, row_of

# By module of sglang.srt.disaggregation.
RECEIVERS = {"mooncake.conn": "MooncakeKVReceiver", "nixl.conn": "NixlKVReceiver",
             "mori.conn": "MoriKVReceiver", "fake.conn": "FakeKVReceiver"}


class Asked(NamedTuple):
    """Pages for one prompt, as they were told to the server that prefills it."""
    full: List[int]
    swa: List[int]  # What its window holds, in the SWA pool.


class Transfers:
    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._asked = WeakKeyDictionary()  # receiver -> Asked
        self._kvcaches: list = []  # The pools that get it: the target's, and a draft model's.
        self._states: List[str] = []  # What is asked for beside the full pool's pages.

    def receivers(self) -> tuple:
        """(module, hook, what it gives) for each kind of transfer."""
        return tuple(("sglang.srt.disaggregation." + module, self._receiver(cls), ())
                     for module, cls in RECEIVERS.items())

    def _receiver(self, cls: str):
        def receiver(module):
            kind = vars(module).get(cls)
            if kind is None:
                raise NotHere
            expect(kind.send_metadata, "kv_indices", "state_indices")
            after(kind, "send_metadata", self._told)

        return receiver

    def _told(self, receiver, _result, kv_indices, aux_index=None, state_indices=None,
              *_args, **_kwargs) -> None:
        states = dict(zip(self._states, state_indices or ()))
        self._asked[receiver] = Asked(_listed(kv_indices), _listed(states.get("swa")))

    # disaggregation/decode.py
    def arrivals(self, module) -> None:
        def built(queue, *_args, **_kwargs):
            sparse = getattr(queue.scheduler, "enable_hisparse", False)  # Its pages are the host's.
            states = queue.kv_manager.kv_args.state_types
            self._states = [getattr(one, "value", one) for one in states]
            self._kvcaches = [] if sparse else [
                one for one in (queue.token_to_kv_pool, queue.draft_token_to_kv_pool)
                if one is not None]

        def before(_queue, entry):
            return self._asked.pop(entry.kv_receiver, None), len(entry.req.output_ids)

        def then(_queue, _result, held, entry):
            asked, said = held
            # With it comes the first new token; what is refused ends the request.
            if asked is None or len(entry.req.output_ids) == said:
                return
            end = int(of_request(entry.req, "kv_committed_len"))
            for kvcache in self._kvcaches:
                for pool, pages in zip(self._pools.spaces(kvcache), asked):
                    self._filled(pool, entry.req, pages, end)

        after(module.DecodePreallocQueue, "__init__", built)
        around(module.DecodeTransferQueue, "_commit_transfer_to_req", before, then)

    # managers/schedule_batch.py
    def restored(self, module) -> None:
        expect(module.Req.load_kv_cache, "req_to_token_pool", "token_to_kv_pool_allocator")
        after(module.Req, "load_kv_cache", lambda req, _result, rows, allocator:
              self._restored(req, rows, allocator))

    # mem_cache/unified_radix_cache.py
    def restored_by_cache(self, module) -> None:
        cls = module.UnifiedRadixCache
        if not hasattr(cls, "retraction_restore"):
            raise NotHere  # In older releases nothing comes back by it.
        expect(cls.retraction_restore, "req", "backup")
        after(cls, "retraction_restore", lambda cache, _result, req, backup: self._restored(
            req, cache.req_to_token_pool, cache.token_to_kv_pool_allocator))

    def _restored(self, req, rows, allocator) -> None:
        """All but the last token's, in the row that it has now; that waits for the GPU itself."""
        end, page_size = int(req.seqlen) - 1, self._pools.page_size
        slots = rows.req_to_token[row_of(req), :end][::page_size]
        full, swa = self._pools.spaces(allocator.get_kvcache())
        self._filled(full, req, ints(slots // page_size), end)
        if swa is not None:
            pages = ints(allocator.full_to_swa_index_mapping[slots] // page_size)
            self._filled(swa, req, [page for page in pages if page > 0], end)

    def _filled(self, pool: Optional[str], req, pages: List[int], end: int) -> None:
        """These are the last ones of the request's first `end` tokens."""
        if pool is None or not pages:
            return
        self._pools.settle()
        page_size = self._pools.page_size
        counts = [page_size] * (len(pages) - 1) + [(end - 1) % page_size + 1]
        slots = {} if counts[-1] == page_size else {"slots": counts}
        self._pools.recorder.emit("fill", pool=pool, req=str(req.rid), pages=pages, **slots)


def _listed(pages) -> List[int]:
    return pages.tolist() if hasattr(pages, "tolist") else [int(page) for page in pages or ()]
