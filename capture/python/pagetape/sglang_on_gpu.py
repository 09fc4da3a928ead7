# SPDX-License-Identifier: Apache-2.0
"""SGLang's launches whose index tensors are on a GPU: what a kernel is given is compared there, on
the launch's stream, where the first layer of a pass is given it; the launches name the buffers.
Nothing here waits for the GPU. Requests and the numbers of new tokens are the batch's lists on the
host, lengths the tensors that the kernels are given, which are compared, too.
"""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ._abi import ABSENT, LayerParts, Rows
from .devices import stream_of
from .graphs import Held
from .recording import Launch, ints
from .sglang_graphs import rids_of
from .tensors import Told, of_lens, of_lists, of_slots, of_table


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


class Kind:
    """Launches that are given the same: the first of them, and how they were told last."""

    def __init__(self, key: tuple, launch=None, read: Optional[Read] = None, table=None,
                 slots=None) -> None:
        """Of attention `read` and `table`, of a store `slots`."""
        self.key, self.launch, self.read, self.table, self.slots = key, launch, read, table, slots
        self.anew()

    def anew(self) -> None:
        self.fields: Optional[dict] = None  # Of its event, but for lanes.
        self.told: List[Told] = []  # What it is given.
        self.rows: Optional[Rows] = None
        self.made: Any = None

    @property
    def cells(self):
        return self.slots if self.read is None else self.read.table


