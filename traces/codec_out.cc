// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "traces/check.h"
#include "traces/codec.h"
#include "traces/columns_out.h"
#include "traces/message.h"

namespace pagetape {
namespace {

// What an event takes at most: bytes before compression, and what the limits count.
struct Cost {
  const Names& names;
  std::uint64_t bytes = 0, elements = 0, table_cells = 0;

  void text(Name name) { bytes += name == kNone ? 0 : names.text(name).size() + 16; }

  template <Cell M>
  void add(const M& value) {
    bytes += 8;
    if constexpr (std::is_same_v<M, Name>) text(value);
    if constexpr (std::is_same_v<M, ScalarValue>) text(value.json);
    if constexpr (std::is_same_v<M, Layer>) text(value.is_named() ? value.name() : kNone);
    if constexpr (std::is_same_v<M, std::optional<Layer>>) {
      if (value) add(*value);
    }
  }
  void add(const OptNumber&) { bytes += 16; }
  template <class E>
  void add(const std::optional<E>& value) requires(!Cell<std::optional<E>> &&
                                                   !std::is_same_v<E, double>) {
    bytes += 8;
    if (!value) return;
    if constexpr (Structure<E>) ++elements;
    add(*value);
  }
  template <class E>
  void add(const std::vector<E>& list) {
    bytes += 8;
    if constexpr (internal::kOneOf<E, std::int64_t, PageId, SlotId>) {
      bytes += 8 * list.size();
    } else {
      if constexpr (!Cell<E>) elements += list.size();
      for (const E& element : list) add(element);
    }
  }
  void add(const ev::Rows& rows) { add(rows.list()); }
  void add(const ev::Launch& launch) {
    bytes += 8;
    std::visit([this](const auto& l) { add(l); }, launch);
  }
  template <Structure T>
  void add(const T& value) {
    // Each run of changed cells has a skip and a length, and stands for one cell at least.
    if constexpr (std::is_same_v<T, ev::Table>) {
      bytes += 16 * value.pages.size() + 16;
      table_cells += value.pages.size();
    }
    std::apply([&](const auto&... field) { (add(value.*field.member), ...); },
               FieldsOf<T>::fields());
  }
};

template <std::size_t... I>
std::tuple<FieldOut<std::variant_alternative_t<I, EventBody>>...> columns_of_kinds(
    std::index_sequence<I...>);
using KindsOut = decltype(columns_of_kinds(std::make_index_sequence<kKinds>()));

const ev::Rows* rows_of(const Event& event) {
  if (const auto* e = std::get_if<ev::Attention>(&event.body)) return &e->rows;
  if (const auto* e = std::get_if<ev::Store>(&event.body)) return &e->rows;
  if (const auto* e = std::get_if<ev::GraphLaunch>(&event.body))
    return e->rows ? &*e->rows : nullptr;
  return nullptr;
}

constexpr bool is_launch(std::size_t kind) {
  return kind == kKindOf<ev::Attention> || kind == kKindOf<ev::Store> ||
         kind == kKindOf<ev::Copy> || kind == kKindOf<ev::GraphLaunch> ||
         kind == kKindOf<ev::GraphStep>;
}

void summarize(const Event& event, Summary& summary) {
  ++summary.counts[event.kind()];
  summary.launches += is_launch(event.kind());
  if (const auto* rows = rows_of(event)) {
    summary.lanes_max = std::max(summary.lanes_max, static_cast<std::uint32_t>(rows->size()));
  }
  if (event.t.has_value()) {
    summary.time_first = std::min(*event.t, summary.time_first.value_or(INT64_MAX));
    summary.time_last = std::max(*event.t, summary.time_last.value_or(INT64_MIN));
  }
  std::vector<std::int64_t>& ranks = summary.ranks;
  if (event.rank.has_value() && (ranks.empty() || ranks.back() != *event.rank) &&
      std::find(ranks.begin(), ranks.end(), *event.rank) == ranks.end()) {
    ranks.push_back(*event.rank);
  }
}

}  // namespace

void TableCellsOut::put(Out& out, const ev::Table& table) {
  TableContents& known = out.history[{out.rank, table.buffer, table.row}];
  const std::size_t at = known.begin(table.col), n = table.pages.size();
  const std::size_t had = std::min(n, known.cells.size() - at);
  std::size_t runs = 0, end = 0;  // Of the run before.
  std::size_t i = 0;
  while (i < n) {
    const PageId* last = known.cells.data() + at;
    while (i < had && table.pages[i] == last[i]) ++i;
    if (i == n) break;
    const std::size_t begin = i;
    // A run goes on over a short stretch that is unchanged: two numbers begin a new one.
    for (std::size_t same = 0; i < n && same < 3; ++i) {
      same = i < had && table.pages[i] == last[i] ? same + 1 : 0;
    }
    while (i > begin && i <= had && table.pages[i - 1] == last[i - 1]) --i;
    skips_.push(static_cast<std::int64_t>(begin - end));
    lengths_.push(static_cast<std::int64_t>(i - begin));
    for (std::size_t k = begin; k < i; ++k) values_.push(raw(table.pages[k]));
    out.bytes += 8 + 4 * (i - begin);
    end = i;
    ++runs;
  }
  cells_.push(static_cast<std::int64_t>(n));
  runs_.push(static_cast<std::int64_t>(runs));
  out.bytes += 8;
  out.table_cells += n;
  known.cells.resize(std::max(known.cells.size(), at + n));
  std::copy(table.pages.begin(), table.pages.end(),
            known.cells.begin() + static_cast<std::ptrdiff_t>(at));
}

void TableCellsOut::write(capnp::AnyPointer::Builder p, capnp::StructSchema) const {
  auto out = p.initAs<schema::TableCells>();
  auto pointers = capnp::toAny(out).getPointerSection();
  cells_.write(pointers[0], 0);
  runs_.write(pointers[1], 0);
  skips_.write(pointers[2], 0);
  lengths_.write(pointers[3], 0);
  values_.write_values(out.initValues());
}

struct SegmentEncoder::Columns {
  Columns(const Names& names, int level) : out(names), zstd_level(level) {}

