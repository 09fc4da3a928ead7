# SPDX-License-Identifier: Apache-2.0
#
# The columns of each kind of event: the second half of the schema (trace.capnp is the first, and
# numbers the musts, M1 to M21). A structure has one column for each field of the text form, under
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

  delta @0 :Bool;  # true: values are differences; with `elided`, all are `base`.
  union {
    elided @1 :Void;        # No cell stands here.
    int8 @2 :List(Int8);    # Cells: [-127, 127]; -128: absent.
    int16 @3 :List(Int16);  # Cells: (-2^15, 2^15); -2^15: absent.
    int32 @4 :List(Int32);  # Cells: (-2^31, 2^31); -2^31: absent.
    int64 @5 :List(Int64);  # Cells: (-2^63, 2^63); -2^63: absent.
  }
  base @6 :Int64;  # With `delta`, the value before the first; any. Since version 2 of the file.
}

struct Lists {
  # Lists of integers, one after another. In a list that may be absent, counts holds 0 for that and
  # n + 1 for n values (M10). A structure with `counts` is a list of it in the same way; where at
  # most one may stand, counts holds 0 or 1.

  counts @0 :Column;  # Values of each list, or one more; [0, 2^32] (M10).
  values @1 :Column;  # Of all lists, in their unit; as many as the counts add up to (M10).
}

struct SlotLists {
  # Lists of slot numbers, 64 bits; negative: skipped, or indexed backwards. As Lists; or, with
  # `runs`, told by runs of slots that are each one more than the one before. A run begins with each
  # list that is not empty, and at each of the splits; it ends where the next begins, or its list
  # does (M19).

  counts @0 :Column;  # Slots of each list, or one more; [0, 2^32] (M10), in a segment 2^23 (M20).
  values @1 :Column;  # Slots, (-2^47, 2^47) (M16). With `runs`, of the first of each run all but
                      # its low 6 bits …
  runs @2 :Bool;      # true: told by runs. Since version 2 of the file.
  splits @3 :Column;  # Numbers of the slots, counted from 0 over all lists, where a run begins
                      # within a list. Ascending; no list begins there (M19).
  lows @4 :Column;    # … and these, with `runs`: [0, 63] (M19).
}

struct Numbers {
  # Floating-point numbers that may be absent.

  present @0 :Column;        # 0: absent; 1: there; only [0, 2^32] and their sum are checked (M10).
  values @1 :List(Float64);  # Those present, finite (M16).
}

struct TableCells {
  # Contents of table rows as changes. For each rank, buffer and row a reader keeps the last
  # contents: cells from `base` on without a hole. An event whose first column lies within them, or
  # just behind, changes and extends them; any other replaces them, base being its column. Cells
  # outside the event's runs are as they were, so a run covers all that was not known (M14).

  cells @0 :Column;    # Pages of the event; [0, 2^32] (M10), in a segment 2^31 (M15).
  runs @1 :Column;     # Runs of the event; [0, 2^32] (M10).
  skips @2 :Column;    # Cells unchanged since the end of the run before; [0, 2^32] (M10).
  lengths @3 :Column;  # Cells of the run; [0, 2^32] (M10).
  values @4 :Column;   # Page ids of the runs, (-2^31, 2^31) (M12, M16).
}

# What a column holds. Numbers are exact integers of 64 bits, but for the least one. In comments of
# fields, "required" is that none is refused, [a, b) what values are taken, "any" that all are which
# the column's kind, here, may hold; where no must is named it is M16. Whether a name was declared
# is not asked here: replay/ does.
using Names = Column;        # 0: none; n: the n-th of `strings`, from 1 (M11).
using Ints = Column;         # (-2^63, 2^63).
using OptInts = Column;      # The same, or absent.
using Pages = Column;        # Page ids, (-2^31, 2^31) (M12, M16); negative: sentinels.
using Flags = Column;        # 0 or 1 (M12).
using OptFlags = Column;     # The same, or absent.
using LayerIds = Column;     # A number, [0, 2^31); or -1 - n: the layer named by the n-th string.
using OptLayerIds = Column;  # The same, or absent.
using NameLists = Lists;     # No name in them is none.
using IntLists = Lists;      # Of Ints.
using PageLists = Lists;     # Of Pages.
using LayerLists = Lists;    # Of LayerIds.

# ---- geometry ----

struct Header {
  # The recording, in its own words. All but `format` describes.

