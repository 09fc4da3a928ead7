// SPDX-License-Identifier: Apache-2.0
// Lanes that are told once for several launches, there and back. The columns' own tests:
// codec_test.
#include <gtest/gtest.h>

#include <random>

#include "tests/traces/trace_fixture.h"
#include "traces/columns_in.h"

namespace pagetape {
namespace {

using ColumnsEdit = std::function<void(schema::Columns::Builder)>;

// The events of a segment that was changed so; what a decoder says of it goes to `error`.
std::vector<Event> decoded(
    const std::vector<Event>& events, Names& names, std::string& error,
    const ColumnsEdit& edit = [](auto) {}) {
  const Words payload = edited_segment(events, names, [&](auto, auto c) { edit(c); });
  SegmentDecoder decoder(names);
  std::vector<Event> out;
  if (decoder.open(payload)) {
    Event event;
    while (decoder.next(event) == SegmentDecoder::Next::kEvent) out.push_back(event);
  }
  error = decoder.error();
  return out;
}

TEST(LanesIn, LanesOfOneOfTheLastFourListsAreNotToldAgain) {
  Names names;
  const auto store = [&](const std::string& lanes) {
    return parsed(R"({"ev":"store","backend":"b","layer":0,"rows":[)" + lanes + "]}", names);
  };
  // Two pools' slots in turns, as a step's layers have them; then lists that push them out.
  const std::string a = R"({"req":"A","slots":[4,5]},{"req":"B","slots":[]})",
                    b = R"({"req":"A","slots":[9,8]},{"req":"B","slots":[]})",
                    c = R"({"req":"A","slots":[4,5]},{"req":null,"slots":[]})",
                    d = R"({"req":"A","slots":[4]},{"req":"B","slots":[5]})",
                    e = R"({"req":"A","slots":[4,5]})";
  std::vector<Event> events;
  for (const std::string& lanes : {a, a, b, a, b, std::string(), c, d, d, a, b, e, a, a}) {
    events.push_back(store(lanes));
  }
  edited_segment(events, names, [&](auto, schema::Columns::Builder columns) {
    ColumnIn counts;
    ASSERT_TRUE(counts.open(columns.getStore().getRows().getCounts(), events.size(), 0));
    std::vector<std::int64_t> cells(events.size());
    counts.refresh(cells.data(), cells.size());
    EXPECT_EQ(cells, (std::vector<std::int64_t>{2, -1, 2, -2, -1, 0, 2, 2, -1, -4, -3, 1, 2, -1}));
  });
  SegmentEncoder encoder(names, 0);
  SegmentDecoder decoder(names);
  for (int again = 0; again < 2; ++again) {  // No list of a segment is one of the next.
    for (const Event& event : events) encoder.add(event);
    Summary summary;
    const Words payload = encoder.finish(0, summary);
    ASSERT_TRUE(decoder.open(payload)) << decoder.error();
    std::vector<Event> got(events.size());
    for (Event& event : got) ASSERT_EQ(decoder.next(event), SegmentDecoder::Next::kEvent);
    ASSERT_EQ(got, events);
    const auto rows = [&](std::size_t i) { return std::get<ev::Store>(got[i].body).rows; };
    EXPECT_TRUE(rows(0).is(rows(3)) && rows(2).is(rows(4)) && rows(0).is(rows(9)));
    EXPECT_FALSE(rows(0).is(rows(12)));
  }
}

TEST(LanesIn, WhateverLanesAreAlikeTheyComeBack) {
  for (std::uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    Names names;
    std::vector<Event> some, events;
    for (const Event& sample : sample_events(names)) {
      if (sample.kind() == kKindOf<ev::Attention> || sample.kind() == kKindOf<ev::Store> ||
          sample.kind() == kKindOf<ev::GraphLaunch> || sample.kind() == kKindOf<ev::GraphCapture>) {
        some.push_back(sample);
      }
    }
    for (int i = 0; i < 60; ++i) {
      Event& event = events.emplace_back(some[random() % some.size()]);
      ev::Rows* rows = nullptr;
      if (auto* launch = std::get_if<ev::Attention>(&event.body)) rows = &launch->rows;
      if (auto* launch = std::get_if<ev::Store>(&event.body)) rows = &launch->rows;
      if (rows == nullptr || rows->empty() || random() % 3 > 0) continue;
      ev::Row& row = rows->edit()[random() % rows->size()];
      if (random() % 2 == 0) row.req = names.intern(random() % 2 == 0 ? "A" : "N");
      if (random() % 2 == 0 && row.slots) row.slots->resize(random() % 3);
      if (random() % 2 == 0 && row.row.has_value()) {
        row.row = static_cast<std::int64_t>(random() % 2);
      }
    }
    std::string error;
    EXPECT_TRUE(decoded(events, names, error) == events) << seed << ": " << error;
  }
}

std::vector<Event> stores_of_slots(std::size_t stores, std::size_t slots, Names& names) {
  Event event;
  auto& store = event.body.emplace<ev::Store>();
  store.backend = names.intern("b");
  store.layer = Layer::number(0);
  std::vector<ev::Row> rows(1);
  rows[0].req = names.intern("A");
  rows[0].slots.emplace().assign(slots, SlotId{1});
  store.rows = ev::Rows(rows);
  return std::vector<Event>(stores, event);
}

// What costs nothing in the file is limited: who verifies it goes over each launch's.
TEST(LanesIn, SlotsOfLanesToldAgainCountAgain) {
  for (const std::size_t stores : {2048, 2049}) {
    Names names;
    std::string error;
    const std::vector<Event> got = decoded(stores_of_slots(stores, 4096, names), names, error);
    EXPECT_EQ(got.size(), 2048u);
    EXPECT_EQ(error.find("(M20)") != std::string::npos, stores > 2048) << error;
  }
}

TEST(LanesIn, AWriterBeginsASegmentBeforeTheirSlotsAreTooMany) {
  ScratchFolder folder;
  Names names;
  const std::vector<Event> events = stores_of_slots(2500, 4096, names);
  write_trace(folder.file("x"), events, names, segments_of(1 << 16, 0));
  const ReadBack back = read_back(folder.file("x"), names);
  EXPECT_TRUE(back.status.ok()) << back.status.message();
  EXPECT_TRUE(back.events == events);
}

TEST(LanesIn, PagesOfLanesToldAgainCountAgain) {
  Names names;
  Event event = parsed(R"({"ev":"attention","backend":"b","layer":1,"rows":[{"req":"A","len":1,
      "pages":[1]}]})",
                       names);
  std::get<ev::Attention>(event.body).rows.edit()[0].pages->assign(1 << 20, PageId{1});
  std::string error;
  const std::vector<Event> got = decoded(std::vector<Event>(2050, event), names, error);
  EXPECT_EQ(got.size(), 2049u);  // 2^31 of them are there again.
  EXPECT_NE(error.find("(M15)"), std::string::npos) << error;
}