class Planned:
    """Of a graph: its kinds of launches, and which layer's are of which."""

    def __init__(self, kinds: List[Kind], parts: LayerParts) -> None:
        self.kinds, self.parts = kinds, parts
        self.like: Any = None  # By what they were told last, besides the batch.


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
        planned = captured.made
        todays = [(kind, today(kind.launch),
                   kind.table and self._backends.today(kind.launch.backend, kind.table))
                  for kind in planned.kinds]
        like = stream_of(planned.kinds[0].cells), [
            (launch.batch.forward_mode, told and (told.space, told.field))
            for _, launch, told in todays]
        if like != planned.like:  # All of them, so that each tensor has a buffer of its own.
            planned.like = like
            for kind in planned.kinds:
                kind.anew()
        made = [self._store(launch, kind) if told is None else
                self._attention(launch, self._read_today(kind, launch), told, kind)
                for kind, launch, told in todays]
        self._recorder.layers(planned.parts, made)

    def _planned(self, captured: Held, native) -> Planned:
        kinds: Dict[tuple, Tuple[int, Kind]] = {}
        parts = []
        for launch, what, *others in captured:
            stores = len(others) == 2
            key = (self._key_of_store if stores else self._key)(launch, what, *others)
            if key not in kinds and stores:
                kinds[key] = len(kinds), Kind(key, launch, slots=others[0])
            elif key not in kinds:
                read = what if what.indptr is None else what._replace(table=whole(what.table))
                kinds[key] = len(kinds), Kind(key, launch, read, *others)
            number, _ = kinds[key]
            told = self._pools.addresses and not stores
            parts.append((number, self._backends.layer_of(launch),
                          what.tensor.data_ptr() if told else ABSENT))
        return Planned([kind for _, kind in kinds.values()], LayerParts(native, parts))

    @staticmethod
    def _read_today(kind: Kind, launch) -> Read:
        read = kind.read
        if read.lens_cpu is None:
            return read
        # By then those of the batch that was captured.
        prefixes = read.lens is not None and \
            read.lens is getattr(kind.launch.batch, "extend_prefix_lens", None)
        return read._replace(lens_cpu=launch.batch.extend_prefix_lens_cpu if prefixes else
                             launch.batch.seq_lens_cpu)

    def attention(self, launch, read: Read) -> None:
        self._pools.settle()
        told = self._backends.table_of(launch, read.table, None)
        key = self._key(launch, read, told)
        made = self._made.get(key)
        if made is None:
            # The tensors are kept: another may come to stand where a dead one did.
            made = self._made[key] = self._attention(launch, read, told, Kind(key)), read
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

    def _attention(self, launch, read: Read, told, kind: Kind):
        """Of the kind a launch as made; None: it is not told."""
        batch = launch.batch
        lanes = int((read.lens if read.indptr is None else read.indptr).numel())
        requests, new = self._lanes(batch, lanes - (read.indptr is not None))
        if batch.forward_mode.is_decode_or_idle():  # A draft's tree may have more than one.
            new = [read.q_len] * len(new)
        lanes = min(len(requests), len(new))
        rows = Rows(requests[:lanes], row=list(range(lanes)), q_len=new[:lanes])
        cols = 0
        if kind.fields is None:  # Also of one that is not told now: its tensor has this buffer.
            self._given(launch, read, told, kind)
        if read.indptr is not None:
            rows, cols = self._listed(batch, read, rows)
            if rows is None:
                return None
        if not all(self._tensors.tell(one, cols) for one in kind.told):
            return self.gap("a table could not be compared on the GPU")
        return self._launch(kind, Launch(False, rows, kind.key[0], kind.fields), read.table)

    def _given(self, launch, read: Read, told, kind: Kind) -> None:
        name = self._backends.name(launch.backend)
        form = "" if read.indptr is None else ".lists"
        buffer = self._buffer(f"{name}.{told.field or read.kernel}{form}", read.table)
        kind.fields = fields = self._backends.fields(
            launch, told._replace(buffer=None), read.table, read.window, read.page_size,
            read.kernel)
        fields["table"] = buffer
        if read.indptr is None:
            fields.update(table_rows=int(read.table.shape[0]), table_cols=int(read.table.shape[1]),
                          lens=self._buffer(f"{name}.lens", read.lens))
            kind.told = [of_lens(fields["lens"], read.lens), of_table(
                buffer, read.table, told.space, "", read.lens, read.page_size)]
            return
        if read.lens is None:
            fields["lens"] = f"{buffer}.lens"
        kind.told = [of_lists(buffer, read.table, read.indptr, told.space, f"{buffer}.lens")]

    def _launch(self, kind: Kind, one: Launch, cells):
        """Made, or of what was made last, where it has as many lanes, with today's."""
        if kind.made is None or not self._refilled(kind, one.rows):
            kind.made = self._recorder.made([one], stream_of(cells))
        kind.rows = one.rows
        return kind.made

    def _refilled(self, kind: Kind, rows: Rows) -> bool:
        """Which columns it has follows from its kind."""
        changed = [None if new == old else array("q", new)
                   for new, old in zip(rows[1:7], kind.rows[1:7]) if new is not None]
        return self._recorder.refilled(kind.made, rows.req, [changed])

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
            made = self._made[key] = self._store(launch, Kind(key, slots=slots)), slots
        if made[0] is not None:
            self._recorder.launches(made[0], self._backends.layer_of(launch), None)

    def _key_of_store(self, launch, tensor, slots, translated: bool) -> tuple:
        """As _key(), which is longer."""
        space = self._backends.built[id(launch.backend)]["spaces"][bool(translated)]
        return self._backends.bound_of_store(tensor), space, slots.data_ptr()

    def _store(self, launch, kind: Kind):
        batch, slots = launch.batch, kind.slots
        requests = self._requests(batch)
        counts = self._new(batch, slots.numel())
        begins = list(accumulate(counts[:-1], initial=0))
        lanes = min(len(requests), len(counts))  # A batch may be padded behind its requests.
        rows = Rows(requests[:lanes], row=begins[:lanes], n=counts[:lanes])
        if kind.fields is None:
            _, space, _ = kind.key
            name = self._backends.name(launch.backend)
            buffer = self._buffer(f"{name}.{space}.slots", slots)
            kind.fields, kind.told = {"backend": name, "space": space, "slots": buffer}, \
                [of_slots(buffer, slots)]
        if not self._tensors.tell(*kind.told):
            return self.gap("slots could not be compared on the GPU")
        return self._launch(kind, Launch(True, rows, kind.key[0], kind.fields), slots)

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
