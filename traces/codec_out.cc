// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "traces/check.h"
#include "traces/codec.h"
#include "traces/columns_out.h"
#include "traces/event_view.h"
#include "traces/message.h"

namespace pagetape {
namespace {

// What an event takes at most: bytes before compression, and what the limits count.
struct Cost {
  const Names& names;
  std::uint64_t bytes = 0, elements = 0, table_cells = 0, slots = 0;

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
      if constexpr (std::is_same_v<E, SlotId>) slots += list.size();
    } else {
      if constexpr (!Cell<E>) elements += list.size();
      for (const E& element : list) add(element);
    }
  }
  void add(const ev::Rows& rows) {
    add(rows.list());
    // Where they are told again, what their lists hold counts as a table's cells do.
    const auto size = [](const auto& list) { return list ? list->size() : 0; };
    for (const ev::Row& row : rows) {
      table_cells += size(row.pages) + size(row.spaces) + size(row.logical);
    }
  }
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

// Of an event or the view of one, with so many lanes.
void summarize(const auto& event, std::size_t kind, std::size_t lanes, Summary& summary) {
  ++summary.counts[kind];
  summary.launches += is_launch(kind);
  summary.lanes_max = std::max(summary.lanes_max, static_cast<std::uint32_t>(lanes));
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

// The first of the n cells from i on that differs; mostly it is far, or there is none.
static std::size_t first_change(const PageId* cells, const PageId* last, std::size_t i,
                                std::size_t n) {
  constexpr std::size_t kAtOnce = 16;
  while (n - i >= kAtOnce && std::memcmp(cells + i, last + i, kAtOnce * sizeof(*cells)) == 0) {
    i += kAtOnce;
  }
  while (i < n && cells[i] == last[i]) ++i;
  return i;
}

void TableCellsOut::put(Out& out, Name buffer, std::int64_t row, std::int64_t col,
                        std::span<const PageId> cells) {
  TableContents& known = out.history[{out.rank, buffer, row}];
  const std::size_t at = known.begin(col), n = cells.size();
  const std::size_t had = std::min(n, known.cells.size() - at);
  const PageId *const pages = cells.data(), *const last = known.cells.data() + at;
  std::size_t runs = 0, end = 0;  // Of the run before.
  std::size_t i = 0;
  while (i < n) {
    if (i < had) i = first_change(pages, last, i, had);
    if (i == n) break;
    const std::size_t begin = i;
    // A run goes on over a short stretch that is unchanged: two numbers begin a new one.
    for (std::size_t same = 0; i < n && same < 3; ++i) {
      same = i < had && pages[i] == last[i] ? same + 1 : 0;
    }
    while (i > begin && i <= had && pages[i - 1] == last[i - 1]) --i;
    skips_.push(static_cast<std::int64_t>(begin - end));
    lengths_.push(static_cast<std::int64_t>(i - begin));
    values_.append(cells.subspan(begin, i - begin), [](PageId page) { return raw(page); });
    out.bytes += 8 + 4 * (i - begin);
    end = i;
    ++runs;
  }
  cells_.push(static_cast<std::int64_t>(n));
  runs_.push(static_cast<std::int64_t>(runs));
  out.bytes += 8;
  out.table_cells += n;
  if (runs == 0) return;
  known.cells.resize(std::max(known.cells.size(), at + n));
  std::memcpy(known.cells.data() + at, pages, n * sizeof(*pages));
}

void TableCellsOut::write(capnp::AnyPointer::Builder p, capnp::StructSchema) const {
  auto out = p.initAs<schema::TableCells>();
  auto pointers = capnp::toAny(out).getPointerSection();
  cells_.write(pointers[0]);
  runs_.write(pointers[1]);
  skips_.write(pointers[2]);
  lengths_.write(pointers[3]);
  values_.write_values(out.initValues());
}

void write_slots(schema::SlotLists::Builder out, const ColumnOut& counts, bool may_be_absent,
                 const ColumnOut& slots) {
  ColumnOut highs, lows, splits;
  const auto begin_run = [&](std::int64_t slot) {
    highs.push(slot >> kLowSlotBits);
    lows.push(slot & ((1 << kLowSlotBits) - 1));
  };
  std::size_t at = 0;
  for (std::size_t i = 0; i < counts.size() && at < slots.size(); ++i) {
    const std::int64_t count = counts[i] - may_be_absent;
    if (count <= 0) continue;
    const std::size_t end = at + static_cast<std::size_t>(count);
    std::int64_t last = slots[at];
    begin_run(last);
    while (++at < end) {
      const std::int64_t slot = slots[at];
      if (static_cast<std::uint64_t>(slot) != static_cast<std::uint64_t>(last) + 1) {
        splits.push(static_cast<std::int64_t>(at));
        begin_run(slot);
      }
      last = slot;
    }
  }
  auto pointers = capnp::toAny(out).getPointerSection();
  counts.write(pointers[0]);
  const bool by_runs = highs.size() + splits.size() <= slots.size();
  out.setRuns(by_runs);
  if (!by_runs) return slots.write_values(out.initValues());
  // A lane's high part is mostly that of the step before, its difference from another lane's hardly
  // ever.
  highs.write_plain(out.initValues());
  if (lows.size() > 0) lows.write_values(out.initLows());
  if (splits.size() > 0) splits.write_values(out.initSplits());
}

// Memory that one message after the other is built in, so that none of it is allocated anew, and
// the flat form of one that fits stands there already.
class MessageMemory {
 public:
  kj::ArrayPtr<capnp::word> first_segment(std::size_t words) {
    if (words_.size() < words + 1) words_.resize(words + 1);  // A builder leaves zeros behind.
    return kj::arrayPtr(reinterpret_cast<capnp::word*>(words_.data() + 1), words_.size() - 1);
  }
  WordSpan flat(capnp::MessageBuilder& message) {
    const auto segments = message.getSegmentsForOutput();
    if (segments.size() > 1) return copy_ = flatten(message);
    words_[0] = std::uint64_t{segments[0].size()} << 32;  // One segment, and its words.
    return WordSpan(words_).first(1 + segments[0].size());
  }

 private:
  Words words_, copy_;
};

struct SegmentEncoder::Columns {
  Columns(const Names& names, int level) : out(names), compressor(level) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) numbers[kind] = kind_number(kind);
  }

