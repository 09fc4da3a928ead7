// SPDX-License-Identifier: Apache-2.0
#include "capture/record.h"

#include <algorithm>
#include <array>
#include <string>

#include "traces/text.h"

namespace pagetape {
namespace {

// The body as a T, with the storage it had where it was one. Callers set every field.
template <class T>
T& body_as(EventBody& body) {
  if (T* same = std::get_if<T>(&body)) return *same;
  return body.emplace<T>();
}

template <class T>
void read_array(RecordBytes& from, std::size_t n, std::vector<T>& to) {
  const char* array = from.take<T>(n);
  to.resize(array == nullptr ? 0 : n);
  if (!to.empty()) std::memcpy(static_cast<void*>(to.data()), array, n * sizeof(T));
}

template <class T>
char* write_array(char* to, const T* from, std::size_t n) {
  if (n > 0) std::memcpy(to, from, n * sizeof(T));
  return to + padded(n * sizeof(T));
}

template <class T>
void read_optional(RecordBytes& from, bool has, std::size_t n, std::optional<std::vector<T>>& to) {
  if (!has) {
    to.reset();
    return;
  }
  if (!to) to.emplace();
  read_array(from, n, *to);
}

// The bytes of an array of a row behind the rows, added to `bytes`; false where it cannot be one.
template <class T>
bool add_bytes(const T* array, std::size_t n, std::size_t& bytes) {
  if (n > kMostElements || (array == nullptr && n > 0)) return false;
  bytes += padded(n * sizeof(T));
  return true;
}

constexpr std::size_t kColumns = 7;  // `req`, then the integers, in the order of ptape_lanes.

std::array<const std::int64_t*, kColumns - 1> integers(const ptape_lanes& lanes) {
  return {lanes.len, lanes.row, lanes.q_len, lanes.q_pos, lanes.first, lanes.n};
}

void set_layers(const std::int32_t* layers, std::size_t n, std::optional<Layer>& one,
                std::optional<Layers>& many) {
  one.reset();
  if (n == 1) {
    many.reset();
    one = Layer::number(layers[0]);
    return;
  }
  if (!many) many.emplace();
  many->resize(n);
  for (std::size_t i = 0; i < n; ++i) (*many)[i] = Layer::number(layers[i]);
}

}  // namespace

std::optional<std::size_t> rows_bytes(const ptape_row* rows, std::size_t n) {
  if (n > kMostElements || (rows == nullptr && n > 0)) return std::nullopt;
  std::size_t bytes = n * sizeof(ptape_row);
  std::size_t elements = 0;  // Mostly none: then one look at all rows is enough.
  for (std::size_t i = 0; i < n; ++i) elements |= rows[i].n_pages | rows[i].n_slots;
  if (elements == 0) return bytes;
  for (std::size_t i = 0; i < n; ++i) {
    if (!add_bytes(rows[i].pages, rows[i].n_pages, bytes) ||
        !add_bytes(rows[i].slots, rows[i].n_slots, bytes)) {
      return std::nullopt;
    }
  }
  return bytes;
}

void write_rows(char* to, const ptape_row* rows, std::size_t n, std::size_t bytes) {
  char* arrays = write_array(to, rows, n);
  if (arrays == to + bytes) return;
  for (std::size_t i = 0; i < n; ++i) {
    arrays = write_array(arrays, rows[i].pages, rows[i].n_pages);
    arrays = write_array(arrays, rows[i].slots, rows[i].n_slots);
  }
}

std::optional<std::size_t> lanes_bytes(const ptape_lanes& lanes, std::uint16_t& flag) {
  if (lanes.n_lanes > kMostElements) return std::nullopt;
  unsigned columns = lanes.req != nullptr;
  std::size_t bytes = lanes.req != nullptr ? padded(lanes.n_lanes * sizeof(ptape_name)) : 0;
  unsigned bit = 1;
  for (const std::int64_t* column : integers(lanes)) {
    bit <<= 1;
    if (column == nullptr) continue;
    columns |= bit;
    bytes += lanes.n_lanes * sizeof(std::int64_t);
  }
  flag = static_cast<std::uint16_t>(kLanesByColumn | columns << 2);
  return bytes;
}

void write_lanes(char* to, const ptape_lanes& lanes) {
  if (lanes.req != nullptr) to = write_array(to, lanes.req, lanes.n_lanes);
  for (const std::int64_t* column : integers(lanes)) {
    if (column != nullptr) to = write_array(to, column, lanes.n_lanes);
  }
}

const ptape_lanes* lanes_of(const ptape_launch& launch) {
  return launch.size < offsetof(ptape_launch, lanes) + sizeof(launch.lanes) ? nullptr
                                                                            : launch.lanes;
}

const ptape_tensor* bound_of(const ptape_launch& launch) {
  return launch.size < offsetof(ptape_launch, bound) + sizeof(launch.bound) ? nullptr
                                                                            : launch.bound;
}

std::optional<std::size_t> launch_head_bytes(const ptape_launch& launch) {
  std::size_t bytes = sizeof(LaunchPart);
  if (!add_bytes(launch.layers, launch.n_layers, bytes)) return std::nullopt;
  const ptape_tensor* bound = bound_of(launch);
  if (bound == nullptr) return bytes;
  if (bound->size < sizeof(ptape_tensor) || !add_bytes(bound->shape, bound->n_dims, bytes) ||
      !add_bytes(bound->stride, bound->n_dims, bytes)) {
    return std::nullopt;
  }
  return bytes;
}

char* write_launch_head(char* to, const ptape_launch& launch) {
  const ptape_tensor* bound = bound_of(launch);
  const std::uint32_t n_dims = bound != nullptr ? bound->n_dims : 0;
  const LaunchPart part{launch.backend,
                        launch.mode,
                        launch.space,
                        launch.unit,
                        launch.table,
                        launch.lens,
                        launch.slots,
                        launch.kernel,
                        launch.bound_pool,
                        static_cast<std::uint32_t>(launch.n_layers),
                        launch.bound_pages,
                        launch.bound_ptr,
                        launch.window,
                        launch.page_size,
                        launch.table_rows,
                        launch.table_cols,
                        n_dims,
                        0};
  std::memcpy(to, &part, sizeof(part));
  to = write_array(to + sizeof(part), launch.layers, launch.n_layers);
  if (n_dims == 0) return to;
  return write_array(write_array(to, bound->shape, n_dims), bound->stride, n_dims);
}

void CallersNames::add(Name name) {
  const std::size_t page = next_ / kPage;
  if (page >= pages_.size()) pages_.resize(page + 1);
  if (pages_[page] == nullptr) pages_[page] = std::make_unique<Page>();
  pages_[page]->names[next_++ % kPage] = name;
  ++pages_[page]->used;
}

bool CallersNames::forget(std::uint32_t id) {
  if ((*this)[id] == kNone) return false;
  std::unique_ptr<Page>& page = pages_[id / kPage];
  page->names[id % kPage] = kNone;
  // The last one is still being filled.
  if (--page->used == 0 && id / kPage < next_ / kPage) page.reset();
  return true;
}

std::size_t CallersNames::pages() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(pages_, [](const auto& page) { return page != nullptr; }));
}