  format @0 :Ints;          # Version of the event model, [1, 2^31).
  engine @1 :Names;         # Any name; none: not said.
  engineVersion @2 :Names;  # As the engine writes it; none: not said.
  model @3 :Names;          # Any name; none: not said.
  gpu @4 :Names;            # Any name; none: not said.
  ranks @5 :Ranks;          # At most one; absent: not said.
  records @6 :NameLists;  # Kinds it writes: what it lacks of them did not happen; absent: not said.
  clock @7 :Names;        # What `t` counts, one of monotonic, realtime; none: not said.
}

struct Ranks {
  counts @0 :Column;  # Of each header; 0: not said, or 1 (M13).
  tp @1 :OptInts;     # Ranks of tensor parallelism, [1, 2^31); absent: not said.
  pp @2 :OptInts;     # Ranks of pipeline parallelism, [1, 2^31); absent: not said.
  dp @3 :OptInts;     # Ranks of data parallelism, [1, 2^31); absent: not said.
}

struct Pool {
  # A physical K/V buffer family. Said again: resized or rebuilt; owners stay, its version moves.

  pool @0 :Names;     # Its name; required.
  pages @1 :Ints;     # Bound of ids, [0, 2^31): first dimension of the kernel's view, with dummies.
  pageSize @2 :Ints;  # Tokens of a page, [1, 65536].
  kind @3 :Names;     # One of full, swa, mla, state, host, index; none: not said.
  space @4 :Names;    # Index space of its ids; none: one of its own.
  allocator @5 :Names;     # Supply of its ids; none: its space's, which has one of its own.
  reserved @6 :Reserved;   # Pages that no request may own, [0, 2^18] (M13); absent: none.
  pageBytes @7 :OptInts;   # Stride between pages of one layer's view, in what the kernel counts,
                           # [1, 2^31); absent: not said.
  offsetBits @8 :OptInts;  # Bits of the kernel's signed offset, [1, 64]; absent: not said.
  layers @9 :OptInts;      # Layers, [0, 2^31); absent: not said.
  layout @10 :Names;       # One of NHD, HND; none: not said.
  kvHeads @11 :OptInts;    # K/V heads, [1, 65536]; absent: not said.
  headDim @12 :OptInts;    # Elements of a head, [1, 65536]; absent: not said.
  vHeadDim @13 :OptInts;   # Of V, [0, 65536], 0: it is a part of K's; absent: as K's.
  dtype @14 :Names;        # Of an element: any name; none: not said.
}

struct Reserved {
  counts @0 :Column;  # Of each pool; 0: absent; n + 1: n pages (M10).
  page @1 :Pages;     # Page id, any; each once in its event (M16).
  role @2 :Names;     # One of pad (padding reads and writes it), null (nobody writes it); required.
}

struct PoolLayer {
  # Addresses of one layer, for joining faults.

  pool @0 :Names;       # Pool; required.
  layer @1 :LayerIds;   # Physical layer, any.
  kPtr @2 :OptInts;     # Device address of K, any; absent: not said.
  vPtr @3 :OptInts;     # Device address of V, any; absent: not said.
  shape @4 :IntLists;   # Of a view, elements, each [0, 2^47); absent: not said.
  stride @5 :IntLists;  # Of a view, elements, each (-2^47, 2^47); absent: not said.
}

struct Arena {
  arena @0 :Names;  # Its name; required.
  bytes @1 :Ints;   # Size, [0, 2^62).
}

struct Extent {
  # A part of an arena: [begin, end).

  arena @0 :Names;  # Arena; required.
  owner @1 :Names;  # Whose part it is: any name; required.
  begin @2 :Ints;   # Bytes, (-2^62, 2^62): outside the arena is a finding.
  end @3 :Ints;     # Bytes, (-2^62, 2^62), not before `begin` (M16).
}

struct View {
  # Two parties' figure for one quantity.

  object @0 :Names;    # What the figure is of: any name; required.
  allocator @1 :Ints;  # Its figure, any; in one unit with the other.
  kernel @2 :Ints;     # Its figure, any.
}

struct Buffer {
  # A page-table, length or slot buffer. Said again: reallocated, its version moves.

  buffer @0 :Names;      # Its name; required.
  rows @1 :OptInts;      # Lanes, [0, 2^31); absent: not said.
  cols @2 :OptInts;      # Entries of a row, [0, 2^31); absent: not said.
  capacity @3 :OptInts;  # Entries of the whole buffer, [0, 2^62); absent: not said.
  ptr @4 :OptInts;       # Device address, any; absent: not said.
}

