// SPDX-License-Identifier: Apache-2.0
#include "replay/state.h"

#include <gtest/gtest.h>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

using Owners = std::vector<std::string>;

constexpr const char* kPool = R"({"ev":"pool","pool":"F","pages":8,"page_size":4,
    "reserved":[{"page":0,"role":"pad"},{"page":7,"role":"null"}]})";
constexpr const char* kBackend = R"({"ev":"backend","backend":"t"})";
constexpr const char* kSwap = R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"})";

// Pages 1 and 2 of pool F are A's, written in every layer.
struct Filled : TextState {
  Filled() {
    run({kPool, kBackend, kSwap, R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2],"first":0})",
         R"({"ev":"fill","pool":"F","req":"A","pages":[1,2],"digest":["k1","k2"]})"});
  }
};

TEST(State, AnEmptyStateHasNoWorldAndIsTheSameAsAnother) {
  TextState a, b;
  EXPECT_EQ(a.state.world(), nullptr);
  EXPECT_EQ(a.state.next_event(), 0u);
  EXPECT_EQ(a.state.digest(), b.state.digest());
}

TEST(State, AnAllocGivesAnEmptyPage) {
  Filled m;
  EXPECT_EQ(m.owners("F", 1), Owners{"A"});
  EXPECT_TRUE(m.written("F", 1, 0, 4));
  m.run({R"({"ev":"free","pool":"F","req":"A","pages":[1]})",
         R"({"ev":"alloc","pool":"F","req":"B","pages":[1]})"});
  EXPECT_EQ(m.owners("F", 1), Owners{"B"});
  EXPECT_FALSE(m.written("F", 1, 0, 1));
  EXPECT_EQ(m.digest_of("F", 1), "");
}

TEST(State, AnAllocOfAnOwnedPageAddsAnOwnerAndLeavesTheContents) {
  Filled m;
  m.run({R"({"ev":"alloc","pool":"F","req":"B","pages":[1]})"});
  EXPECT_EQ(m.owners("F", 1), (Owners{"A", "B"}));
  EXPECT_TRUE(m.written("F", 1, 0, 4));
  EXPECT_EQ(m.digest_of("F", 1), "k1");
}

TEST(State, AnAllocEmptiesThePageInEveryPoolOfItsSpace) {
  TextState m;
  m.run({kPool, R"({"ev":"pool","pool":"E","pages":8,"page_size":4,"space":"F"})",
         R"({"ev":"alloc","pool":"F","req":"A","pages":[1]})",
         R"({"ev":"fill","pool":"E","req":"A","pages":[1],"digest":"k"})",
         R"({"ev":"free","pool":"E","req":"A","pages":[1]})",
         R"({"ev":"alloc","pool":"F","req":"A","pages":[1]})"});
  EXPECT_FALSE(m.written("E", 1, 0, 1));
  EXPECT_EQ(m.digest_of("E", 1), "");
}

TEST(State, AnIdOutsideThePoolIsSkipped) {
  Filled m;
  m.run({R"({"ev":"alloc","pool":"F","req":"B","pages":[8,-1,3]})"});
  EXPECT_EQ(m.owners("F", 8), Owners{});
  EXPECT_EQ(m.owners("F", 3), Owners{"B"});
}

