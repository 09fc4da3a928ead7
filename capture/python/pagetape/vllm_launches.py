# SPDX-License-Identifier: Apache-2.0
"""What vLLM's attention layers store and read, as their backend's implementation gets it.

Pool and space are told by addresses: the pool by the K/V tensor that is passed, the space by the
block table, of which the worker has one for each group. The layers of a group get the same
tensors, so that a table is read once in a forward pass, where the first layer uses it, and told as
a buffer; a layer that gets another tensor has it read, too. What changes a table's cells between
two layers of a pass is not seen.

On a GPU tables, lengths and slots are compared there, on the stream of the launch, and the lanes
are those that the scheduler asked for: nothing waits, but for a drafter's own batches. Of a CUDA
graph (vllm_graphs.py) the lanes behind these are told, too: they are nobody's.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional

from . import _abi
from ._abi import ABSENT, Rows
from .devices import stream_of
from .recording import Launch, ints
from .tensors import Tensors
from .vllm_blocks import Blocks, Group
from .vllm_runners import Runner


class There(NamedTuple):
    """What stands in the place of lengths that are on a GPU: the buffer that has them."""

    lens: str


class Lane(NamedTuple):
    """A row of a batch: its new tokens stand from `begin` on in the lists of tokens. One without
    new tokens is padding."""

    row: int
    req: Optional[str]
    length: Optional[int]  # None: on the GPU
    begin: int
    new: int


class Bound(NamedTuple):
    group: Group
    tensor: _abi.Bound  # Its pages are of the view that the kernel gets.
    address: Optional[int]


class Worker:
    """What is known of one model runner."""

    def __init__(self, name: str, runner: Runner) -> None:
        self.name = name
        self.runner = runner
        self.layers: Dict[str, object] = {}  # layer's name -> as the trace has it
        self.groups: List[Group] = []  # As block tables are; one without layers is another stage's.
        self.group_of: Dict[str, Group] = {}
        self.pool_at: Dict[int, List[Group]] = {}  # address of a K/V tensor -> its groups
        self.table_at: Dict[int, Group] = {}  # address of a block table -> its group
        self.forward: object = None  # the forward pass that the following is of
        self.told: Dict[tuple, object] = {}  # tables, rows and slots
        self.buffers: set = set()  # declared
        self.others: Dict[int, int] = {}  # address of a table of no group's -> its number
        self.launches = 0
        self.steps = 0

    def memory(self, group: Group) -> tuple:
        """Where the group's block table and its layers' K/V tensors stand now."""
        table = self.runner.tables()[self.groups.index(group)]
        layers = self.runner.layers()
        tensors = [_tensor(layers.get(one)) for one in group.names]
        return (table.data_ptr(), *[one.data_ptr() for one in tensors if one is not None])


class Launches:
    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.recorder = blocks.recorder
        self._workers: Dict[int, Worker] = {}  # by id(runner), which the recorder keeps
        self._now: Optional[Worker] = None
        self._resting = False
        self._tensors = Tensors(blocks.recorder)
        self._waited = False

    def close(self) -> None:
        self._tensors.close()

    # --- workers

    def declare(self, runner: Runner, config) -> None:
        """The runner's K/V tensors are there."""
        groups = self.blocks.groups(config)
        name = self.recorder.name(runner.engines, "runner")
        worker = self._workers[id(runner.engines)] = Worker(name, runner)
        worker.groups = groups
        self.recorder.emit("backend", backend=name, role="target",
                           **{"class": type(runner.engines).__name__})
        layers, shared = runner.layers(), runner.shared()
        worker.layers = _numbered([one for group in groups for one in group.names] + list(shared))
        for group in groups:
            named = [one for one in worker.layers
                     if one in group.names or shared.get(one) in group.names]
            worker.group_of.update(dict.fromkeys(named, group))
            for one in named:
                self._declare_layer(worker, group, one, _tensor(layers.get(one)))
            self.recorder.emit("pool_swap", backend=name, pool=group.pool,
                               layers=[worker.layers[one] for one in named])

    def _declare_layer(self, worker: Worker, group: Group, name: str, tensor) -> None:
        if tensor is None:
            return
        groups = worker.pool_at.setdefault(tensor.data_ptr(), [])
        if group not in groups:
            groups.append(group)
        where = {"k_ptr": tensor.data_ptr()} if self.blocks.addresses else {}
        self.recorder.emit("pool_layer", pool=group.pool, layer=worker.layers[name],
                           shape=list(tensor.shape), stride=list(tensor.stride()), **where)

    def begin(self, runner, scheduled) -> None:
        """A step begins. Which buffers the block tables have is looked up anew: the worker makes
        others when it learns the groups' block sizes."""
        worker = self._now = None if self._resting else self._workers.get(id(runner))
        if worker is None:
            return
        worker.launches = 0
        lanes = dict(scheduled.num_scheduled_tokens)
        worker.runner.begins(lanes)
        if lanes:
            decode = all(count == 1 for count in lanes.values())
            self.recorder.emit("step", step=worker.steps, mode="decode" if decode else "extend",
                               batch=len(lanes))
            worker.steps += 1
        worker.table_at = {one.data_ptr(): group
                           for one, group in zip(worker.runner.tables(), worker.groups)}

    def prepared(self, runner, batch) -> None:
        """The lanes of this step, where the runner makes an object of them."""
        if self._now is not None and self._now.runner.engines is runner:
            self._now.runner.prepared(batch)

    def end(self, scheduled) -> None:
        """The model ran. Its drafts are made after this, and are this runner's, too."""
        worker = self._now
        if worker is not None and scheduled.num_scheduled_tokens and not worker.launches:
            self.blocks.unseen("a step ran without an attention layer's call: a CUDA graph, or "
                               "layers of a kind that is not recorded")

    def split(self, table, result) -> None:
        """A block table became one of kernel blocks: of the same group, at another address."""
        worker = self._now
        group = worker.table_at.get(table.data_ptr()) if worker is not None else None
        if group is not None and result is not None and result is not table:
            worker.table_at[result.data_ptr()] = group

    def rest(self, run):
        """run(), which is no request's: dummy batches, or such as the scheduler knows nothing
        of. What follows is nobody's either, until a step begins."""
        before, self._resting, self._now = self._resting, True, None
        try:
            return run()
        finally:
            self._resting, self._now = before, None

    # --- launches

    def worker_of(self, layer) -> Optional[Worker]:
        return next((one for one in self._workers.values()
                     if one.runner.layers().get(layer.layer_name) is layer), None)

    def steps(self, worker: Worker) -> bool:
        """Does a step of its runner's run?"""
        return self._now is not None and self._now.runner.engines is worker.runner.engines

    def is_batch(self, metadata) -> bool:
        """Is it of the batch that the scheduler asked for in this step?"""
        return metadata.query_start_loc.data_ptr() == self._now.runner.starts().data_ptr()

    def unseen(self, layers, why: str) -> None:
        """These layers' launches are not told: nothing is claimed of what they write."""
        pools = dict.fromkeys(self._now.group_of[one.layer_name].pool for one in layers
                              if one.layer_name in self._now.group_of)
        self.recorder.emit("gap", why=why, pools=list(pools))

    def attention(self, layer, kv_cache, metadata, forward) -> None:
        worker, name = self._now, layer.layer_name
        if not self._recorded(worker, layer, metadata, forward):
            return
        bound = self._bound(worker, name, kv_cache)
        table = metadata.block_table
        group = worker.table_at.get(table.data_ptr())
        entry = bound.group.page_size * bound.group.pages // bound.tensor.pages
        buffer, rows, there = self._rows(worker, metadata, group, entry)
        if buffer is None:
            return
        fields: dict = {"page_size": entry} if entry != bound.group.page_size else {}
        if there is not None:
            fields["lens"] = there.lens
        if group is not None:
            fields["space"] = group.pool
        window = getattr(layer, "sliding_window", None)
        if window is not None:
            fields["window"] = int(window)
        worker.launches += 1
        self._record(worker, name, False, rows, bound, dict(
            backend=worker.name, table=buffer, table_rows=int(table.shape[0]),
            table_cols=int(table.shape[1]), kernel=type(layer.impl).__name__, **fields),
            stream_of(table))

    def store(self, layer, kv_cache, slots, metadata, forward) -> None:
        worker, name = self._now, layer.layer_name
        if slots is None or not self._recorded(worker, layer, metadata, forward):
            return
        bound = self._bound(worker, name, kv_cache)
        buffer, rows = self._slots(worker, worker.group_of[name], slots, metadata)
        if buffer is not None:
            self._record(worker, name, True, rows, bound,
                         dict(backend=worker.name, slots=buffer), stream_of(slots))

    def _record(self, worker: Worker, name: str, store: bool, rows: Rows, bound: Bound,
                fields: Dict[str, Any], stream: int) -> None:
        """The layers of a pass that are given the same have it made once."""
        key = (store, id(rows), bound.tensor, *fields.items())
        made = worker.told.get(key)
        if made is None:
            launch = Launch(store, rows, bound.tensor, fields)
            made = worker.told[key] = self.recorder.made([launch], stream)
        self.recorder.launches(made, worker.layers[name], bound.address)

    def _recorded(self, worker: Optional[Worker], layer, metadata, forward) -> bool:
        if worker is None or layer.layer_name not in worker.group_of:
            return False
        if worker.forward is not forward:  # Tensors are written anew at the same addresses.
            worker.forward, worker.told = forward, {}
        why = otherwise(layer, metadata)
        if why:
            key = ("left out", why, worker.group_of[layer.layer_name].pool)
            if key not in worker.told:
                worker.told[key] = why
                self.unseen([layer], why)
            return False
        return hasattr(metadata, "block_table") and hasattr(metadata, "seq_lens")

    def _bound(self, worker: Worker, name: str, tensor) -> Bound:
        own = worker.group_of[name]
        groups = worker.pool_at.get(tensor.data_ptr(), [own])
        group = own if own in groups else groups[0]
        key = ("bound", tensor.data_ptr(), group.pool)
        bound = worker.told.get(key)
        if bound is None:
            # [blocks, …], or [2, blocks, …] where K and V are apart.
            pages = next(int(n) for n in tensor.shape if n and int(n) % group.pages == 0)
            seen = _abi.Bound(group.pool, pages, tuple(tensor.shape), tensor.stride())
            bound = worker.told[key] = Bound(
                group, seen, tensor.data_ptr() if self.blocks.addresses else None)
        return bound

    def _lanes(self, worker: Worker, metadata) -> List[Lane]:
        """Rows without new tokens are padding, and told of graphs alone. So are a row's last tokens
        without a slot: rejected drafts, which stand in a drafter's next batch, where nobody uses
        what they give."""
        padded = getattr(metadata, "padded", False)
        key = ("lanes", metadata.seq_lens.data_ptr(), metadata.query_start_loc.data_ptr(), padded)
        lanes = worker.told.get(key)
        if lanes is None and self._scheduled(worker, metadata):
            lanes = worker.told[key] = []
            begin = 0
            for row, (req, new) in enumerate(worker.runner.lanes()):
                if new:
                    lanes.append(Lane(row, req, None, begin, new))
                begin += new
            if padded:
                lanes += [Lane(row, None, None, begin, 0) for row in
                          range(len(worker.runner.requests()), metadata.seq_lens.numel())]
        if lanes is None:
            begins, lengths = ints(metadata.query_start_loc), ints(metadata.seq_lens)
            given = getattr(metadata, "slot_mapping", None)
            slots = ints(given[:begins[-1]]) if given is not None else []
            requests = worker.runner.requests()
            lanes = worker.told[key] = []
            for i, (length, begin, end) in enumerate(zip(lengths, begins, begins[1:])):
                idle = 0
                while begin + idle < end <= len(slots) and slots[end - 1 - idle] < 0:
                    idle += 1
                if end - begin > idle:
                    req = requests[i] if i < len(requests) else None
                    lanes.append(Lane(i, req, length - idle, begin, end - begin - idle))
                elif padded and i >= len(requests):
                    lanes.append(Lane(i, None, length, begin, 0))
        return lanes

    def _scheduled(self, worker: Worker, metadata) -> bool:
        """Tensors on a GPU that are of the batch which the scheduler asked for."""
        if not self._tensors.takes(metadata.seq_lens):
            return False
        if self.is_batch(metadata):
            return True
        if not self._waited:
            self._waited = True
            self.recorder.emit("note", text="a drafter's batches are read by copies, which wait "
                                            "for the GPU")
        return False

    def _lens(self, worker: Worker, lens) -> Optional[There]:
        """Told once a pass; each of its tensors has a buffer of its own."""
        key = ("lens", lens.data_ptr(), lens.numel())
        if key not in worker.told:
            others = sum(1 for known in worker.told if known[0] == "lens")
            buffer = f"{worker.name}.lens" + (f".{others}" if others else "")
            worker.told[key] = There(buffer) if self._tensors.lens(buffer, lens) else None
        return worker.told[key]

    def _rows_there(self, worker: Worker, metadata, lanes: List[Lane], buffer: str,
                    space: Optional[str], entry: int):
        table, lens = metadata.block_table, metadata.seq_lens
        there = self._lens(worker, lens)
        rows = min(int(table.shape[0]), lens.numel())
        if there is None or not self._tensors.table(buffer, table[:rows], space, "page", lens,
                                                    entry):
            self.blocks.unseen("a table could not be compared on the GPU")
            return None, None, None
        return buffer, Rows([one.req for one in lanes], row=[one.row for one in lanes],
                            q_len=[one.new or ABSENT for one in lanes]), there

    def _rows(self, worker: Worker, metadata, group: Optional[Group], entry: int):
        table, lanes = metadata.block_table, self._lanes(worker, metadata)
        key = ("table", table.data_ptr(), entry, id(lanes))
        known = worker.told.get(key)
        if known is not None:
            return known
        space = group.pool if group is not None else None
        buffer = f"{worker.name}.{space}"
        if group is None:
            number = worker.others.setdefault(table.data_ptr(), len(worker.others))
            buffer = f"{worker.name}.unknown{number or ''}"
        if lanes and lanes[0].length is None:
            known = worker.told[key] = self._rows_there(worker, metadata, lanes, buffer, space,
                                                        entry)
            return known
        self._declare_buffer(worker, buffer)
        cells = table.cpu()
        for one in lanes:
            count = min(-(-one.length // entry), int(table.shape[1]))
            held = cells[one.row, :count].int().contiguous()
            if held.numel():
                self.recorder.table(buffer, one.row, held, one.req, space, space and "page")
        rows = Rows([one.req for one in lanes], [one.length for one in lanes],
                    [one.row for one in lanes], [one.new or ABSENT for one in lanes])
        known = worker.told[key] = (buffer, rows, None)
        return known

    def _slots(self, worker: Worker, group: Group, slots, metadata):
        lanes = self._lanes(worker, metadata)
        key = ("slots", slots.data_ptr(), id(lanes))
        known = worker.told.get(key)
        if known is None:
            lanes = [one for one in lanes if one.new]
            buffer = f"{worker.name}.{group.pool}.slots"
            total = max((one.begin + one.new for one in lanes), default=0)
            left = slots.numel() - total
            if left > 0 and getattr(metadata, "padded", False):
                lanes.append(Lane(0, None, None, total, left))
                total += left
            if self._tensors.takes(slots):
                if not total or not self._tensors.slots(buffer, slots[:total]):
                    self.blocks.unseen("slots could not be compared on the GPU")
                    buffer = None
            else:
                self._declare_buffer(worker, buffer)
                self.recorder.slots(buffer, slots[:total].cpu().long().contiguous())
            rows = Rows([one.req for one in lanes], row=[one.begin for one in lanes],
                        n=[one.new for one in lanes])
            known = worker.told[key] = (buffer, rows)
        return known

    def _declare_buffer(self, worker: Worker, buffer: str) -> None:
        if buffer not in worker.buffers:
            worker.buffers.add(buffer)
            self.recorder.emit("buffer", buffer=buffer)


def metadata_of(forward, layer):
    """What a pass says of the layer's batch; None: nothing."""
    found = getattr(forward, "attn_metadata", None)
    if isinstance(found, list):  # by micro-batch or by draft step: the first one's
        found = found[0] if found else None
    return found.get(layer.layer_name) if isinstance(found, dict) else found


def otherwise(layer, metadata) -> str:
    """Why a layer's lanes are not those of the batch; "": they are."""
    if hasattr(metadata, "make_virtual_batches_block_table"):
        return "launches of chunked local attention are not recorded"
    kind = getattr(layer, "attn_type", None)
    if getattr(kind, "value", kind) == "encoder_decoder":
        return "launches of cross-attention are not recorded"
    return getattr(metadata, "left_out", "")


def _tensor(layer):
    """A layer's K/V tensor; releases up to early 2026 keep a list of one."""
    cache = getattr(layer, "kv_cache", None)
    return cache[0] if isinstance(cache, (list, tuple)) and cache else cache


def _numbered(names: List[str]) -> Dict[str, object]:
    """Layers by the number in their names, where that is their own; else by name."""
    found = {name: re.search(r"\.(\d+)(\.|$)", name) for name in names}
    numbers = [match.group(1) for match in found.values() if match is not None]
    return {name: int(match.group(1)) if match is not None
            and numbers.count(match.group(1)) == 1 else name for name, match in found.items()}
