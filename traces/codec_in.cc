// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "traces/codec.h"
#include "traces/columns_in.h"
#include "traces/message.h"
#include "traces/text.h"

namespace pagetape {
namespace {

const Limits kNoLimits;  // Each structure's fields have their own.

// Are all fields of T cells, of which none takes a look of its own?
template <class T, class... M>
constexpr bool all_cells(std::tuple<Field<T, M>...>) {
  return ((Cell<M> && !std::is_same_v<M, ScalarValue>)&&...);
}
template <class T>
inline constexpr bool kPlain = std::is_trivially_copyable_v<T>&& all_cells(T::fields());
template <>
inline constexpr bool kPlain<ev::End> = false;  // It has no field.

template <class T>
using KindIn = std::conditional_t<kPlain<T>, Ahead<T>, FieldIn<T>>;
template <std::size_t... I>
std::tuple<KindIn<std::variant_alternative_t<I, EventBody>>...> columns_of_kinds(
    std::index_sequence<I...>);
using KindsIn = decltype(columns_of_kinds(std::make_index_sequence<kKinds>()));

template <std::size_t... I>
std::tuple<std::variant_alternative_t<I, EventBody>...> bodies(std::index_sequence<I...>);
using Bodies = decltype(bodies(std::make_index_sequence<kKinds>()));

}  // namespace

Name In::no_name() {
  fail("a name is not a string of the segment (M11)");
  return kNone;
}

bool FieldIn<OptNumber>::open(In& in, capnp::AnyPointer::Reader p, capnp::StructSchema,
                              const Limits&, std::size_t cells) {
  const auto numbers = p.getAs<schema::Numbers>();
  const capnp::AnyList::Reader list = numbers.getValues();
  std::uint64_t total = 0;
  values = list.getRawBytes().begin();
  return in.need(present.open(numbers.getPresent(), cells, 0), kBadSize) &&
         in.need(present.sum(cells, false, total), kBadCount) &&
         in.need(list.size() == total &&
                     (total == 0 || list.getElementSize() == capnp::ElementSize::EIGHT_BYTES),
                 kBadCount);
}

void FieldIn<OptNumber>::get(In& in, OptNumber& value) {
  if (present.next() == 0) return value.reset();
  std::memcpy(&value.emplace(), values, sizeof(double));
  values += sizeof(double);
  in.doubtful |= !allows(Limits(), *in.names, *value);
}

bool SlotsIn::open(In& in, schema::SlotLists::Reader lists, std::uint64_t slots,
                   std::uint64_t some) {
  in.slots += slots;
  if (!in.need(in.slots <= kMaxSegmentSlots, kManySlots)) return false;
  by_runs_ = lists.getRuns();
  at_ = split_ = 0;
  if (!by_runs_) return in.need(values_.open_values(lists.getValues(), slots), kBadCount);
  splits_left_ = ColumnIn::cells_of(lists.getSplits());
  bool ascend = true;
  std::int64_t last = 0;
  if (!in.need(splits_.open_values(lists.getSplits(), splits_left_), kBadSize)) return false;
  ColumnIn(splits_).each(splits_left_, [&](std::size_t, std::int64_t split) {
    ascend &= split > last;
    last = split;
  });
  const std::uint64_t runs = some + splits_left_;
  if (!in.need(ascend && (splits_left_ == 0 || static_cast<std::uint64_t>(last) < slots),
               kBadRun) ||
      !in.need(
          values_.open_values(lists.getValues(), runs) && lows_.open_values(lists.getLows(), runs),
          "not one value for each run of slots (M19)")) {
    return false;
  }
  next_split();
  return true;
}

bool TableCellsIn::open(In& in, capnp::AnyPointer::Reader p, capnp::StructSchema,
                        const Limits& field, std::size_t cells) {
  limits_ = &field;
  const auto table = p.getAs<schema::TableCells>();
  std::uint64_t pages = 0, runs = 0, skipped = 0, values = 0;
  const bool good = cells_.open(table.getCells(), cells, 0) && cells_.sum(cells, false, pages) &&
                    runs_.open(table.getRuns(), cells, 0) && runs_.sum(cells, false, runs) &&
                    skips_.open(table.getSkips(), runs, 0) && skips_.sum(runs, false, skipped) &&
                    lengths_.open(table.getLengths(), runs, 0) &&
                    lengths_.sum(runs, false, values) && runs <= values &&
                    values_.open_values(table.getValues(), values);
  in.table_cells += pages;
  return in.need(good, kBadCount) && in.need(in.table_cells <= kMaxSegmentTableCells, kManyCells);
}

bool TableCellsIn::apply(In& in, TableContents& contents, std::size_t at, std::size_t n) {
  std::size_t pos = 0;
  for (auto runs = static_cast<std::size_t>(runs_.next()); runs > 0; --runs) {
    const auto skip = static_cast<std::size_t>(skips_.next());
    const auto length = static_cast<std::size_t>(lengths_.next());
    if (skip > n - pos || length > n - pos - skip) return false;
    pos += skip;
    if (at + pos > contents.cells.size()) return false;
    pos += length;
    if (at + pos > contents.cells.size()) contents.cells.resize(at + pos);
    PageId* const run = contents.cells.data() + at + pos - length;
    take_cells(
        in, values_, length, *limits_, [&](std::size_t i) -> auto& { return run[i]; });
  }
  return at + n <= contents.cells.size();
}

void TableCellsIn::get(In& in, ev::Table& table) {
  TableContents& contents = in.history[{in.rank, table.buffer, table.row}];
  const std::size_t at = contents.begin(table.col);
  const auto n = static_cast<std::size_t>(cells_.next());
  if (!in.need(apply(in, contents, at, n), "runs of table cells do not fit (M14)")) return;
  const PageId* cells = contents.cells.data() + at;
  table.pages.assign(cells, cells + n);
}

bool FieldIn<ev::Launch>::open_fields(In& in, capnp::AnyStruct::Reader any,
                                      capnp::StructSchema schema, const Limits& field,
                                      std::size_t cells) {
  const auto pointers = any.getPointerSection();
  const auto pointer = [&](const Slot& slot) {
    return slot.index < pointers.size() ? pointers[slot.index] : capnp::AnyPointer::Reader();
  };
  if (!in.need(kinds.open(pointer(slot_of(schema, "kinds")).getAs<schema::Column>(), cells, 0),
               kBadSize)) {
    return false;
  }
  std::array<std::size_t, 3> count{};
  bool known = true;
  ColumnIn(kinds).each(cells, [&](std::size_t, std::int64_t kind) {
    known &= kind >= 0 && kind < 3;
    if (known) ++count[static_cast<std::size_t>(kind)];
  });
  if (!in.need(known, "a launch is of no known kind (M12)")) return false;
  const auto part = [&](auto& columns, const char* name, std::size_t n) {
    const Slot slot = slot_of(schema, name);
    return columns.open(in, pointer(slot), slot.schema, field, n);
  };
  return part(attention, "attention", count[0]) && part(store, "store", count[1]) &&
         part(copy, "copy", count[2]);
}

void FieldIn<ev::Launch>::get(In& in, ev::Launch& launch) {
  switch (kinds.next()) {
    case 0:
      return attention.get(in, launch.emplace<ev::Attention>());
    case 1:
      return store.get(in, launch.emplace<ev::Store>());
    default:
      return copy.get(in, launch.emplace<ev::Copy>());
  }
}

struct SegmentDecoder::Columns {
  explicit Columns(Names& table) : names(table) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) more_of[kind] = says_more(kind);
    for (const std::size_t kind : {kKindOf<ev::Rewind>, kKindOf<ev::Accept>}) {
      brief[kind_number(kind)] = true;
    }
    for (std::size_t n = 0; n < kind_of.size(); ++n) {
      kind_of[n] = static_cast<std::uint8_t>(kind_of_number(static_cast<std::uint8_t>(n)));
    }
  }

  bool fail(std::string why) {
    if (error.empty()) error = std::move(why);
    return false;
  }
  bool open(WordSpan payload);
  bool open_body(WordSpan body, const Summary& summary);
  bool open_kinds(capnp::AnyStruct::Reader any, const Summary& summary);
  template <std::size_t I>
  void get(Event& event) {
    constexpr bool plain = kPlain<std::variant_alternative_t<I, EventBody>>;
    auto* body = std::get_if<I>(&event.body);
    if (body == nullptr) {
      (this->*kKeep.data()[event.body.index()])(event);
      if constexpr (plain) {
        body = &event.body.emplace<I>();
      } else {
        body = &event.body.emplace<I>(std::move(std::get<I>(spare)));
      }
    }
    if constexpr (plain) {
      *body = std::get<I>(by_kind).next(in);
    } else {
      std::get<I>(by_kind).get(in, *body);
    }
  }
  // Kinds alternate: the lists of the one before are kept for the next of its kind.
  template <std::size_t I>
  void keep(Event& event) {
    if constexpr (!kPlain<std::variant_alternative_t<I, EventBody>>) {
      std::get<I>(spare) = std::move(*std::get_if<I>(&event.body));
    }
  }
  void catch_up(std::size_t kind, Event& event) {
    for (; passed[kind] > 0 && in.error == nullptr; --passed[kind]) {
      (this->*kGet.data()[kind])(event);
      in.event_elements = 0;
      in.doubtful = false;
    }
  }
  Briefs briefs();
  using Act = void (Columns::*)(Event&);
  static const std::array<Act, kKinds> kGet, kKeep;

  Names& names;
  In in{names};
  std::uint64_t first_event = 0;
  std::uint32_t events = 0, at = 0;
  std::array<std::uint32_t, kKinds> passed{};  // Events not read before the next of its kind.
  bool any_passed = false;
  bool newer = false;  // Of a newer format: it may hold kinds unknown here.
  Words raw;           // The decompressed body; storage kept from segment to segment.
  std::optional<capnp::FlatArrayMessageReader> outer, inner;
  const std::uint8_t* kinds = nullptr;
  std::array<std::uint8_t, 256> kind_of;  // As kind_of_number().
  std::array<bool, kKinds> more_of;       // As says_more().
  std::array<bool, 256> brief{};          // By number.
  std::vector<std::string_view> extras;   // Of the body.
  Ahead<EventCommon> common;
  KindsIn by_kind;
  Bodies spare;
  std::string error;
};