struct Map {
  # An index map between two pools; 0 is unmapped.

  map @0 :Names;   # Its name; required.
  from @1 :Names;  # Pool whose pages or slots are looked up; required.
  to @2 :Names;    # Pool whose pages or slots are found; required.
  unit @3 :Names;  # What it maps, one of page, slot; required.
}

struct PoolSet {
  # An engine's object made of several pools.

  set @0 :Names;        # Its name; required.
  pools @1 :NameLists;  # Pools, as many as it has; it may be empty.
}

# ---- binding ----

struct Backend {
  backend @0 :Names;  # Its name; required.
  role @1 :Names;     # One of target, draft; none: not said.
  class @2 :Names;    # The engine's class: any name; none: not said.
}

struct PoolSwap {
  # From here on, the pool that those physical layers of the backend dereference.

  backend @0 :Names;       # Backend; required.
  layers @1 :LayerChoice;  # Physical layers, any.
  pool @2 :Names;          # Pool; required.
  set @3 :Names;           # The set through which it is bound; none: directly.
}

struct LayerChoice {
  all @0 :Flags;        # 0: those of the list; 1: all layers, replacing what was bound by layer.
  list @1 :LayerLists;  # Layers; empty where `all` is 1 (not checked: it is not looked at).
}

struct SwaState {
  backend @0 :Names;      # Backend; required.
  usesSwa @1 :Flags;      # 1: the backend takes the sliding-window path; 0: it does not.
  swaPool @2 :Names;      # Pool; none: the backend says it has none.
  derivedFrom @3 :Names;  # Pool or set it was computed from; required.
}

struct Cached {
  # Any other fact that was copied from an object.

  backend @0 :Names;      # Backend; required.
  attr @1 :Names;         # What the fact is: any name, one fact each; required.
  derivedFrom @2 :Names;  # Pool, set, map or buffer; required.
}

struct LayerRemap {
  backend @0 :Names;   # Backend; required.
  layer @1 :LayerIds;  # Logical layer, any.
  to @2 :LayerIds;     # The physical one, which `pool_swap` binds; any.
}

struct Version {
  object @0 :Names;  # Pool, set, map or buffer: facts cached from it are stale; required.
}

# ---- pages ----

struct Alloc {
  pool @0 :Names;       # Pool; required.
  req @1 :Names;        # The new owner: a request, or a cache ("#…"); required.
  pages @2 :PageLists;  # Page ids, any.
  first @3 :OptInts;    # Logical page of the first, [0, 2^31); absent: not said.
}

struct Share {
  # One more owner.

  pool @0 :Names;       # Pool; required.
  req @1 :Names;        # The new owner, as of `alloc`; required.
  pages @2 :PageLists;  # Page ids, any.
  first @3 :OptInts;    # Logical page of the first, [0, 2^31); absent: not said.
}

struct Free {
  pool @0 :Names;       # Pool; required.
  req @1 :Names;        # Who gives them up: a request, or a cache; required.
  pages @2 :PageLists;  # Page ids, any.
}

struct Evict {
  # Left the window; the page is returned.

  pool @0 :Names;    # Pool; required.
  req @1 :Names;     # Its owner; required.
  logical @2 :Ints;  # Logical page, [0, 2^31).
  page @3 :Pages;    # Page id, any.
}

struct Fill {
  # Pages written by what is not recorded as a store.

  pool @0 :Names;       # Pool; required.
  req @1 :Names;        # Who writes: a request, or a cache; required.
  pages @2 :PageLists;  # Page ids, any.
  slots @3 :IntLists;   # First tokens of a page, [0, 65536]: one, or one a page (M16); absent: all.
  layers @4 :LayerLists;  # Physical layers; absent: all of the pool.
  digest @5 :Digests;     # At most one; absent: not said.
}

struct Digests {
  counts @0 :Column;   # Of each fill; 0: none, or 1 (M13).
  perPage @1 :Flags;   # 0: one digest for all pages; 1: one a page, in their order (M16).
  list @2 :NameLists;  # Any names, as many as `perPage` says.
}

struct PrefixKey {
  # The page is offered for reuse under the key.

