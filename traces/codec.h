// SPDX-License-Identifier: Apache-2.0
// Segments: events to the payload of a frame and back. What is in one is in trace.capnp.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "traces/brief.h"
#include "traces/event.h"
#include "traces/names.h"
#include "traces/status.h"

namespace pagetape {

struct EventView;

// A message, aligned as Cap'n Proto wants it.
using Words = std::vector<std::uint64_t>;
using WordSpan = std::span<const std::uint64_t>;

// Most bytes of a body or of a keyframe's state before compression (M6, M17).
inline constexpr std::uint64_t kMaxBodyBytes = std::uint64_t{64} << 20;

// A segment in short, for a picture of it without its events.
struct Summary {
  OptInt time_first, time_last;  // Least and greatest t, ns.
  std::array<std::uint32_t, kKinds> counts{};
  std::uint32_t lanes_max = 0;  // Most rows of one launch.
  std::uint64_t launches = 0;
  std::vector<std::int64_t> ranks;  // In order of appearance.
  bool operator==(const Summary&) const = default;
};

struct SegmentInfo {
  std::uint64_t offset = 0;  // Of its frame in the file, bytes.
  std::uint64_t first_event = 0;
  std::uint32_t events = 0;
  Summary summary;
  bool operator==(const SegmentInfo&) const = default;
};

struct KeyframeInfo {
  std::uint64_t offset = 0;  // Of its frame in the file, bytes.
  std::uint64_t event = 0;   // Events applied.
  std::uint64_t digest = 0;  // Of the state.
  bool operator==(const KeyframeInfo&) const = default;
};

struct IndexInfo {
  std::uint64_t events = 0;
  std::vector<SegmentInfo> segments;
  std::vector<KeyframeInfo> keyframes;
  bool operator==(const IndexInfo&) const = default;
};

using KindSet = std::bitset<kKinds>;

// Gathers events into one segment after another.
class SegmentEncoder {
 public:
  // `zstd_level` 0: not compressed. `names` is the table of the events, and must outlive this.
  SegmentEncoder(const Names& names, int zstd_level);
  ~SegmentEncoder();

  enum class Fit {
    kFits,
    kNotNow,  // Only into a new segment.
    kNever,   // It is larger than a segment may be.
  };
  Fit fit(const Event& event) const;
  // The same in short: false where it takes a closer look.
  bool surely_fits(const EventView& view) const;

  // Adds an event that fits.
  void add(const Event& event);
  void add(const EventView& view);

  std::uint32_t events() const;
  std::uint64_t bytes() const;  // About, before compression.

  // Nothing more is added: finish(), which looks at the table of names no more, may be called by
  // another thread.
  void seal();
  // The payload of the segment, which begins with event `first_event`; and makes ready for the
  // next one. At least one event must have been added. `summary` is set.
  Words finish(std::uint64_t first_event, Summary& summary);

 private:
  struct Columns;
  std::unique_ptr<Columns> columns_;
};

// Reads the events of a segment in order. Trusts nothing of it.
class SegmentDecoder {
 public:
  explicit SegmentDecoder(Names& names);
  ~SegmentDecoder();

  // Decompresses and checks the shape of the segment; its strings are interned. False where it is
  // malformed, with error(). An uncompressed payload must outlive the reading.
  bool open(WordSpan payload);

  std::uint64_t first_event() const;
  std::uint32_t events() const;  // 0 before open().

  enum class Next {
    kEvent,
    kSkipped,  // Of a kind this reader does not know, in a segment of a newer format.
    kEnd,
    kMalformed,  // error() says why; no further event of the segment can be read.
  };
  Next next(Event& event);
  // The next events, as many as are brief ones of one rank and at hand, up to one with which
  // something may be wrong; and passes them over.
  Briefs briefs();
  void pass(const Briefs& briefs);
  // Passes the next event over, unread, where it is of one of these kinds. Not `table`: its cells
  // are changes, each rank's to its own.
  bool pass(const KindSet& kinds);

  const std::string& error() const;

 private:
  struct Columns;
  std::unique_ptr<Columns> columns_;
};

// Just what a segment says of itself, without its events (offset is left 0). False: malformed.
bool segment_info(WordSpan payload, SegmentInfo& info);

// A keyframe's payload. Level 0: not compressed.
Words encode_keyframe(const KeyframeInfo& info, std::string_view state, int zstd_level);
// `state` may be null. False: malformed.
bool decode_keyframe(WordSpan payload, KeyframeInfo& info, std::string* state);

Words encode_index(const IndexInfo& index);
bool decode_index(WordSpan payload, IndexInfo& index);

}  // namespace pagetape