const std::array<SegmentDecoder::Columns::Act, kKinds> SegmentDecoder::Columns::kGet =
    []<std::size_t... I>(std::index_sequence<I...>) {
  return std::array<Act, kKinds>{&Columns::get<I>...};
}
(std::make_index_sequence<kKinds>());

const std::array<SegmentDecoder::Columns::Act, kKinds> SegmentDecoder::Columns::kKeep =
    []<std::size_t... I>(std::index_sequence<I...>) {
  return std::array<Act, kKinds>{&Columns::keep<I>...};
}
(std::make_index_sequence<kKinds>());

bool SegmentDecoder::Columns::open(WordSpan payload) {
  outer.emplace(as_capnp(payload), limits_for(payload));
  const auto segment = outer->getRoot<schema::Segment>();
  Summary summary;
  if (!read_summary(segment.getSummary(), summary)) return fail("counts of too many kinds (M7)");
  first_event = segment.getFirstEvent();
  events = segment.getEventCount();
  newer = segment.getFormat() > kModelFormat;
  if (events == 0) return fail("a segment without events (M7)");
  const std::uint64_t bytes = segment.getRawBytes();
  const auto body = segment.getBody();
  if (bytes > kMaxBodyBytes || bytes % sizeof(raw[0]) != 0) return fail("rawBytes is wrong (M6)");
  if (segment.getCompression() == schema::Compression::NONE) {
    if (body.size() != bytes) return fail("rawBytes is not the size of the body (M6)");
    return open_body({reinterpret_cast<const std::uint64_t*>(body.begin()), bytes / 8}, summary);
  }
  if (segment.getCompression() != schema::Compression::ZSTD) {
    return fail("the body is compressed in an unknown way (M6)");
  }
  raw.resize(bytes / sizeof(raw[0]));
  if (!decompress({body.begin(), body.size()},
                  {reinterpret_cast<unsigned char*>(raw.data()), bytes})) {
    return fail("the body does not decompress to rawBytes (M6)");
  }
  return open_body(raw, summary);
}

