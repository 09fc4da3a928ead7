// SPDX-License-Identifier: Apache-2.0
#include "capture/flight_flags.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace pagetape {
namespace {

TEST(FlightFlags, LastIsATimeOrASizeAndBothMayBeGiven) {
  FlightLimits limits;
  EXPECT_FALSE(limits.any());
  ASSERT_TRUE(parse_last("10min", limits).ok());
  ASSERT_TRUE(parse_last("2GiB", limits).ok());
  EXPECT_EQ(limits.ns, 600'000'000'000u);
  EXPECT_EQ(limits.bytes, std::uint64_t{2} << 30);
  ASSERT_TRUE(parse_last("90s", limits).ok());
  EXPECT_EQ(limits.ns, 90'000'000'000u);
}

TEST(FlightFlags, LastOfNothingIsWrongUsage) {
  for (const char* text : {"", "10", "min", "0s", "-1s", "10m", "10 min", "99999999999999h"}) {
    FlightLimits limits;
    EXPECT_FALSE(parse_last(text, limits).ok()) << text;
    EXPECT_FALSE(limits.any()) << text;
  }
}

TEST(FlightFlags, ATriggerIsACauseAndAnAction) {
  Trigger trigger;
  ASSERT_TRUE(parse_trigger("usr1=dump", trigger).ok());
  EXPECT_EQ(trigger, (Trigger{"usr1", Trigger::Act::kDump}));
  ASSERT_TRUE(parse_trigger("cuda-error=stop", trigger).ok());
  EXPECT_EQ(trigger, (Trigger{"cuda-error", Trigger::Act::kStop}));
  ASSERT_TRUE(parse_trigger("finding=start", trigger).ok());
  for (const char* text :
       {"", "usr1", "usr3=dump", "usr1=", "=dump", "usr1=go", "usr1=dump=stop"}) {
    EXPECT_FALSE(parse_trigger(text, trigger).ok()) << text;
  }
}

TEST(FlightFlags, CausesThatAreSignals) {
  EXPECT_EQ(signal_of("usr1"), SIGUSR1);
  EXPECT_EQ(signal_of("usr2"), SIGUSR2);
  EXPECT_EQ(signal_of("finding"), 0);
}

}  // namespace
}  // namespace pagetape
