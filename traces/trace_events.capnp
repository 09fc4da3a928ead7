# SPDX-License-Identifier: Apache-2.0
#
# The columns of each kind of event: the second half of the schema (trace.capnp is the first, and
# numbers the musts, M1 to M20). A structure has one column for each field of the text form, under
# the same name in camel case; a test holds it to the events' own lists of fields.

@0xd2704d79adabd909;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("pagetape::schema");

struct Column {
  # Integers in the narrowest list that holds them. The least value of a width (-128 in int8) says
  # "absent". With `delta` each value but an absent one is the difference to the one before (the
  # first to `base`, wrapping at 64 bits). A column is elided (M9) where every cell has its default:
  # absent for an optional number, flag or layer, else 0 (of a name: none; of counts: 0). With
  # `delta` and elided, every cell is `base`.

  delta @0 :Bool;
  union {
    elided @1 :Void;
    int8 @2 :List(Int8);
    int16 @3 :List(Int16);
    int32 @4 :List(Int32);
    int64 @5 :List(Int64);
  }
  base @6 :Int64;  # Of `delta`. Since version 2 of the file.
}

struct Lists {
  # Lists of integers, one after another. In a list that may be absent, counts holds 0 for that and
  # n + 1 for n values (M10). A structure with `counts` is a list of it in the same way; where at
  # most one may stand, counts holds 0 or 1.

  counts @0 :Column;
  values @1 :Column;
}

struct SlotLists {
  # Lists of slot numbers, 64 bits; negative: skipped, or indexed backwards. As Lists; or, with
  # `runs`, told by runs of slots that are each one more than the one before. A run begins with each
  # list that is not empty, and at each of the splits; it ends where the next begins, or its list
  # does (M19).

  counts @0 :Column;
  values @1 :Column;  # With `runs`, of the first of each run all but its low 6 bits …
  runs @2 :Bool;      # Since version 2 of the file.
  splits @3 :Column;  # Numbers of the slots, counted from 0 over all lists, where a run begins
                      # within a list. Ascending; no list begins there.
  lows @4 :Column;    # … and these, with `runs`: 0 to 63 (M19).
}

struct Numbers {
  # Floating-point numbers that may be absent.

  present @0 :Column;          # 0 or 1.
  values @1 :List(Float64);    # Those present.
}

struct TableCells {
  # Contents of table rows as changes. For each rank, buffer and row a reader keeps the last
  # contents: cells from `base` on without a hole. An event whose first column lies within them, or
  # just behind, changes and extends them; any other replaces them, base being its column. Cells
  # outside the event's runs are as they were, so a run covers all that was not known (M14).

  cells @0 :Column;    # Pages of the event.
  runs @1 :Column;     # Runs of the event.
  skips @2 :Column;    # Cells unchanged before the run, from the end of the one before.
  lengths @3 :Column;  # Cells of the run.
  values @4 :Column;   # Page ids of the runs.
}

# What a column holds. Numbers are exact integers of 64 bits, but for the least one.
using Names = Column;      # 0: none; n: the n-th of `strings`, from 1 (M11).
using Ints = Column;
using OptInts = Column;
using Pages = Column;      # Page ids, 32 bits (M12); any value, negative sentinels too.
using Flags = Column;      # 0 or 1 (M12).
using OptFlags = Column;
using LayerIds = Column;   # A number, at least 0; or -1 - n: the layer named by the n-th string.
using OptLayerIds = Column;
using NameLists = Lists;
using IntLists = Lists;
using PageLists = Lists;
using LayerLists = Lists;

# ---- geometry ----

struct Header {
  # The recording, in its own words. All but `format` describes.

  format @0 :Ints;  # Version of the event model, at least 1.
  engine @1 :Names;
  engineVersion @2 :Names;
  model @3 :Names;
  gpu @4 :Names;
  ranks @5 :Ranks;
  records @6 :NameLists;  # Kinds that this recorder writes: what it lacks of them did not happen.
  clock @7 :Names;  # What `t` counts: "monotonic" or "realtime".
}

struct Ranks {
  counts @0 :Column;
  tp @1 :OptInts;  # Ranks of tensor, pipeline and data parallelism, each at least 1.
  pp @2 :OptInts;
  dp @3 :OptInts;
}

struct Pool {
  # A physical K/V buffer family. Said again: resized or rebuilt; owners stay, its version moves.