  // Builds the message of all columns, which are empty then; calls f with its flat form.
  template <class F>
  void body(F&& f) {
    capnp::MallocMessageBuilder message(memory.first_segment(out.bytes / 8 + 4096));
    build(message);
    f(memory.flat(message));
  }
  void build(capnp::MessageBuilder& message) {
    auto root = message.initRoot<schema::Columns>();
    auto strings = root.initStrings(static_cast<unsigned>(texts.size()));
    for (unsigned i = 0; i < strings.size(); ++i) {
      const std::string_view text = texts[i];
      std::copy(text.begin(), text.end(),
                strings.init(i, static_cast<unsigned>(text.size())).begin());
    }
    auto overlays = root.initExtras(static_cast<unsigned>(extras.size()));
    for (unsigned i = 0; i < overlays.size(); ++i) {
      std::copy(extras[i].begin(), extras[i].end(),
                overlays.init(i, static_cast<unsigned>(extras[i].size())).begin());
    }
    root.setKinds({kinds.data(), kinds.size()});
    const capnp::AnyStruct::Builder any = capnp::toAny(root);
    common.write_fields(any, capnp::Schema::from<schema::Columns>());
    [&]<std::size_t... I>(std::index_sequence<I...>) { (write_kind<I>(any), ...); }
    (std::make_index_sequence<kKinds>());
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
    texts.clear();
    common.clear();
    kinds.clear();
    extras.clear();
    summary = Summary();
  }

  Out out;
  std::vector<std::string_view> texts;  // Of the segment's names, once it is sealed.
  Compressor compressor;
  MessageMemory memory;
  FieldOut<EventCommon> common;
  KindsOut by_kind;
  std::vector<std::uint8_t> kinds;
  std::array<std::uint8_t, kKinds> numbers;  // Of the kinds, in the file.
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
      cost.table_cells > kMaxSegmentTableCells || cost.slots > kMaxSegmentSlots) {
    return Fit::kNever;
  }
  // `out.bytes` has 4 for a cell, which may take 8.
  const bool fits = 2 * out.bytes + cost.bytes <= kRoom &&
                    out.elements + cost.elements <= kMaxSegmentElements &&
                    out.slots + cost.slots <= kMaxSegmentSlots &&
                    out.table_cells + cost.table_cells <= kMaxSegmentTableCells;
  return fits ? Fit::kFits : Fit::kNotNow;
}