  pool @0 :Names;  # Pool; required.
  page @1 :Pages;  # Page id, any.
  key @2 :Names;   # Any name; required.
  when @3 :Names;  # One of written (none means it), scheduled: before the step that writes.
}

struct PrefixHit {
  # Reused: the request becomes an owner.

  pool @0 :Names;     # Pool; required.
  req @1 :Names;      # The new owner; required.
  page @2 :Pages;     # Page id, any.
  key @3 :Names;      # Under which it was offered; required.
  first @4 :OptInts;  # Logical page, [0, 2^31); absent: not said.
}

struct PrefixDrop {
  # No longer offered.

  pool @0 :Names;  # Pool; required.
  page @1 :Pages;  # Page id, any.
  key @2 :Names;   # Under which it was offered; required.
}

struct MapSet {
  map @0 :Names;    # Map; required.
  pairs @1 :Pairs;  # What it holds from now on, [0, 2^18] (M13).
}

struct Pairs {
  counts @0 :Column;  # Pairs of each event, [0, 2^32] (M10), at most 2^18 (M13).
  from @1 :Ints;      # Pages, or slots, as the map's unit says; [0, 2^47).
  to @2 :Ints;        # The same of the other pool, [0, 2^47); 0: unmapped.
}

struct MapClear {
  map @0 :Names;      # Map; required.
  from @1 :IntLists;  # Pages or slots, each [0, 2^47).
}

struct MapFree {
  # Free in the `to` pool through the map, each distinct page once.

  map @0 :Names;              # Map; required.
  req @1 :Names;              # Their owner in the `to` pool; required.
  from @2 :IntLists;          # Pages or slots, each [0, 2^47).
  skipUnmapped @3 :OptFlags;  # 1: entries that are 0 are passed over; absent: 0.
}

struct FreeCount {
  pool @0 :Names;  # Pool; required.
  free @1 :Ints;   # Pages that the allocator says are free, any.
}

struct Access {
  object @0 :Names;   # Any name; required.
  used @1 :Ints;      # Entries read or written, [0, 2^62).
  capacity @2 :Ints;  # Entries that the object holds, [0, 2^62).
}

struct Request {
  req @0 :Names;    # Request; required.
  state @1 :Names;  # One of arrive, run, preempt, resume, finish, abort; required.
}

struct Accept {
  # One verify step.

  req @0 :Names;      # Request; required.
  drafted @1 :Ints;   # Tokens, [0, 2^31).
  accepted @2 :Ints;  # Tokens, [0, 2^31).
}

struct Rewind {
  pool @0 :Names;  # Pool; required.
  req @1 :Names;   # Request; required.
  len @2 :Ints;    # Tokens that count, [0, 2^47): what was written from this one on does not.
}

# ---- launches ----

struct Table {
  # Contents of a row of a page-table buffer, from a column on.

  buffer @0 :Names;      # Buffer; required.
  row @1 :Ints;          # Row, [0, 2^31).
  col @2 :Ints;          # Column of the first, entries; [0, 2^31).
  pages @3 :TableCells;  # What the cells hold: ids, any.
  req @4 :Names;         # Whose row it is; none: not said.
  space @5 :Names;       # Index space of the ids; none: not said.
  unit @6 :Names;        # What an id counts: any name; none: page.
}

struct Lens {
  buffer @0 :Names;     # Buffer; required.
  values @1 :IntLists;  # Sequence lengths, tokens, each [0, 2^47).
  row @2 :OptInts;      # Of the first, [0, 2^31); absent: 0.
}

struct SlotList {
  # The event `slots`: slot numbers for stores.

  buffer @0 :Names;      # Buffer; required.
  values @1 :SlotLists;  # Slots, (-2^47, 2^47).
  row @2 :OptInts;       # Of the first, [0, 2^31); absent: 0.
}

