# SPDX-License-Identifier: Apache-2.0
#
# The binary trace, field by field. FORMAT.md beside it shows a whole file, byte by byte.
#
# A file is: 8 bytes "\x89PTAPE\r\n", the version of the file (u32), a checksum (u32); then frames.
# A frame is: a header of 32 bytes (frame.h), then its payload, which is one flat Cap'n Proto
# message with the root Segment, Keyframe or Index. A file closed in good order ends with an Index
# frame and a tail of 24 bytes that says where it is. All numbers are little endian.
#
# What a reader checks. Each M is broken by a test in tests/traces/bad_input_test.cc.
#   M1  The file begins with the magic, the version and their checksum; the version is known.
#   M2  A frame's header has its magic, its checksum, a known kind, and a payload of whole words of
#       at most 64 MiB + 1 MiB.
#   M3  A payload has the checksum that its header says.
#   M4  A payload is a well formed message within its own size.
#   M5  A segment's firstEvent is the number of events before it.
#   M6  rawBytes is at most 64 MiB, and the body has just that size when it is decompressed.
#   M7  There is a kind for each of eventCount events, and summary.counts agrees with them.
#   M8  A kind is known, unless `format` is newer than the reader.
#   M9  A column is elided or has one cell for each value; values of lists and splits never are.
#   M10 The counts of a list or structure are 0 to 2^32 and add up, below 2^64, to the number of its
#       values: one less each that is not 0, where it may be absent (of slots told by runs: M19, of
#       lanes: M21).
#   M11 A name is 0 or the number of a string of this segment.
#   M12 Page ids and layers fit 32 bits, flags are 0 or 1, a launch's kind is 0, 1 or 2.
#   M13 One event has at most 2^18 elements in its lists of structures; a segment at most 2^26.
#   M14 Runs of table cells lie within the event's cells and cover what the last contents do not;
#       a segment has no more of them than cells in them.
#   M15 The table cells of a segment, rebuilt, are at most 2^31, with them those in lists of lanes
#       that are told again (of slots: M20).
#   M16 Each event passes check_event: the ranges and words of the model.
#   M17 A keyframe's event is the number of events before it; its state is at most 64 MiB.
#   M18 The index names frames that are there, in ascending order, as they say of themselves.
#   M19 Slots told by runs: there is a value of 58 bits, and a low part from 0 to 63, for each list
#       that is not empty and for each split; splits ascend, and each lies within a list, behind its
#       first slot.
#   M20 The slots in the lists of a segment are at most 2^23; those of lanes told again count again.
#   M21 A count of lanes that is -k, k from 1 to 4, says: those of the kth last list in the column
#       that stands there and is not empty. There is one.

@0xdb7f88c87f1c184c;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("pagetape::schema");
using Event = import "/traces/trace_events.capnp";

# ---- frames ----

struct Segment {
  # Events in a row, readable without the segments before it.

  firstEvent @0 :UInt64;  # Index of its first event; the first of the file is 0 (M5).
  eventCount @1 :UInt32;  # Events, [1, 2^32): as many as `kinds` (M7).
  format @2 :UInt32;      # Version of the event model that the writer knew: 1; any is taken (M8).
  compression @3 :Compression;  # Of the body: one of the two (M6).
  rawBytes @4 :UInt64;  # Bytes of the body before compression: whole words, at most 64 MiB (M6).
  summary @5 :Summary;  # In short; its counts are checked (M7).
  body @6 :Data;        # A flat message with the root Columns, compressed or not (M4, M6).
}

enum Compression {
  none @0;  # As it is.
  zstd @1;  # One zstd frame.
}

struct Summary {
  # For a picture of the segment without its body. Only `counts` is checked (M7).