  pool @0 :Names;
  pages @1 :Ints;     # Bound of page ids: first dimension of the kernel's view, dummies included.
  pageSize @2 :Ints;  # Tokens of a page, at least 1.
  kind @3 :Names;     # full, swa, mla, state, host, index.
  space @4 :Names;    # Index space of its ids; none: one of its own.
  allocator @5 :Names;   # Supply of its ids; none: one of its own.
  reserved @6 :Reserved;
  pageBytes @7 :OptInts;   # Stride between pages of one layer's view, in what the kernel counts.
  offsetBits @8 :OptInts;  # Width of the signed offset that the kernel computes with, bits.
  layers @9 :OptInts;      # Layers.
  layout @10 :Names;       # NHD, HND.
  kvHeads @11 :OptInts;
  headDim @12 :OptInts;    # Elements.
  vHeadDim @13 :OptInts;   # Elements, where V differs.
  dtype @14 :Names;
}

struct Reserved {
  counts @0 :Column;
  page @1 :Pages;  # A page that no request may own.
  role @2 :Names;  # pad (padding reads and writes it) or null (a sentinel nobody writes).
}

struct PoolLayer {
  # Addresses of one layer, for joining faults.

  pool @0 :Names;
  layer @1 :LayerIds;
  kPtr @2 :OptInts;     # Device address.
  vPtr @3 :OptInts;     # Device address.
  shape @4 :IntLists;   # Elements.
  stride @5 :IntLists;  # Elements.
}

struct Arena {
  arena @0 :Names;
  bytes @1 :Ints;  # Size, at least 0.
}

struct Extent {
  # A part of an arena: [begin, end).

  arena @0 :Names;
  owner @1 :Names;
  begin @2 :Ints;  # Bytes, at least 0.
  end @3 :Ints;    # Bytes, at least `begin`.
}

struct View {
  # Two parties' figure for one quantity.

  object @0 :Names;
  allocator @1 :Ints;
  kernel @2 :Ints;
}

struct Buffer {
  # A page-table, length or slot buffer. Said again: reallocated, its version moves.

  buffer @0 :Names;
  rows @1 :OptInts;      # Lanes.
  cols @2 :OptInts;      # Entries of a row.
  capacity @3 :OptInts;  # Entries of the whole buffer.
  ptr @4 :OptInts;       # Device address.
}

struct Map {
  # An index map between two pools; 0 is unmapped.

  map @0 :Names;
  from @1 :Names;  # Pools.
  to @2 :Names;
  unit @3 :Names;  # page or slot.
}

struct PoolSet {
  # An engine's object made of several pools.

  set @0 :Names;
  pools @1 :NameLists;
}

# ---- binding ----

struct Backend {
  backend @0 :Names;
  role @1 :Names;   # target, draft.
  class @2 :Names;  # The engine's class.
}

struct PoolSwap {
  # From here on, the pool that those physical layers of the backend dereference.

  backend @0 :Names;
  layers @1 :LayerChoice;
  pool @2 :Names;
  set @3 :Names;  # The set through which it is bound; none: directly.
}

struct LayerChoice {
  all @0 :Flags;        # 1: all layers, replacing what was bound by layer; the list is empty.
  list @1 :LayerLists;
}

struct SwaState {
  backend @0 :Names;
  usesSwa @1 :Flags;      # 1: the backend takes the sliding-window path.
  swaPool @2 :Names;      # None: the backend says it has none.
  derivedFrom @3 :Names;  # Pool or set it was computed from.
}

struct Cached {
  # Any other fact that was copied from an object.

  backend @0 :Names;
  attr @1 :Names;
  derivedFrom @2 :Names;  # Pool, set, map or buffer.
}

struct LayerRemap {
  backend @0 :Names;
  layer @1 :LayerIds;  # Logical layer.
  to @2 :LayerIds;     # The physical one, which `pool_swap` binds.
}

struct Version {
  object @0 :Names;  # Rebuilt: facts cached from it are stale.
}

# ---- pages ----

struct Alloc {
  pool @0 :Names;
  req @1 :Names;        # The new owner: a request, or a cache ("#…").
  pages @2 :PageLists;
  first @3 :OptInts;    # Logical page of the first, at least 0.
}

struct Share {
  # One more owner.

  pool @0 :Names;
  req @1 :Names;
  pages @2 :PageLists;
  first @3 :OptInts;  # Logical page of the first, at least 0.
}

struct Free {
  pool @0 :Names;
  req @1 :Names;
  pages @2 :PageLists;
}

struct Evict {
  # Left the window; the page is returned.

  pool @0 :Names;
  req @1 :Names;
  logical @2 :Ints;  # Logical page, at least 0.
  page @3 :Pages;
}

struct Fill {
  # Pages written by what is not recorded as a store.