bool read_record(RecordBytes& bytes, Record& record) {
  const char* head = bytes.take<char>(kRecordHead);
  if (head == nullptr) return false;
  std::memcpy(static_cast<void*>(&record), head, kRecordHead);
  if (record.n_names > kRecordNames || record.n_ints > kRecordInts) return false;
  const char* names = bytes.take<std::uint32_t>(record.n_names);
  const char* ints = bytes.take<std::int64_t>(record.n_ints);
  if (!bytes.ok()) return false;
  // One after the other: there are few.
  for (std::size_t i = 0; i < kRecordNames; ++i) {
    record.names[i] = 0;
    if (i < record.n_names) std::memcpy(&record.names[i], names + 4 * i, 4);
  }
  for (std::size_t i = 0; i < kRecordInts; ++i) {
    record.ints[i] = PTAPE_ABSENT;
    if (i < record.n_ints) std::memcpy(&record.ints[i], ints + 8 * i, 8);
  }
  return true;
}

Status RecordDecoder::decode_json(const Record& record, RecordBytes& payload, Event& event) {
  from_json_ = true;
  event.extra.clear();
  const char* line = payload.take<char>(record.n);
  if (line == nullptr) return usage("a line that is longer than its record");
  Status parsed = parse_event(std::string_view(line, record.n), names_, event);
  if (!parsed.ok()) return parsed;
  if (!event.t.has_value()) event.t = record.t;
  if (!event.rank.has_value() && record.rank >= 0) event.rank = record.rank;
  return {};
}

void RecordDecoder::decode_head(const Record& record, Event& event) {
  event.t = record.t;
  event.rank = record.rank >= 0 ? OptInt(record.rank) : OptInt();
  event.stream = record.stream;
  event.src = name(record.src);
  event.extra.clear();
  if (from_json_) event.body = EventBody();  // It may hold fields that no record sets.
  from_json_ = false;
}

Status RecordDecoder::decode(const Record& record, RecordBytes payload, Event& event) {
  if (record.kind == kJsonRecord) return decode_json(record, payload, event);
  decode_head(record, event);
  if (Status status = decode_body(record, payload, event.body); !status.ok()) return status;
  if (!payload.ok()) return usage("an array that is longer than its record");
  return check_event(event, names_);
}

