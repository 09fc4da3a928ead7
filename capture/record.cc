// SPDX-License-Identifier: Apache-2.0
#include "capture/record.h"

#include <algorithm>
#include <array>
#include <new>
#include <span>
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
  if (n == 1) {  // As a launch of one layer, or of one lane, has it: a store and no call.
    std::memcpy(to, from, sizeof(T));
  } else if (n > 0) {
    std::memcpy(to, from, n * sizeof(T));
  }
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

// The columns of integers, in the order of ptape_lanes.
constexpr std::size_t kIntegers = 6;
std::array<const std::int64_t*, kIntegers> integers(const ptape_lanes& lanes) {
  return {lanes.len, lanes.row, lanes.q_len, lanes.q_pos, lanes.first, lanes.n};
}

constexpr unsigned kHasReqs = 1u << 2, kSizesAreLens = 1u << 15;
constexpr ColumnForm form_in(unsigned flag, std::size_t column) {
  return static_cast<ColumnForm>(flag >> (3 + 2 * column) & 3);
}
constexpr unsigned flag_of(ColumnForm form, std::size_t column) {
  return static_cast<unsigned>(form) << (3 + 2 * column);
}

// Calls f(i) for each i below n, eight of them in a loop of its own: compilers take those at once
// where their number is known.
template <class F>
[[gnu::always_inline]] inline void for_each_cell(std::size_t n, F&& f) {
  constexpr std::size_t kAtOnce = 8;
  std::size_t i = 0;
  for (; i + kAtOnce <= n; i += kAtOnce) {
    for (std::size_t k = 0; k < kAtOnce; ++k) f(i + k);
  }
  for (; i < n; ++i) f(i);
}

// From so many integers on two of 64 bits are the shortest form.
constexpr std::size_t kLeastSteady = 5;

// The shortest form of n integers, of which there is one. Each look is at all of them, without a
// branch.
ColumnForm form_of(const std::int64_t* cells, std::size_t n) {
  const auto at = [cells](std::size_t i) { return static_cast<std::uint64_t>(cells[i]); };
  std::uint64_t bits = 0;
  if (n >= kLeastSteady) {
    const std::uint64_t step = at(1) - at(0);
    if (at(n - 1) - at(0) == (n - 1) * step) {
      for_each_cell(n - 1, [&](std::size_t i) { bits |= at(i + 1) - at(i) - step; });
      if (bits == 0) return kSteady;
    }
    bits = 0;
  }
  for_each_cell(n, [&](std::size_t i) { bits |= at(i) + (std::uint64_t{1} << 31); });
  return bits >> 32 == 0 ? kNarrow : kWide;
}

std::size_t column_bytes(ColumnForm form, std::size_t n) {
  switch (form) {
    case kNoColumn:
      return 0;
    case kWide:
      return n * sizeof(std::int64_t);
    case kNarrow:
      return padded(n * sizeof(std::int32_t));
    case kSteady:
      return 2 * sizeof(std::int64_t);
  }
  return 0;
}

// The next n elements where they stand; none of them where there are not so many.
template <class T>
std::span<const T> list_of(RecordBytes& from, std::size_t n) {
  const char* at = from.take<T>(n);
  return {reinterpret_cast<const T*>(at), at == nullptr ? 0 : n};
}

