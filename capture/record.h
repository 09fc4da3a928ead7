// SPDX-License-Identifier: Apache-2.0
// What callers leave for the writer's thread: flat records of native byte order, which never leave
// the process. Written with a few stores under the recorder's lock, read by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
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

// A launch's payload: LaunchPart, layers, then RowPart and its arrays for each row.
struct LaunchPart {
  std::uint32_t backend, mode, space, unit, table, lens, slots, kernel, bound_pool, n_layers;
  std::int64_t bound_pages, bound_ptr, window, page_size, table_rows, table_cols;
};

struct RowPart {
  std::uint32_t req, n_pages, n_slots;
  std::uint16_t has_pages, has_slots;  // An empty list is not an absent one.
  std::int64_t len, row, q_len, q_pos, first, n;
};

// Bytes that write_rows and write_launch need.
std::size_t rows_bytes(const ptape_row* rows, std::size_t n);
std::size_t launch_bytes(const ptape_launch& launch);
char* write_rows(char* to, const ptape_row* rows, std::size_t n);
void write_launch(char* to, const ptape_launch& launch);

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
  const char* read_rows(const char* from, std::size_t n, std::vector<ev::Row>& rows);

  Names& names_;
  std::vector<Name> ids_{kNone};
  bool from_json_ = false;  // The event's storage was last written by the text form's parser.
};

}  // namespace pagetape