template <class T>
void RecordDecoder::decode_owned(const Record& record, RecordBytes& payload, T& to) {
  to.pool = name(record.names[0]);
  to.req = name(record.names[1]);
  read_array(payload, record.n, to.pages);
}

Status RecordDecoder::decode_pages(const Record& record, RecordBytes& payload, EventBody& body) {
  switch (record.kind) {
    case kKindOf<ev::Alloc>: {
      auto& to = body_as<ev::Alloc>(body);
      decode_owned(record, payload, to);
      to.first = record.ints[0];
      return {};
    }
    case kKindOf<ev::Share>: {
      auto& to = body_as<ev::Share>(body);
      decode_owned(record, payload, to);
      to.first = record.ints[0];
      return {};
    }
    case kKindOf<ev::Free>:
      decode_owned(record, payload, body_as<ev::Free>(body));
      return {};
    case kKindOf<ev::Evict>:
      body = ev::Evict{name(record.names[0]), name(record.names[1]), record.ints[0],
                       PageId{static_cast<std::int32_t>(record.ints[1])}};
      return {};
    case kKindOf<ev::MapSet>: {
      auto& to = body_as<ev::MapSet>(body);
      to.map = name(record.names[0]);
      static_assert(sizeof(Pair) == 2 * sizeof(std::int64_t));
      read_array(payload, record.n, to.pairs);
      return {};
    }
    case kKindOf<ev::MapClear>: {
      auto& to = body_as<ev::MapClear>(body);
      to.map = name(record.names[0]);
      read_array(payload, record.n, to.from);
      return {};
    }
    case kKindOf<ev::Table>: {
      auto& to = body_as<ev::Table>(body);
      to.buffer = name(record.names[0]);
      to.req = name(record.names[1]);
      to.space = name(record.names[2]);
      to.unit = name(record.names[3]);
      to.row = record.ints[0];
      to.col = record.ints[1];
      read_array(payload, record.n, to.pages);
      return {};
    }
    case kKindOf<ev::Lens>: {
      auto& to = body_as<ev::Lens>(body);
      to.buffer = name(record.names[0]);
      to.row = record.ints[0];
      read_array(payload, record.n, to.values);
      return {};
    }
    case kKindOf<ev::SlotList>: {
      auto& to = body_as<ev::SlotList>(body);
      to.buffer = name(record.names[0]);
      to.row = record.ints[0];
      read_array(payload, record.n, to.values);
      return {};
    }
    default:
      return usage("a record of kind " + std::to_string(record.kind));
  }
}

Status RecordDecoder::decode_body(const Record& record, RecordBytes& payload, EventBody& body) {
  const auto& names = record.names;
  const auto& ints = record.ints;
  switch (record.kind) {
    case kKindOf<ev::Refresh>:
      body = ev::Refresh{name(names[0])};
      return {};
    case kKindOf<ev::Step>:
      body = ev::Step{ints[0], name(names[0]), ints[1]};
      return {};
    case kKindOf<ev::Request>:
      body = ev::Request{name(names[0]), name(names[1])};
      return {};
    case kKindOf<ev::Accept>:
      body = ev::Accept{name(names[0]), ints[0], ints[1]};
      return {};
    case kKindOf<ev::Rewind>:
      body = ev::Rewind{name(names[0]), name(names[1]), ints[0]};
      return {};
    case kKindOf<ev::Dropped>:
      body = ev::Dropped{ints[0], ints[1], ints[2]};
      return {};
    case kKindOf<ev::End>:
      body = ev::End{};
      return {};
    case kKindOf<ev::SwaState>:
      body = ev::SwaState{name(names[0]), record.flag != 0, name(names[1]), name(names[2])};
      return {};
    case kKindOf<ev::PoolSwap>: {
      auto& to = body_as<ev::PoolSwap>(body);
      to.backend = name(names[0]);
      to.pool = name(names[1]);
      to.set = name(names[2]);
      to.layers.all = record.flag != 0;
      read_array(payload, record.n, to.layers.list);
      return {};
    }
    case kKindOf<ev::Attention>:
    case kKindOf<ev::Store>:
    case kKindOf<ev::GraphLaunch>:
      decode_launch(record, payload, body);
      return {};
    case kKindOf<ev::LaunchDone>:
      body = ev::LaunchDone{ints[0]};
      return {};
    case kKindOf<ev::StreamWait>:
      body = ev::StreamWait{ints[0], std::nullopt};
      return {};
    case kKindOf<ev::Kernel>: {
      auto& to = body_as<ev::Kernel>(body);
      to.name = name(names[0]);
      to.correlation = ints[0];
      std::vector<std::uint32_t> sizes;
      read_array(payload, record.n, sizes);
      const auto half = sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2);
      to.grid.assign(sizes.begin(), half);
      to.block.assign(half, sizes.end());
      return {};
    }
    default:
      return decode_pages(record, payload, body);
  }
}

