// SPDX-License-Identifier: Apache-2.0
#include "verify/blame.h"

#include <gtest/gtest.h>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

// Pools F and S with a map, a table of F's ids, a backend whose layer 22 is bound to S.
constexpr std::initializer_list<const char*> kSetup = {
    R"({"ev":"pool","pool":"F","pages":64,"page_size":4})",
    R"({"ev":"pool","pool":"S","pages":8,"page_size":4})",
    R"({"ev":"map","map":"F>S","from":"F","to":"S","unit":"page"})",
    R"({"ev":"buffer","buffer":"pt","rows":2,"cols":4})",
    R"({"ev":"backend","backend":"d"})",
    R"({"ev":"swa_state","backend":"d","uses_swa":false,"swa_pool":null,"derived_from":"F"})",
    R"({"ev":"layer_remap","backend":"d","layer":"a0","to":22})",
    R"({"ev":"pool_swap","backend":"d","layers":[22],"pool":"S"})",
    R"({"ev":"alloc","pool":"F","req":"A","pages":[9],"first":0})",
    R"({"ev":"alloc","pool":"S","req":"A","pages":[5],"first":0})",
    R"({"ev":"map_set","map":"F>S","pairs":[[9,5]]})",
    R"({"ev":"table","buffer":"pt","row":1,"col":0,"pages":[9],"req":"A","space":"F"})",
};
constexpr const char* kAttention =
    R"("backend":"d","layer":"a0","table":"pt","rows":[{"req":"A","len":4,"row":1}])";

// "kind@event value" of each link.
std::vector<std::string> said(const std::vector<Link>& links) {
  std::vector<std::string> out;
  out.reserve(links.size());
  for (const Link& link : links) {
    out.push_back(std::string(link_kind_name(link.spot.kind)) + '@' + std::to_string(link.event) +
                  ' ' + link.value);
  }
  return out;
}

// Blames row 0, column 0 of the first launch.
struct Blamer : Observer {
  explicit Blamer(const Names& n) : names(n) {}
  void on_launch(World& world, const LaunchView& view) override {
    links = blame_entry(world, view, view.targets->list[0], 0, 0, names);
  }
  const Names& names;
  std::vector<Link> links;
};

TEST(Blame, AnEntryLeadsFromTheAllocationToTheCellThroughTheMap) {
  TextState m;
  m.run(kSetup);
  Blamer blamer(m.names);
  ASSERT_TRUE(m.apply(std::string(R"({"ev":"attention",)") + kAttention + '}', &blamer).applied());
  EXPECT_EQ(
      said(blamer.links),
      (std::vector<std::string>{"pool@1 8 pages of 4 tokens",  // Page 9 is outside S.
                                "fact@5 no sliding-window pool, derived from F", "remap@6 layer 22",
                                "binding@7 pool S", "allocation@8 of A, logical page 0",
                                "map entry@10 to 5", "table cell@11 id 9 of space F"}));
}

TEST(Blame, AGraphLaunchIsBlamedByWhatWasFrozen) {
  TextState m;
  m.run(kSetup);
  ASSERT_TRUE(m.apply(std::string(R"({"ev":"graph_capture","graph":"G","launches":[{)") +
                      R"("ev":"attention",)" + kAttention + "}]}")
                  .applied());
  m.run({R"({"ev":"pool_swap","backend":"d","layers":[22],"pool":"F"})"});
  Blamer blamer(m.names);
  ASSERT_TRUE(m.apply(R"({"ev":"graph_launch","graph":"G"})", &blamer).applied());
  const std::vector<std::string> links = said(blamer.links);
  EXPECT_EQ(std::ranges::count(links, "binding@7 pool S"), 1);
  EXPECT_EQ(std::ranges::count(links, "graph@12 captured by event 12"), 1);
}

TEST(Blame, ABindingIsLookedUpThroughTheRemap) {
  TextState m;
  m.run(kSetup);
  const auto links =
      said(blame_binding(m.world(), m.names.find("d"), Layer::named(m.names.find("a0")), m.names));
  EXPECT_EQ(links, (std::vector<std::string>{"pool@1 8 pages of 4 tokens", "backend@4 created",
                                             "fact@5 no sliding-window pool, derived from F",
                                             "remap@6 layer 22", "binding@7 pool S"}));
}

TEST(Blame, APageKnowsItsOwnerItsWriterAndItsMapEntry) {
  TextState m;
  m.run(kSetup);
  m.run({R"({"ev":"fill","pool":"S","req":"A","pages":[5]})"});
  const auto links =
      said(blame_page(m.world(), m.world().pools.index(m.names.find("S")), PageId{5}, m.names));
  EXPECT_EQ(links, (std::vector<std::string>{"allocation@8 of A, logical page 0",
                                             "allocation@9 of A, logical page 0",
                                             "map entry@10 to 5", "write@12 written by event 12"}));
}

TEST(Blame, AFreedPageIsBlamedOnTheFree) {
  TextState m;
  m.run(kSetup);
  m.run({R"({"ev":"free","pool":"S","req":"A","pages":[5]})"});
  const auto links =
      said(blame_page(m.world(), m.world().pools.index(m.names.find("S")), PageId{5}, m.names));
  EXPECT_EQ(std::ranges::count(links, "allocation@12 free"), 1);
}

TEST(Blame, AScalarIsBlamedWithTheGraphThatFrozeAnother) {
  TextState m;
  m.run({R"({"ev":"graph_capture","graph":"G","scalars":{"n":8}})",
         R"({"ev":"scalar","name":"n","value":9})"});
  EXPECT_EQ(said(blame_scalar(m.world(), m.names.find("n"), m.names.find("G"), m.names)),
            (std::vector<std::string>{"graph@0 froze 8", "scalar@1 9"}));
}

TEST(Blame, WhatWasNeverSetHasAValueInWords) {
  TextState m;
  m.run({kSetup.begin()[0], kSetup.begin()[3], kSetup.begin()[4]});
  const auto value = [&](LinkKind kind, const char* object, std::int64_t a, std::int64_t b = -1) {
    Spot spot;
    spot.kind = kind;
    spot.object = m.names.find(object);
    spot.a = a;
    spot.b = b;
    return value_of(m.world(), spot, m.names);
  };
  EXPECT_EQ(value(LinkKind::kTableCell, "pt", 0, 0), "never written");
  EXPECT_EQ(value(LinkKind::kAllocation, "F", 3), "free");
  EXPECT_EQ(value(LinkKind::kAllocation, "F", 64), "outside the pool");
  EXPECT_EQ(value(LinkKind::kMapEntry, "none", 3), "unmapped");
  EXPECT_EQ(value(LinkKind::kBinding, "d", -1), "not bound");
  EXPECT_EQ(value(LinkKind::kFact, "d", -1), "not said");
  EXPECT_EQ(value(LinkKind::kScalar, "none", -1), "no value");
  EXPECT_EQ(value(LinkKind::kGraph, "none", -1), "not captured");
  EXPECT_EQ(value(LinkKind::kLength, "pt", 1), "never written");
}

TEST(Blame, NothingDeclaredBlamesNothing) {
  const TextState m;
  const World world;
  EXPECT_TRUE(blame_cell(world, kNone, 0, 0, m.names).empty());
  EXPECT_TRUE(blame_binding(world, kNone, Layer::number(0), m.names).empty());
  EXPECT_TRUE(blame_scalar(world, kNone, kNone, m.names).empty());
}

}  // namespace
}  // namespace pagetape