std::size_t element_bytes(std::size_t kind) {
  switch (kind) {
    case kKindOf<ev::Alloc>:
    case kKindOf<ev::Share>:
    case kKindOf<ev::Free>:
    case kKindOf<ev::Table>:
      return sizeof(PageId);
    case kKindOf<ev::MapSet>:
      return sizeof(Pair);
    case kKindOf<ev::MapClear>:
    case kKindOf<ev::Lens>:
    case kKindOf<ev::SlotList>:
      return sizeof(std::int64_t);
    default:
      return 0;
  }
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

std::optional<LanesPlan> plan_lanes(const ptape_lanes& lanes) {
  const std::size_t n = lanes.n_lanes;
  if (n > kMostElements) return std::nullopt;
  unsigned bits = kLanesByColumn;
  std::size_t bytes = 0;
  if (lanes.req != nullptr) {
    bits |= kHasReqs;
    bytes += padded(n * sizeof(ptape_name));
  }
  std::size_t i = 0;
  for (const std::int64_t* column : integers(lanes)) {
    const std::size_t number = i++;
    if (column == nullptr || n == 0) continue;
    if (number == kIntegers - 1 && column == lanes.len) {
      bits |= kSizesAreLens;
      continue;
    }
    const ColumnForm form = form_of(column, n);
    bits |= flag_of(form, number);
    bytes += column_bytes(form, n);
  }
  return LanesPlan{bytes, static_cast<std::uint16_t>(bits)};
}

void write_lanes(char* to, const ptape_lanes& lanes, std::uint16_t flag) {
  const std::size_t n = lanes.n_lanes;
  if (lanes.req != nullptr) to = write_array(to, lanes.req, n);
  std::size_t i = 0;
  for (const std::int64_t* column : integers(lanes)) {
    const ColumnForm form = form_in(flag, i++);
    if (form == kNarrow) {
      auto* narrow = reinterpret_cast<std::int32_t*>(to);
      for_each_cell(n, [&](std::size_t k) { narrow[k] = static_cast<std::int32_t>(column[k]); });
    } else if (form == kSteady) {
      const std::uint64_t step =
          static_cast<std::uint64_t>(column[1]) - static_cast<std::uint64_t>(column[0]);
      std::memcpy(to, column, sizeof(*column));
      std::memcpy(to + sizeof(*column), &step, sizeof(step));
    } else if (form != kNoColumn) {
      std::memcpy(to, column, column_bytes(form, n));
    }
    to += column_bytes(form, n);
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
  // Made where it is to stand: a copy of what was just filled field by field would wait for that.
  new (to) LaunchPart{launch.backend,
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
  to = write_array(to + sizeof(LaunchPart), launch.layers, launch.n_layers);
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
  // Word by word, as it was just copied: a processor waits where it loads what two stores wrote.
  const auto word = [head](std::size_t i) {
    std::uint64_t value;
    std::memcpy(&value, head + 8 * i, sizeof(value));
    return value;
  };
  record.kind = static_cast<std::uint16_t>(word(0));
  record.flag = static_cast<std::uint16_t>(word(0) >> 16);
  record.n = static_cast<std::uint32_t>(word(0) >> 32);
  record.t = static_cast<std::int64_t>(word(1));
  record.stream = static_cast<std::int32_t>(word(2));
  record.rank = static_cast<std::int32_t>(word(2) >> 32);
  record.src = static_cast<std::uint32_t>(word(3));
  record.n_names = static_cast<std::uint16_t>(word(3) >> 32);
  record.n_ints = static_cast<std::uint16_t>(word(3) >> 48);
  const std::size_t n_names = record.n_names, n_ints = record.n_ints;
  if (n_names > kRecordNames || n_ints > kRecordInts) return false;
  const std::size_t names_bytes = padded(n_names * sizeof(record.names[0]));
  const char* at = bytes.take<char>(names_bytes + n_ints * sizeof(record.ints[0]));
  if (at == nullptr) return false;
  // As they were written, two names at once.
  std::fill_n(record.names, kRecordNames, 0);
  if (n_names > 0) std::memcpy(record.names, at, 8);
  if (n_names > 2) std::memcpy(record.names + 2, at + 8, 8);
  if (n_names % 2 != 0) record.names[n_names] = 0;
  std::fill_n(record.ints, kRecordInts, PTAPE_ABSENT);
  at += names_bytes;
  for (std::size_t i = 0; i < n_ints; ++i) std::memcpy(&record.ints[i], at + 8 * i, 8);
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
  if (!read_view(record, payload, view_, kNoPlace) || !make_event(view_, event)) {
    decode_head(record, event);
    if (Status status = decode_body(record, payload, event); !status.ok()) return status;
  }
  if (!payload.ok()) return usage("an array that is longer than its record");
  return check_event(event, names_);
}

// Kinds and forms of records that have no view.
Status RecordDecoder::decode_body(const Record& record, RecordBytes& payload, Event& event) {
  switch (record.kind) {
    case kKindOf<ev::End>:
      event.body = ev::End{};
      return {};
    case kKindOf<ev::PoolSwap>: {
      auto& to = body_as<ev::PoolSwap>(event.body);
      to.backend = name(record.names[0]);
      to.pool = name(record.names[1]);
      to.set = name(record.names[2]);
      to.layers.all = record.flag != 0;
      read_array(payload, record.n, to.layers.list);
      return {};
    }
    case kKindOf<ev::Attention>:
    case kKindOf<ev::Store>:
    case kKindOf<ev::GraphLaunch>:
      if (record.flag == kLanesEarlier) return usage("a launch with lanes of no record before it");
      decode_launch(record, payload, event);
      return {};
    default:
      return usage("a record of kind " + std::to_string(record.kind));
  }
}

void RecordDecoder::read_rows(RecordBytes& from, std::size_t n, ev::Rows& lanes) {
  const char* at = from.take<ptape_row>(n);
  std::vector<ev::Row>& rows = lanes.renew();
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

// A launch whose lanes stand by row: these have lists of their own.
void RecordDecoder::decode_launch(const Record& record, RecordBytes& payload, Event& event) {
  if (record.kind == kKindOf<ev::GraphLaunch>) {
    auto& to = body_as<ev::GraphLaunch>(event.body);
    to.graph = name(record.names[0]);
    if (!to.rows) to.rows.emplace();
    return read_rows(payload, record.n, *to.rows);
  }
  // The rows keep their storage.
  const auto rows_of = [&event]() -> ev::Rows* {
    if (auto* store = std::get_if<ev::Store>(&event.body)) return &store->rows;
    auto* attention = std::get_if<ev::Attention>(&event.body);
    return attention != nullptr ? &attention->rows : nullptr;
  };
  if (ev::Rows* rows = rows_of(); rows != nullptr) std::swap(rows_, *rows);
  view_launch(record, payload, view_.launch);
  (void)make_event(view_, event);
  std::swap(*rows_of(), rows_);
  read_rows(payload, record.n, *rows_of());
}

// ---- views ----

bool RecordDecoder::view(const Record& record, RecordBytes payload, EventView& view,
                         std::uint64_t position) {
  return read_view(record, payload, view, position) && payload.ok();
}

const KnownLanes* RecordDecoder::known_lanes(std::uint64_t position) const {
  const auto at = std::ranges::find(known_, position, &KnownLanes::position);
  return at == known_.end() || position == kNoPlace ? nullptr : &*at;
}

void RecordDecoder::learn_lanes(const Record& record, RecordBytes payload, std::uint64_t position) {
  const bool has = record.kind == kKindOf<ev::Attention> || record.kind == kKindOf<ev::Store>;
  if (has) (void)read_view(record, payload, view_, position);
}

// Where those of a record are read to that stands there; nobody refers to one that stands nowhere.
KnownLanes& RecordDecoder::room_for_lanes(std::uint64_t position) {
  if (position == kNoPlace) return lanes_;
  const auto same = std::ranges::find(known_, position, &KnownLanes::position);
  KnownLanes& room = same != known_.end() ? *same : known_[next_known_++ % known_.size()];
  room.position = position;
  return room;
}

bool RecordDecoder::read_view(const Record& record, RecordBytes& payload, EventView& view,
                              std::uint64_t position) {
  view.kind = record.kind;
  view.t = record.t;
  view.rank = record.rank >= 0 ? OptInt(record.rank) : OptInt();
  view.stream = record.stream;
  view.src = record.src != 0 ? name(record.src) : kNone;
  view.flag = record.flag != 0;
  std::fill_n(view.names, kRecordNames, kNone);
  for (std::size_t i = 0; i < record.n_names; ++i) view.names[i] = name(record.names[i]);
  view.ints = record.ints;
  view.list = nullptr;
  view.n = 0;
  view.lanes.reset();
  switch (record.kind) {
    case kKindOf<ev::Attention>:
    case kKindOf<ev::Store>:
      if (record.flag == kNoLanes) return false;
      view_launch(record, payload, view.launch);
      if (record.flag == kLanesEarlier) {
        const KnownLanes* lanes = known_lanes(static_cast<std::uint64_t>(record.ints[0]));
        if (lanes == nullptr || lanes->view.n != record.n) return false;
        view.lanes = lanes->view;
        return true;
      }
      if (record.n < kLeastReferred) position = kNoPlace;
      read_lanes(payload, record, room_for_lanes(position));
      view.lanes = room_for_lanes(position).view;
      return true;
    case kKindOf<ev::GraphLaunch>:
      if (record.flag == kLanesByRow || record.flag == kLanesEarlier) return false;
      if (record.flag != kNoLanes) {
        read_lanes(payload, record, lanes_);
        view.lanes = lanes_.view;
      }
      return true;
    case kKindOf<ev::Kernel>:
      view_sizes(list_of<std::uint32_t>(payload, record.n), view);
      return true;
    case kKindOf<ev::PoolSwap>:
      return false;
    default:
      break;
  }
  if (const std::size_t bytes = element_bytes(record.kind); bytes > 0) {
    view.list = payload.take(record.n, bytes);
    if (view.list != nullptr) view.n = record.n;
  }
  return true;
}

void RecordDecoder::view_sizes(std::span<const std::uint32_t> sizes, EventView& to) {
  sizes_.assign(sizes.begin(), sizes.end());
  to.list = sizes_.data();
  to.n = sizes_.size();
}

void RecordDecoder::read_lanes(RecordBytes& from, const Record& record, KnownLanes& lanes) {
  const std::size_t n = record.n;
  const unsigned flag = record.flag;
  LanesView& to = lanes.view = {};
  // Lanes of which nothing is said take no room in the record; no segment holds more than so many.
  constexpr std::size_t kMostLanes = 1u << 18;
  if (n > kMostLanes) {
    (void)from.take<char>(from.left() + 1);
    return;
  }
  if ((flag & kHasReqs) != 0) {
    const std::span<const ptape_name> reqs = list_of<ptape_name>(from, n);
    if (reqs.size() != n) return;
    if (lanes.reqs.size() < n) lanes.reqs.resize(n);
    std::ranges::transform(reqs, lanes.reqs.begin(), [this](ptape_name id) { return name(id); });
    to.req = lanes.reqs.data();
  }
  if (lanes.cells.size() < kIntegers * n) lanes.cells.resize(kIntegers * n);
  std::int64_t* cells = lanes.cells.data();
  std::size_t i = 0;
  for (const std::int64_t** column :
       {&to.len, &to.row, &to.q_len, &to.q_pos, &to.first, &to.size}) {
    const ColumnForm form = form_in(flag, i++);
    if (form == kNoColumn) continue;
    *column = cells;
    if (form == kWide) {
      cells = std::ranges::copy(list_of<std::int64_t>(from, n), cells).out;
    } else if (form == kNarrow) {
      cells = std::ranges::copy(list_of<std::int32_t>(from, n), cells).out;
    } else if (const auto steady = list_of<std::uint64_t>(from, 2); !steady.empty()) {
      for (std::size_t k = 0; k < n; ++k) {
        *cells++ = static_cast<std::int64_t>(steady[0] + k * steady[1]);
      }
    }
  }
  if ((flag & kSizesAreLens) != 0) to.size = to.len;
  if (from.ok()) to.n = n;
}

void RecordDecoder::view_launch(const Record& record, RecordBytes& payload, LaunchFields& to) {
  to = LaunchFields();
  LaunchPart part;
  const char* head = payload.take<LaunchPart>(1);
  if (head == nullptr) return;
  std::memcpy(&part, head, sizeof(part));
  static_assert(sizeof(Layer) == sizeof(std::int32_t));
  const auto layers = list_of<Layer>(payload, part.n_layers);
  if (record.n_names > 0) {
    to.layer = Layer::named(name(record.names[0]));
  } else if (layers.size() == 1) {
    to.layer = layers[0];
  } else {
    to.layers = layers;
  }
  if (part.bound_pool != 0 || part.bound_pages != PTAPE_ABSENT || part.bound_ptr != PTAPE_ABSENT ||
      part.n_dims != 0) {
    to.bound = BoundView{name(part.bound_pool), part.bound_pages, part.bound_ptr, {}, {}};
    if (part.n_dims != 0) {
      to.bound->shape = list_of<std::int64_t>(payload, part.n_dims);
      to.bound->stride = list_of<std::int64_t>(payload, part.n_dims);
    }
  }
  to.backend = name(part.backend);
  to.space = name(part.space);
  to.unit = name(part.unit);
  if (record.kind == kKindOf<ev::Store>) {
    to.slots = name(part.slots);
    return;
  }
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
