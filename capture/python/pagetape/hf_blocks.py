# SPDX-License-Identifier: Apache-2.0
"""Transformers' paged cache: its layer groups, and who holds which block.

Every group of layers is a pool with an index space of its own, and all of them draw on one
allocator: a block that one group holds is given to no other. The groups share their tensors, layer
by layer, so that an address alone does not tell the pool; a group's own layers do.

The two blocks behind the allocator's are reserved. The last one has the slots that stand for a
token to come (sentinel) and for a write that counts for nothing (trash).
"""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

PREFIX = "#prefix"  # holds the blocks that are offered for reuse


class Lanes:
    """A batch's requests in their order. Of each: what of it is in the cache, what it brings, and
    how many entries each group's reads, then each group's writes have with it."""

    def __init__(self, groups: int, lanes: List[tuple]) -> None:
        self._groups = groups
        self.reqs, self.pasts, self.news, *self._ends = zip(*lanes) if lanes \
            else [()] * (3 + 2 * groups)

    def reads(self, group: int) -> Tuple[int, ...]:
        return self._ends[group]

    def writes(self, group: int) -> Tuple[int, ...]:
        return self._ends[self._groups + group]


class Group:
    def __init__(self, pool: str, layers: List[int], window: Optional[int]) -> None:
        self.pool = pool
        self.layers = layers
        self.window = window  # tokens, the query's own included; None: full attention
        self.published: Dict[int, str] = {}  # block -> prefix key
        self.forked: Dict[int, str] = {}  # block that a copy is due for -> its request


class Cache:
    """What is known of one PagedAttentionCache, without a reference to its tensors."""

    def __init__(self, name: str, cache) -> None:
        self.name = name
        self.ready: Dict[int, tuple] = {}  # what is left to do for a layer of this batch's
        self.block_size = size = int(cache.block_size)
        # Slots of reserved blocks; before 5.17 one was for writes alone. No read of padding's may
        # be the sentinel, which stands for a token of the batch's own.
        self.read_trash = int(getattr(cache, "read_trash_index", cache.num_blocks * size))
        self.write_trash = int(cache.write_trash_index if hasattr(cache, "write_trash_index")
                               else cache.trash_index)
        self.sentinel = int(cache.sentinel_index)
        self.groups: List[Group] = []
        self.of_layer: Dict[int, Group] = {}
        # A call of the GPU's: what is put on the current stream now is captured. None: on the host.
        self.captures: Optional[Callable[[], bool]] = \
            sys.modules["torch"]._C._cuda_isCurrentStreamCapturing \
            if cache.key_cache[0].is_cuda else None
        self.building: List[tuple] = []  # lanes of the batch that is being prepared
        self.batches = 0  # prepared
        self.prepared = 0  # lanes of the last one, which may not be told yet
        self.lanes = Lanes(len(cache.group_cache_managers), [])
        cache._pagetape_lanes, cache._pagetape_ready = self.building, self.ready
        self.decode = False  # of the batch: each lane brings one new token
        self.listed: Dict[tuple, tuple] = {}  # what the batch's index lists were told as
        self.pairs: Dict[int, Any] = {}  # and what its layers last got, by group
        self.compared: Dict[Any, bool] = {}  # tables of the batch's, and whether the GPU took it
        self.compared_ahead = -1  # the batch that it was told of before its lanes
        self.lists: Optional[tuple] = None  # where those stood that `together` compares
        self.lines: Dict[Any, Any] = {}
        self.together: Any = None
        self.forms: Dict[tuple, tuple] = {}  # what launches have whatever the batch
        self.buffers: set = set()  # declared
        self.begun: List[int] = []  # the last launch of each batch that has not completed
        self.updates = 0  # calls of update() seen

    def begin(self, lanes: List[tuple]) -> None:
        """A batch of these lanes: what was found out of the last one does not hold."""
        self.lanes = Lanes(len(self.groups), lanes)
        self.decode = set(self.lanes.news) <= {1}
        self.listed = {}
        if self.compared_ahead != self.batches:
            self.compared = {}
        self.ready.clear()
        for pair in self.pairs.values():
            pair.reads = pair.writes = None

    def compare_ahead(self, tables: list) -> None:
        """These were compared of the batch that is prepared, which may not be told yet."""
        self.compared, self.compared_ahead = dict.fromkeys(tables, True), self.batches

    def forget(self) -> None:
        """What is kept from one batch for the next one."""
        self.pairs, self.lines = {}, {}
        self.ready.clear()
        self.lists = self.together = None


