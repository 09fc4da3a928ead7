# SPDX-License-Identifier: Apache-2.0
"""The adapter for continuous batching in Hugging Face transformers: which hook stands where.

Driven with transformers 5.12.1 on a CPU and 5.17.0 on a GPU. Launches are seen in
PagedAttentionCache.update, which the eager, SDPA and variable-length flash attentions call; those
that a CUDA graph holds are told at each of its launches. The decode path through a block table does
not come by there, and blocks restored from the host are written by neither: a step in which that
happens is recorded as a gap, and nothing is judged on what it wrote.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from importlib import metadata
from itertools import islice

from . import hf_guard
from .devices import stream_of
from .hf_blocks import Blocks
from .hf_buffers import Buffers
from .hf_launches import Launches
from .importhook import PostImportHooks, after, around, expect, expect_just, shield, wrap

DRIVEN = ("5.12.1", "5.17.0")  # Releases that it was run with.
RECORDS = ["pool", "pool_layer", "backend", "pool_swap", "request", "alloc", "share", "free",
           "prefix_key", "prefix_hit", "prefix_drop", "copy", "buffer", "table", "slots",
           "attention", "store", "launch_done", "step", "note", "gap", "end"]


class Hooks:
    """Patches of Transformers' classes that feed `Blocks` and `Launches`."""

    def __init__(self, recorder) -> None:
        addresses = os.environ.get("PAGETAPE_ADDRESSES", "1") not in ("", "0")
        self.recorder = recorder
        self.blocks = Blocks(recorder, addresses, self._header)
        self.buffers = Buffers(recorder)
        self.launches = Launches(self.blocks, self.buffers)
        shield.tell(self._stopped)

    def _stopped(self, why: str) -> None:
        for known in self.blocks.caches.values():
            known.ready.clear()
            self.blocks.gap(known.groups, why)
        self.blocks.flush()

    def _header(self) -> None:
        """At the first cache: other engines import these modules and never build one."""
        if self.recorder.events == 0:
            self.recorder.emit("header", format=1, engine="transformers",
                               engine_version=metadata.version("transformers"), records=RECORDS,
                               clock="monotonic")

    # cache.py
    def cache(self, module) -> None:
        cls = module.PagedAttentionCache
        expect_just(cls.update, "key_states", "value_states", "layer_idx", "read_index",
                    "write_index")
        expect_just(cls.extend_read_and_write_indices, "request_id", "past_length", "query_length",
                    "read_index", "write_index")
        # What is known of a cache, where the hooks find it first; of others there is nothing.
        cls._pagetape_ready, cls._pagetape_lanes = {}, deque(maxlen=0)
        after(cls, "__init__", lambda cache, *_args, **_kwargs: self.blocks.declare(cache))
        wrap(cls, "update", self._make_update, shielded=False)
        wrap(cls, "extend_read_and_write_indices", self._make_extend, shielded=False)

    def _make_update(self, original):
        """It runs once a layer and step, when what the engine does has filled the processor's
        caches: what it touches is what it costs."""
        caches, launches, failed = self.blocks.caches, self.launches, self.recorder.failed

        def update(cache, key_states, value_states, layer_idx, read_index, write_index):
            # The layers of a group behind its first one in a batch get what that one got: this is
            # all that is done for them. Anything else is looked at anew, and so is a layer that
            # comes again: that pass may be captured.
            told = False
            try:
                ready = cache._pagetape_ready.pop(layer_idx, None)
                if ready is not None:
                    group, pair, call, arguments, _held = ready
                    if pair.reads is read_index[group] and pair.writes is write_index[group]:
                        status = call(*arguments)
                        told = status <= 0
                        if status < 0:
                            failed(status)
                if not told and not shield.stopped:
                    known = caches.get(id(cache._block_manager))
                    if known is not None:
                        read_index, write_index = launches.update(known, cache, layer_idx,
                                                                  read_index, write_index)
            except Exception as error:  # pylint: disable=broad-except
                shield.stop("PagedAttentionCache.update", error)
            return original(cache, key_states, value_states, layer_idx, read_index, write_index)

        return update

    @staticmethod
    def _make_extend(original):
        """It runs once a request and step."""

        def extend(cache, request_id, past_length, query_length, read_index, write_index):
            result = original(cache, request_id, past_length, query_length, read_index,
                              write_index)
            # Counted is what each request adds to the lists of each group.
            if not shield.stopped:
                try:
                    if read_index is not None and len(write_index) == 1:
                        lane = (request_id, past_length, query_length, len(read_index[0]),
                                len(write_index[0]))
                    else:
                        reads = map(len, read_index) if read_index is not None \
                            else (0,) * len(write_index)
                        lane = (request_id, past_length, query_length, *reads,
                                *map(len, write_index))
                    cache._pagetape_lanes.append(lane)
                except Exception as error:  # pylint: disable=broad-except
                    shield.stop("PagedAttentionCache.extend_read_and_write_indices", error)
            return result

        return extend

    def sharing(self, module) -> None:
        """Prefix blocks: published when complete, found by a request's prompt, copied by forks."""
        blocks, cls = self.blocks, module.PagedAttentionCache

        def held(cache, state):
            """Of each group that shares blocks its allocator and the request's blocks."""
            return [(group, one, list(one.block_table.get(state.request_id, ())))
                    for one in cache.group_cache_managers if one.uses_block_sharing
                    for group in [blocks.group(one)] if group is not None]

        def completed(cache, state, tables):
            for group, one, before in tables:
                blocks.completed(group, cache._block_manager, state.request_id, before,
                                 one.block_table.get(state.request_id, []))

        def make_complete(original):
            def mark(cache, state, num_complete_blocks):
                if not num_complete_blocks or shield.stopped:  # Most requests in most steps.
                    return original(cache, state, num_complete_blocks)
                tables: list = []
                try:
                    tables = held(cache, state)
                except Exception as error:  # pylint: disable=broad-except
                    shield.stop(f"{cls.__name__}.mark_shareable_blocks_as_complete", error)
                result = original(cache, state, num_complete_blocks)
                try:
                    completed(cache, state, tables)
                except Exception as error:  # pylint: disable=broad-except
                    shield.stop(f"{cls.__name__}.mark_shareable_blocks_as_complete", error)
                return result

            return mark

        def found(cache, length, request_id, prompt_ids):
            allocator = cache.group_cache_managers[0]
            group = blocks.group(allocator)
            if group is not None and length:
                for column, block in enumerate(allocator.block_table[request_id]):
                    blocks.hit(group, request_id, block, column)

        def copied(cache, _result, list_source_blocks, list_forked_blocks):
            known = blocks.of(cache)
            if known is not None:
                blocks.copied(known, list_source_blocks, list_forked_blocks,
                              stream_of(cache.key_cache[0]))

        expect_just(cls.mark_shareable_blocks_as_complete, "state", "num_complete_blocks")
        expect(cls.search_prefix_match, "request_id", "prompt_ids")
        expect(cls.copy_cache, "list_source_blocks", "list_forked_blocks")
        wrap(cls, "mark_shareable_blocks_as_complete", make_complete, shielded=False)
        after(cls, "search_prefix_match", found)
        after(cls, "copy_cache", copied)

    # cache_manager.py
    def allocators(self, module) -> None:
        for cls in (module.FullAttentionCacheAllocator, module.SlidingAttentionCacheAllocator):
            expect(cls.allocate_blocks, "n_blocks", "request_id", "block_manager")
            around(cls, "allocate_blocks", self._held, self._allocated)
        expect(module.CacheAllocator.free_blocks, "request_id", "block_manager")
        around(module.CacheAllocator, "free_blocks", self._freeing, self._freed)
        around(module.CacheAllocator, "fork_blocks", self._forking, self._forked)
        around(module.BlockManager, "has_enough_free_blocks", self._wanting, self._uninitialized)

    @staticmethod
    def _held(allocator, n_blocks, request_id, block_manager):
        return len(allocator.block_table.get(request_id, ()))

    def _allocated(self, allocator, _result, before, n_blocks, request_id, block_manager):
        group = self.blocks.group(allocator)
        if group is not None:
            held = allocator.block_table.get(request_id, ())
            self.blocks.taken(group, request_id, held[before:], before)

    @staticmethod
    def _freeing(allocator, request_id, block_manager):
        return list(allocator.block_table.get(request_id, ()))

    def _freed(self, allocator, _result, held, request_id, block_manager):
        group = self.blocks.group(allocator)
        if group is not None:
            self.blocks.returned(group, request_id, held)

    @staticmethod
    def _forking(allocator, parent_request_id, children_request_ids, block_manager):
        return list(allocator.block_table.get(parent_request_id, ()))

    def _forked(self, allocator, _result, parent, parent_request_id, children_request_ids,
                block_manager):
        group = self.blocks.group(allocator)
        for child in children_request_ids if group is not None else ():
            self.blocks.forked(group, parent, child, list(allocator.block_table[child]))

    # Blocks that were offered lose their content when others are wanted and none is left: those
    # that were offered last are the first to go.

    @staticmethod
    def _wanting(manager, n_blocks):
        wanted = n_blocks - len(manager._uninit_block_ids)
        if wanted <= 0:
            return None
        offered = manager._init_block_ids
        return len(offered), [*islice(reversed(offered), wanted)]

    def _uninitialized(self, manager, _result, held, n_blocks):
        before, last = held
        left = manager._init_block_ids
        gone = [block for block in reversed(last) if block not in left]
        self.blocks.dropped(manager, gone)
        if len(gone) != before - len(left):
            self.blocks.lost(manager, "blocks offered for reuse were taken in another order")

    # scheduler.py
    def scheduler(self, module) -> None:
        blocks, cls = self.blocks, module.Scheduler

        def make_finish(original):
            def finish(scheduler, request_id):
                state = scheduler.active_requests.get(request_id)
                failed = state is not None and state.status.name == "FAILED"
                result = original(scheduler, request_id)
                blocks.leave(request_id, failed)
                if not scheduler.active_requests:  # There may be nothing more for long.
                    blocks.flush()
                return result

            return finish

        def cancelled(scheduler, states):
            for state in states:
                blocks.leave(state.request_id, failed=True)
            if states and not scheduler.active_requests:
                blocks.flush()

        after(cls, "add_waiting_request", lambda _s, _r, state: blocks.arrive(state.request_id))
        wrap(cls, "finish_request", make_finish)
        after(cls, "clear_cancelled_requests", cancelled)
        if hasattr(cls, "pop_request_to_evict"):  # Until 5.16; then see offloading().
            after(cls, "pop_request_to_evict", lambda _s, result: blocks.preempt(result[0]))

    # input_outputs.py
    def inputs(self, module) -> None:
        def prepared(inputs, _result, *_args, **_kwargs):
            known = self.blocks.of(inputs.cache)
            if known is not None:
                self.launches.prepared(known)

        def built(inputs, _result, *_args, **_kwargs):
            known = self.blocks.of(inputs.cache)
            if known is not None:
                self.buffers.add(known, inputs)

        caches = self.blocks.caches

        def waiting(inputs):
            """The engine has given the GPU its work, and now waits for it."""
            known = caches.get(id(inputs.cache._block_manager))
            if known is not None:
                self.blocks.flush()

        def returned(inputs, _result):
            """The results of the batch that began first are there."""
            known = caches.get(id(inputs.cache._block_manager))
            ticket = known.begun.pop(0) if known is not None and known.begun else 0
            if ticket:
                self.blocks.flush()
                self.recorder.launch_done(ticket)

        after(module.ContinuousBatchingIOs, "__init__", built)
        around(module.ContinuousBatchingIOs, "retrieve_device_outputs", waiting,
               lambda *_none: None)
        after(module.ContinuousBatchingIOs, "prepare_batch_update", returned)
        after(module.ContinuousBatchingIOs, "prepare_batch_tensors", prepared)

    # continuous_api.py
    def steps(self, module) -> None:
        caches, launches, blocks = self.blocks.caches, self.launches, self.blocks
        place = "ContinuousBatchProcessor._generation_step"

        def make(original):
            def step(processor, *args, **kwargs):
                known = None
                if not shield.stopped:
                    try:
                        known = caches.get(id(processor.cache._block_manager))
                        before = known.updates if known is not None else 0
                    except Exception as error:  # pylint: disable=broad-except
                        shield.stop(place, error)
                try:
                    result = original(processor, *args, **kwargs)
                except Exception:
                    if known is not None:
                        self._noted(known, place)
                    raise
                if known is not None and not shield.stopped:
                    try:
                        launches.ended(known, known.updates != before)
                        if known.updates == before:
                            blocks.gap(known.groups, "a step ran without PagedAttentionCache."
                                       "update: decoding by block table, or a CUDA graph whose "
                                       "lists are not compared")
                    except Exception as error:  # pylint: disable=broad-except
                        shield.stop(place, error)
                return result

            return step

        wrap(module.ContinuousBatchProcessor, "_generation_step", make, shielded=False)
        graphs = sys.modules.get("torch.cuda.graphs")
        if graphs is not None:
            launches.graphs.hook(graphs)

    def _noted(self, known, place: str) -> None:
        """A step failed: its error is the engine's."""
        if not shield.stopped:
            try:
                self.blocks.flush()
                self.buffers.note(known)
            except Exception as error:  # pylint: disable=broad-except
                shield.stop(place, error)

    # offloading_manager.py
    def offloading(self, module) -> None:
        def offloaded(_manager, requests_in_batch):
            return any([one.state.is_cpu_offloaded for one in requests_in_batch]) or None

        def restored(manager, _result, _offloaded, requests_in_batch):
            self.blocks.unseen(manager.cache, "blocks were restored from the host")

        def evicted(_manager, _result, victims):
            for state in victims:
                self.blocks.preempt(state.request_id)

        around(module.OffloadingManager, "restore_scheduled_requests", offloaded, restored)
        if hasattr(module.OffloadingManager, "offload_requests"):  # Some at once, since 5.17.
            expect(module.OffloadingManager._offload_to_cpu, "victims")
            after(module.OffloadingManager, "_offload_to_cpu", evicted)


def install(hooks: PostImportHooks, recorder) -> Hooks:
    adapter = Hooks(recorder)
    place = "transformers.generation.continuous_batching."
    for module, hook, gives in (
            ("cache", adapter.cache,
             ("pool", "pool.reserved", "pool.page_bytes", "pool_layer", "backend", "pool_swap",
              "buffer", "table", "table.space", "slots", "attention", "attention.rows",
              "attention.bound", "attention.space", "store")),
            ("cache", adapter.sharing,
             ("share", "prefix_key", "prefix_hit", "prefix_drop", "copy")),
            ("cache_manager", adapter.allocators, ("alloc", "free")),
            ("scheduler", adapter.scheduler, ("request",)),
            ("input_outputs", adapter.inputs, ("step",)),
            ("continuous_api", adapter.steps, ("gap",)),
            ("offloading_manager", adapter.offloading, ("gap",))):
        hooks.on(place + module, hook, gives)
    adapter.guard = hf_guard.install(hooks, adapter)
    return adapter
