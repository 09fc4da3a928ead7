// SPDX-License-Identifier: Apache-2.0
#include "replay/setup_log.h"

#include <gmock/gmock.h>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

class SetupLogTest : public testing::Test {
 protected:
  // The numbers of the lines that are kept.
  std::vector<std::size_t> kept(std::initializer_list<const char*> lines) {
    std::vector<std::size_t> out;
    std::int64_t number = 0;
    for (const char* line : lines) {
      Event event = machine_.event(line);
      event.t = number++;  // By which alike ones are told apart.
      log_.see(event, machine_.names);
    }
    for (const Event& event : log_.events()) out.push_back(static_cast<std::size_t>(*event.t));
    return out;
  }

  TextState machine_;
  SetupLog log_;
};

constexpr const char* kF = R"({"ev":"pool","pool":"F","pages":8,"page_size":4})";
constexpr const char* kBackend = R"({"ev":"backend","backend":"t"})";
constexpr const char* kSwap = R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"})";
constexpr const char* kCached = R"({"ev":"cached","backend":"t","attr":"a","derived_from":"F"})";
constexpr const char* kVersion = R"({"ev":"version","object":"F"})";
constexpr const char* kCapture = R"({"ev":"graph_capture","graph":"g"})";

TEST_F(SetupLogTest, WhatIsSaidAgainTakesThePlaceOfWhatWasSaid) {
  EXPECT_THAT(kept({kF, kBackend, kSwap, kSwap, kSwap}), ElementsAre(0, 1, 4));
}

TEST_F(SetupLogTest, EventsOfPagesAndLaunchesAreNotKept) {
  EXPECT_THAT(
      kept({kF, R"({"ev":"alloc","pool":"F","req":"A","pages":[1]})", R"({"ev":"step","step":1})"}),
      ElementsAre(0));
}

TEST_F(SetupLogTest, AFactKeepsTheVersionItWasDerivedFrom) {
  EXPECT_THAT(kept({kF, kBackend, kCached, kVersion}), ElementsAre(0, 1, 2, 3));
}

TEST_F(SetupLogTest, AGraphKeepsWhatStoodAtItsCapture) {
  EXPECT_THAT(kept({kF, kBackend, kSwap, kCapture, kSwap, kSwap}), ElementsAre(0, 1, 2, 3, 5));
}

TEST_F(SetupLogTest, AGraphCapturedAgainKeepsNothingOfTheFirstTime) {
  EXPECT_THAT(kept({kF, kBackend, kSwap, kCapture, kSwap, kCapture}), ElementsAre(0, 1, 4, 5));
}

TEST_F(SetupLogTest, RanksAreApart) {
  EXPECT_THAT(kept({R"({"ev":"backend","backend":"t","rank":0})",
                    R"({"ev":"backend","backend":"t","rank":1})"}),
              ElementsAre(0, 1));
}

TEST_F(SetupLogTest, IsBoundedHoweverLongItIsWatched) {
  for (int i = 0; i < 10'000; ++i) {
    for (const char* line : {kF, kBackend, kSwap, kCached, kVersion}) {
      log_.see(machine_.event(line), machine_.names);
    }
  }
  EXPECT_THAT(log_.events(), SizeIs(testing::Le(8u)));
}

}  // namespace
}  // namespace pagetape
