// SPDX-License-Identifier: Apache-2.0
#include "replay/name_table.h"

#include <gtest/gtest.h>

#include <map>

#include "replay/archive.h"
#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

struct Item {
  std::int64_t n = 0;
  template <class A>
  void visit(A& a) {
    a(n);
  }
};
using Table = NameTable<Item>;

TEST(NameTable, ANameNeverAddedIsMissing) {
  const Table table;
  EXPECT_EQ(table.find(Name{3}), nullptr);
  EXPECT_EQ(table.index(Name{3}), Table::kMissing);
  EXPECT_EQ(table.index(kNone), Table::kMissing);
}

TEST(NameTable, AddingANameTwiceGivesTheSameObject) {
  Table table;
  const std::uint32_t i = table.add(Name{3});
  table[i].n = 5;
  EXPECT_EQ(table.add(Name{3}), i);
  EXPECT_EQ(table.find(Name{3})->n, 5);
  EXPECT_EQ(table.key(i), Name{3});
}

TEST(NameTable, IndicesOfOthersStayWhenOneIsErased) {
  Table table;
  const std::uint32_t a = table.add(Name{1}), b = table.add(Name{2});
  table[a].n = 1;
  table[b].n = 2;
  table.erase(Name{1});
  EXPECT_EQ(table.find(Name{1}), nullptr);
  EXPECT_EQ(table.key(a), kNone);
  EXPECT_EQ(table.index(Name{2}), b);
  EXPECT_EQ(table.find(Name{2})->n, 2);
  table.erase(Name{1});
}

TEST(NameTable, APlaceThatIsUsedAgainBeginsAnew) {
  Table table;
  table[table.add(Name{1})].n = 7;
  table.erase(Name{1});
  const std::uint32_t i = table.add(Name{9});
  EXPECT_EQ(table[i].n, 0);
  EXPECT_EQ(table.size(), 1u);
}

TEST(NameTable, IsTheSameAfterSavingAndLoading) {
  Names names;
  Table table;
  for (const char* text : {"a", "b", "c"}) {
    const std::uint32_t i = table.add(names.intern(text));
    table[i].n = i + 10;
  }
  table.erase(names.intern("b"));
  SaveArchive save(names);
  save(table);
  const std::string bytes = save.take();
  Names others;
  others.intern("c");
  Table loaded;
  LoadArchive load(bytes, others);
  load(loaded);
  ASSERT_TRUE(load.ok() && load.at_end());
  EXPECT_EQ(loaded.find(others.find("a"))->n, 10);
  EXPECT_EQ(loaded.find(others.find("b")), nullptr);
  EXPECT_EQ(loaded.find(others.find("c"))->n, 12);
  EXPECT_EQ(loaded.add(others.intern("d")), table.add(names.intern("d")));
}

TEST(NameTable, HoldsWhatAMapHolds) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Dice dice(seed);
    Table table;
    std::map<Name, std::int64_t> naive;
    for (int i = 0; i < 300; ++i) {
      const Name name{static_cast<std::uint32_t>(1 + dice.below(30))};
      if (dice.one_in(3)) {
        table.erase(name);
        naive.erase(name);
      } else {
        naive[name] = table[table.add(name)].n = i;
      }
    }
    for (std::uint32_t n = 1; n <= 30; ++n) {
      const Item* item = table.find(Name{n});
      ASSERT_EQ(item != nullptr, naive.contains(Name{n})) << seed;
      if (item != nullptr) {
        ASSERT_EQ(item->n, naive[Name{n}]) << seed;
      }
    }
  }
}

}  // namespace
}  // namespace pagetape
