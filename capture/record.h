// SPDX-License-Identifier: Apache-2.0
// What callers leave for the one who writes the trace: flat records of native byte order, the
// payloads of a ring. Written with a few stores by the engine's threads; read by a drain, in this
// process or in another one, which trusts no length of theirs.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "capture/pagetape_capture.h"
#include "traces/event.h"
#include "traces/event_view.h"
#include "traces/names.h"
#include "traces/status.h"

namespace pagetape {

inline constexpr std::uint16_t kJsonRecord = 0xffff;  // The payload is a line of the text form.
inline constexpr std::uint16_t kNameRecord = 0xfffe;  // The payload is the next id's text.
// Here stands what a compare found changed. Its names are buffer, lens, space, unit, its integers
// the table's number and the compare's. Its flag says what that is to mean.
inline constexpr std::uint16_t kCompareRecord = 0xfffd;
enum CompareMeaning : std::uint16_t {
  kChanges = 0,
  // The table's first `n` cells are pages at logical places of the request that is the third name,
  // from the third integer on.
  kNamed = 1,
  // What the third name held of the pool the fourth does: at no places, …
  kMoved = 2,
  kKept = 3,  // … or at the same.
};
// The id in its integer is used by no record behind this one.
inline constexpr std::uint16_t kForgetRecord = 0xfffc;

constexpr std::size_t padded(std::size_t bytes) { return (bytes + 7) & ~std::size_t{7}; }

inline constexpr std::size_t kRecordNames = 4, kRecordInts = 3;

// What a caller says of an event; which names and integers a kind uses is said once, in record.cc's
// decoder. `n` elements of payload follow it.
struct Record {
  std::uint16_t kind = 0;  // Index in EventBody, or one of the above.
  std::uint16_t flag = 0;
  std::uint32_t n = 0;
  std::int64_t t = PTAPE_ABSENT;
  std::int32_t stream = 0;
  std::int32_t rank = -1;  // Negative: none.
  std::uint32_t src = 0;
  std::uint16_t n_names = 0, n_ints = 0;  // Those that are set; the others are absent.
  std::uint32_t names[kRecordNames] = {};
  std::int64_t ints[kRecordInts] = {PTAPE_ABSENT, PTAPE_ABSENT, PTAPE_ABSENT};

  void set_names(std::same_as<ptape_name> auto... ids) {
    n_names = 0;
    ((names[n_names++] = ids), ...);
  }
  void set_ints(std::same_as<std::int64_t> auto... values) {
    n_ints = 0;
    ((ints[n_ints++] = values), ...);
  }
};

// In the ring: what stands before the names, the names, the integers, the payload, each padded to 8
// bytes. A small event is a cache line.
inline constexpr std::size_t kRecordHead = offsetof(Record, names);
static_assert(kRecordHead == 32 && std::endian::native == std::endian::little);

constexpr std::size_t record_bytes(const Record& record, std::size_t payload_bytes) {
  return kRecordHead + padded(record.n_names * sizeof(record.names[0])) +
         record.n_ints * sizeof(record.ints[0]) + padded(payload_bytes);
}

// Writes all but the payload, and returns where that stands. Word by word, from registers: a copy
// of a record that was just filled field by field would wait for those stores.
[[gnu::always_inline]] inline char* write_record(char* to, const Record& record) {
  const auto put = [&to](std::uint64_t word) {
    std::memcpy(to, &word, sizeof(word));
    to += sizeof(word);
  };
  const auto pair = [](std::uint32_t low, std::uint32_t high) {
    return low | std::uint64_t{high} << 32;
  };
  put(pair(record.kind | std::uint32_t{record.flag} << 16, record.n));
  put(static_cast<std::uint64_t>(record.t));
  put(pair(static_cast<std::uint32_t>(record.stream), static_cast<std::uint32_t>(record.rank)));
  put(pair(record.src, record.n_names | std::uint32_t{record.n_ints} << 16));
  if (record.n_names > 0) put(pair(record.names[0], record.names[1]));
  if (record.n_names > 2) put(pair(record.names[2], record.names[3]));
  if (record.n_ints > 0) put(static_cast<std::uint64_t>(record.ints[0]));
  if (record.n_ints > 1) put(static_cast<std::uint64_t>(record.ints[1]));
  if (record.n_ints > 2) put(static_cast<std::uint64_t>(record.ints[2]));
  return to;
}

// A stretch of bytes that is read from its beginning, never past its end.
class RecordBytes {
 public:
  RecordBytes(const char* at, std::size_t bytes) : at_(at), left_(bytes) {}

