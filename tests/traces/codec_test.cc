// SPDX-License-Identifier: Apache-2.0
#include "traces/codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "tests/traces/trace_fixture.h"
#include "traces/column.h"
#include "traces/columns.h"

namespace pagetape {
namespace {

// Which structure of the schema stands for a field of type M.
template <class M>
std::string expected_structure() {
  if constexpr (Cell<M>) return "Column";
  if constexpr (CellList<M>) return std::is_same_v<Element<M>, SlotId> ? "SlotLists" : "Lists";
  if constexpr (std::is_same_v<M, OptNumber>) return "Numbers";
  return "";
}

template <class T>
void expect_fields(capnp::StructSchema schema, const std::string& where);

template <class T, class M>
void expect_field(capnp::StructSchema schema, const std::string& where, const Field<T, M>& field) {
  const std::string name = where + "." + field.name;
  const auto found = schema.findFieldByName(camel_case(field.name));
  ASSERT_TRUE(found != nullptr) << name << " is not in the schema";
  const capnp::StructSchema to = slot_of(schema, field.name).schema;
  if constexpr (std::is_same_v<T, ev::Table> && std::is_same_v<M, Pages>) {
    EXPECT_STREQ(to.getUnqualifiedName().cStr(), "TableCells") << name;
  } else if constexpr (Structure<M>) {
    expect_fields<M>(to, name);
  } else if constexpr (std::is_same_v<Element<M>, ev::Launch>) {
    expect_fields<ev::Attention>(slot_of(to, "attention").schema, name);
    expect_fields<ev::Store>(slot_of(to, "store").schema, name);
    expect_fields<ev::Copy>(slot_of(to, "copy").schema, name);
  } else if constexpr (StructureList<M>) {
    EXPECT_EQ(slot_of(to, "counts").index, 0) << name;
    expect_fields<Element<M>>(to, name);
  } else {
    EXPECT_EQ(to.getUnqualifiedName().cStr(), expected_structure<M>()) << name;
  }
}

template <class T>
void expect_fields(capnp::StructSchema schema, const std::string& where) {
  constexpr auto fields = FieldsOf<T>::fields();
  const bool counted = schema.findFieldByName("counts") != nullptr;
  EXPECT_EQ(schema.getFields().size(), std::tuple_size_v<decltype(fields)> + counted) << where;
  std::apply([&](const auto&... field) { (expect_field<T>(schema, where, field), ...); }, fields);
}

template <std::size_t... I>
void expect_kinds(std::index_sequence<I...>) {
  const capnp::StructSchema columns = capnp::Schema::from<schema::Columns>();
  (expect_fields<std::variant_alternative_t<I, EventBody>>(slot_of(columns, kKindNames[I]).schema,
                                                           std::string(kKindNames[I])),
   ...);
}

// Events that come back from segments of the given encoder.
std::vector<Event> decoded(const Words& payload, Names& names) {
  SegmentDecoder decoder(names);
  std::vector<Event> events;
  if (!decoder.open(payload)) {
    ADD_FAILURE() << decoder.error();
    return events;
  }
  Event event;
  while (decoder.next(event) == SegmentDecoder::Next::kEvent) events.push_back(event);
  EXPECT_EQ(decoder.error(), "");
  return events;
}

std::vector<Event> there_and_back(const std::vector<Event>& events, Names& names, int level = 3) {
  SegmentEncoder encoder(names, level);
  for (const Event& event : events) encoder.add(event);
  Summary summary;
  return decoded(encoder.finish(0, summary), names);
}

TEST(Codec, SchemaAndEventsHaveTheSameFields) { expect_kinds(std::make_index_sequence<kKinds>()); }

TEST(Codec, SchemaHasANumberForEachKindAndNoOther) {
  const auto numbers = capnp::Schema::from<schema::Kind>().getEnumerants();
  ASSERT_EQ(numbers.size(), kKinds);
  for (const auto number : numbers) {
    const std::size_t kind = kind_of_number(static_cast<std::uint8_t>(number.getOrdinal()));
    ASSERT_LT(kind, kKinds);
    EXPECT_EQ(camel_case(kKindNames[kind]), number.getProto().getName().cStr());
  }
}

TEST(Codec, SamplesAreOfEveryKind) {
  Names names;
  std::set<std::size_t> kinds;
  for (const Event& event : sample_events(names)) kinds.insert(event.kind());
  EXPECT_EQ(kinds.size(), kKinds);
}

TEST(Codec, EachEventAloneComesBackAsItWas) {
  Names names;
  for (const Event& event : sample_events(names)) {
    const auto back = there_and_back({event}, names);
    ASSERT_EQ(back.size(), 1u) << print_event(event, names);
    EXPECT_EQ(print_event(back[0], names), print_event(event, names));
    EXPECT_TRUE(back[0] == event);
  }
}

TEST(Codec, AllKindsTogetherComeBackAsTheyWere) {
  Names names;
  std::vector<Event> events;
  for (int i = 0; i < 5; ++i) {
    for (Event& event : sample_events(names)) {
      if (i != 2) event.t = OptInt(std::int64_t{1700000000000000000} + 37 * i);
      if (i % 2 == 1) event.rank = OptInt(i);
      event.stream = i;
      events.push_back(std::move(event));
    }
  }
  EXPECT_TRUE(there_and_back(events, names) == events);
  EXPECT_TRUE(there_and_back(events, names, 0) == events) << "uncompressed";
}

TEST(Codec, ANameTableOfItsOwnGivesTheSameText) {
  Names names, others;
  others.intern("something else");
  const std::vector<Event> events = sample_events(names);
  SegmentEncoder encoder(names, 3);
  for (const Event& event : events) encoder.add(event);
  Summary summary;
  const auto back = decoded(encoder.finish(0, summary), others);
  ASSERT_EQ(back.size(), events.size());
  for (std::size_t i = 0; i < back.size(); ++i) {
    EXPECT_EQ(print_event(back[i], others), print_event(events[i], names));
  }
}

TEST(Codec, IntegersOfEveryWidthComeBack) {
  Names names;
  const std::int64_t edges[] = {0,         1,         -1,        INT8_MAX,  INT8_MIN,  INT16_MAX,
                                INT16_MIN, INT32_MAX, INT32_MIN, INT64_MAX, -INT64_MAX};
  std::vector<Event> all;
  for (const std::int64_t a : edges) {
    std::vector<Event> two;
    for (const std::int64_t b : {a, std::int64_t{3}, -a}) {
      Event event;
      event.body = ev::View{names.intern("o"), b, a};
      event.t = OptInt(b);
      two.push_back(event);
      all.push_back(event);
    }
    EXPECT_TRUE(there_and_back(two, names) == two) << a;
  }
  EXPECT_TRUE(there_and_back(all, names) == all);
}

TEST(Codec, StorageThatIsReusedKeepsNoFieldOfAnotherSegment) {
  Names names;
  const std::vector<Event> full = sample_events(names);
  std::vector<Event> bare;
  for (const char* line :
       {R"({"ev":"graph_launch","graph":"g","rows":[{"req":null},{"req":null}]})",
        R"({"ev":"attention","backend":"b","layer":1,"table":"t","lens":"l",
            "rows":[{"req":null,"row":0},{"req":"A","row":1}]})",
        R"({"ev":"store","backend":"b","layer":1,"slots":"s","rows":[{"req":null,"row":0,"n":1}]})",
        R"({"ev":"pool","pool":"F","pages":8,"page_size":4})",
        R"({"ev":"alloc","pool":"F","req":"A","pages":[]})",
        R"({"ev":"fill","pool":"F","req":"A","pages":[1]})",
        R"({"ev":"graph_launch","graph":"g"})"}) {
    bare.push_back(parsed(line, names));
  }
  SegmentDecoder decoder(names);
  Event event;
  for (int i = 0; i < 4; ++i) {
    const std::vector<Event>& events = i % 2 == 0 ? full : bare;
    SegmentEncoder encoder(names, 0);
    for (const Event& written : events) encoder.add(written);
    Summary summary;
    const Words payload = encoder.finish(0, summary);
    ASSERT_TRUE(decoder.open(payload)) << decoder.error();
    for (const Event& written : events) {
      ASSERT_EQ(decoder.next(event), SegmentDecoder::Next::kEvent) << decoder.error();
      EXPECT_TRUE(event == written) << print_event(event, names);
    }
  }
}