TEST(State, OwnersAreASet) {
  Filled m;
  m.run({R"({"ev":"share","pool":"F","req":"A","pages":[1]})",
         R"({"ev":"share","pool":"F","req":"#tree","pages":[1]})",
         R"({"ev":"share","pool":"F","req":"#tree","pages":[1]})"});
  EXPECT_EQ(m.owners("F", 1), (Owners{"A", "#tree"}));
  m.run({R"({"ev":"free","pool":"F","req":"A","pages":[1]})"});
  EXPECT_EQ(m.owners("F", 1), Owners{"#tree"});
  EXPECT_TRUE(m.written("F", 1, 0, 4));
}

TEST(State, AShareOfAnOwnerlessPageAddsTheOwner) {
  Filled m;
  m.run({R"({"ev":"share","pool":"F","req":"B","pages":[3]})"});
  EXPECT_EQ(m.owners("F", 3), Owners{"B"});
}

TEST(State, AFreeByOneWhoDoesNotOwnThePageChangesNothing) {
  Filled m;
  m.run({R"({"ev":"free","pool":"F","req":"B","pages":[1]})",
         R"({"ev":"evict","pool":"F","req":"B","logical":0,"page":1})"});
  EXPECT_EQ(m.owners("F", 1), Owners{"A"});
  EXPECT_EQ(m.space("F").holder(m.names.find("B")), nullptr);
}

TEST(State, AnEvictionFreesThePageAndMarksTheColumn) {
  Filled m;
  m.run({R"({"ev":"evict","pool":"F","req":"A","logical":0,"page":1})"});
  EXPECT_EQ(m.owners("F", 1), Owners{});
  const Holder* holder = m.space("F").holder(m.names.find("A"));
  ASSERT_NE(holder, nullptr);
  EXPECT_TRUE(holder->columns.find(0)->evicted);
  EXPECT_FALSE(holder->columns.find(1)->evicted);
  m.run({R"({"ev":"alloc","pool":"F","req":"A","pages":[3],"first":0})"});
  EXPECT_FALSE(m.space("F").holder(m.names.find("A"))->columns.find(0)->evicted);
}

TEST(State, AFinishedRequestForgetsItsColumnsAndKeepsItsPages) {
  Filled m;
  m.run({R"({"ev":"evict","pool":"F","req":"A","logical":0,"page":1})",
         R"({"ev":"request","req":"A","state":"finish"})"});
  EXPECT_EQ(m.owners("F", 2), Owners{"A"});
  const Holder* holder = m.space("F").holder(m.names.find("A"));
  ASSERT_NE(holder, nullptr);
  EXPECT_EQ(holder->columns.find(0), nullptr);
  m.run({R"({"ev":"free","pool":"F","req":"A","pages":[2]})"});
  EXPECT_EQ(m.space("F").holder(m.names.find("A")), nullptr);
}

TEST(State, AFillWritesTheFirstSlotsOfEachPage) {
  TextState m;
  m.run({kPool, R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2]})",
         R"({"ev":"fill","pool":"F","req":"A","pages":[1,2],"slots":[4,1],"layers":[0]})"});
  EXPECT_TRUE(m.written("F", 1, 0, 4));
  EXPECT_TRUE(m.written("F", 2, 0, 1));
  EXPECT_FALSE(m.written("F", 2, 1, 2));
  EXPECT_FALSE(m.written("F", 1, 0, 1, 1));
}

TEST(State, AStoreWritesItsSlotsInThePhysicalLayer) {
  TextState m;
  m.run({kPool, kBackend, kSwap, R"({"ev":"layer_remap","backend":"t","layer":"a","to":5})",
         R"({"ev":"alloc","pool":"F","req":"A","pages":[1]})",
         R"({"ev":"store","backend":"t","layer":"a","rows":[{"req":"A","slots":[6,-1,4]}]})"});
  EXPECT_TRUE(m.written("F", 1, 0, 1, 5));
  EXPECT_FALSE(m.written("F", 1, 1, 2, 5));
  EXPECT_TRUE(m.written("F", 1, 2, 3, 5));
  EXPECT_FALSE(m.written("F", 1, 0, 1, 0));
}

TEST(State, AStoreReadsItsSlotsFromTheBuffer) {
  Filled m;
  m.run({R"({"ev":"alloc","pool":"F","req":"A","pages":[3]})", R"({"ev":"buffer","buffer":"s"})",
         R"({"ev":"slots","buffer":"s","values":[12,13,14],"row":4})",
         R"({"ev":"store","backend":"t","layer":0,"slots":"s",
             "rows":[{"req":"A","row":5,"n":2}]})"});
  EXPECT_FALSE(m.written("F", 3, 0, 1));
  EXPECT_TRUE(m.written("F", 3, 1, 3));
}

TEST(State, AStoreOfAForeignPageIsAppliedAllTheSame) {
  Filled m;
  m.run({R"({"ev":"alloc","pool":"F","req":"B","pages":[3]})",
         R"({"ev":"store","backend":"t","layer":0,"rows":[{"req":"A","slots":[12]}]})"});
  EXPECT_TRUE(m.written("F", 3, 0, 1));
}

