# SPDX-License-Identifier: Apache-2.0
"""What Transformers' paged attention writes and reads, as PagedAttentionCache.update gets it.

A batch is packed: a group's write and read indices are flat lists of slots, a request's behind
those of the one before it. A full group writes its new tokens and then reads all of them back. A
sliding group reads the rolling buffer first, as many as window - 1 tokens before the new ones,
and only then writes over it; its new tokens never come from the cache, and sentinels stand in
their places. Where a batch reads nothing of the cache the lists to read are empty.
"""

from __future__ import annotations

from typing import Dict, List

from .hf_blocks import Blocks, Cache, Group, Lane
from .recording import ints


class Launches:
    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.recorder = blocks.recorder

    def tables(self, known: Cache, inputs) -> None:
        """Learns where the groups' indices stand in the tensors that the attention will get."""
        known.tables = {}
        for name in ("read_index_storage", "write_index_storage"):
            storage = getattr(inputs, name, None)  # absent where two batches take turns
            for group in range(len(known.groups) if storage is not None else 0):
                known.tables[storage[group].data_ptr()] = group

    def update(self, known: Cache, cache, layer: int, read_index, write_index, run):
        """Records both launches of `layer` around `run`, in the order in which they happen."""
        known.updates += 1
        group = known.of_layer[layer]
        index, place = cache.layer_index_to_group_indices[layer]
        tensor = cache.key_cache[place]
        reads, writes = read_index[index], write_index[index]
        # An index out of bounds ends `run`: what it was given is written before it is called.
        if group.window is None:
            self._store(known, group, layer, writes, index, tensor)
            self._attention(known, group, layer, reads, index, tensor)
        else:
            self._attention(known, group, layer, reads, index, tensor)
            self._store(known, group, layer, writes, index, tensor)
        return run()

    def _attention(self, known: Cache, group: Group, layer: int, indices, index: int,
                   tensor) -> None:
        if indices.numel() == 0:
            return
        table = known.tables.get(indices.data_ptr(), index)
        slots, at, rows = ints(indices), 0, []
        for lane in known.lanes:
            count = lane.reads[table]
            rows.append(_row(group, lane, slots[at:at + count]))
            at += count
        if at < len(slots):
            rows.append({"req": None, "len": len(slots) - at, "pages": slots[at:]})
        fields = {} if group.window is None else {"window": group.window}
        decode = all(lane.new == 1 for lane in known.lanes)
        self.recorder.emit(
            "attention", backend=known.name, layer=layer, rows=rows, unit="slot", page_size=1,
            space=known.groups[table].pool, mode="decode" if decode else "extend",
            bound=self._bound(group, tensor, int(tensor.shape[0])),
            kernel="paged_attention", **fields)

    def _store(self, known: Cache, group: Group, layer: int, indices, index: int,
               tensor) -> None:
        table = known.tables.get(indices.data_ptr(), index)
        slots, at, rows = ints(indices), 0, []
        for lane in known.lanes:
            count = lane.writes[table]
            rows.append({"req": lane.req, "slots": slots[at:at + count]})
            at += count
        if at < len(slots):
            rows.append({"req": None, "slots": slots[at:]})
        pages = int(tensor.shape[0]) // known.block_size
        self.recorder.emit("store", backend=known.name, layer=layer, rows=rows,
                           space=known.groups[table].pool,
                           bound=self._bound(group, tensor, pages))

    def _bound(self, group: Group, tensor, pages: int) -> dict:
        bound = {"pool": group.pool, "pages": pages, "shape": list(tensor.shape),
                 "stride": list(tensor.stride())}
        if self.blocks.addresses:
            bound["ptr"] = tensor.data_ptr()
        return bound


def _row(group: Group, lane: Lane, slots: List[int]) -> Dict:
    """Entry j of a sliding group's row is the j-th token that is still in its window."""
    if group.window is None:
        return {"req": lane.req, "len": lane.past + lane.new, "q_len": lane.new, "pages": slots}
    cached = slots[:max(len(slots) - lane.new, 0)]
    return {"req": lane.req, "len": lane.past, "q_len": lane.new, "q_pos": lane.past,
            "first": max(lane.past - len(cached), 0), "pages": cached}