TEST(Codec, LaunchesWithTheSameLanesShareTheirList) {
  Names names;
  const auto attention = [&](const std::string& lanes) {
    return parsed(R"({"ev":"attention","backend":"b","layer":0,"table":"t","lens":"l","rows":[)" +
                      lanes + "]}",
                  names);
  };
  const auto encoded = [&](const std::vector<Event>& events) {
    SegmentEncoder encoder(names, 0);
    for (const Event& e : events) encoder.add(e);
    Summary summary;
    return encoder.finish(0, summary);
  };
  const std::string two = R"({"req":"A","row":0},{"req":"B","row":1,"q_len":2})";
  const std::vector<Event> events = {attention(two),
                                     attention(two),
                                     attention(R"({"req":"A","row":0},{"req":"B","row":1})"),
                                     attention(two),
                                     attention(R"({"req":"A","row":0,"pages":[4],"len":1})"),
                                     attention(R"({"req":"A","row":0,"pages":[5],"len":1})")};
  const Words payload = encoded(events);
  SegmentDecoder decoder(names);
  ASSERT_TRUE(decoder.open(payload)) << decoder.error();
  std::vector<Event> got;
  Event event;
  while (decoder.next(event) == SegmentDecoder::Next::kEvent) got.push_back(event);
  EXPECT_EQ(got, events);
  const auto rows = [&](std::size_t i) -> ev::Rows& {
    return std::get<ev::Attention>(got[i].body).rows;
  };
  ASSERT_EQ(got.size(), events.size());
  // Where pages stand inline in the segment, lanes are read each by itself.
  EXPECT_FALSE(rows(1).is(rows(2)));
  EXPECT_FALSE(rows(4).is(rows(5)));

  const std::vector<Event> plain(events.begin(), events.begin() + 4);
  const Words short_payload = encoded(plain);
  for (int again = 0; again < 2; ++again) {
    ASSERT_TRUE(decoder.open(short_payload)) << decoder.error();
    got.clear();
    while (decoder.next(event) == SegmentDecoder::Next::kEvent) got.push_back(event);
    EXPECT_EQ(got, plain);
    EXPECT_TRUE(rows(0).is(rows(1)));
    EXPECT_FALSE(rows(1).is(rows(2)));
    EXPECT_TRUE(rows(0).is(rows(3)));
    // Who changes one gets a list of its own: the others stay, and so do those still to be read.
    rows(0).edit()[0].req = kNone;
    EXPECT_FALSE(rows(0).is(rows(1)));
    EXPECT_EQ(rows(1), std::get<ev::Attention>(plain[1].body).rows);
  }
}