void RecordDecoder::read_rows(RecordBytes& from, std::size_t n, std::vector<ev::Row>& rows) {
  const char* at = from.take<ptape_row>(n);
  rows.resize(at == nullptr ? 0 : n);
  for (ev::Row& to : rows) {
    ptape_row row;
    std::memcpy(&row, at, sizeof(row));
    at += sizeof(row);
    to.req = name(row.req);
    to.len = row.len;
    to.row = row.row;
    to.q_len = row.q_len;
    to.q_pos = row.q_pos;
    to.first = row.first;
    to.n = row.n;
    read_optional(from, row.pages != nullptr, row.n_pages, to.pages);
    read_optional(from, row.slots != nullptr, row.n_slots, to.slots);
  }
}

void RecordDecoder::read_lanes(RecordBytes& from, std::size_t n, unsigned columns,
                               std::vector<ev::Row>& rows) {
  // Lanes of which nothing is said take no room in the record; no segment holds more than so many.
  constexpr std::size_t kMostLanes = 1u << 18;
  if (n > kMostLanes) {
    (void)from.take<char>(from.left() + 1);
    return;
  }
  rows.assign(n, {});
  if ((columns & 1) != 0) {
    const auto* req = reinterpret_cast<const ptape_name*>(from.take<ptape_name>(n));
    if (req == nullptr) return;
    for (std::size_t i = 0; i < n; ++i) rows[i].req = name(req[i]);
  }
  for (OptInt ev::Row::*const field : {&ev::Row::len, &ev::Row::row, &ev::Row::q_len,
                                       &ev::Row::q_pos, &ev::Row::first, &ev::Row::n}) {
    columns >>= 1;
    if ((columns & 1) == 0) continue;
    const auto* values = reinterpret_cast<const std::int64_t*>(from.take<std::int64_t>(n));
    if (values == nullptr) return;
    for (std::size_t i = 0; i < n; ++i) rows[i].*field = values[i];
  }
}

void RecordDecoder::decode_graph_launch(const Record& record, RecordBytes& payload,
                                        ev::GraphLaunch& to) {
  to.graph = name(record.names[0]);
  if (record.flag == kNoLanes) {
    to.rows.reset();
    return;
  }
  if (!to.rows) to.rows.emplace();
  if (record.flag == kLanesByRow) {
    read_rows(payload, record.n, to.rows->renew());
  } else {
    read_lanes(payload, record.n, record.flag >> 2, to.rows->renew());
  }
}

void RecordDecoder::decode_launch(const Record& record, RecordBytes& payload, EventBody& body) {
  if (record.kind == kKindOf<ev::GraphLaunch>) {
    decode_graph_launch(record, payload, body_as<ev::GraphLaunch>(body));
    return;
  }
  LaunchPart part;
  const char* head = payload.take<LaunchPart>(1);
  if (head == nullptr) return;
  std::memcpy(&part, head, sizeof(part));
  const auto* layers =
      reinterpret_cast<const std::int32_t*>(payload.take<std::int32_t>(part.n_layers));
  if (layers == nullptr) return;
  std::optional<ev::Bound> bound;
  if (part.bound_pool != 0 || part.bound_pages != PTAPE_ABSENT || part.bound_ptr != PTAPE_ABSENT ||
      part.n_dims != 0) {
    bound = ev::Bound{name(part.bound_pool), part.bound_pages, part.bound_ptr, {}, {}};
    read_optional(payload, part.n_dims != 0, part.n_dims, bound->shape);
    read_optional(payload, part.n_dims != 0, part.n_dims, bound->stride);
  }
  auto common = [&](auto& to) {
    to.backend = name(part.backend);
    if (record.n_names > 0) {
      to.layer = Layer::named(name(record.names[0]));
      to.layers.reset();
    } else {
      set_layers(layers, part.n_layers, to.layer, to.layers);
    }
    if (record.flag == kNoLanes) {
      read_rows(payload, record.n, to.rows.renew());
    } else {
      read_lanes(payload, record.n, record.flag >> 2, to.rows.renew());
    }
    to.space = name(part.space);
    to.unit = name(part.unit);
    to.bound = std::move(bound);
  };
  if (record.kind == kKindOf<ev::Store>) {
    auto& to = body_as<ev::Store>(body);
    common(to);
    to.slots = name(part.slots);
    return;
  }
  auto& to = body_as<ev::Attention>(body);
  common(to);
  to.mode = name(part.mode);
  to.table = name(part.table);
  to.lens = name(part.lens);
  to.kernel = name(part.kernel);
  to.page_size = part.page_size;
  to.window = part.window;
  to.table_rows = part.table_rows;
  to.table_cols = part.table_cols;
}

}  // namespace pagetape
