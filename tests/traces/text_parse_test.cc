// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "traces/text.h"

namespace pagetape {
namespace {

std::string error_of(std::string_view line) {
  Names names;
  Event event;
  const Status status = parse_event(line, names, event);
  EXPECT_EQ(status.code(), status.ok() ? Code::kOk : Code::kUsage);
  return status.message();
}

TEST(TextParse, InternsNamesAndKeepsNumbers) {
  Names names;
  Event event;
  ASSERT_TRUE(parse_event(R"({"ev": "alloc", "pool": "F", "req": "A", "pages": [7, -1],
                              "first": 3, "t": 12, "stream": 2, "src": "a.py:1", "rank": 0})",
                          names, event)
                  .ok());
  const auto& alloc = std::get<ev::Alloc>(event.body);
  EXPECT_EQ(names.text(alloc.pool), "F");
  EXPECT_EQ(names.text(alloc.req), "A");
  EXPECT_EQ(alloc.pages, (Pages{PageId{7}, PageId{-1}}));
  EXPECT_EQ(*alloc.first, 3);
  EXPECT_EQ(*event.t, 12);
  EXPECT_EQ(event.stream, 2);
  EXPECT_EQ(names.text(event.src), "a.py:1");
  EXPECT_EQ(*event.rank, 0);
}

TEST(TextParse, NothingOfTheEventBeforeIsLeft) {
  Names names;
  Event event;
  ASSERT_TRUE(parse_event(R"({"ev": "end", "t": 1, "rank": 2, "new": 3})", names, event).ok());
  ASSERT_TRUE(parse_event(R"({"ev": "end"})", names, event).ok());
  Event end;
  end.body = ev::End();
  EXPECT_EQ(event, end);
}

TEST(TextParse, AnOperationRunsOnStreamOneUnlessItSaysAnother) {
  const std::string fields = R"("op": "o", "kind": "read", "pool": "F", "pages": [], "by": "A")";
  Names names;
  Event event;
  ASSERT_TRUE(parse_event(R"({"ev": "async_begin", )" + fields + "}", names, event).ok());
  EXPECT_EQ(event.stream, 1);
  const std::string on_zero = R"({"ev": "async_begin", )" + fields + R"(, "stream": 0})";
  ASSERT_TRUE(parse_event(on_zero, names, event).ok());
  EXPECT_EQ(event.stream, 0);
}

TEST(TextParse, TellsNumbersFromStrings) {
  Names names;
  Event number, string;
  ASSERT_TRUE(parse_event(R"({"ev": "scalar", "name": "n", "value": 8})", names, number).ok());
  ASSERT_TRUE(parse_event(R"({"ev": "scalar", "name": "n", "value": "8"})", names, string).ok());
  EXPECT_EQ(names.text(std::get<ev::Scalar>(number.body).value.json), "8");
  EXPECT_EQ(names.text(std::get<ev::Scalar>(string.body).value.json), "\"8\"");
}

TEST(TextParse, KeepsUnknownFieldsWhereTheyStand) {
  Names names;
  Event event;
  ASSERT_TRUE(parse_event(R"({"ev": "attention", "backend": "t", "layer": 0, "new": [1],
                              "bound": {"pool": "F", "device": 1},
                              "rows": [{"req": "A", "len": 0, "pages": []},
                                       {"req": "B", "len": 0, "pages": [], "speed": 2}]})",
                          names, event)
                  .ok());
  EXPECT_EQ(nlohmann::json::parse(event.extra), nlohmann::json::parse(R"(
      {"new": [1], "bound": {"device": 1}, "rows": {"1": {"speed": 2}}})"));
}

TEST(TextParse, RefusesWhatIsNoEvent) {
  EXPECT_EQ(error_of(R"([1])"), "expected an object, found a list");
  EXPECT_EQ(error_of(R"({})"), "missing field \"ev\" (a string)");
  EXPECT_EQ(error_of(R"({"ev": 3})"), "field \"ev\": expected a string, found 3");
  EXPECT_EQ(error_of(R"({"ev": "allocc"})"), "unknown event \"allocc\"");
  EXPECT_EQ(error_of(R"({"ev": "end", "ev": "end"})"), "the key \"ev\" stands twice in one object");
}