void look_at_columns(const std::vector<Event>& events, Names& names,
                     const std::function<void(schema::Columns::Reader)>& f) {
  edited_segment(events, names, [&](auto, auto columns) { f(columns.asReader()); });
}

// Stores of slots that follow one another, jump by a little, by much, and back.
std::vector<Event> random_stores(std::uint32_t seed, Names& names, bool with_rows) {
  std::mt19937 random(seed);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  const std::int64_t reach = std::int64_t{1} << (4 + below(43));
  std::vector<Event> events;
  for (int i = 0; i < 40; ++i) {
    Event& event = events.emplace_back();
    ev::Store& store = event.body.emplace<ev::Store>();
    store.backend = names.intern("b");
    store.layer = Layer::number(0);
    store.slots = names.intern("s");
    std::vector<ev::Row> rows(static_cast<std::size_t>(below(4)));
    for (ev::Row& row : rows) {
      if (below(5) > 0) row.req = names.intern(below(2) == 0 ? "A" : "B");
      if (with_rows && below(3) == 0) {
        row.row = below(9);
        row.n = 1;
        continue;
      }
      Slots& slots = row.slots.emplace();
      for (std::int64_t runs = below(4); runs > 0; --runs) {
        std::int64_t slot = below(2 * reach) - reach;
        for (std::int64_t n = below(8) == 0 ? 200 : below(6); n >= 0; --n) {
          slots.push_back(SlotId{slot++});
        }
      }
    }
    // Told each by itself: no other list ends so.
    if (!rows.empty() && rows[0].slots) rows[0].slots->push_back(SlotId{i});
    store.rows = ev::Rows(rows);
  }
  return events;
}

