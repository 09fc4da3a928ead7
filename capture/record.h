// SPDX-License-Identifier: Apache-2.0
// What callers leave for the writer's thread: flat records of native byte order, which never leave
// the process. Written with a few stores under the recorder's lock, read by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "capture/pagetape_capture.h"
#include "traces/event.h"
#include "traces/names.h"
#include "traces/status.h"

namespace pagetape {

inline constexpr std::uint16_t kJsonRecord = 0xffff;  // The payload is a line of the text form.

// The fixed part, the same for every kind; which names and integers a kind uses is said once, in
// record.cc's decoder. `n` elements of payload follow, then padding to 8 bytes.
struct Record {
  std::uint32_t bytes = 0;  // All of it: a multiple of 8.
  std::uint16_t kind = 0;   // Index in EventBody, or kJsonRecord.
  std::uint16_t flag = 0;
  std::int32_t stream = 0;
  std::int32_t rank = -1;  // Negative: none.
  std::uint32_t src = 0;
  std::uint32_t n = 0;
  std::int64_t t = PTAPE_ABSENT;
  std::uint32_t names[4] = {};
  std::int64_t ints[3] = {PTAPE_ABSENT, PTAPE_ABSENT, PTAPE_ABSENT};
};
static_assert(sizeof(Record) % 8 == 0);

constexpr std::size_t padded(std::size_t bytes) { return (bytes + 7) & ~std::size_t{7}; }

// A launch's payload: LaunchPart, layers, then its rows.
struct LaunchPart {
  std::uint32_t backend, mode, space, unit, table, lens, slots, kernel, bound_pool, n_layers;
  std::int64_t bound_pages, bound_ptr, window, page_size, table_rows, table_cols;
};

inline constexpr std::size_t kMostElements = std::size_t{1} << 26;  // Of one array of a caller's.

// Rows are copied as they are, in one piece; where a row has arrays, these follow in the rows'
// order. Of the pointers in the copy just one thing counts, whether they are null: an empty list
// is not an absent one.
//
// The bytes that write_rows fills; none where an array is null or too long.
std::optional<std::size_t> rows_bytes(const ptape_row* rows, std::size_t n);
void write_rows(char* to, const ptape_row* rows, std::size_t n, std::size_t bytes);
// Of what stands before the rows of a launch.
std::size_t launch_head_bytes(const ptape_launch& launch);
char* write_launch_head(char* to, const ptape_launch& launch);

// How the lanes of a graph launch stand in its payload: Record::flag.
enum LanesForm : std::uint16_t {
  kNoLanes = 0,
  kLanesByRow = 1,     // As write_rows leaves them.
  kLanesByColumn = 2,  // As write_lanes does; from bit 2 on, one bit for each column there is.
};

// As rows_bytes and write_rows. `flag` gets the record's.
std::optional<std::size_t> lanes_bytes(const ptape_lanes& lanes, std::uint16_t& flag);
void write_lanes(char* to, const ptape_lanes& lanes);

// Makes events of records. Names are the caller's ids, which `names[id]` turns into those of the
// table. Keeps the event's storage where the kind stays the same.
class RecordDecoder {
 public:
  explicit RecordDecoder(Names& names) : names_(names) {}

  // The next id of the caller's: they are given out densely from 1.
  void add_name(std::string_view text) { ids_.push_back(names_.intern(text)); }

  Status decode(const Record& record, const char* payload, Event& event);

 private:
  Name name(std::uint32_t id) const { return id < ids_.size() ? ids_[id] : kNone; }
  Status decode_body(const Record& record, const char* payload, EventBody& body);
  Status decode_pages(const Record& record, const char* payload, EventBody& body);
  Status decode_launch(const Record& record, const char* payload, EventBody& body);
  template <class T>
  void decode_owned(const Record& record, const char* payload, T& to);
  void read_rows(const char* from, std::size_t n, std::vector<ev::Row>& rows);
  void read_lanes(const char* from, std::size_t n, unsigned columns, std::vector<ev::Row>& rows);
  void decode_graph_launch(const Record& record, const char* payload, ev::GraphLaunch& to);

  Names& names_;
  std::vector<Name> ids_{kNone};
  bool from_json_ = false;  // The event's storage was last written by the text form's parser.
};

}  // namespace pagetape