  timeFirst @0 :Int64 = -0x8000000000000000;  # Least t, ns; the default: no event has one.
  timeLast @1 :Int64 = -0x8000000000000000;   # Greatest t, ns; the default: the same.
  counts @2 :List(UInt32);  # Events of each kind, by the number in Kind; at most 256 (M7).
  lanesMax @3 :UInt32;      # Most rows of an attention, store or graph launch; 0: no row.
  launches @4 :UInt64;      # Events that run on the device: attention, store, copy, graph_launch,
                            # graph_step.
  ranks @5 :List(Int64);  # Ranks seen, in order of appearance; events without one are not counted.
}

struct Keyframe {
  # The whole state before an event, so that a reader can begin there. What `state` holds is the
  # business of replay/state.h; here it is bytes.

  event @0 :UInt64;             # Events applied: those before it in the file (M17).
  digest @1 :UInt64;            # Digest of the state, 64 bits; as the index says it (M18).
  compression @2 :Compression;  # Of the state: one of the two (M17).
  rawBytes @3 :UInt64;          # Bytes of the state before compression, at most 64 MiB (M17).
  state @4 :Data;               # The state, compressed or not: of just that size (M17).
}

struct Index {
  # The last frame: what a reader else finds by going from frame to frame (M18).

  events @0 :UInt64;                  # Events of the file: what the segments add up to (M18).
  segments @1 :List(SegmentEntry);    # Of the whole file, ascending (M18).
  keyframes @2 :List(KeyframeEntry);  # Of the whole file, ascending (M18).
}

struct SegmentEntry {
  offset @0 :UInt64;      # Of the frame, in bytes from the beginning of the file; ascending (M18).
  firstEvent @1 :UInt64;  # The segment's: the events of those before it (M18).
  eventCount @2 :UInt32;  # The segment's, at least 1 (M18).
  summary @3 :Summary;    # The segment's.
}

struct KeyframeEntry {
  offset @0 :UInt64;  # Of the frame, in bytes from the beginning of the file; ascending (M18).
  event @1 :UInt64;   # The keyframe's; not descending, at most `events` (M18).
  digest @2 :UInt64;  # The keyframe's, 64 bits.
}

# ---- the body of a segment ----

struct Columns {
  # The events of a segment: what all events have, then the columns of each kind, which have one
  # cell for each event of that kind, in order, and are null where there is none.

  strings @0 :List(Text);  # Each name used once, from number 1; so that a segment stands alone.
  extras @1 :List(Text);   # Unknown fields of events: JSON objects (M16).
  kinds @2 :Data;          # Of each event, the number in Kind: [0, 52] (M7, M8).
  t @3 :Event.OptInts;     # ns, of the recorder's clock, any; absent: not said.
  stream @4 :Event.Ints;   # Stream of the device, [0, 2^31) (M12, M16); 0 is the default one.
  rank @5 :Event.OptInts;  # Scope of names and state, [0, 2^31) (M16); absent: one of its own.
  src @6 :Event.Names;     # Call site, "file:line" or what the engine says; none: not said.
  extra @7 :Event.Ints;    # 0: none; n: the n-th of `extras`, from 1 (M11).

