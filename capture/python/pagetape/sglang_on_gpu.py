# SPDX-License-Identifier: Apache-2.0
"""SGLang's launches whose index tensors are on a GPU: what a kernel is given is compared there, on
the launch's stream, where the first layer of a pass is given it; the launches name the buffers.
Nothing here waits for the GPU. Requests and the numbers of new tokens are the batch's lists on the
host, lengths the tensors that the kernels are given, which are compared, too.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ._abi import ABSENT, LayerParts, Rows
from .devices import stream_of
from .graphs import Held
from .recording import Launch, ints
from .sglang_graphs import rids_of


class Read(NamedTuple):
    """What an attention kernel is given."""

    tensor: Any  # The K view, pages first.
    table: Any  # 2-D, or flat with `indptr` (CSR), then with a row's last entries.
    kernel: str
    page_size: int
    window: Optional[int] = None  # It counts the query's own token; None: full.
    lens: Any = None  # Tokens of each row; None: a list has as many.
    lens_cpu: Any = None  # The same on the host, where the engine has them.
    q_ends: Any = None  # Cumulative, from 0; None: `q_len` each.
    q_len: int = 1
    indptr: Any = None
    ahead: int = 0  # So many tokens at most that no list on the host knows of.
    # Just what stood in the pool before the new tokens is read from it, and `lens` count that.
    cached: bool = False


def lanes_each(batch, lanes: int) -> int:
    """How many of so many lanes are of one request, one behind the other: 1, but for a tree of
    drafts."""
    requests = int(batch.batch_size)
    if getattr(batch, "spec_info", None) is None or not requests or lanes % requests:
        return 1
    return max(lanes // requests, 1)


def whole(lists):
    """A list with what is behind it in its storage: a tensor that was captured may be cut to what
    was listed then, while the kernel goes by its address alone."""
    if lists.stride(-1) != 1:
        return lists
    rest = lists.untyped_storage().nbytes() // lists.element_size() - lists.storage_offset()
    return lists.as_strided((rest,), (1,))


class Planned(NamedTuple):
    """Of a graph: the first launch of each kind, behind its key, and which layer's are of which."""

    kinds: List[tuple]
    parts: LayerParts


