// SPDX-License-Identifier: Apache-2.0
#include "gui/app/set_numbers.h"

#include <gtest/gtest.h>

namespace pagetape {
namespace {

std::vector<Name> names(std::initializer_list<std::uint32_t> ids) {
  std::vector<Name> out;
  for (const std::uint32_t id : ids) out.push_back(Name{id});
  return out;
}

TEST(SetNumbersTest, TheSameSetHasTheSameNumberAndTheEmptyOneHasOneToo) {
  Sets<Name> sets;
  SetNumbers<Name> numbers(sets, 100);
  const std::uint32_t one = numbers.of(names({1, 2}));
  const std::uint32_t other = numbers.of(names({2, 1}));
  const std::uint32_t empty = numbers.of({});
  EXPECT_EQ(numbers.of(names({1, 2})), one);
  EXPECT_NE(one, other);
  EXPECT_NE(empty, 0U) << "that nothing is in it is known";
  EXPECT_EQ(sets[one], names({1, 2}));
  EXPECT_EQ(sets.size(), 4U);
}

TEST(SetNumbersTest, WhatFindsNoRoomIsNotKnown) {
  Sets<Layer> sets;
  SetNumbers<Layer> numbers(sets, 3);
  const std::uint32_t kept = numbers.of({Layer::number(1), Layer::number(2)});
  EXPECT_EQ(numbers.of({Layer::number(3), Layer::number(4)}), 0U);
  EXPECT_EQ(numbers.of({Layer::number(1), Layer::number(2)}), kept);
  EXPECT_NE(numbers.of({Layer::named(Name{1})}), 0U);
}

}  // namespace
}  // namespace pagetape