TEST(Codec, StoresOfSlotsAloneComeAsRuns) {
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    Names names;
    for (const bool with_rows : {false, true}) {
      const std::vector<Event> events = random_stores(seed, names, with_rows);
      const std::vector<Event> back = there_and_back(events, names);
      ASSERT_EQ(back.size(), events.size());
      for (std::size_t i = 0; i < back.size(); ++i) {
        const ev::Rows& rows = std::get<ev::Store>(back[i].body).rows;
        EXPECT_EQ(rows.slot_lanes() == nullptr, with_rows || rows.empty());
        EXPECT_EQ(rows.size(), std::get<ev::Store>(events[i].body).rows.size());
        ASSERT_TRUE(back[i] == events[i]) << "seed " << seed << ", event " << i;
      }
    }
  }
}

// Calls f with the columns of an uncompressed segment of the events.
Event slots_event(const Slots& slots, Names& names) {
  Event event;
  event.body = ev::SlotList{names.intern("s"), slots, {}};
  return event;
}

TEST(Codec, SlotsAreToldByRunsWhereThatIsNotLonger) {
  Names names;
  const auto written = [&](const std::vector<Slots>& lists, bool runs, std::size_t values,
                           std::size_t splits) {
    std::vector<Event> events;
    for (const Slots& list : lists) events.push_back(slots_event(list, names));
    look_at_columns(events, names, [&](schema::Columns::Reader columns) {
      const auto found = columns.getSlots().getValues();
      EXPECT_EQ(found.getRuns(), runs);
      EXPECT_EQ(ColumnIn::cells_of(found.getValues()), values);
      EXPECT_EQ(ColumnIn::cells_of(found.getSplits()), splits);
    });
    EXPECT_TRUE(there_and_back(events, names) == events);
  };
  const auto slots = [](std::initializer_list<std::int64_t> list) {
    Slots out;
    for (const std::int64_t slot : list) out.push_back(SlotId{slot});
    return out;
  };
  written({slots({7, 8, 9, 10}), slots({11, 12})}, true, 2, 0);
  written({slots({}), slots({7, 8, 9, 20, 21, 22}), slots({}), slots({5})}, true, 3, 1);
  written({slots({-2, -1, 0, 1, 0, 1, 2})}, true, 2, 1);
  written({slots({5}), slots({70}), slots({3})}, true, 3, 0);
  written({slots({5, 70, 3})}, false, 3, 0);
  written({slots({5, 6, 70, 3, 4})}, true, 3, 2);
}

TEST(Codec, SlotsThatAreToldOneByOneAreTheSame) {
  // As all were in version 1 of the file.
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    Names names;
    const std::vector<Event> events = random_stores(seed, names, false);
    const Words payload = edited_segment(events, names, [&](auto, auto columns) {
      auto lists = columns.getStore().getRows().getSlots();
      lists.setRuns(false);
      lists.disownSplits();
      std::vector<SlotId> all;
      for (const Event& event : events) {
        for (const ev::Row& row : std::get<ev::Store>(event.body).rows) {
          all.insert(all.end(), row.slots->begin(), row.slots->end());
        }
      }
      auto list = lists.initValues().initInt64(static_cast<unsigned>(all.size()));
      for (unsigned i = 0; i < list.size(); ++i) list.set(i, raw(all[i]));
    });
    EXPECT_TRUE(decoded(payload, names) == events) << seed;
  }
}