TEST(LanesIn, LanesOfOneEventToldAgainCountAgain) {
  Names names;
  Event event = parsed(R"({"ev":"graph_capture","graph":"g","launches":[
      {"ev":"store","backend":"b","layer":1,"rows":[{"req":"A","row":0,"n":1}],"slots":"s"}]})",
                       names);
  auto& launches = *std::get<ev::GraphCapture>(event.body).launches;
  launches.resize(40, launches[0]);
  std::string error;
  const auto with_lanes = [&](std::int32_t lanes) {
    decoded({event}, names, error, [lanes](schema::Columns::Builder c) {
      auto rows = c.getGraphCapture().getLaunches().getStore().getRows();
      auto counts = rows.initCounts().initInt32(40);
      counts.set(0, lanes);
      for (unsigned i = 1; i < 40; ++i) counts.set(i, -1);
      for (auto column : {rows.initReq(), rows.initRow(), rows.initN()}) {
        column.setDelta(true);
        column.setBase(1);
      }
    });
    return error;
  };
  EXPECT_EQ(with_lanes(6000), "");
  EXPECT_NE(with_lanes(7000).find("(M13)"), std::string::npos) << error;  // 40 of them: over 2^18.
}

TEST(LanesIn, LanesToldAgainCountAgain) {
  Names names;
  const Event launch = parsed(R"({"ev":"attention","backend":"b","layer":1,"table":"t",
      "rows":[{"req":"A","len":1,"row":0}]})",
                              names);
  std::string error;
  decoded(std::vector<Event>(300, launch), names, error, [](schema::Columns::Builder c) {
    auto rows = c.getAttention().getRows();
    auto counts = rows.initCounts().initInt32(300);
    counts.set(0, 1 << 18);
    for (unsigned i = 1; i < 300; ++i) counts.set(i, -1);
    for (auto column : {rows.initReq(), rows.initLen(), rows.initRow()}) {
      column.setDelta(true);
      column.setBase(1);
    }
  });
  EXPECT_NE(error.find("(M13)"), std::string::npos) << error;
}

}  // namespace
}  // namespace pagetape
