# SPDX-License-Identifier: Apache-2.0
"""What Transformers' paged attention writes and reads, as PagedAttentionCache.update gets it.

A batch is packed: a group's write and read indices are flat lists of slots, a request's behind
those of the one before it. A full group writes its new tokens and then reads all of them back. A
sliding group reads the rolling buffer first, as many as window - 1 tokens before the new ones,
and only then writes over it; its new tokens never come from the cache, and sentinels stand in
their places. Where a batch reads nothing of the cache the lists to read are empty.

The layers of a group get the same lists, so a batch's list is read once, where the first layer
uses it, and told as a buffer; the launches name it. A layer that gets another tensor, or a part of
one, has it read, too. What changes a list's cells between two layers of a batch is not seen.
"""

from __future__ import annotations

import json
from typing import Dict, List, NamedTuple

from .hf_blocks import Blocks, Cache, Group, Lane
from .recording import Written


class Listed(NamedTuple):
    """An index list as the trace has it."""

    buffer: str
    rows: Written


class Launches:
    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.recorder = blocks.recorder

    def batch(self, known: Cache, inputs) -> None:
        """A batch's tensors are there: learns where the groups' indices stand in them."""
        known.tables = {}
        known.listed = {}
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
        listed = self._listed(known, group, "reads", table, indices, self._tell_reads)
        fields = {} if group.window is None else {"window": group.window}
        decode = all(lane.new == 1 for lane in known.lanes)
        self.recorder.emit(
            "attention", backend=known.name, layer=layer, table=listed.buffer, rows=listed.rows,
            unit="slot", page_size=1, space=known.groups[table].pool,
            mode="decode" if decode else "extend",
            bound=self._bound(known, group, tensor, int(tensor.shape[0])),
            kernel="paged_attention", **fields)

    def _store(self, known: Cache, group: Group, layer: int, indices, index: int,
               tensor) -> None:
        table = known.tables.get(indices.data_ptr(), index)
        listed = self._listed(known, group, "writes", table, indices, self._tell_writes)
        pages = int(tensor.shape[0]) // known.block_size
        self.recorder.emit("store", backend=known.name, layer=layer, slots=listed.buffer,
                           rows=listed.rows, space=known.groups[table].pool,
                           bound=self._bound(known, group, tensor, pages))

    def _listed(self, known: Cache, group: Group, what: str, table: int, indices, tell) -> Listed:
        key = (what, indices.data_ptr(), indices.numel(), group.pool)
        listed = known.listed.get(key)
        if listed is None:
            buffer = f"{known.name}.{what}{table}"
            if buffer not in known.buffers:
                known.buffers.add(buffer)
                self.recorder.emit("buffer", buffer=buffer)
            rows = tell(known, group, buffer, table, indices)
            listed = known.listed[key] = Listed(buffer, Written(json.dumps(rows)))
        return listed

    def _tell_reads(self, known: Cache, group: Group, buffer: str, table: int,
                    indices) -> List[Dict]:
        """A row a lane. Entry j of a sliding group's is the j-th token that is still in its
        window. What stands behind the last lane's is a row of nobody's."""
        cells, at, rows = indices.cpu().int().contiguous(), 0, []
        pool = known.groups[table].pool
        for lane in known.lanes:
            count = told = min(lane.reads[table], cells.numel() - at)
            if group.window is None:
                row = {"req": lane.req, "len": lane.past + lane.new, "q_len": lane.new}
            else:
                told = max(count - lane.new, 0)
                row = {"req": lane.req, "len": lane.past, "q_len": lane.new, "q_pos": lane.past,
                       "first": max(lane.past - told, 0)}
            self._tell_row(buffer, rows, row, cells[at:at + told], pool)
            at += count
        if at < cells.numel():
            self._tell_row(buffer, rows, {"req": None, "len": cells.numel() - at}, cells[at:], pool)
        return rows

    def _tell_row(self, buffer: str, rows: List[Dict], row: Dict, cells, pool: str) -> None:
        if cells.numel():
            self.recorder.table(buffer, len(rows), cells, row["req"], pool, "slot")
        rows.append({**row, "row": len(rows), "n": cells.numel()})

    def _tell_writes(self, known: Cache, _group: Group, buffer: str, table: int,
                     indices) -> List[Dict]:
        values, at, rows = indices.cpu().long().contiguous(), 0, []
        if values.numel():
            self.recorder.slots(buffer, values)
        for lane in known.lanes:
            count = min(lane.writes[table], values.numel() - at)
            rows.append({"req": lane.req, "row": at, "n": count})
            at += count
        if at < values.numel():
            rows.append({"req": None, "row": at, "n": values.numel() - at})
        return rows

    def _bound(self, known: Cache, group: Group, tensor, pages: int) -> Written:
        """The same tensor is the same bound: caches are never reshaped."""
        key = (tensor.data_ptr(), group.pool, pages)
        text = known.bounds.get(key)
        if text is None:
            bound = {"pool": group.pool, "pages": pages, "shape": list(tensor.shape),
                     "stride": list(tensor.stride())}
            if self.blocks.addresses:
                bound["ptr"] = tensor.data_ptr()
            text = known.bounds[key] = Written(json.dumps(bound))
        return text