TEST(Codec, AColumnOfDifferencesIsAsNarrowAsThey) {
  using enum schema::Column::Which;
  Names names;
  const auto times = [&](std::initializer_list<OptInt> all, schema::Column::Which width,
                         std::int64_t base) {
    std::vector<Event> events;
    for (int again = 0; again < 20; ++again) {
      for (const OptInt t : all) {
        Event& event = events.emplace_back();
        event.body = ev::Note{names.intern("x")};
        event.t = t;
      }
    }
    look_at_columns(events, names, [&](schema::Columns::Reader columns) {
      EXPECT_EQ(columns.getT().which(), width);
      EXPECT_EQ(columns.getT().getBase(), base);
    });
    EXPECT_TRUE(there_and_back(events, names) == events);
  };
  constexpr std::int64_t kNow = 1700000000000000000;
  const auto at = [](std::int64_t t) { return OptInt(t); };
  times({at(kNow), at(kNow + 1), at(kNow + 3), OptInt(), at(kNow + 4)}, INT8, kNow);
  times({OptInt(), at(kNow), at(kNow - 300)}, INT16, kNow);
  times({at(0), at(kNow), at(kNow + 1)}, INT64, 0);
  times({at(40), at(41), at(43)}, INT8, 0);
  times({at(kNow)}, ELIDED, kNow);
  times({at(kNow), OptInt()}, INT8, kNow);
  times({at(-INT64_MAX), at(INT64_MAX)}, INT8, -INT64_MAX);  // They wrap.
}

TEST(Codec, ALaneWithoutSlotsAmongOthersIsFound) {
  Names names;
  std::vector<Event> events = random_stores(1, names, false);
  std::vector<ev::Row> rows(2);
  rows[0].slots.emplace().push_back(SlotId{4});
  std::get<ev::Store>(events[7].body).rows = ev::Rows(rows);
  SegmentEncoder encoder(names, 3);
  for (const Event& event : events) encoder.add(event);
  Summary summary;
  const Words payload = encoder.finish(0, summary);
  SegmentDecoder decoder(names);
  ASSERT_TRUE(decoder.open(payload));
  Event event;
  for (int i = 0; i < 7; ++i) ASSERT_EQ(decoder.next(event), SegmentDecoder::Next::kEvent);
  EXPECT_EQ(decoder.next(event), SegmentDecoder::Next::kMalformed);
  EXPECT_NE(decoder.error().find("rows[1].slots"), std::string::npos) << decoder.error();
}

TEST(Codec, SegmentsStandAlone) {
  Names names;
  const std::vector<Event> events = sample_events(names);
  SegmentEncoder encoder(names, 3);
  Summary summary;
  for (const Event& event : events) encoder.add(event);
  encoder.finish(0, summary);
  for (const Event& event : events) encoder.add(event);
  EXPECT_TRUE(decoded(encoder.finish(events.size(), summary), names) == events);
}

// Rows of several buffers and ranks that change here and there, grow, shrink and jump.
std::vector<Event> random_tables(std::uint32_t seed, Names& names) {
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  std::vector<Pages> rows(6, Pages(40));
  std::vector<Event> events;
  for (int i = 0; i < 400; ++i) {
    const int r = below(6);
    Pages& row = rows[static_cast<std::size_t>(r)];
    for (int k = below(4); k > 0; --k) row[static_cast<std::size_t>(below(40))] = PageId{below(99)};
    const int col = below(3) == 0 ? below(40) : 0;
    const int n = below(3) == 0 ? below(41 - col) : 40 - col;
    ev::Table table;
    table.buffer = names.intern(r % 2 == 0 ? "t" : "u");
    table.row = r / 2;
    table.col = col + (below(20) == 0 ? 100 : 0);
    table.pages.assign(row.begin() + col, row.begin() + col + n);
    Event event;
    if (below(3) == 0) event.rank = OptInt(below(2));
    event.body = std::move(table);
    events.push_back(std::move(event));
  }
  return events;
}