  Words body() {
    capnp::MallocMessageBuilder message(static_cast<unsigned>(out.bytes / 8 + 4096));
    auto root = message.initRoot<schema::Columns>();
    auto strings = root.initStrings(static_cast<unsigned>(out.strings().size()));
    for (unsigned i = 0; i < strings.size(); ++i) {
      const std::string_view text = out.names().text(out.strings()[i]);
      std::copy(text.begin(), text.end(),
                strings.init(i, static_cast<unsigned>(text.size())).begin());
    }
    auto texts = root.initExtras(static_cast<unsigned>(extras.size()));
    for (unsigned i = 0; i < texts.size(); ++i) {
      std::copy(extras[i].begin(), extras[i].end(),
                texts.init(i, static_cast<unsigned>(extras[i].size())).begin());
    }
    root.setKinds({kinds.data(), kinds.size()});
    const capnp::AnyStruct::Builder any = capnp::toAny(root);
    common.write_fields(any, capnp::Schema::from<schema::Columns>());
    [&]<std::size_t... I>(std::index_sequence<I...>) { (write_kind<I>(any), ...); }
    (std::make_index_sequence<kKinds>());
    return flatten(message);
  }
  template <std::size_t I>
  void write_kind(capnp::AnyStruct::Builder any) {
    if (summary.counts[I] == 0) return;
    const Slot& slot = kind_slot(I);
    std::get<I>(by_kind).write(any.getPointerSection()[slot.index], slot.schema);
    std::get<I>(by_kind).clear();
  }
  void clear() {
    out.clear();
    common.clear();
    kinds.clear();
    extras.clear();
    summary = Summary();
  }

  Out out;
  int zstd_level;
  FieldOut<EventCommon> common;
  KindsOut by_kind;
  std::vector<std::uint8_t> kinds;
  std::vector<std::string> extras;
  Summary summary;
};

SegmentEncoder::SegmentEncoder(const Names& names, int zstd_level)
    : columns_(std::make_unique<Columns>(names, zstd_level)) {}

SegmentEncoder::~SegmentEncoder() = default;

SegmentEncoder::Fit SegmentEncoder::fit(const Event& event) const {
  const Out& out = columns_->out;
  Cost cost{out.names()};
  cost.text(event.src);
  cost.bytes += 64 + event.extra.size();
  std::visit([&](const auto& body) { cost.add(body); }, event.body);
  // Room for what does not grow with the events: the structures of the columns.
  constexpr std::uint64_t kRoom = kMaxBodyBytes - (1u << 20);
  if (cost.bytes > kRoom || cost.elements > kMaxEventElements ||
      cost.table_cells > kMaxSegmentTableCells) {
    return Fit::kNever;
  }
  // `out.bytes` has 4 for a cell, which may take 8.
  const bool fits = 2 * out.bytes + cost.bytes <= kRoom &&
                    out.elements + cost.elements <= kMaxSegmentElements &&
                    out.table_cells + cost.table_cells <= kMaxSegmentTableCells;
  return fits ? Fit::kFits : Fit::kNotNow;
}

void SegmentEncoder::add(const Event& event) {
  Columns& c = *columns_;
  c.out.rank = event.rank.value_or(kAbsentCell);
  c.kinds.push_back(kind_number(event.kind()));
  EventCommon common{event.t, event.stream, event.rank, event.src, 0};
  if (!event.extra.empty()) {
    c.extras.push_back(event.extra);
    c.out.bytes += event.extra.size() + 16;
    common.extra = static_cast<std::int64_t>(c.extras.size());
  }
  c.common.put(c.out, common);
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    static_cast<void>(((I == event.kind() &&
                        (std::get<I>(c.by_kind).put(c.out, *std::get_if<I>(&event.body)), true)) ||
                       ...));
  }
  (std::make_index_sequence<kKinds>());
  summarize(event, c.summary);
}

std::uint32_t SegmentEncoder::events() const {
  return static_cast<std::uint32_t>(columns_->kinds.size());
}

std::uint64_t SegmentEncoder::bytes() const { return columns_->out.bytes; }

Words SegmentEncoder::finish(std::uint64_t first_event, Summary& summary) {
  Columns& c = *columns_;
  PAGETAPE_CHECK(!c.kinds.empty(), "a segment without events at event %llu",
                 static_cast<unsigned long long>(first_event));
  const Words raw = c.body();
  const Compressed body =
      compress({reinterpret_cast<const unsigned char*>(raw.data()), raw.size() * sizeof(raw[0])},
               c.zstd_level);
  capnp::MallocMessageBuilder message(static_cast<unsigned>(body.bytes.size() / 8 + 256));
  auto segment = message.initRoot<schema::Segment>();
  segment.setFirstEvent(first_event);
  segment.setEventCount(events());
  segment.setFormat(kModelFormat);
  segment.setCompression(body.how);
  segment.setRawBytes(raw.size() * sizeof(raw[0]));
  write_summary(c.summary, segment.initSummary());
  segment.setBody({body.bytes.data(), body.bytes.size()});
  summary = std::move(c.summary);
  c.clear();
  return flatten(message);
}

}  // namespace pagetape