bool SegmentDecoder::Columns::open_body(WordSpan body, const Summary& summary) {
  inner.emplace(as_capnp(body), limits_for(body));
  const auto root = inner->getRoot<schema::Columns>();
  if (root.getKinds().size() != events) return fail("not one kind for each event (M7)");
  kinds = root.getKinds().begin();
  // Every pointer is followed here, where a malformed one is caught.
  for (const auto text : root.getExtras()) extras.emplace_back(text.begin(), text.size());
  for (const auto text : root.getStrings()) {
    in.strings.push_back(names.intern({text.begin(), text.size()}));
  }
  const capnp::AnyStruct::Reader any = root;
  return (common.open_fields(in, any, capnp::Schema::from<schema::Columns>(), kNoLimits, events) &&
          open_kinds(any, summary)) ||
         fail(in.error != nullptr ? in.error : "malformed");
}

bool SegmentDecoder::Columns::open_kinds(capnp::AnyStruct::Reader any, const Summary& summary) {
  std::array<std::uint32_t, 256> by_number{};
  for (std::uint32_t i = 0; i < events; ++i) ++by_number[kinds[i]];
  std::uint32_t known = 0;
  for (std::size_t i = 0; i < kKinds; ++i) {
    if (by_number[kind_number(i)] != summary.counts[i]) {
      return fail("the summary has other counts than the kinds (M7)");
    }
    known += summary.counts[i];
  }
  if (known != events && !newer) return fail("an event of an unknown kind (M8)");
  const auto pointers = any.getPointerSection();
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    const auto open_kind = [&]<std::size_t K>(std::integral_constant<std::size_t, K>) {
      if (summary.counts[K] == 0) {
        // What an earlier segment left there is not to be read.
        if constexpr (requires { std::get<K>(by_kind).close(); }) std::get<K>(by_kind).close();
        return true;
      }
      const Slot& slot = kind_slot(K);
      const auto pointer =
          slot.index < pointers.size() ? pointers[slot.index] : capnp::AnyPointer::Reader();
      return std::get<K>(by_kind).open(in, pointer, slot.schema, kNoLimits, summary.counts[K]);
    };
    return (open_kind(std::integral_constant<std::size_t, I>()) && ...);
  }
  (std::make_index_sequence<kKinds>());
}