  header @8 :Event.Header;           # The recording, in its own words.
  pool @9 :Event.Pool;               # A pool is there, or was resized or rebuilt.
  poolLayer @10 :Event.PoolLayer;    # `pool_layer`: addresses of a layer.
  arena @11 :Event.Arena;            # Memory that is given out in parts.
  extent @12 :Event.Extent;          # A part of an arena.
  view @13 :Event.View;              # Two parties' figure for one quantity.
  buffer @14 :Event.Buffer;          # A buffer is there, or was reallocated.
  map @15 :Event.Map;                # An index map is there, or was rebuilt.
  poolSet @16 :Event.PoolSet;        # `pool_set`: several pools are one object of the engine.
  backend @17 :Event.Backend;        # An attention backend is there.
  poolSwap @18 :Event.PoolSwap;      # `pool_swap`: what layers of a backend dereference.
  swaState @19 :Event.SwaState;      # `swa_state`: whether a backend takes the sliding-window path.
  cached @20 :Event.Cached;          # A fact was copied from an object.
  layerRemap @21 :Event.LayerRemap;  # `layer_remap`: a logical layer is this physical one.
  version @22 :Event.Version;        # An object was rebuilt.
  alloc @23 :Event.Alloc;            # Pages are given to an owner.
  share @24 :Event.Share;            # Pages get one more owner.
  free @25 :Event.Free;              # Pages lose an owner.
  evict @26 :Event.Evict;            # A page left the window of its owner.
  fill @27 :Event.Fill;              # Pages are written by what is no store.
  prefixKey @28 :Event.PrefixKey;    # `prefix_key`: a page is offered under a key.
  prefixHit @29 :Event.PrefixHit;    # `prefix_hit`: it is reused.
  prefixDrop @30 :Event.PrefixDrop;  # `prefix_drop`: it is no longer offered.
  mapSet @31 :Event.MapSet;          # `map_set`: entries of a map are set.
  mapClear @32 :Event.MapClear;      # `map_clear`: they are unmapped.
  mapFree @33 :Event.MapFree;        # `map_free`: what they lead to is freed.
  freeCount @34 :Event.FreeCount;    # `free_count`: what an allocator says is free.
  access @35 :Event.Access;          # Entries of an object are read or written.
  request @36 :Event.Request;        # A request arrives, runs, ends.
  accept @37 :Event.Accept;          # Drafted tokens that were accepted.
  rewind @38 :Event.Rewind;          # What was written from a token on no longer counts.
  table @39 :Event.Table;            # Cells of a page table.
  lens @40 :Event.Lens;              # Sequence lengths in a buffer.
  slots @41 :Event.SlotList;         # Slot numbers in a buffer.
  attention @42 :Event.Attention;    # A launch that reads pages.
  store @43 :Event.Store;            # A launch that writes slots.
  copy @44 :Event.Copy;              # A launch that copies pages.
  launchDone @45 :Event.LaunchDone;  # `launch_done`: a launch has completed.
  asyncBegin @46 :Event.AsyncBegin;  # `async_begin`: an operation is in flight from here.
  asyncEnd @47 :Event.AsyncEnd;      # `async_end`: it has completed.
  streamWait @48 :Event.StreamWait;  # `stream_wait`: a stream waits for another.
  graphCapture @49 :Event.GraphCapture;  # `graph_capture`: what a graph froze.
  scalar @50 :Event.Scalar;              # The run-time value of a scalar.
  refresh @51 :Event.Refresh;            # A buffer was rewritten.
  graphLaunch @52 :Event.GraphLaunch;    # `graph_launch`: all launches of a graph.
  graphStep @53 :Event.GraphStep;        # `graph_step`: one of them.
  step @54 :Event.Step;                  # A step of the engine: its number, its batch.
  kernel @55 :Event.Kernel;              # A kernel was launched.
  cudaError @56 :Event.CudaError;        # `cuda_error`: CUDA said that something failed.
  note @57 :Event.Note;                  # What someone has to say.
  dropped @58 :Event.Dropped;            # Events were lost.
  gap @59 :Event.Gap;                    # What was known becomes unknown.
  end @60 :Event.End;                    # A clean end.
}

enum Kind {
  # The order is for ever: a new kind goes to the end.

  header @0; pool @1; poolLayer @2; arena @3; extent @4; view @5; buffer @6; map @7; poolSet @8;
  backend @9; poolSwap @10; swaState @11; cached @12; layerRemap @13; version @14; alloc @15;
  share @16; free @17; evict @18; fill @19; prefixKey @20; prefixHit @21; prefixDrop @22;
  mapSet @23; mapClear @24; mapFree @25; freeCount @26; access @27; request @28; accept @29;
  rewind @30; table @31; lens @32; slots @33; attention @34; store @35; copy @36; launchDone @37;
  asyncBegin @38; asyncEnd @39; streamWait @40; graphCapture @41; scalar @42; refresh @43;
  graphLaunch @44; graphStep @45; step @46; kernel @47; cudaError @48; note @49; dropped @50;
  gap @51; end @52;
}