class OnGpu:
    def __init__(self, backends) -> None:
        self._backends = backends
        self._recorder = backends.recorder
        self._pools = backends.pools
        self._tensors = backends.pools.there
        self._told: Dict[str, list] = {}  # buffer -> its tensors in this pass
        self._made: Dict[tuple, tuple] = {}
        self._requests_of: tuple = (None, [])  # a batch, and whose its lanes are
        self._waited = False

    def forget(self) -> None:
        """A new pass: what is in the tensors may be new, too."""
        self._told.clear()
        self._made.clear()
        self._requests_of = None, []

    def launched(self, captured: Held, today) -> None:
        """A graph that has these launches is on its stream; today(launch) is one of today's batch.
        What several layers are given alike is told once for all of them."""
        self._pools.settle()
        native = self._recorder.native()
        if captured.made is None or captured.made.parts.native is not native:
            captured.made = self._planned(captured, native)
        made = [self._again(key, today(launch), *what) for key, launch, *what in
                captured.made.kinds]
        self._recorder.layers(captured.made.parts, made)

    def _planned(self, captured: Held, native) -> Planned:
        kinds: Dict[tuple, tuple] = {}  # by key: its number, and the first of its launches
        parts = []
        for launch, what, *others in captured:
            stores = len(others) == 2
            key = (self._key_of_store if stores else self._key)(launch, what, *others)
            number, _ = kinds.setdefault(key, (len(kinds), (key, launch, what, *others)))
            told = self._pools.addresses and not stores
            parts.append((number, self._backends.layer_of(launch),
                          what.tensor.data_ptr() if told else ABSENT))
        return Planned([one for _, one in kinds.values()], LayerParts(native, parts))

    def _again(self, key, launch, what, *others):
        """Today's launch, as made; None: it is not told."""
        if len(others) == 2:
            return self._store(launch, what, *others, key)
        read = what
        if read.lens_cpu is not None:  # By then those of the batch that was captured.
            read = read._replace(lens_cpu=launch.batch.seq_lens_cpu)
        if read.indptr is not None:
            read = read._replace(table=whole(read.table))
        return self._attention(launch, read, self._backends.today(launch.backend, *others), key)

    def attention(self, launch, read: Read) -> None:
        self._pools.settle()
        told = self._backends.table_of(launch, read.table, None)
        key = self._key(launch, read, told)
        made = self._made.get(key)
        if made is None:
            # The tensors are kept: another may come to stand where a dead one did.
            made = self._made[key] = self._attention(launch, read, told, key), read
        if made[0] is not None:
            self._recorder.launches(
                made[0], self._backends.layer_of(launch),
                read.tensor.data_ptr() if self._pools.addresses else None)

    def _key(self, launch, read: Read, told) -> tuple:
        """Layers of which this is the same are given the same; it begins with the bound."""
        tensor = read.tensor
        bound = self._backends.bound(tensor, tensor.shape[0], tensor.shape, tensor.stride())
        return (bound, read.table.data_ptr(), told.space, read.window, read.kernel, read.cached,
                None if read.lens is None else read.lens.data_ptr())

    def _attention(self, launch, read: Read, told, key):
        batch = launch.batch
        lanes = int((read.lens if read.indptr is None else read.indptr).numel())
        requests, new = self._lanes(batch, lanes - (read.indptr is not None))
        if batch.forward_mode.is_decode_or_idle():  # A draft's tree may have more than one.
            new = [read.q_len] * len(new)
        lanes = min(len(requests), len(new))
        rows = Rows(requests[:lanes], row=list(range(lanes)), q_len=new[:lanes])
        name = self._backends.name(launch.backend)
        form = "" if read.indptr is None else ".lists"
        buffer = self._buffer(f"{name}.{told.field or read.kernel}{form}", read.table)
        fields = self._backends.fields(launch, told._replace(buffer=None), read.table,
                                       read.window, read.page_size, read.kernel)
        fields["table"] = buffer
        if read.indptr is None:
            fields.update(table_rows=int(read.table.shape[0]), table_cols=int(read.table.shape[1]),
                          lens=self._buffer(f"{name}.lens", read.lens))
            done = self._tensors.lens(fields["lens"], read.lens) and self._tensors.table(
                buffer, read.table, told.space, "", read.lens, read.page_size)
        else:
            rows, cols = self._listed(batch, read, rows)
            if rows is None:
                return None
            if rows.len is None:
                fields["lens"] = f"{buffer}.lens"
            done = self._tensors.lists(buffer, read.table, read.indptr, cols, told.space,
                                       f"{buffer}.lens")
        if not done:
            return self.gap("a table could not be compared on the GPU")
        return self._recorder.made([Launch(False, rows, key[0], fields)], stream_of(read.table))

    def _listed(self, batch, read: Read, rows: Rows):
        """Rows of index lists, and how long these may be. A list without its own lengths has a
        sliding layer's last tokens."""
        lengths = read.lens_cpu
        if read.lens is None:
            lengths = batch.seq_lens_cpu
        lengths = self._ints(lengths, read.lens if read.lens is not None else batch.seq_lens,
                             rows.req)
        if read.cached and not any(lengths):
            return None, 0
        new = max(rows.q_len, default=0)
        if read.lens is None:
            return rows, max(lengths, default=0) + max(new, read.ahead)
        lengths = lengths[:len(rows.req)]
        counts = lengths
        if read.window is not None:
            # The window of the first new token, and the new ones where they are read, too.
            counts = [min(length, read.window - 1 + (0 if read.cached else count))
                      for length, count in zip(lengths, rows.q_len)]
        first = [length - count for length, count in zip(lengths, counts)]
        rows = rows._replace(len=lengths, n=counts, first=first)
        return rows._replace(q_pos=lengths) if read.cached else rows, max(lengths, default=0)

    def store(self, launch, tensor, slots, translated: bool) -> None:
        self._pools.settle()
        key = self._key_of_store(launch, tensor, slots, translated)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._store(launch, tensor, slots, translated, key), slots
        if made[0] is not None:
            self._recorder.launches(made[0], self._backends.layer_of(launch), None)

    def _key_of_store(self, launch, tensor, slots, translated: bool) -> tuple:
        """As _key(), which is longer."""
        space = self._backends.built[id(launch.backend)]["spaces"][bool(translated)]
        return self._backends.bound_of_store(tensor), space, slots.data_ptr()

    def _store(self, launch, _tensor, slots, _translated: bool, key: tuple):
        bound, space, _ = key
        batch, name = launch.batch, self._backends.name(launch.backend)
        buffer = self._buffer(f"{name}.{space}.slots", slots)
        requests = self._requests(batch)
        counts = self._new(batch, slots.numel())
        begins = list(accumulate(counts[:-1], initial=0))
        lanes = min(len(requests), len(counts))  # A batch may be padded behind its requests.
        rows = Rows(requests[:lanes], row=begins[:lanes], n=counts[:lanes])
        if not self._tensors.slots(buffer, slots):
            return self.gap("slots could not be compared on the GPU")
        return self._recorder.made([Launch(True, rows, bound, {
            "backend": name, "space": space, "slots": buffer})], stream_of(slots))

    # --- what the batch has on the host

    def _requests(self, batch) -> List[Optional[str]]:
        if self._requests_of[0] is not batch:
            rids = rids_of(batch)
            if rids is None:
                rids = self._backends.replays.requests_of(batch)
            if rids is not None:
                lanes = [None if rid is None else str(rid) for rid in rids]
            else:
                lanes = [self._pools.request_of(row)
                         for row in self._backends.reads.ints(batch.req_pool_indices)]
                self._note_of_waiting(lanes)
            self._requests_of = batch, lanes
        return self._requests_of[1]

    def _lanes(self, batch, lanes: int) -> Tuple[List[Optional[str]], List[int]]:
        """Of so many lanes whose they are and how many new tokens each has: those of a tree of
        drafts come request by request."""
        requests, new = self._requests(batch), self._new(batch)
        each = lanes_each(batch, lanes)
        if each <= 1:
            return requests, new
        return ([one for one in requests for _ in range(each)],
                [max(one // each, 1) for one in new for _ in range(each)])

    def _new(self, batch, tokens: Optional[int] = None) -> List[int]:
        """New tokens of each lane, of so many in all; None: the batch's own."""
        mode, lanes = batch.forward_mode, int(batch.batch_size)
        if mode.is_decode_or_idle() or mode.is_target_verify():
            if tokens is None:
                tokens = int(batch.input_ids.shape[0]) if mode.is_target_verify() else lanes
            return [tokens // lanes] * lanes if lanes else []
        return [int(n) for n in batch.extend_seq_lens_cpu]

    def _ints(self, on_host, there, requests) -> List[int]:
        """A list of the host's; where the engine keeps none, the GPU's is waited for."""
        if on_host is not None:
            return ints(on_host) if hasattr(on_host, "tolist") else [int(n) for n in on_host]
        self._note_of_waiting(requests)
        return self._backends.reads.ints(there)

    def _note_of_waiting(self, requests) -> None:
        """Passes of no request, as those by which a server warms up, may wait."""
        if self._waited or not any(requests):
            return
        self._waited = True
        self._recorder.emit("note", text="a batch has lists on the GPU alone: they are read by "
                                         "copies, which wait for it")

    def _buffer(self, name: str, tensor) -> str:
        """In a pass each tensor has a buffer of its own; passes use the same ones. One buffer's
        tensors are as wide."""
        name += "" if tensor.element_size() == 4 else ".64"
        seen = self._told.setdefault(name, [])
        for index, known in enumerate(seen):
            if known is tensor or known.data_ptr() == tensor.data_ptr():
                return f"{name}.{index}" if index else name
        seen.append(tensor)
        return f"{name}.{len(seen) - 1}" if len(seen) > 1 else name

    def gap(self, why: str) -> None:
        self._recorder.emit("gap", why=why, pools=[one.pool for one in
                                                   self._pools.pages.values()])