struct Attention {
  backend @0 :Names;      # Backend; required.
  layer @1 :OptLayerIds;  # Logical; absent: `layers` says which. One of both is there (M16).
  layers @2 :LayerLists;  # Logical; absent: `layer` says which.
  rows @3 :Rows;          # Its lanes, [0, 2^18] (M13).
  mode @4 :Names;         # One of decode, extend, verify, draft; none: not said.
  table @5 :Names;        # Buffer that `row` of lanes is of; none: all lanes have `pages` (M16).
  lens @6 :Names;         # Buffer of the lengths; none: all lanes have `len` (M16).
  space @7 :Names;        # Index space of the entries; none: what `table` events say.
  unit @8 :Names;         # What an entry counts: any name; none: the table's own, else page.
  pageSize @9 :OptInts;   # Tokens of an entry of the kernel's view, [1, 65536]; absent: the pool's.
  window @10 :OptInts;    # Tokens, the query's own included, [1, 2^47); absent: full.
  tableRows @11 :OptInts;  # Lanes of the table that the kernel got, [0, 2^31); absent: not said.
  tableCols @12 :OptInts;  # Entries a row of it, [0, 2^31); absent: not said.
  bound @13 :Bound;        # At most one; absent: not said.
  kernel @14 :Names;       # Any name; none: not said.
  qHeads @15 :OptInts;     # Query heads, [1, 65536]; absent: not said.
  scale @16 :Numbers;      # Of the logits, finite; absent: not said.
  softCap @17 :Numbers;    # Of the logits, finite; absent: not said.
  sinks @18 :OptFlags;     # 1: heads have attention sinks; absent: not said.
  qDtype @19 :Names;       # Of the queries' elements: any name; none: not said.
  kScale @20 :Numbers;     # Of K's elements, finite; absent: not said.
  vScale @21 :Numbers;     # Of V's elements, finite; absent: not said.
}

struct Rows {
  # Lanes of a launch. Counts are of each: n; of `graph_launch` 0: absent, n + 1: n (M10, M13).
  # Layers that share lanes tell them once: -k has those of the kth last list (M21).
  counts @0 :Column;    # [-4, 2^18 + 1]; below 0 since version 3 of the file.
  req @1 :Names;        # Request; none: padding.
  len @2 :OptInts;      # Tokens, the new ones included; [0, 2^47); absent: the `lens` buffer's.
  pages @3 :PageLists;  # Entries, inline: ids, any.
  row @4 :OptInts;      # Row of the buffer that they stand in, [0, 2^31); absent: they stand here.
  qLen @5 :OptInts;     # Queries, [0, 2^31); absent: 1.
  qPos @6 :OptInts;     # Position of the first query, tokens, [0, 2^47); absent: len - q_len.
  spaces @7 :NameLists;  # Index space of each of `pages` (M16), where a row mixes them.
  first @8 :OptInts;     # Logical page of entry 0, [0, 2^31); absent: 0.
  logical @9 :IntLists;  # Logical page of each entry, [0, 2^31), ascending, as many as `pages` if
                         # those are there; not beside `first` (M16).
  slots @10 :SlotLists;  # Slots that a store writes, (-2^47, 2^47).
  n @11 :OptInts;  # How many are in the buffer, [0, 2^31); absent: they stand here. Of an
                   # attention's row the entries, where rows differ (index lists); absent: `cols`.
}

struct Bound {
  # What the tensor given to the kernel really was.

  counts @0 :Column;    # Of each launch; 0: none, or 1 (M13).
  pool @1 :Names;       # Pool; none: not said.
  pages @2 :OptInts;    # First dimension, [0, 2^31); absent: not said.
  ptr @3 :OptInts;      # Device address, any; absent: not said.
  shape @4 :IntLists;   # Elements, each [0, 2^47); absent: not said.
  stride @5 :IntLists;  # Elements, each (-2^47, 2^47); absent: not said.
}

struct Store {
  backend @0 :Names;      # Backend; required.
  layer @1 :OptLayerIds;  # Logical; absent: `layers` says which. One of both is there (M16).
  layers @2 :LayerLists;  # Logical; absent: `layer` says which.
  rows @3 :Rows;          # Its lanes, [0, 2^18] (M13): each has slots, or row and n (M16).
  slots @4 :Names;        # Buffer that `row` of lanes is of; none: all lanes have `slots` (M16).
  space @5 :Names;        # Index space of the slots; none: not said.
  unit @6 :Names;         # What an entry counts: any name; none: slot.
  negative @7 :Names;  # One of skip (none means it), wrap: what the kernel does with such a slot.
  bound @8 :Bound;     # At most one; absent: not said.
}

struct Copy {
  # A read and a write; digest and extent travel.

  fromPool @0 :Names;  # Pool that is read; required.
  toPool @1 :Names;    # Pool that is written; required.
  req @2 :Names;       # Who copies: a request, or a cache; required.
  from @3 :PageLists;  # Page ids, any.
  to @4 :PageLists;    # Page ids, any; as many (M16).
  slots @5 :IntLists;  # First tokens of a page, [0, 65536]: one, or one a page (M16); absent: all.
  layers @6 :LayerLists;  # Physical layers; absent: all.
}