  pool @0 :Names;
  req @1 :Names;
  pages @2 :PageLists;
  slots @3 :IntLists;     # The first n of each page: one, or one a page; absent: all.
  layers @4 :LayerLists;  # Absent: all of the pool.
  digest @5 :Digests;
}

struct Digests {
  counts @0 :Column;
  perPage @1 :Flags;    # 0: one digest for all pages; 1: one a page.
  list @2 :NameLists;
}

struct PrefixKey {
  # The page is offered for reuse under the key.

  pool @0 :Names;
  page @1 :Pages;
  key @2 :Names;
  when @3 :Names;  # written (none means it), or scheduled: before the step that writes.
}

struct PrefixHit {
  # Reused: the request becomes an owner.

  pool @0 :Names;
  req @1 :Names;
  page @2 :Pages;
  key @3 :Names;
  first @4 :OptInts;  # Logical page, at least 0.
}

struct PrefixDrop {
  # No longer offered.

  pool @0 :Names;
  page @1 :Pages;
  key @2 :Names;
}

struct MapSet {
  map @0 :Names;
  pairs @1 :Pairs;
}

struct Pairs {
  counts @0 :Column;
  from @1 :Ints;  # Pages, or slots, as the map's unit says.
  to @2 :Ints;
}

struct MapClear {
  map @0 :Names;
  from @1 :IntLists;  # Pages or slots.
}

struct MapFree {
  # Free in the `to` pool through the map, each distinct page once.

  map @0 :Names;
  req @1 :Names;
  from @2 :IntLists;          # Pages or slots.
  skipUnmapped @3 :OptFlags;  # 1: entries that are 0 are passed over.
}

struct FreeCount {
  pool @0 :Names;
  free @1 :Ints;  # Pages that the allocator says are free.
}

struct Access {
  object @0 :Names;
  used @1 :Ints;      # Entries read or written.
  capacity @2 :Ints;  # Entries that the object holds.
}

struct Request {
  req @0 :Names;
  state @1 :Names;  # arrive, run, preempt, resume, finish, abort.
}

struct Accept {
  # One verify step.

  req @0 :Names;
  drafted @1 :Ints;   # Tokens, at least 0.
  accepted @2 :Ints;  # Tokens, at least 0.
}

struct Rewind {
  pool @0 :Names;
  req @1 :Names;
  len @2 :Ints;  # Tokens that count; what was written from this one on does not.
}

# ---- launches ----

struct Table {
  # Contents of a row of a page-table buffer, from a column on.

  buffer @0 :Names;
  row @1 :Ints;           # At least 0.
  col @2 :Ints;           # At least 0.
  pages @3 :TableCells;
  req @4 :Names;
  space @5 :Names;        # Index space of the ids.
  unit @6 :Names;         # What an id counts; none: page.
}

struct Lens {
  buffer @0 :Names;
  values @1 :IntLists;  # Sequence lengths, tokens.
  row @2 :OptInts;      # The first; absent: 0.
}

struct SlotList {
  # The event `slots`: slot numbers for stores.

  buffer @0 :Names;
  values @1 :SlotLists;
  row @2 :OptInts;  # The first; absent: 0.
}

struct Attention {
  backend @0 :Names;
  layer @1 :OptLayerIds;  # Logical; this or `layers`.
  layers @2 :LayerLists;
  rows @3 :Rows;
  mode @4 :Names;         # decode, extend, verify, draft.
  table @5 :Names;        # Buffers.
  lens @6 :Names;
  space @7 :Names;        # Index space of the entries.
  unit @8 :Names;         # What an entry counts.
  pageSize @9 :OptInts;   # Tokens of one entry of the view that the kernel got, at least 1.
  window @10 :OptInts;    # Tokens, the query's own included, at least 1; absent: full.
  tableRows @11 :OptInts;  # Lanes and entries a row of the table that the kernel got.
  tableCols @12 :OptInts;
  bound @13 :Bound;
  kernel @14 :Names;
  qHeads @15 :OptInts;
  scale @16 :Numbers;
  softCap @17 :Numbers;
  sinks @18 :OptFlags;
  qDtype @19 :Names;
  kScale @20 :Numbers;
  vScale @21 :Numbers;
}

struct Rows {
  # Lanes of a launch.