TEST(Codec, TablesThatChangeComeBackAsTheyWere) {
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    Names names;
    const std::vector<Event> events = random_tables(seed, names);
    ASSERT_TRUE(there_and_back(events, names) == events) << "seed " << seed;
  }
}

TEST(Codec, ATableThatDoesNotChangeCostsAlmostNothing) {
  Names names;
  Event event;
  ev::Table table{names.intern("t"), 0, 0, Pages(1000, PageId{7}), kNone, kNone, kNone};
  for (int i = 0; i < 1000; ++i) table.pages[static_cast<std::size_t>(i)] = PageId{(i * i) % 9973};
  event.body = table;
  SegmentEncoder encoder(names, 0);
  encoder.add(event);
  const std::uint64_t first = encoder.bytes();
  for (int i = 0; i < 10; ++i) encoder.add(event);
  EXPECT_LT(encoder.bytes() - first, first / 4);
  Summary summary;
  EXPECT_EQ(decoded(encoder.finish(0, summary), names).size(), 11u);
}

TEST(Codec, ASummarySaysWhatIsInTheSegment) {
  Names names;
  SegmentEncoder encoder(names, 3);
  Event event = parsed(kSampleLines[0], names);
  encoder.add(event);
  event = parsed(
      R"({"ev":"attention","backend":"d","layer":1,"table":"t","t":9,"rank":3,
          "rows":[{"req":"A","row":0,"len":1},{"req":null,"row":1,"len":0}]})",
      names);
  encoder.add(event);
  event.t = OptInt(4);
  encoder.add(event);
  Summary summary;
  SegmentInfo info;
  ASSERT_TRUE(segment_info(encoder.finish(70, summary), info));
  EXPECT_TRUE(info.summary == summary);
  EXPECT_EQ(info.first_event, 70u);
  EXPECT_EQ(info.events, 3u);
  EXPECT_EQ(summary.counts[kKindOf<ev::Attention>], 2u);
  EXPECT_EQ(summary.counts[kKindOf<ev::Header>], 1u);
  EXPECT_EQ(*summary.time_first, 4);
  EXPECT_EQ(*summary.time_last, 9);
  EXPECT_EQ(summary.lanes_max, 2u);
  EXPECT_EQ(summary.launches, 2u);
  EXPECT_EQ(summary.ranks, std::vector<std::int64_t>{3});
}

TEST(Codec, TheSameEventsGiveTheSameBytes) {
  Names names;
  const std::vector<Event> events = sample_events(names);
  SegmentEncoder one(names, 3), two(names, 3);
  Summary summary;
  for (const Event& event : events) one.add(event), two.add(event);
  EXPECT_TRUE(one.finish(0, summary) == two.finish(0, summary));
}

TEST(Codec, KeyframesComeBackWithTheirState) {
  std::string state(100000, 'x'), back;
  KeyframeInfo info;
  for (const int level : {0, 3}) {
    const Words payload = encode_keyframe({0, 12, 0xfeed}, state, level);
    ASSERT_TRUE(decode_keyframe(payload, info, &back));
    EXPECT_TRUE(info == (KeyframeInfo{0, 12, 0xfeed}));
    EXPECT_EQ(back, state);
  }
}

TEST(Codec, M17TheSizeOfAStateIsNotBelieved) {
  const Words good = encode_keyframe({0, 12, 0xfeed}, std::string(1000, 'x'), 3);
  capnp::FlatArrayMessageReader reader(as_capnp(good));
  for (const std::uint64_t bytes :
       {std::uint64_t{0}, std::uint64_t{999}, kMaxBodyBytes, kMaxBodyBytes + 1, UINT64_MAX}) {
    capnp::MallocMessageBuilder message;
    message.setRoot(reader.getRoot<schema::Keyframe>());
    message.getRoot<schema::Keyframe>().setRawBytes(bytes);
    KeyframeInfo info;
    std::string state;
    EXPECT_FALSE(decode_keyframe(flatten(message), info, &state)) << bytes;
  }
}

}  // namespace
}  // namespace pagetape
