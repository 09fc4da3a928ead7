# SPDX-License-Identifier: Apache-2.0
"""SGLang's attention backends: binding, cached SWA facts, layer remaps, tables and launches."""

from __future__ import annotations

from itertools import accumulate
from typing import Dict, List, NamedTuple, Optional, Tuple

from ._abi import ABSENT, Bound, Rows
from .devices import capturing
from .graphs import Graphs, Held
from .importhook import wrap
from .recording import IDS, Launch, ints
from .sglang_graphs import Replays
from .sglang_on_gpu import OnGpu, Read, lanes_each
from .sglang_pools import Pools
from .sglang_tensors import Reads

# Attributes in which the backends of different releases cache the SWA pool, and their flag.
SWA_POOLS = ("_swa_kv_pool", "swa_kv_pool")
SWA_FLAG = "use_sliding_window_kv_pool"
# Metadata fields that hold ids of the full pool and of the SWA pool, by backend.
WINDOW_LISTS = "window_kv_indices"
UNTRANSLATED = WINDOW_LISTS + ".untranslated"
TABLES = (("page_table", "swa_page_table"), ("kv_indices", WINDOW_LISTS),
          ("kv_indices", "swa_page_table"))
# Backends that ask the pool itself at each call, whatever their flag says.
WITHOUT_FACTS = ("TritonAttnBackend",)

BEHIND = "expand"  # The field that names FlashAttentionBackend's table of a tree.


class Forward(NamedTuple):
    """The forward call a kernel belongs to."""

    backend: object
    layer: object
    batch: object


class Table(NamedTuple):
    buffer: Optional[str]  # None: token-granular, written inline with the launch
    space: Optional[str]
    tensor: object
    field: Optional[str] = None