  counts @0 :Column;
  req @1 :Names;         # None: padding.
  len @2 :OptInts;       # Tokens, the new ones included.
  pages @3 :PageLists;   # Entries, inline.
  row @4 :OptInts;       # Or: the row of the buffer they stand in.
  qLen @5 :OptInts;      # Queries; absent: 1.
  qPos @6 :OptInts;      # Position of the first query, tokens; absent: len - q_len.
  spaces @7 :NameLists;  # Index space of each entry, where a row mixes them.
  first @8 :OptInts;     # Logical page of entry 0.
  logical @9 :IntLists;  # Logical page of each entry.
  slots @10 :SlotLists;  # Slots that a store writes.
  n @11 :OptInts;        # Or: the number of them in the buffer. Of an attention's row: the entries
                         # that it has, where rows differ in that (index lists).
}

struct Bound {
  # What the tensor given to the kernel really was.

  counts @0 :Column;
  pool @1 :Names;
  pages @2 :OptInts;    # First dimension.
  ptr @3 :OptInts;      # Device address.
  shape @4 :IntLists;   # Elements.
  stride @5 :IntLists;  # Elements.
}

struct Store {
  backend @0 :Names;
  layer @1 :OptLayerIds;  # Logical; this or `layers`.
  layers @2 :LayerLists;
  rows @3 :Rows;
  slots @4 :Names;        # A buffer.
  space @5 :Names;
  unit @6 :Names;         # None: slot.
  negative @7 :Names;     # skip (none means it) or wrap: what the kernel does with such a slot.
  bound @8 :Bound;
}

struct Copy {
  # A read and a write; digest and extent travel.

  fromPool @0 :Names;
  toPool @1 :Names;
  req @2 :Names;
  from @3 :PageLists;
  to @4 :PageLists;       # As many.
  slots @5 :IntLists;     # The first n of each page; absent: all.
  layers @6 :LayerLists;  # Absent: all.
}

struct LaunchDone {
  event @0 :Ints;  # Index of the event of the launch that has completed.
}

# ---- order and graphs ----

struct AsyncBegin {
  # In flight from here.

  op @0 :Names;
  kind @1 :Names;         # read, write.
  pool @2 :Names;
  pages @3 :PageLists;
  by @4 :Names;           # Who.
  layers @5 :LayerLists;  # Absent: all.
}

struct AsyncEnd {
  op @0 :Names;
}

struct StreamWait {
  # The event's own stream waits.

  on @0 :Ints;        # A stream.
  ops @1 :NameLists;  # Only for these; absent: all that was pending there.
}

struct GraphCapture {
  graph @0 :Names;
  buffers @1 :NameLists;   # Whose pointers are frozen.
  scalars @2 :Scalars;     # Frozen.
  inputs @3 :NameLists;    # Buffers that must be rewritten before each launch.
  launches @4 :Launches;   # In order.
  stepped @5 :OptFlags;    # 1: graph_step runs the launches one by one.
}

struct Scalars {
  counts @0 :Column;
  name @1 :Names;
  value @2 :Names;  # The JSON text of a scalar, quotes included.
}

struct Launches {
  counts @0 :Column;
  kinds @1 :Column;          # 0 attention, 1 store, 2 copy (M12).
  attention @2 :Attention;   # A cell for each launch of the kind.
  store @3 :Store;
  copy @4 :Copy;
}

struct Scalar {
  # The run-time value from now on.

  name @0 :Names;
  value @1 :Names;  # The JSON text of a scalar, quotes included.
}

struct Refresh {
  buffer @0 :Names;  # Rewritten.
}

struct GraphLaunch {
  graph @0 :Names;
  rows @1 :Rows;  # The lanes of today; absent: those of the capture.
}

struct GraphStep {
  graph @0 :Names;
  index @1 :Ints;  # Of the launch in the graph, from 0.
}

# ---- the recording itself ----

struct Step {
  step @0 :Ints;   # Number of the engine's step.
  mode @1 :Names;
  batch @2 :Ints;  # Requests.
}

struct Kernel {
  name @0 :Names;
  grid @1 :IntLists;      # Blocks in x, y, z.
  block @2 :IntLists;     # Threads in x, y, z.
  correlation @3 :Ints;   # CUPTI's number of the launch.
}

struct CudaError {
  code @0 :Ints;
  name @1 :Names;
  message @2 :Names;
  after @3 :OptInts;    # Index of the event after which it was seen.
  sticky @4 :OptFlags;  # 1: the context is lost.
}

struct Note {
  text @0 :Names;
}

struct Dropped {
  events @0 :Ints;   # Lost, at least 1.
  fromT @1 :OptInts;  # ns.
  toT @2 :OptInts;    # ns.
}

struct Gap {
  # What was known of the pools becomes unknown here.

  why @0 :Names;
  pools @1 :NameLists;  # Absent: all.
}

struct End {
  # A clean end.
}