TEST(State, ReservedPagesHoldNothing) {
  Filled m;
  m.run({R"({"ev":"store","backend":"t","layer":0,"rows":[{"req":"A","slots":[0,28]}]})",
         R"({"ev":"fill","pool":"F","req":"A","pages":[0,7]})"});
  EXPECT_FALSE(m.written("F", 0, 0, 1));
  EXPECT_FALSE(m.written("F", 7, 0, 1));
}

TEST(State, AWriteWithoutADigestMakesItUnknown) {
  Filled m;
  EXPECT_EQ(m.digest_of("F", 2), "k2");
  m.run({R"({"ev":"store","backend":"t","layer":0,"rows":[{"req":"A","slots":[8]}]})"});
  EXPECT_EQ(m.digest_of("F", 2), "");
  EXPECT_EQ(m.digest_of("F", 1), "k1");
}

TEST(State, ACopyCarriesExtentsAndDigest) {
  Filled m;
  m.run({R"({"ev":"pool","pool":"H","pages":4,"page_size":4})",
         R"({"ev":"alloc","pool":"H","req":"A","pages":[3]})",
         R"({"ev":"copy","from_pool":"F","to_pool":"H","req":"A","from":[2],"to":[3]})"});
  EXPECT_TRUE(m.written("H", 3, 0, 4));
  EXPECT_EQ(m.digest_of("H", 3), "k2");
}

TEST(State, ACopyInPartCarriesNoDigest) {
  Filled m;
  m.run({R"({"ev":"pool","pool":"H","pages":4,"page_size":4})",
         R"({"ev":"alloc","pool":"H","req":"A","pages":[3]})",
         R"({"ev":"copy","from_pool":"F","to_pool":"H","req":"A","from":[2],"to":[3],
             "slots":[2],"layers":[0]})"});
  EXPECT_TRUE(m.written("H", 3, 0, 2));
  EXPECT_FALSE(m.written("H", 3, 2, 3));
  EXPECT_FALSE(m.written("H", 3, 0, 1, 1));
  EXPECT_EQ(m.digest_of("H", 3), "");
}

TEST(State, ARewindForgetsWhatWasWrittenFromThereOn) {
  Filled m;
  m.run({R"({"ev":"rewind","pool":"F","req":"A","len":3})"});
  EXPECT_TRUE(m.written("F", 1, 0, 3));
  EXPECT_FALSE(m.written("F", 1, 3, 4));
  EXPECT_FALSE(m.written("F", 2, 0, 1));
  EXPECT_EQ(m.owners("F", 2), Owners{"A"});
}

TEST(State, APoolSaidAgainKeepsItsOwnersAndMovesItsVersion) {
  Filled m;
  m.run({R"({"ev":"pool","pool":"F","pages":64,"page_size":4})"});
  EXPECT_EQ(m.owners("F", 1), Owners{"A"});
  EXPECT_EQ(m.pool("F").version, 1u);
  EXPECT_EQ(m.pool("F").pages, 64);
  EXPECT_TRUE(m.pool("F").reserved.empty());
}

TEST(State, ABufferSaidAgainIsNewMemory) {
  TextState m;
  m.run({R"({"ev":"buffer","buffer":"b"})",
         R"({"ev":"table","buffer":"b","row":1,"col":2,"pages":[5]})",
         R"({"ev":"lens","buffer":"b","values":[3]})", R"({"ev":"buffer","buffer":"b"})"});
  const BufferState& buffer = *m.world().buffers.find(m.names.find("b"));
  EXPECT_EQ(buffer.version, 1u);
  EXPECT_EQ(buffer.table.find(1)->find(2), nullptr);
  EXPECT_EQ(buffer.lens.find(0), nullptr);
}

TEST(State, CellsNeverWrittenAreUnknown) {
  TextState m;
  m.run({R"({"ev":"buffer","buffer":"b"})",
         R"({"ev":"table","buffer":"b","row":0,"col":2,"pages":[5]})",
         R"({"ev":"table","buffer":"b","row":0,"col":2000000,"pages":[6]})"});
  const TableRow& row = *m.world().buffers.find(m.names.find("b"))->table.find(0);
  EXPECT_EQ(row.find(1)->page, kUnknownPage);
  EXPECT_EQ(row.find(2)->page, PageId{5});
  EXPECT_EQ(row.find(2000000)->page, PageId{6});
  EXPECT_EQ(row.find(3), nullptr);
}