  // The next n elements, padding passed; null where there are not so many.
  template <class T>
  const char* take(std::size_t n) {
    return take(n, sizeof(T));
  }
  const char* take(std::size_t n, std::size_t element_bytes) {
    const std::size_t bytes = padded(n * element_bytes);
    // No more than the least of elements could be: what is multiplied does not wrap.
    if (n > left_ || bytes > left_) {
      left_ = 0;
      ok_ = false;
      return nullptr;
    }
    left_ -= bytes;
    return std::exchange(at_, at_ + bytes);
  }
  bool ok() const { return ok_; }
  std::size_t left() const { return left_; }

 private:
  const char* at_;
  std::size_t left_;
  bool ok_ = true;
};

// Takes the record off `bytes`, which then is its payload. False where it is none.
bool read_record(RecordBytes& bytes, Record& record);

// A launch's payload: LaunchPart, layers, the bound tensor's sizes and strides, then its rows. The
// record has a name where the launch is of a layer that has one in the place of a number.
struct LaunchPart {
  std::uint32_t backend, mode, space, unit, table, lens, slots, kernel, bound_pool, n_layers;
  std::int64_t bound_pages, bound_ptr, window, page_size, table_rows, table_cols;
  std::uint32_t n_dims, reserved;
};

inline constexpr std::uint64_t kNoPlace = UINT64_MAX;
inline constexpr std::size_t kMostElements = std::size_t{1} << 26;  // Of one array of a caller's.

// Rows are copied as they are, in one piece; where a row has arrays, these follow in the rows'
// order. Of the pointers in the copy just one thing counts, whether they are null: an empty list
// is not an absent one.
//
// The bytes that write_rows fills; none where an array is null or too long.
std::optional<std::size_t> rows_bytes(const ptape_row* rows, std::size_t n);
void write_rows(char* to, const ptape_row* rows, std::size_t n, std::size_t bytes);
// Of what stands before the rows of a launch; none where an array is null or too long.
std::optional<std::size_t> launch_head_bytes(const ptape_launch& launch);
char* write_launch_head(char* to, const ptape_launch& launch);
// A caller's field, where the version of its struct has it; else null.
const ptape_lanes* lanes_of(const ptape_launch& launch);
const ptape_tensor* bound_of(const ptape_launch& launch);

// How the lanes of a launch stand in its payload: Record::flag. Those of an attention or a store
// stand by row where it is 0.
enum LanesForm : std::uint16_t {
  kNoLanes = 0,
  kLanesByRow = 1,  // As write_rows leaves them.
  // As write_lanes does. Bit 2: there are requests. Then two bits, a ColumnForm, for each column of
  // integers, in the order of ptape_lanes. Bit 15: `n` stands for what `len` has.
  kLanesByColumn = 2,
  // As in the record whose place in the ring is the first integer: a launch has mostly the lanes of
  // one just before it, in another layer.
  kLanesEarlier = 3,
};
// Fewer lanes than these are no longer than what would refer to them.
inline constexpr std::size_t kLeastReferred = 16;
// Of so many records a writer remembers the lanes (lanes_memory.h), and a reader has them at hand.
inline constexpr std::size_t kLanesRemembered = 4;
// What takes a launch's time is the memory that it writes to, which the reader's core has last had:
// a column takes no more of it than it says.
enum ColumnForm : std::uint16_t {
  kNoColumn = 0,
  kWide = 1,    // Of 64 bits each.
  kNarrow = 2,  // Of 32.
  kSteady = 3,  // The first and by how much each is more than that before it, of 64 bits.
};

// How a caller's lanes are to stand there: bytes, and Record::flag. None where they are too many.
struct LanesPlan {
  std::size_t bytes = 0;
  std::uint16_t flag = kNoLanes;
};
std::optional<LanesPlan> plan_lanes(const ptape_lanes& lanes);
// The bytes of the plan, which has that flag.
void write_lanes(char* to, const ptape_lanes& lanes, std::uint16_t flag);

// Lanes by column that stood in a record, as a reader has them.
struct KnownLanes {
  std::uint64_t position = kNoPlace;  // Of the record.
  LanesView view;
  std::vector<Name> reqs;
  std::vector<std::int64_t> cells;
};

// The table's names of the caller's ids, which are given out densely from 1. Takes room for those
// that were not forgotten, and for the others of their pages.
class CallersNames {
 public:
  void add(Name name);
  // False where it is none, or was forgotten.
  bool forget(std::uint32_t id);
  Name operator[](std::uint32_t id) const {
    const std::size_t page = id / kPage;
    if (page >= pages_.size()) return kNone;
    const Page* names = pages_.data()[page].get();
    return names != nullptr ? names->names[id % kPage] : kNone;
  }
  std::size_t pages() const;  // That take room.

