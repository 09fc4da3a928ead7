// SPDX-License-Identifier: Apache-2.0
#include "capture/record.h"

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
const char* read_array(const char* from, std::size_t n, std::vector<T>& to) {
  to.resize(n);
  if (n > 0) std::memcpy(static_cast<void*>(to.data()), from, n * sizeof(T));
  return from + padded(n * sizeof(T));
}

template <class T>
char* write_array(char* to, const T* from, std::size_t n) {
  if (n > 0) std::memcpy(to, from, n * sizeof(T));
  return to + padded(n * sizeof(T));
}

template <class T>
const char* read_optional(const char* from, bool has, std::size_t n,
                          std::optional<std::vector<T>>& to) {
  if (!has) {
    to.reset();
    return from;
  }
  if (!to) to.emplace();
  return read_array(from, n, *to);
}

RowPart row_part(const ptape_row& row) {
  return {row.req,
          static_cast<std::uint32_t>(row.n_pages),
          static_cast<std::uint32_t>(row.n_slots),
          row.pages != nullptr,
          row.slots != nullptr,
          row.len,
          row.row,
          row.q_len,
          row.q_pos,
          row.first,
          row.n};
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

std::size_t rows_bytes(const ptape_row* rows, std::size_t n) {
  std::size_t bytes = n * sizeof(RowPart);
  for (std::size_t i = 0; i < n; ++i) {
    if (rows[i].pages != nullptr) bytes += padded(rows[i].n_pages * sizeof(std::int32_t));
    if (rows[i].slots != nullptr) bytes += padded(rows[i].n_slots * sizeof(std::int64_t));
  }
  return bytes;
}

char* write_rows(char* to, const ptape_row* rows, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const RowPart part = row_part(rows[i]);
    std::memcpy(to, &part, sizeof(part));
    to += sizeof(part);
    if (part.has_pages) to = write_array(to, rows[i].pages, rows[i].n_pages);
    if (part.has_slots) to = write_array(to, rows[i].slots, rows[i].n_slots);
  }
  return to;
}

std::size_t launch_bytes(const ptape_launch& launch) {
  return sizeof(LaunchPart) + padded(launch.n_layers * sizeof(std::int32_t)) +
         rows_bytes(launch.rows, launch.n_rows);
}

void write_launch(char* to, const ptape_launch& launch) {
  const LaunchPart part{launch.backend,     launch.mode,
                        launch.space,       launch.unit,
                        launch.table,       launch.lens,
                        launch.slots,       launch.kernel,
                        launch.bound_pool,  static_cast<std::uint32_t>(launch.n_layers),
                        launch.bound_pages, launch.bound_ptr,
                        launch.window,      launch.page_size,
                        launch.table_rows,  launch.table_cols};
  std::memcpy(to, &part, sizeof(part));
  to = write_array(to + sizeof(part), launch.layers, launch.n_layers);
  write_rows(to, launch.rows, launch.n_rows);
}

Status RecordDecoder::decode(const Record& record, const char* payload, Event& event) {
  if (record.kind == kJsonRecord) {
    from_json_ = true;
    event.extra.clear();
    Status parsed = parse_event(std::string_view(payload, record.n), names_, event);
    if (!parsed.ok()) return parsed;
    if (!event.t.has_value()) event.t = record.t;
    if (!event.rank.has_value() && record.rank >= 0) event.rank = record.rank;
    return {};
  }
  event.t = record.t;
  event.rank = record.rank >= 0 ? OptInt(record.rank) : OptInt();
  event.stream = record.stream;
  event.src = name(record.src);
  event.extra.clear();
  if (from_json_) event.body = {};  // It may hold fields that no record sets.
  from_json_ = false;
  if (Status status = decode_body(record, payload, event.body); !status.ok()) return status;
  return check_event(event, names_);
}

template <class T>
void RecordDecoder::decode_owned(const Record& record, const char* payload, T& to) {
  to.pool = name(record.names[0]);
  to.req = name(record.names[1]);
  read_array(payload, record.n, to.pages);
}

Status RecordDecoder::decode_pages(const Record& record, const char* payload, EventBody& body) {
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

Status RecordDecoder::decode_body(const Record& record, const char* payload, EventBody& body) {
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
      return decode_launch(record, payload, body);
    default:
      return decode_pages(record, payload, body);
  }
}

const char* RecordDecoder::read_rows(const char* from, std::size_t n, std::vector<ev::Row>& rows) {
  rows.resize(n);
  for (ev::Row& row : rows) {
    RowPart part;
    std::memcpy(&part, from, sizeof(part));
    row.req = name(part.req);
    row.len = part.len;
    row.row = part.row;
    row.q_len = part.q_len;
    row.q_pos = part.q_pos;
    row.first = part.first;
    row.n = part.n;
    from = read_optional(from + sizeof(part), part.has_pages, part.n_pages, row.pages);
    from = read_optional(from, part.has_slots, part.n_slots, row.slots);
  }
  return from;
}

Status RecordDecoder::decode_launch(const Record& record, const char* payload, EventBody& body) {
  if (record.kind == kKindOf<ev::GraphLaunch>) {
    auto& to = body_as<ev::GraphLaunch>(body);
    to.graph = name(record.names[0]);
    if (record.flag == 0) {
      to.rows.reset();
    } else {
      if (!to.rows) to.rows.emplace();
      read_rows(payload, record.n, *to.rows);
    }
    return {};
  }
  LaunchPart part;
  std::memcpy(&part, payload, sizeof(part));
  payload += sizeof(part);
  std::optional<ev::Bound> bound;
  if (part.bound_pool != 0 || part.bound_pages != PTAPE_ABSENT || part.bound_ptr != PTAPE_ABSENT) {
    bound = ev::Bound{name(part.bound_pool), part.bound_pages, part.bound_ptr, {}, {}};
  }
  const auto* layers = reinterpret_cast<const std::int32_t*>(payload);
  payload += padded(part.n_layers * sizeof(std::int32_t));
  auto common = [&](auto& to) {
    to.backend = name(part.backend);
    set_layers(layers, part.n_layers, to.layer, to.layers);
    read_rows(payload, record.n, to.rows);
    to.space = name(part.space);
    to.unit = name(part.unit);
    to.bound = std::move(bound);
  };
  if (record.kind == kKindOf<ev::Store>) {
    auto& to = body_as<ev::Store>(body);
    common(to);
    to.slots = name(part.slots);
    return {};
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
  return {};
}

}  // namespace pagetape