class Blocks:
    """Shadow of caches, groups, blocks and requests; writes their events. What happens to blocks
    and requests between two launches is kept and told before the next one, or while the engine
    waits for the GPU in any case. So is a batch that is prepared, which is told before whatever
    happens behind it: it may never be launched.

    Threads: what is kept is taken out and recorded under the recorder's lock, so that who has
    flushed may record a launch, whichever thread told what was kept before it."""

    def __init__(self, recorder, addresses: bool, header: Callable[[], None]) -> None:
        self.recorder = recorder
        self.addresses = addresses
        self._header = header
        self.caches: Dict[int, Cache] = {}  # by id(BlockManager), which the recorder keeps
        self._groups: Dict[int, Group] = {}  # by id(CacheAllocator), likewise
        self._alive: Dict[str, str] = {}  # request -> state last written
        self._leaving: set = set()  # requests on their way back to the queue
        self._running: Optional[tuple] = None  # requests that are known to run: the last batch's
        self._steps = 0
        self._gaps: Dict[tuple, Callable[[], None]] = {}  # by why, and of which pools
        self._later: Deque[Tuple[Any, Optional[dict]]] = deque()
        self._batch: Optional[Tuple[Cache, List[tuple]]] = None  # prepared, and not told yet
        self._lock = recorder.lock
        recorder.before_close(self.flush)
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """A forked child has a recorder of its own, and what is kept is its parent's."""
        self._later.clear()
        self._batch = None
        for known in self.caches.values():
            known.building.clear()
            known.forget()

    def _tell(self, ev: str, **fields) -> None:
        with self._lock:
            self.settle()
            self._later.append((ev, fields))

    def flush(self) -> None:
        """Tells what is kept, in its order. Before anything else is recorded."""
        with self._lock:
            self.settle()
            self._tell_kept()

    def _tell_kept(self) -> None:
        while self._later:
            ev, fields = self._later.popleft()
            if fields is None:
                ev()
            else:
                self.recorder.emit(ev, **fields)

    # --- batches

    def prepared(self, known: Cache) -> None:
        """A batch's tensors are there."""
        with self._lock:
            self.settle()
            self._batch = known, [*known.building]
            known.batches += 1
            known.prepared = len(known.building)
            known.building.clear()
            known.ready.clear()

    def settle(self) -> None:
        """Tells the batch that is prepared, where one is, and what happened before."""
        with self._lock:
            if self._batch is None:
                return
            (known, lanes), self._batch = self._batch, None
            known.begin(lanes)
            reqs = known.lanes.reqs
            if reqs != self._running:
                for req in reqs:
                    self.schedule(req)
                self._running = reqs
            self._tell_kept()
            self.recorder.step(self._steps, "decode" if known.decode and all(known.lanes.pasts)
                               else "extend", len(reqs))
            self._steps += 1

    # --- caches

    def declare(self, cache) -> None:
        self.flush()
        self._header()
        manager = cache._block_manager
        name = self.recorder.name(manager, "cache")
        known = self.caches[id(manager)] = Cache(name, cache)
        self.recorder.emit("backend", backend=name, role="target",
                           **{"class": type(cache).__name__})
        for index, allocator in enumerate(cache.group_cache_managers):
            layers = sorted(layer for layer, (group, _) in
                            cache.layer_index_to_group_indices.items() if group == index)
            window = getattr(allocator, "sliding_window", None)
            pool = self.recorder.name(allocator, "full" if window is None else "swa")
            group = self._groups[id(allocator)] = Group(pool, layers, window)
            known.groups.append(group)
            known.of_layer.update(dict.fromkeys(layers, group))
            self._declare_pool(cache, known, group)
        for group in known.groups:
            self.recorder.emit("pool_swap", backend=name, layers=group.layers, pool=group.pool)

    def _declare_pool(self, cache, known: Cache, group: Group) -> None:
        first = cache.key_cache[0]
        blocks, size = int(cache.num_blocks), known.block_size
        pages = int(first.shape[0]) // size
        marks = {known.sentinel // size, known.write_trash // size}
        reserved = [{"page": page, "role": "pad" if page in marks else "null"}
                    for page in range(blocks, pages)]
        self.recorder.emit(
            "pool", pool=group.pool, pages=pages, page_size=size, allocator=known.name,
            kind="full" if group.window is None else "swa", reserved=reserved,
            page_bytes=size * first.stride(0) * first.element_size(),
            kv_heads=int(first.shape[1]), head_dim=int(first.shape[2]),
            dtype=str(first.dtype).replace("torch.", ""))
        for layer in group.layers:
            index = cache.layer_index_to_group_indices[layer][1]
            k, v = cache.key_cache[index], cache.value_cache[index]
            where = {"k_ptr": k.data_ptr(), "v_ptr": v.data_ptr()} if self.addresses else {}
            self.recorder.emit("pool_layer", pool=group.pool, layer=layer, shape=list(k.shape),
                               stride=list(k.stride()), **where)

    def of(self, cache) -> Optional[Cache]:
        return self.caches.get(id(cache._block_manager))

    def group(self, allocator) -> Optional[Group]:
        return self._groups.get(id(allocator))

    def unseen(self, cache, why: str) -> None:
        """Something that this adapter does not record wrote blocks: nothing is claimed of them."""
        known = self.of(cache)
        if known is not None:
            self.gap(known.groups, why)

    def lost(self, manager, why: str) -> None:
        """Likewise, told by its allocator."""
        known = self.caches.get(id(manager))
        if known is not None:
            self.gap(known.groups, why)

    def gap(self, groups: List[Group], why: str) -> None:
        """Likewise, of these groups."""
        key = why, *[group.pool for group in groups]
        if key not in self._gaps:
            self._gaps[key] = self.recorder.again_and_again("gap", why=why, pools=[*key[1:]])
        with self._lock:
            self.settle()
            self._later.append((self._gaps[key], None))

    # --- requests

    def arrive(self, req: str) -> None:
        self.settle()
        if req not in self._alive:
            self._state(req, "arrive")

    def schedule(self, req: str) -> None:
        before = self._alive.get(req)
        if before != "run":
            self._state(req, "resume" if before == "preempt" else "run")
            self._alive[req] = "run"

    def preempt(self, req: str) -> None:
        """`req` is about to lose its blocks and to wait again."""
        self._leaving.add(req)

    def leave(self, req: str, failed: bool) -> None:
        self.settle()
        if req in self._leaving:
            self._leaving.discard(req)
            self._state(req, "preempt")
        elif req in self._alive:
            self._state(req, "abort" if failed else "finish")
            del self._alive[req]

    def _state(self, req: str, state: str) -> None:
        self._alive[req], self._running = state, None
        self._tell("request", req=req, state=state)

    # --- blocks

    def taken(self, group: Group, req: str, blocks: List[int], first: int) -> None:
        """A block of a sliding group has no column of its own: the buffer rolls."""
        self.arrive(req)
        if blocks:
            place = {"first": first} if group.window is None else {}
            self._tell("alloc", pool=group.pool, req=req, pages=blocks, **place)

    def returned(self, group: Group, req: str, blocks: List[int]) -> None:
        if blocks:
            self._tell("free", pool=group.pool, req=req, pages=blocks)

    def forked(self, group: Group, parent: List[int], req: str, blocks: List[int]) -> None:
        """A fork shares its parent's complete blocks and gets blocks of its own for the rest."""
        shared = next((i for i, (a, b) in enumerate(zip(parent, blocks)) if a != b), len(blocks))
        self.arrive(req)
        if shared:
            self._tell("share", pool=group.pool, req=req, pages=blocks[:shared], first=0)
        self.taken(group, req, blocks[shared:], shared)
        group.forked.update(dict.fromkeys(blocks[shared:], req))

    def copied(self, known: Cache, sources: List[int], targets: List[int], stream: int) -> None:
        self.flush()
        for source, target in zip(sources, targets):
            group = next((g for g in known.groups if target in g.forked), None)
            if group is not None:
                self.recorder.emit("copy", from_pool=group.pool, to_pool=group.pool,
                                   req=group.forked.pop(target), **{"from": [source]},
                                   to=[target], **self.recorder.on_stream(stream))

    # --- blocks offered for reuse

    def completed(self, group: Group, manager, req: str, before: List[int],
                  now: List[int]) -> None:
        """Complete blocks are published; one whose content is there already is given back, and
        the request takes that other one."""
        # Of a long request nearly all are published: those others are found without a look at each.
        others = set(now).difference(group.published)
        if before == now:
            for block in sorted(others, key=now.index):
                self._complete(group, manager, block)
            return
        for column, (old, new) in enumerate(zip(before, now)):
            if old != new:
                self.returned(group, req, [old])
                self.hit(group, req, new, column)
            elif new in others:
                self._complete(group, manager, new)

    def _complete(self, group: Group, manager, block: int) -> None:
        if block not in group.published and manager._id_to_block[block].is_complete:
            group.published[block] = key = \
                f"{group.pool}.{self.recorder.events + len(self._later)}"
            self._tell("share", pool=group.pool, req=PREFIX, pages=[block])
            self._tell("prefix_key", pool=group.pool, page=block, key=key)

    def hit(self, group: Group, req: str, block: int, column: int) -> None:
        self.arrive(req)
        self._tell("prefix_hit", pool=group.pool, req=req, page=block,
                           key=group.published.get(block, "unknown"), first=column)

    def dropped(self, manager, blocks: List[int]) -> None:
        known = self.caches.get(id(manager))
        for block in blocks:
            for group in known.groups if known is not None else []:
                key = group.published.pop(block, None)
                if key is not None:
                    self._tell("prefix_drop", pool=group.pool, page=block, key=key)
                    self._tell("free", pool=group.pool, req=PREFIX, pages=[block])