bool SegmentEncoder::surely_fits(const EventView& view) const {
  Out& out = columns_->out;
  const std::uint64_t a_name = out.most_a_name();
  const bool launch = view.kind == kKindOf<ev::Attention> || view.kind == kKindOf<ev::Store>;
  // Mostly so: neither is the segment nearly full, nor is there much in the event.
  if (!launch && !view.lanes && view.n < 1u << 16 && a_name < 1u << 20 &&
      out.bytes < kMaxBodyBytes / 4 && out.elements < kMaxSegmentElements / 2 &&
      out.table_cells < kMaxSegmentTableCells / 2 && out.slots < kMaxSegmentSlots / 2) {
    return true;
  }
  const std::uint64_t lanes = view.lanes ? view.lanes->n : 0;
  std::uint64_t list = view.n, named = 0;
  if (launch) {
    const auto size = [](const auto& part) { return part ? part->size() : 0; };
    const std::optional<BoundView>& bound = view.launch.bound;
    list = size(view.launch.layers);
    if (view.launch.layers) {
      named =
          static_cast<std::uint64_t>(std::ranges::count_if(*view.launch.layers, &Layer::is_named));
    }
    if (bound) list += size(bound->shape) + size(bound->stride);
  }
  // Three numbers of 8 bytes for each element, a lane's cells and name, the cells and names of the
  // widest kind; any name of the table for each.
  const std::uint64_t bytes = 1024 + 24 * list + 128 * lanes + (16 + lanes + named) * a_name;
  constexpr std::uint64_t kRoom = kMaxBodyBytes - (1u << 20);
  return lanes < kMaxEventElements && list < kMaxEventElements && 2 * out.bytes + bytes <= kRoom &&
         out.elements + list + lanes < kMaxSegmentElements &&
         out.table_cells + list < kMaxSegmentTableCells && out.slots + list < kMaxSegmentSlots;
}

void SegmentEncoder::add(const Event& event) {
  Columns& c = *columns_;
  c.out.rank = event.rank.value_or(kAbsentCell);
  c.kinds.push_back(c.numbers[event.kind()]);
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
  const ev::Rows* rows = rows_of(event);
  summarize(event, event.kind(), rows != nullptr ? rows->size() : 0, c.summary);
}

void SegmentEncoder::add(const EventView& view) {
  Columns& c = *columns_;
  c.out.rank = view.rank.value_or(kAbsentCell);
  c.kinds.push_back(c.numbers[view.kind]);
  c.common.put_fields(c.out, view.t, std::int64_t{view.stream}, view.rank, view.src,
                      std::int64_t{0});
  const bool known = visit_fields(view, [&c]<class T>(const auto&... values) {
    std::get<kKindOf<T>>(c.by_kind).put_fields(c.out, values...);
    return true;
  });
  PAGETAPE_CHECK(known, "no view is of kind %zu", view.kind);
  summarize(view, view.kind, view.lanes ? view.lanes->n : 0, c.summary);
}

std::uint32_t SegmentEncoder::events() const {
  return static_cast<std::uint32_t>(columns_->kinds.size());
}

std::uint64_t SegmentEncoder::bytes() const { return columns_->out.bytes; }

void SegmentEncoder::seal() {
  Columns& c = *columns_;
  c.texts.clear();
  for (const Name name : c.out.strings()) c.texts.push_back(c.out.names().text(name));
}

Words SegmentEncoder::finish(std::uint64_t first_event, Summary& summary) {
  Columns& c = *columns_;
  PAGETAPE_CHECK(!c.kinds.empty(), "a segment without events at event %llu",
                 static_cast<unsigned long long>(first_event));
  if (c.texts.size() < c.out.strings().size()) seal();
  Words payload;
  c.body([&](WordSpan raw) {
    const Compressed body = c.compressor.compress(std::as_bytes(raw));
    capnp::MallocMessageBuilder message(static_cast<unsigned>(body.bytes.size() / 8 + 256));
    auto segment = message.initRoot<schema::Segment>();
    segment.setFirstEvent(first_event);
    segment.setEventCount(events());
    segment.setFormat(kModelFormat);
    segment.setCompression(body.how);
    segment.setRawBytes(raw.size_bytes());
    write_summary(c.summary, segment.initSummary());
    segment.setBody({body.bytes.data(), body.bytes.size()});
    payload = flatten(message);
  });
  summary = std::move(c.summary);
  c.clear();
  return payload;
}

}  // namespace pagetape
