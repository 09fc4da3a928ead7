// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <deque>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "capture/pagetape_capture.h"

namespace {

// Stands in for Python: its objects are numbers, and one of them is an error.
constexpr std::int64_t kError = -77;
std::deque<std::int64_t> objects;
bool failed = false;

void* of_number(long long number) { return &objects.emplace_back(number); }
long long as_number(void* object) {
  const std::int64_t number = *static_cast<std::int64_t*>(object);
  failed = failed || number == kError;
  return number == kError ? -1 : number;
}
void* error() { return failed ? &failed : nullptr; }

std::vector<std::int64_t> got;
std::int64_t ten(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d, std::int64_t e,
                 std::int64_t f, std::int64_t g, std::int64_t h, std::int64_t i, std::int64_t j) {
  got = {a, b, c, d, e, f, g, h, i, j};
  return std::numeric_limits<std::int64_t>::max();
}
int two(std::uint32_t a, std::int32_t b) {
  got = {a, b};
  return -3;
}

class PythonCallTest : public testing::Test {
 protected:
  PythonCallTest() {
    const ptape_python api{reinterpret_cast<const void*>(as_number),
                           reinterpret_cast<const void*>(of_number),
                           reinterpret_cast<const void*>(error)};
    ptape_python_api(&api);
    objects.clear();
    got.clear();
    failed = false;
  }

  template <class F>
  static void* call(F* function, bool wide, const std::vector<std::int64_t>& numbers,
                    bool borrow = false) {
    const ptape_python_called called{reinterpret_cast<const void*>(function), wide, borrow};
    std::vector<void*> arguments;
    for (const std::int64_t number : numbers) arguments.push_back(of_number(number));
    return ptape_python_call(of_number(reinterpret_cast<std::intptr_t>(&called)), arguments.data(),
                             static_cast<std::ptrdiff_t>(arguments.size()));
  }
};

TEST_F(PythonCallTest, AllArgumentsComeThrough) {
  std::vector<std::int64_t> numbers(10);
  std::iota(numbers.begin(), numbers.end(), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(as_number(call(ten, true, numbers)), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(got, numbers);
}

TEST_F(PythonCallTest, NarrowOnesAndAnIntToo) {
  EXPECT_EQ(as_number(call(two, false, {0xffff'ffff, -1})), -3);
  EXPECT_EQ(got, (std::vector<std::int64_t>{0xffff'ffff, -1}));
}

TEST_F(PythonCallTest, WhatIsNoNumberIsAnErrorAndNoCall) {
  EXPECT_EQ(call(two, false, {1, kError}), nullptr);
  EXPECT_TRUE(got.empty());
}

TEST_F(PythonCallTest, MoreArgumentsThanAnyFunctionHasAreRefused) {
  EXPECT_EQ(as_number(call(ten, true, std::vector<std::int64_t>(11))), PTAPE_E_ARGUMENT);
  EXPECT_TRUE(got.empty());
}

std::int64_t number_of(const ptape_recorder* recorder) {
  return reinterpret_cast<std::intptr_t>(recorder);
}

ptape_recorder* opened(const std::string& path) {
  ptape_options options{};
  options.size = sizeof(options);
  options.path = path.c_str();
  return ptape_open(&options);
}

TEST_F(PythonCallTest, ARecorderIsBorrowedWhileItIsTheProcesss) {
  const std::string folder = testing::TempDir();
  ptape_recorder* first = opened(folder + "/first.ptape");
  const auto step = [](ptape_recorder* recorder) {
    return as_number(call(ptape_step, false, {number_of(recorder), 0, 1, 0, 1}, true));
  };
  EXPECT_EQ(step(first), PTAPE_OK);
  ptape_recorder* second = opened(folder + "/second.ptape");
  EXPECT_EQ(step(first), 1);
  EXPECT_EQ(step(second), PTAPE_OK);
  ptape_close(second);  // Which waits for whoever has not given it back.
  EXPECT_EQ(step(second), 1);
  ptape_flush(first);
  EXPECT_EQ(ptape_stats(first).events, 1u);
  ptape_close(first);
  EXPECT_EQ(step(nullptr), 1);
}

}  // namespace