TEST(TextParse, NamesTheFieldThatIsMissing) {
  EXPECT_EQ(error_of(R"({"ev": "free", "req": "A", "pages": []})"),
            "missing field \"pool\" (a string)");
  EXPECT_EQ(error_of(R"({"ev": "free", "pool": "F", "req": "A"})"),
            "missing field \"pages\" (a list of page ids)");
  EXPECT_EQ(error_of(R"({"ev": "store", "backend": "t", "layer": 0, "rows": [{"slots": []}]})"),
            "missing field \"rows[0].req\" (a string or null)");
  EXPECT_EQ(error_of(R"({"ev": "graph_capture", "graph": "G", "launches": [{"rows": []}]})"),
            "missing field \"launches[0].ev\" (a string)");
}

TEST(TextParse, SaysWhatStandsInTheWrongField) {
  const std::string free = R"({"ev": "free", "pool": "F", "req": "A", "pages": )";
  EXPECT_EQ(error_of(free + R"("x"})"),
            "field \"pages\": expected a list of page ids, found \"x\"");
  EXPECT_EQ(error_of(free + "[1, null]}"), "field \"pages[1]\": expected a page id, found null");
  EXPECT_EQ(error_of(free + "[1.0]}"), "field \"pages[0]\": expected a page id, found 1.0");
  EXPECT_EQ(error_of(R"({"ev": "free", "pool": null, "req": "A", "pages": []})"),
            "field \"pool\": expected a string, found null");
  EXPECT_EQ(error_of(R"({"ev": "map_set", "map": "m", "pairs": [[1, 2], [3]]})"),
            "field \"pairs[1]\": expected a pair of integers, found a list");
  EXPECT_EQ(error_of(R"({"ev": "pool_swap", "backend": "t", "layers": "all", "pool": "F"})"),
            "field \"layers\": expected a list of layers or \"*\", found \"all\"");
  EXPECT_EQ(error_of(R"({"ev": "scalar", "name": "n", "value": null})"),
            "field \"value\": expected a string, a number, true or false, found null");
}

TEST(TextParse, SaysWhatStandsInTheWrongFieldOfAnObjectInside) {
  EXPECT_EQ(error_of(R"({"ev": "store", "backend": "t", "layer": 0, "rows": [0]})"),
            "field \"rows[0]\": expected an object, found 0");
  EXPECT_EQ(error_of(R"({"ev": "store", "backend": "t", "layer": 0, "rows": [{"req": 5}]})"),
            "field \"rows[0].req\": expected a string or null, found 5");
  EXPECT_EQ(error_of(R"({"ev": "graph_capture", "graph": "G", "launches": [{"ev": "free"}]})"),
            "field \"launches[0].ev\": expected attention, store or copy, found \"free\"");
  EXPECT_EQ(error_of(R"({"ev": "graph_capture", "graph": "G", "scalars": {"n": []}})"),
            "field \"scalars.n\": expected a string, a number, true or false, found a list");
}

TEST(TextParse, RefusesNumbersThatTheFieldCannotHold) {
  const std::string free = R"({"ev": "free", "pool": "F", "req": "A", "pages": )";
  EXPECT_EQ(error_of(free + "[2147483648]}"),
            "field \"pages[0]\": expected a page id within 32 bits, found 2147483648");
  EXPECT_EQ(error_of(free + "[-2147483648]}"),
            "field \"pages[0]\": expected a page id within 32 bits, found -2147483648");
  EXPECT_EQ(error_of(R"({"ev": "arena", "arena": "a", "bytes": 9223372036854775808})"),
            "field \"bytes\": expected an integer within 64 bits, found 9223372036854775808");
  EXPECT_EQ(error_of(R"({"ev": "arena", "arena": "a", "bytes": 1e30})"),
            "field \"bytes\": expected an integer, found 1e+30");
  EXPECT_EQ(error_of(R"({"ev": "end", "stream": 4294967296})"),
            "field \"stream\": expected an integer within 32 bits, found 4294967296");
}

TEST(TextParse, ChecksWhatItRead) {
  EXPECT_EQ(error_of(R"({"ev": "attention", "backend": "t", "layer": 0, "rows": [
                         {"req": "A", "pages": [], "len": 1},
                         {"req": "A", "pages": [], "len": 1},
                         {"req": "A", "pages": [], "len": -4}]})"),
            "field \"rows[2].len\": expected an integer >= 0, found -4");
}

}  // namespace
}  // namespace pagetape