SegmentDecoder::SegmentDecoder(Names& names) : columns_(std::make_unique<Columns>(names)) {}

SegmentDecoder::~SegmentDecoder() = default;

bool SegmentDecoder::open(WordSpan payload) {
  Columns& c = *columns_;
  c.inner.reset();
  c.outer.reset();
  c.in = In(c.names);
  c.at = c.events = 0;
  c.passed.fill(0);
  c.any_passed = false;
  c.extras.clear();
  c.error.clear();
  std::string why;
  if (reading([&] { return c.open(payload); }, &why)) return true;
  c.fail("a malformed message (M4): " + why);
  c.events = 0;
  return false;
}

std::uint64_t SegmentDecoder::first_event() const { return columns_->first_event; }
std::uint32_t SegmentDecoder::events() const { return columns_->events; }
const std::string& SegmentDecoder::error() const { return columns_->error; }

SegmentDecoder::Next SegmentDecoder::next(Event& event) {
  Columns& c = *columns_;
  if (c.at == c.events) return Next::kEnd;
  if (!c.error.empty()) return Next::kMalformed;
  c.in.event_elements = 0;
  c.in.doubtful = false;
  const EventCommon& common = c.common.next(c.in);
  c.in.rank = common.rank.value_or(kAbsentCell);
  const std::size_t kind = c.kind_of[c.kinds[c.at]];
  if (c.any_passed && kind != kKinds) c.catch_up(kind, event);
  if (kind != kKinds && c.in.error == nullptr) (c.*Columns::kGet.data()[kind])(event);
  if (static_cast<std::int32_t>(common.stream) != common.stream) c.in.fail(kNot32Bits);
  if (static_cast<std::uint64_t>(common.extra) > c.extras.size()) {
    c.in.fail("an extra is not one of the segment (M11)");
  }
  if (c.in.error != nullptr) {
    c.error = c.in.error;
    return Next::kMalformed;
  }
  if (kind == kKinds) {
    ++c.at;
    return Next::kSkipped;
  }
  event.t = common.t;
  event.rank = common.rank;
  event.stream = static_cast<std::int32_t>(common.stream);
  event.src = common.src;
  if (common.extra != 0) {
    event.extra = c.extras[static_cast<std::size_t>(common.extra - 1)];
  } else if (!event.extra.empty()) {
    event.extra.clear();
  }
  const bool doubtful = c.in.doubtful || !event.extra.empty();
  if (doubtful || (c.more_of.data()[kind] && !is_whole(event, c.names))) {
    if (const Status good = check_event(event, c.names); !good.ok()) {
      c.error = good.message() + " (M16)";
      return Next::kMalformed;
    }
  }
  ++c.at;
  return Next::kEvent;
}

