// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/replay/replay_fixture.h"
#include "verify/report.h"

namespace pagetape {
namespace {

std::string words(const char* line) {
  TextState m;
  const Event event = m.event(line);
  return describe(event, m.names);
}

TEST(Describe, WhatAFindingIsExplainedByIsSaidInWords) {
  EXPECT_EQ(words(R"({"ev":"pool","pool":"F","pages":8,"page_size":4})"),
            "pool F was declared with 8 pages of 4 tokens");
  EXPECT_EQ(words(R"({"ev":"backend","backend":"d","role":"draft"})"),
            "backend d (draft) was created");
  EXPECT_EQ(words(R"({"ev":"pool_swap","backend":"d","layers":[22],"pool":"S","set":"W"})"),
            "backend d: layer 22 bound to pool S through W (the pool swap)");
  EXPECT_EQ(words(R"({"ev":"pool_swap","backend":"d","layers":"*","pool":"S"})"),
            "backend d: all layers bound to pool S (the pool swap)");
  EXPECT_EQ(words(R"({"ev":"swa_state","backend":"d","uses_swa":false,"swa_pool":null,
                      "derived_from":"D"})"),
            "backend d derived from D that it uses no sliding-window pool");
  EXPECT_EQ(words(R"({"ev":"layer_remap","backend":"d","layer":"a0","to":22})"),
            "backend d: logical layer a0 was mapped to layer 22");
  EXPECT_EQ(words(R"({"ev":"alloc","pool":"F","req":"A","pages":[7]})"),
            "page 7 of pool F given to A");
  EXPECT_EQ(words(R"({"ev":"evict","pool":"S","req":"A","logical":2,"page":5})"),
            "logical page 2 of A (page 5 of pool S) left the window");
}

TEST(Describe, WhatPagesHoldIsSaidInWords) {
  EXPECT_EQ(words(R"({"ev":"fill","pool":"F","req":"A","pages":[7]})"),
            "page 7 of pool F written by A");
  EXPECT_EQ(words(R"({"ev":"prefix_key","pool":"F","page":7,"key":"k"})"),
            "page 7 of pool F offered under key k");
  EXPECT_EQ(words(R"({"ev":"prefix_hit","pool":"F","req":"A","page":7,"key":"k"})"),
            "page 7 of pool F reused by A, key k");
  EXPECT_EQ(words(R"({"ev":"copy","from_pool":"F","to_pool":"H","req":"A","from":[7],"to":[1]})"),
            "page 7 of pool F copied to page 1 of pool H");
  EXPECT_EQ(words(R"({"ev":"step","step":3,"mode":"decode"})"), "step 3 (decode) began");
  EXPECT_EQ(words(R"({"ev":"request","req":"A","state":"finish"})"), "request A: finish");
}

TEST(Describe, TheCallSiteIsNamed) {
  EXPECT_EQ(words(R"({"ev":"version","object":"F","src":"model.py:7"})"),
            "F was rebuilt at model.py:7");
}

TEST(Describe, LongListsAreCut) {
  EXPECT_EQ(words(R"({"ev":"free","pool":"F","req":"A","pages":[1,2,3,4,5,6,7]})"),
            "pages 1, 2, 3, 4, 5, 6, … (7 in all) of pool F freed by A");
  EXPECT_EQ(words(R"({"ev":"pool_swap","backend":"d","layers":[0,1,2,3,4,5,6,7,8],"pool":"F"})"),
            "backend d: layers 0, 1, 2, 3, 4, 5, 6, 7, … bound to pool F (the pool swap)");
}

TEST(Describe, AnyOtherEventIsSaidInItsTextForm) {
  EXPECT_EQ(words(R"({"ev":"refresh","buffer":"b"})"), R"({"ev": "refresh", "buffer": "b"})");
}

TEST(Describe, EveryEventOfEveryGoldenTraceHasWordsOfBearableLength) {
  for (const std::string& path : golden_traces()) {
    Names names;
    for (const Event& event : events_of(path, names)) {
      const std::string text = describe(event, names);
      EXPECT_FALSE(text.empty()) << path;
      EXPECT_LT(text.size(), 400u) << path << ": " << text;
    }
  }
}

}  // namespace
}  // namespace pagetape