TEST(State, MapFreeFreesEachDistinctPageOnce) {
  Filled m;
  m.run({R"({"ev":"pool","pool":"S","pages":8,"page_size":4})",
         R"({"ev":"map","map":"m","from":"F","to":"S","unit":"slot"})",
         R"({"ev":"alloc","pool":"S","req":"A","pages":[5,6]})",
         R"({"ev":"map_set","map":"m","pairs":[[4,20],[5,21],[8,24]]})",
         R"({"ev":"map_free","map":"m","req":"A","from":[4,5]})"});
  EXPECT_EQ(m.owners("S", 5), Owners{});
  EXPECT_EQ(m.owners("S", 6), Owners{"A"});
}

TEST(State, AGapMakesOwnersUnknownUntilTheNextAlloc) {
  Filled m;
  m.run({R"({"ev":"gap","why":"attached"})"});
  EXPECT_FALSE(m.space("F").known(PageId{1}));
  EXPECT_FALSE(m.written("F", 1, 0, 1));
  m.run({R"({"ev":"alloc","pool":"F","req":"B","pages":[1]})"});
  EXPECT_TRUE(m.space("F").known(PageId{1}));
  EXPECT_FALSE(m.space("F").known(PageId{2}));
  m.run({R"({"ev":"pool","pool":"S","pages":8,"page_size":4})"});
  EXPECT_FALSE(m.space("S").known(PageId{1}));
}

TEST(State, AGapOfOnePoolLeavesTheOthersKnown) {
  Filled m;
  m.run({R"({"ev":"pool","pool":"S","pages":8,"page_size":4})",
         R"({"ev":"gap","why":"lost","pools":["S"]})"});
  EXPECT_TRUE(m.space("F").known(PageId{1}));
  EXPECT_EQ(m.owners("F", 1), Owners{"A"});
  EXPECT_FALSE(m.space("S").known(PageId{1}));
}

TEST(State, RanksAreStatesOfTheirOwn) {
  TextState m;
  m.run({R"({"ev":"pool","pool":"F","pages":8,"page_size":4,"rank":0})",
         R"({"ev":"pool","pool":"F","pages":4,"page_size":4,"rank":1})",
         R"({"ev":"alloc","pool":"F","req":"A","pages":[1],"rank":0})"});
  EXPECT_EQ(m.world(0).pools.find(m.names.find("F"))->pages, 8);
  EXPECT_EQ(m.world(1).pools.find(m.names.find("F"))->pages, 4);
  EXPECT_EQ(m.world(0).spaces[0].owned_pages(), 1u);
  EXPECT_EQ(m.world(1).spaces[0].owned_pages(), 0u);
}

TEST(State, ACopyOfAStateGoesItsOwnWay) {
  Filled m;
  State copy = m.state;
  EXPECT_EQ(copy.digest(), m.state.digest());
  const Event free = m.event(R"({"ev":"free","pool":"F","req":"A","pages":[1]})");
  ASSERT_TRUE(copy.apply(free).applied());
  EXPECT_NE(copy.digest(), m.state.digest());
  EXPECT_EQ(m.owners("F", 1), Owners{"A"});
  ASSERT_TRUE(m.state.apply(free).applied());
  EXPECT_EQ(copy.digest(), m.state.digest());
}

TEST(State, TheDigestDoesNotDependOnTheOrderInWhichNamesWereMet) {
  Filled a;
  TextState b;
  for (const char* text : {"zz", "A", "k2", "F"}) b.names.intern(text);
  b.run({kPool, kBackend, kSwap, R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2],"first":0})",
         R"({"ev":"fill","pool":"F","req":"A","pages":[1,2],"digest":["k1","k2"]})"});
  EXPECT_EQ(a.state.digest(), b.state.digest());
}

// The digest without the index of the next event: a note moves that alone.
std::uint64_t digest_after_a_note(const State& state, TextState& m) {
  State copy = state;
  EXPECT_TRUE(copy.apply(m.event(R"({"ev":"note","text":"n"})")).applied());
  return copy.digest();
}