struct LaunchDone {
  event @0 :Ints;  # Index of the event of the launch that has completed, from 0; [0, 2^63).
}

# ---- order and graphs ----

struct AsyncBegin {
  # In flight from here.

  op @0 :Names;           # Its name; required.
  kind @1 :Names;         # One of read, write; required.
  pool @2 :Names;         # Pool; required.
  pages @3 :PageLists;    # Page ids, any.
  by @4 :Names;           # Who: a request, a cache or any other party; required.
  layers @5 :LayerLists;  # Physical layers; absent: all.
}

struct AsyncEnd {
  op @0 :Names;  # Operation that `async_begin` named; required.
}

struct StreamWait {
  # The event's own stream waits.

  on @0 :Ints;        # A stream, [0, 2^31).
  ops @1 :NameLists;  # Operations: only for these; absent: all that was pending there.
}

struct GraphCapture {
  graph @0 :Names;        # Its name; required.
  buffers @1 :NameLists;  # Buffers whose pointers are frozen; absent: none.
  scalars @2 :Scalars;    # Frozen, [0, 2^18] (M13); absent: none.
  inputs @3 :NameLists;   # Buffers that must be rewritten before each launch; absent: none.
  launches @4 :Launches;  # In order, [0, 2^18] (M13); absent: none.
  stepped @5 :OptFlags;   # 1: graph_step runs the launches one by one; absent: 0.
}

struct Scalars {
  counts @0 :Column;  # Of each graph; 0: absent; n + 1: n scalars (M10).
  name @1 :Names;     # Any name, each once in its graph (M16); required.
  value @2 :Names;    # JSON of a string (quotes included), a number, true or false; required.
}

struct Launches {
  counts @0 :Column;        # Of each graph; 0: absent; n + 1: n launches (M10).
  kinds @1 :Column;         # 0 attention, 1 store, 2 copy (M12).
  attention @2 :Attention;  # A cell a launch of kind 0; lanes may lack what graph launches give.
  store @3 :Store;          # A cell a launch of kind 1, likewise.
  copy @4 :Copy;            # A cell a launch of kind 2.
}

struct Scalar {
  # The run-time value from now on.

  name @0 :Names;   # Any name; required.
  value @1 :Names;  # JSON of a string (quotes included), a number, true or false; required.
}

struct Refresh {
  buffer @0 :Names;  # Buffer that was rewritten; required.
}

struct GraphLaunch {
  graph @0 :Names;  # Graph; required.
  rows @1 :Rows;    # The lanes of today, [0, 2^18] (M13); absent: those of the capture.
}

struct GraphStep {
  graph @0 :Names;  # Graph; required.
  index @1 :Ints;   # Of the launch in the graph, from 0; [0, 2^31).
}

# ---- the recording itself ----

struct Step {
  step @0 :Ints;   # Number of the engine's step, [0, 2^63).
  mode @1 :Names;  # Any name; none: not said.
  batch @2 :Ints;  # Requests, [0, 2^31); absent: not said.
}

struct Kernel {
  name @0 :Names;        # Any name; required.
  grid @1 :IntLists;     # Blocks in x, y, z: one to three, each [0, 2^31) (M16).
  block @2 :IntLists;    # Threads in x, y, z: one to three, each [0, 2^31) (M16).
  correlation @3 :Ints;  # CUPTI's number of the launch, any.
}

struct CudaError {
  code @0 :Ints;        # CUDA's number of the error, any.
  name @1 :Names;       # CUDA's name of it: any; required.
  message @2 :Names;    # Any text; required.
  after @3 :OptInts;    # Index of the event after which it was seen, [0, 2^63); absent: not said.
  sticky @4 :OptFlags;  # 1: the context is lost; 0: it is not; absent: not said.
}

struct Note {
  text @0 :Names;  # Any text; required.
}

struct Dropped {
  events @0 :Ints;    # Lost ones, [0, 2^63).
  fromT @1 :OptInts;  # ns, any; absent: not said.
  toT @2 :OptInts;    # ns, any; absent: not said.
}

struct Gap {
  # What was known of the pools becomes unknown here.

  why @0 :Names;        # Any text; required.
  pools @1 :NameLists;  # Pools; absent: all.
}

struct End {
  # A clean end.
}
