// SPDX-License-Identifier: Apache-2.0
#include "traces/unknown_fields.h"

#include <gtest/gtest.h>

#include "traces/text.h"

namespace pagetape {
namespace {

std::vector<std::string> unknown(std::string_view line) {
  Names names;
  Event event;
  const Status status = parse_event(line, names, event);
  EXPECT_TRUE(status.ok()) << status.message();
  return unknown_fields(event);
}

using Paths = std::vector<std::string>;

TEST(UnknownFields, AnEventMayHaveNone) { EXPECT_EQ(unknown(R"({"ev": "end", "t": 1})"), Paths()); }

TEST(UnknownFields, AreSortedAndNamedWithoutWhatTheyHold) {
  EXPECT_EQ(unknown(R"({"ev": "end", "b": {"c": 1}, "a": [2]})"), (Paths{"a", "b"}));
}

TEST(UnknownFields, OfLanesAreNamedOnceForAllLanes) {
  EXPECT_EQ(unknown(R"({"ev": "graph_launch", "graph": "G", "rows": [
                        {"req": "A", "speed": 1}, {"req": "B"}, {"req": "C", "speed": 2}]})"),
            Paths{"rows[].speed"});
}

TEST(UnknownFields, OfObjectsInsideAreNamedByTheirPath) {
  EXPECT_EQ(unknown(R"({"ev": "graph_capture", "graph": "G", "launches": [
                        {"ev": "attention", "backend": "t", "layer": 0, "bound": {"device": 1},
                         "t": 4, "rows": [{"req": null, "speed": 1}]}]})"),
            (Paths{"launches[].bound.device", "launches[].rows[].speed", "launches[].t"}));
}

TEST(UnknownFields, AreNoneWhereTheOverlayIsBroken) {
  Event event;
  event.body = ev::End();
  for (const char* extra : {"{", "[1]", "3"}) {
    event.extra = extra;
    EXPECT_EQ(unknown_fields(event), Paths()) << extra;
  }
}

}  // namespace
}  // namespace pagetape