class Backends:
    def __init__(self, recorder, pools: Pools) -> None:
        self.recorder = recorder
        self.pools = pools
        self.built: Dict[int, dict] = {}
        self.launches: List[Forward] = []
        self.tables: Dict[int, List[Table]] = {}
        self.planned: Dict[int, Dict[int, Table]] = {}  # id(backend) -> id(wrapper) -> its lists
        self.untold: set = set()
        self._bound: Dict[int, tuple] = {}  # id(pool): it, its lists of tensors, and _layers()
        self.logical: Dict[int, int] = {}  # id(RadixAttention) -> layer id it was built with
        self.kept: list = []
        self.remapped: set = set()
        self.store_space: List[tuple] = []
        self.reads = Reads()
        self.on_gpu = OnGpu(self)
        self.replays = Replays(self)
        self.completes = False  # A scheduler tells which launches are complete.
        self._complete = 0  # The last that _waited() told.
        self.graphs = Graphs(self.replays.launched, waited=self._waited)
        self.fused: Dict[int, object] = {}  # id(RadixAttention) -> what its rope's kernel stores to
        self.passing: tuple = ()  # backend, batch and last layer of the pass that is under way

    def name(self, backend) -> str:
        return self.recorder.name(backend, "backend")

    def _waited(self) -> None:
        """Where nobody tells that any is complete, to tell it of some would accuse all others. A
        launch whose call is under way may not have begun: it was told ahead."""
        ticket = self.recorder.last_launch() if self.completes and not self.launches else 0
        if ticket not in (0, self._complete):
            self._complete = ticket
            self.recorder.launch_done(ticket)

    # --- creation, binding, facts

    def create(self, backend, runner) -> None:
        draft = bool(getattr(runner, "is_draft_worker", False))
        allocator = runner.token_to_kv_pool_allocator
        self.built[id(backend)] = {
            "role": "draft" if draft else "target",
            "runner": runner,
            "active": runner.token_to_kv_pool,
            "spaces": self.pools.spaces(allocator.get_kvcache()),
        }
        self.recorder.emit("backend", backend=self.name(backend), role="draft" if draft else
                           "target", **{"class": type(backend).__name__})
        self.bind(backend, backend.token_to_kv_pool)
        self.state(backend)

    def bind(self, backend, pool) -> None:
        """What each layer dereferences from here on."""
        self.pools.settle()
        for told in self._layers(pool):
            self.recorder.emit("pool_swap", backend=self.name(backend), **told)

    def _layers(self, pool) -> List[dict]:
        """Of a pool that is bound, read off the tensors that it gives for each layer: never off a
        backend's flags. A draft's is swapped several times a step: looked up once for the lists
        that they are in."""
        if not hasattr(pool, "layers_mapping"):
            return [{"layers": "*",
                     "pool": self.recorder.known(pool) or self.recorder.name(pool, "pool")}]
        lists = [getattr(part, "k_buffer", None) for part in (pool.full_kv_pool, pool.swa_kv_pool)]
        known = self._bound.get(id(pool))
        if known is not None and all(one is other and one is not None
                                     for one, other in zip(known[1], lists)):
            return known[2]
        layers: Dict[str, List[int]] = {}
        for layer in sorted(pool.layers_mapping):
            found = self.pools.of_tensor(pool.get_key_buffer(layer))
            if found is not None:
                layers.setdefault(found[0], []).append(layer)
        told = [{"layers": layers[name], "pool": name, "set": self.recorder.known(pool)}
                for name in sorted(layers)]
        if sum(map(len, layers.values())) == len(pool.layers_mapping):
            self._bound[id(pool)] = pool, lists, told
        return told

    def frozen(self, captured: Held) -> List[tuple]:
        """Backends that had another pool when they were captured than now, as a draft's that reads
        the target's: the graph's kernels go on reading it. Not one that is no runner's any more:
        that graph is stale."""
        return [(backend, pool) for backend, pool in captured.bound.values()
                if getattr(backend, "token_to_kv_pool", None) is not pool and
                any(one["runner"].token_to_kv_pool is pool for one in self.built.values())]

    def state(self, backend) -> None:
        """The cached SWA facts. They derive from the pool object that is cached; where none is,
        from the runner's own pool at construction, which is what such releases looked at."""
        if type(backend).__name__ in WITHOUT_FACTS:
            return
        cached = next((getattr(backend, name) for name in SWA_POOLS
                       if getattr(backend, name, None) is not None), None)
        uses = bool(getattr(backend, SWA_FLAG, cached is not None))
        source = cached if cached is not None else self.built[id(backend)]["active"]
        swa = getattr(source, "swa_kv_pool", None) if uses else None
        self.recorder.emit(
            "swa_state", backend=self.name(backend), uses_swa=uses,
            swa_pool=self.recorder.known(swa) if swa is not None else None,
            derived_from=self.recorder.known(source) or self.recorder.name(source, "pool"))

    def assigned(self, backend, attribute: str, value, before) -> None:
        if id(backend) not in self.built or value is before:
            return
        if attribute == "token_to_kv_pool":
            self.bind(backend, value)
        elif attribute in SWA_POOLS or attribute == SWA_FLAG:
            self.state(backend)

    # --- layers

    def layer_of(self, launch: Forward) -> int:
        """The logical layer; its remap is written where this backend first uses it changed."""
        now = int(launch.layer.layer_id)
        logical = self.logical.get(id(launch.layer), now)
        key = (id(launch.backend), logical, now)
        if logical != now and key not in self.remapped:
            self.remapped.add(key)
            self.recorder.emit("layer_remap", backend=self.name(launch.backend), layer=logical,
                               to=now)
        return logical

    def layer_id_set(self, layer, value) -> None:
        if id(layer) not in self.logical:
            self.logical[id(layer)] = int(value)
            self.kept.append(layer)

    # --- metadata

    def metadata(self, backend, batch) -> None:
        """Writes the page tables that were just built: from a field's place in the metadata
        follows the index space of its ids (init_forward_metadata translates into
        swa_page_table only)."""
        built = self.built.get(id(backend))
        data = getattr(backend, "forward_metadata", None)
        if built is None or data is None:
            return
        self.pools.settle()
        self.reads.forget()
        self.on_gpu.forget()
        self._tables_of(backend, data, batch)

    def _tables_of(self, backend, data, batch) -> None:
        """The metadata's tables by their fields; without a batch none is written."""
        fields = next((pair for pair in TABLES if all(hasattr(data, one) for one in pair)), None)
        if fields is None:
            return
        self.tables[id(backend)] = []
        full, swa = self.built[id(backend)]["spaces"]
        self._translated(backend)
        # FlashAttentionBackend's of a tree, what comes behind the prefix: a lane for each branch
        # that is drafted or token that is verified. The last one stays, whatever comes next.
        behind = getattr(backend, "forward_metadata_spec_decode_expand", None)
        if getattr(behind, "page_table", None) is not None:
            self.tables[id(backend)].append(Table(None, full, behind.page_table, BEHIND))
        for field, space in zip(fields, (full, swa)):
            tensor = getattr(data, field, None)
            if tensor is None:
                continue
            if field == WINDOW_LISTS:
                field, space = self._window_lists(backend)
            buffer = None
            if tensor.dim() == 2:
                buffer = f"{self.name(backend)}.{field}"
                # On a GPU the launch tells what it is given.
                if batch is not None and not self.pools.there.takes(tensor):
                    self._write_table(backend, batch, buffer, space, tensor)
            self.tables[id(backend)].append(Table(buffer, space, tensor, field))

    def _for_graph(self, backend, in_capture: bool) -> None:
        """What is captured next reads this metadata, and before, what is called."""
        if in_capture:
            self._tables_of(backend, backend.forward_metadata, None)
        else:
            self._translated(backend)

    def _translated(self, backend) -> None:
        """update_sliding_window_buffer() translates by the pool that is bound when it is called."""
        self.built[id(backend)]["translates"] = hasattr(backend.token_to_kv_pool, "swa_kv_pool")

    def today(self, backend, told: Table) -> Table:
        """A captured table, with the space of the ids that it was given for the graph's launch."""
        if told.field not in (WINDOW_LISTS, UNTRANSLATED):
            return told
        field, space = self._window_lists(backend)
        return told._replace(field=field, space=space)

    def _window_lists(self, backend) -> Tuple[str, Optional[str]]:
        """As what they are told: ids of another space are of another buffer."""
        built = self.built[id(backend)]
        full, swa = built["spaces"]
        return (WINDOW_LISTS, swa) if built["translates"] else (UNTRANSLATED, full)

    def _write_table(self, backend, batch, buffer, space, tensor) -> None:
        if buffer not in self.built[id(backend)]:
            self.built[id(backend)][buffer] = True
            self.recorder.emit("buffer", buffer=buffer)
        page_size, width = self.pools.page_size, int(tensor.shape[1])
        lengths = getattr(backend.forward_metadata, "cache_seqlens_int32", None)
        lengths = self._covered(batch) if lengths is None else self.reads.ints(lengths)
        columns = [min(-(-length // page_size), width) for length in lengths]
        cells = tensor[:len(columns), :max(columns, default=0)].cpu().clamp(*IDS).int()
        self.recorder.table_rows(buffer, cells.contiguous(), columns, self._requests(batch), space)

    def _requests(self, batch) -> List[Optional[str]]:
        return [self.pools.request_of(row) for row in self.reads.ints(batch.req_pool_indices)]

    def _covered(self, batch) -> List[int]:
        lengths = self.reads.ints(batch.seq_lens)
        if not batch.forward_mode.is_target_verify():
            return lengths
        new = int(batch.input_ids.shape[0]) // int(batch.batch_size)
        return [length + new for length in lengths]

    def listed(self, backend, wrapper, lists, translated: bool) -> None:
        """A wrapper of FlashInfer's was given token lists for the next pass."""
        if id(backend) not in self.built:
            return
        planned = self.planned.setdefault(id(backend), {})
        space = self.built[id(backend)]["spaces"][translated]
        planned[id(wrapper)] = Table(None, space, lists, "window" if translated else "full")
        self.tables[id(backend)] = list(planned.values())

    def owned(self, table) -> Optional[Table]:
        """Which of the tables of the backend that is called; None: what else kernels are given is
        not told."""
        if not self.launches:
            return None
        launch = self.launches[-1]
        if capturing(table):
            self._tables_of(launch.backend, launch.backend.forward_metadata, None)
        told = self.table_of(launch, table, None)
        if told.tensor is not None:
            return told
        self.left_out(type(launch.backend).__name__)
        return None

    def left_out(self, of: str) -> None:
        if of not in self.untold:
            self.untold.add(of)
            self.recorder.emit("note", text=f"{of}: launches by tables that are not those of a "
                                            "batch's requests are not recorded")

    # --- launches

    def attention(self, read: Read) -> None:
        if not self.launches:
            return
        launch, tensor = self.launches[-1], read.tensor
        if capturing(read.table):
            self._tables_of(launch.backend, launch.backend.forward_metadata, None)
            told = self.table_of(launch, read.table, None)
            return self._captured(launch, read, told)
        if self.pools.there.takes(read.table):
            return self.on_gpu.attention(launch, read)
        lengths, q_lengths, indptr = self._lists(read)
        if not any(lengths) and read.cached:
            return
        self.pools.settle()
        layer = self.layer_of(launch)
        told = self.table_of(launch, read.table, indptr)
        bound = self.bound(tensor, tensor.shape[0], tensor.shape, tensor.stride())
        what = (bound, told.buffer, told.space, read.window, read.page_size, read.kernel,
                id(lengths), id(q_lengths), id(indptr), read.cached)

        def make():
            rows = self._rows(launch.batch, told, read, lengths, q_lengths, indptr)
            fields = self.fields(launch, told, read.table, read.window, read.page_size,
                                  read.kernel)
            # The lists are kept: id() of a dead one comes back for another.
            return self.recorder.made([Launch(False, rows, bound, fields)]), lengths, q_lengths, \
                indptr

        # A table that is told apart has all there is to read; what is inline is read here.
        source = launch.batch.req_pool_indices if told.buffer is not None else read.table
        made = self.reads.once(source, what, make)[0]
        self.recorder.launches(made, layer, tensor.data_ptr() if self.pools.addresses else None)

    def _captured(self, launch: Forward, *what) -> None:
        held = self.graphs.captured((launch, *what))
        if held is not None:
            pool = getattr(launch.backend, "token_to_kv_pool", None)
            held.bound.setdefault(id(launch.backend), (launch.backend, pool))

    def _lists(self, read: Read) -> tuple:
        """Lengths, those of queries and where lists begin; read once a pass."""
        reads, indptr = self.reads, None
        if read.indptr is not None:
            indptr = reads.ints(read.indptr)
        lengths = reads.parts(read.indptr) if read.lens is None else reads.ints(read.lens)
        if read.q_ends is not None:
            return lengths, reads.parts(read.q_ends), indptr
        lanes = read.indptr if read.lens is None else read.lens
        return lengths, reads.once(lanes, ("each", read.q_len),
                                   lambda: [read.q_len] * len(lanes)), indptr

    def table_of(self, launch: Forward, table, indptr) -> Table:
        """Flat lists are inline, whatever is known of them."""
        at = table.data_ptr()
        for known in reversed(self.tables.get(id(launch.backend), ())):
            if known.tensor.data_ptr() == at:
                return known if indptr is None else known._replace(buffer=None)
        return Table(None, None, None)

    def fields(self, launch: Forward, told: Table, table, window, page_size, kernel) -> dict:
        fields: dict = {}
        if told.space is not None:
            fields["space"] = told.space
        if window is not None:
            fields["window"] = window
        if page_size != self.pools.page_size:
            fields["page_size"] = page_size
            if page_size == 1:
                fields["unit"] = "slot"
        if told.buffer is not None:
            fields.update(table=told.buffer, table_rows=int(table.shape[0]),
                          table_cols=int(table.shape[1]))
        return dict(fields, backend=self.name(launch.backend), mode=self._mode(launch),
                    kernel=kernel)

    def _rows(self, batch, told: Table, read: Read, lengths, q_lengths, indptr) -> Rows:
        requests = self._requests(batch)
        each = lanes_each(batch, len(lengths))
        if each > 1:
            requests = [one for one in requests for _ in range(each)]
        lanes = min(len(requests), len(lengths), len(q_lengths))
        rows = Rows(requests[:lanes], lengths[:lanes], q_len=q_lengths[:lanes])
        if read.cached:
            rows = rows._replace(q_pos=rows.len)
        if indptr is not None:
            entries = ints(read.table[:indptr[-1]])
            pages = [entries[begin:end] for begin, end in zip(indptr[:lanes], indptr[1:])]
            first = [length - len(held) if len(held) < length else ABSENT
                     for length, held in zip(rows.len, pages)]
            return rows._replace(pages=pages, first=first)
        if told.buffer is not None:
            return rows._replace(row=list(range(lanes)))
        size, width = read.page_size, int(read.table.shape[1])
        return rows._replace(pages=[ints(read.table[lane, :min(-(-length // size), width)])
                                    for lane, length in enumerate(rows.len)])

    def _mode(self, launch: Forward) -> str:
        mode = launch.batch.forward_mode
        if mode.is_target_verify():
            return "verify"
        if not mode.is_decode_or_idle():
            return "extend"
        return "draft" if self.built[id(launch.backend)]["role"] == "draft" else "decode"

    def bound(self, tensor, pages, shape=(), stride=()) -> Bound:
        found = self.pools.of_tensor(tensor)
        return Bound(None if found is None else found[0], int(pages), shape, stride)

    def store(self, tensor, slots, translated: bool) -> None:
        """`slots`: a tensor."""
        if not self.launches:
            return
        launch = self.launches[-1]
        if capturing(slots):
            return self._captured(launch, tensor, slots, translated)
        if self.pools.there.takes(slots):
            return self.on_gpu.store(launch, tensor, slots, translated)
        self.pools.settle()
        layer = self.layer_of(launch)
        space = self.built[id(launch.backend)]["spaces"][bool(translated)]
        bound = self.bound_of_store(tensor)
        made = self.reads.once(slots, ("store", bound, space), lambda: self.recorder.made([Launch(
            True, self._stored(launch.batch, ints(slots)), bound,
            {"backend": self.name(launch.backend), "space": space})]))
        self.recorder.launches(made, layer, None)

    def bound_of_store(self, tensor) -> Bound:
        tokens = tensor.numel() // (tensor.shape[-1] * tensor.shape[-2])
        return self.bound(tensor, int(tokens) // self.pools.page_size)

    def _stored(self, batch, slots: List[int]) -> Rows:
        requests = self._requests(batch)
        if batch.forward_mode.is_decode_or_idle() or batch.forward_mode.is_target_verify():
            counts = [len(slots) // len(requests)] * len(requests)
        else:
            counts = [int(n) for n in batch.extend_seq_lens_cpu]
        ends = list(accumulate(counts))
        lists = [slots[end - count:end] for count, end in zip(counts, ends)]
        return Rows(requests[:len(lists)], slots=lists)

    def begin(self, launch: Forward) -> None:
        """A layer's forward is called. Another backend or batch, or a layer that is not behind the
        last one, begins a new pass."""
        layer = self.logical.get(id(launch.layer), int(launch.layer.layer_id))
        now = (id(launch.backend), id(launch.batch), layer)
        if self.passing[:2] != now[:2] or layer <= self.passing[2]:
            self.reads.forget()
            self.on_gpu.forget()
        self.passing = now
        self.launches.append(launch)

    # --- hooks

    def watch(self, cls) -> None:
        def make_init(original):
            def init(backend, model_runner, *args, **kwargs):
                original(backend, model_runner, *args, **kwargs)
                if type(backend) is cls:
                    self.create(backend, model_runner)

            return init

        def make_setattr(original):
            def assign(backend, attribute, value):
                before = getattr(backend, attribute, None)
                original(backend, attribute, value)
                self.assigned(backend, attribute, value, before)

            return assign

        def make_metadata(original):
            def init_forward_metadata(backend, forward_batch, *args, **kwargs):
                original(backend, forward_batch, *args, **kwargs)
                self.metadata(backend, forward_batch)

            return init_forward_metadata

        def make_out_graph(original):
            def init_forward_metadata_out_graph(backend, forward_batch, in_capture=False):
                original(backend, forward_batch, in_capture=in_capture)
                if id(backend) in self.built:
                    self._for_graph(backend, in_capture)

            return init_forward_metadata_out_graph

        def make_tables(original):
            def build(backend, *args, **kwargs):
                tables = original(backend, *args, **kwargs)
                spaces = self.built[id(backend)]["spaces"]
                self.tables.setdefault(id(backend), []).extend(
                    Table(None, space, table) for space, table in zip(spaces, tables)
                    if table is not None)
                return tables

            return build

        def make_forward(original):
            def forward(backend, q, k, v, layer, forward_batch, *args, **kwargs):
                self.begin(Forward(backend, layer, forward_batch))
                try:
                    if not kwargs.get("save_kv_cache", not args or args[0]):
                        tensor, slots = self.fused.get(id(layer)), forward_batch.out_cache_loc
                        if tensor is not None and slots is not None:
                            self.store(tensor, slots, False)
                    return original(backend, q, k, v, layer, forward_batch, *args, **kwargs)
                finally:
                    self.launches.pop()

            return forward

        wrap(cls, "__init__", make_init)
        wrap(cls, "__setattr__", make_setattr)
        wrap(cls, "init_forward_metadata", make_metadata)
        if hasattr(cls, "init_forward_metadata_out_graph"):
            wrap(cls, "init_forward_metadata_out_graph", make_out_graph)
        if hasattr(cls, "_build_extend_unified_page_table"):
            # AiterAttnBackend from 0.5.20 on: extend builds (full, SWA) tables of its own.
            wrap(cls, "_build_extend_unified_page_table", make_tables)
        wrap(cls, "forward_decode", make_forward)
        wrap(cls, "forward_extend", make_forward)