Briefs SegmentDecoder::briefs() {
  // Asked before every event, and mostly so.
  const Columns& c = *columns_;
  if (c.at == c.events || !c.brief[c.kinds[c.at]]) return {};
  return columns_->briefs();
}

Briefs SegmentDecoder::Columns::briefs() {
  if (any_passed || !error.empty()) return {};
  constexpr std::size_t kRewind = kKindOf<ev::Rewind>, kAccept = kKindOf<ev::Accept>;
  const std::uint8_t *const kinds_here = kinds + at, rewind = kind_number(kRewind),
                            accept = kind_number(kAccept);
  const std::span<const EventCommon> ready = common.ready(in);
  Briefs out{.count = 0,
             .rank = {},
             .rewinds = std::get<kRewind>(by_kind).ready(in),
             .accepts = std::get<kAccept>(by_kind).ready(in)};
  std::size_t n = 0, rewinds = 0;
  for (; n < ready.size(); ++n) {
    const bool is_rewind = kinds_here[n] == rewind;
    if (!is_rewind && kinds_here[n] != accept) break;
    if (is_rewind ? rewinds == out.rewinds.size() : n - rewinds == out.accepts.size()) break;
    const EventCommon& e = ready[n];
    if (e.rank != ready[0].rank || e.extra != 0) break;
    if (static_cast<std::int32_t>(e.stream) != e.stream) break;
    rewinds += is_rewind;
  }
  if (n == 0) return {};
  out.count = n;
  out.rank = ready[0].rank;
  out.rewinds = out.rewinds.first(rewinds);
  out.accepts = out.accepts.first(n - rewinds);
  return out;
}

void SegmentDecoder::pass(const Briefs& briefs) {
  Columns& c = *columns_;
  c.common.pass(briefs.count);
  std::get<kKindOf<ev::Rewind>>(c.by_kind).pass(briefs.rewinds.size());
  std::get<kKindOf<ev::Accept>>(c.by_kind).pass(briefs.accepts.size());
  c.at += static_cast<std::uint32_t>(briefs.count);
}

bool SegmentDecoder::pass(const KindSet& kinds) {
  Columns& c = *columns_;
  if (c.at == c.events || !c.error.empty()) return false;
  const std::size_t kind = c.kind_of[c.kinds[c.at]];
  if (kind == kKinds || !kinds[kind]) return false;
  c.common.next(c.in);
  ++c.passed[kind];
  c.any_passed = true;
  ++c.at;
  return true;
}

}  // namespace pagetape