 private:
  static constexpr std::size_t kPage = 256;
  struct Page {
    Name names[kPage] = {};
    std::size_t used = 0;
  };
  std::vector<std::unique_ptr<Page>> pages_;
  std::size_t next_ = 1;
};

// Makes events of records. Names are the caller's ids, which are turned into those of the table.
// Keeps the event's storage where the kind stays the same.
class RecordDecoder {
 public:
  explicit RecordDecoder(Names& names) : names_(names) {}

  // The next id of the caller's: they are given out densely from 1.
  void add_name(std::string_view text) { ids_.add(names_.intern(text)); }
  bool forget_name(std::uint32_t id) { return ids_.forget(id); }

  Status decode(const Record& record, RecordBytes payload, Event& event);
  // Those of the record at that place in the ring, where they were read not long ago; else null.
  const KnownLanes* known_lanes(std::uint64_t position) const;
  // Reads them from there, for the records to come that refer to them.
  void learn_lanes(const Record& record, RecordBytes payload, std::uint64_t position);
  // The same as a view of the record that stands there, which holds as long as the record and its
  // payload do, and until the next call. False where the record is none of a kind that has one, or
  // is cut, or refers to lanes that are not known; the view is still to be checked.
  bool view(const Record& record, RecordBytes payload, EventView& view,
            std::uint64_t position = kNoPlace);
  // The event's time, stream, rank and place, for a record whose body others make.
  void decode_head(const Record& record, Event& event);
  Name name(std::uint32_t id) const { return ids_[id]; }
  const CallersNames& ids() const { return ids_; }

 private:
  Status decode_json(const Record& record, RecordBytes& payload, Event& event);
  Status decode_body(const Record& record, RecordBytes& payload, Event& event);
  void decode_launch(const Record& record, RecordBytes& payload, Event& event);
  void read_rows(RecordBytes& from, std::size_t n, ev::Rows& rows);
  bool read_view(const Record& record, RecordBytes& payload, EventView& view,
                 std::uint64_t position);
  void view_launch(const Record& record, RecordBytes& payload, LaunchFields& to);
  KnownLanes& room_for_lanes(std::uint64_t position);
  void read_lanes(RecordBytes& from, const Record& record, KnownLanes& to);
  void view_sizes(std::span<const std::uint32_t> sizes, EventView& to);

  Names& names_;
  CallersNames ids_;
  bool from_json_ = false;  // The event's storage was last written by the text form's parser.
  EventView view_;
  ev::Rows rows_;
  // Lists of a view that stand otherwise in the record.
  KnownLanes lanes_;  // To which nobody refers.
  std::array<KnownLanes, kLanesRemembered> known_;
  std::size_t next_known_ = 0;
  std::vector<std::int64_t> sizes_;
};

}  // namespace pagetape