TEST(State, AnEventThatCannotApplyChangesNothingButTheIndex) {
  Filled m;
  m.run({R"({"ev":"buffer","buffer":"b"})", R"({"ev":"graph_capture","graph":"G"})"});
  for (const char* line : {
           R"({"ev":"alloc","pool":"X","req":"N","pages":[1]})",
           R"({"ev":"fill","pool":"X","req":"N","pages":[1]})",
           R"({"ev":"pool","pool":"F","pages":9,"page_size":4,"space":"Y"})",
           R"({"ev":"pool_set","set":"W","pools":["F","X"]})",
           R"({"ev":"pool_swap","backend":"t","layers":[1],"pool":"F","set":"X"})",
           R"({"ev":"swa_state","backend":"t","uses_swa":false,"swa_pool":null,
               "derived_from":"X"})",
           R"({"ev":"map","map":"m","from":"F","to":"X","unit":"page"})",
           R"({"ev":"extent","arena":"X","owner":"F","begin":0,"end":1})",
           R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1],"space":"X"})",
           R"({"ev":"store","backend":"t","layer":0,"slots":"X","rows":[]})",
           R"({"ev":"store","backend":"t","layer":7,"space":"X","rows":[]})",
           R"({"ev":"attention","backend":"t","layer":0,"rows":[],"bound":{"pool":"X"}})",
           R"({"ev":"copy","from_pool":"F","to_pool":"X","req":"A","from":[1],"to":[1]})",
           R"({"ev":"graph_capture","graph":"G","scalars":{"x":1},"inputs":["X"]})",
           R"({"ev":"graph_capture","graph":"H","scalars":{"x":1},
               "launches":[{"ev":"store","backend":"X","layer":0,"rows":[]}]})",
           R"({"ev":"graph_step","graph":"G","index":0})",
           R"({"ev":"gap","why":"lost","pools":["F","X"]})",
           R"({"ev":"async_end","op":"x"})",
           R"({"ev":"launch_done","event":99})",
       }) {
    const std::uint64_t before = digest_after_a_note(m.state, m);
    State tried = m.state;
    const Outcome outcome = tried.apply(m.event(line));
    EXPECT_FALSE(outcome.applied()) << line;
    EXPECT_EQ(tried.next_event(), m.state.next_event() + 1);
    EXPECT_EQ(tried.digest(), before) << line << ": " << outcome.name();
  }
}

TEST(State, AnEventThatCannotApplyMakesNoRank) {
  TextState s;
  const std::uint64_t empty = s.state.digest();
  EXPECT_FALSE(s.apply(R"({"ev":"alloc","pool":"F","req":"A","pages":[1],"rank":3})").applied());
  EXPECT_EQ(s.state.world(3), nullptr);
  s.state.skip_to(0);
  EXPECT_EQ(s.state.digest(), empty);
}

TEST(State, WhatIsImpliedTakesNoIndex) {
  Filled said, implied;
  EXPECT_TRUE(said.apply(R"({"ev":"gap","why":"lost"})").applied());
  EXPECT_TRUE(implied.state.imply(implied.event(R"({"ev":"gap","why":"lost"})")).applied());
  EXPECT_EQ(implied.state.next_event() + 1, said.state.next_event());
  implied.state.skip_to(said.state.next_event());
  EXPECT_EQ(implied.state.digest(), said.state.digest());
}

TEST(State, TheOutcomeNamesWhatWasNotDeclared) {
  Filled m;
  const Outcome outcome = m.apply(R"({"ev":"alloc","pool":"X","req":"A","pages":[1]})");
  EXPECT_EQ(outcome.code, OutcomeCode::kUndeclaredPool);
  EXPECT_EQ(outcome.name(), "undeclared_pool");
  EXPECT_EQ(m.names.text(outcome.what), "X");
  EXPECT_FALSE(outcome.sentence().empty());
}

TEST(State, EveryOutcomeStandsAtItsPlaceInTheTable) {
  for (std::size_t i = 0; i < kOutcomes.size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(kOutcomes[i].code), i);
    EXPECT_TRUE(kOutcomes[i].sentence.ends_with('.')) << kOutcomes[i].name;
  }
}

}  // namespace
}  // namespace pagetape
