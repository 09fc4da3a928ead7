// SPDX-License-Identifier: Apache-2.0
// A keyframe is the whole state; one that is damaged is refused, or at least read in bounds.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/replay/replay_fixture.h"
#include "verify/judge.h"

namespace pagetape {
namespace {

// The state after the first `count` events of a trace (those that cannot apply change nothing).
struct Played {
  Names names;
  std::vector<Event> events;
  State state{names};

  explicit Played(const std::string& path) : events(events_of(path, names)) {}
  void play(State& to, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) (void)to.apply(events[i]);
  }
};

class Keyframe : public testing::TestWithParam<std::string> {};

TEST_P(Keyframe, LoadsToTheSameStateInAFreshTableOfNames) {
  Played trace(GetParam());
  for (std::size_t i = 0; i <= trace.events.size(); ++i) {
    const std::string bytes = trace.state.save();
    Names names;
    names.intern("a name that moves all the others");
    State loaded(names);
    const Status status = loaded.load(bytes, names);
    ASSERT_TRUE(status.ok()) << "before event " << i << ": " << status.message();
    EXPECT_EQ(loaded.next_event(), trace.state.next_event());
    EXPECT_EQ(loaded.save(), bytes) << "before event " << i;
    EXPECT_EQ(loaded.digest(), trace.state.digest()) << "before event " << i;
    if (i < trace.events.size()) trace.play(trace.state, i, i + 1);
  }
}

TEST_P(Keyframe, GoesOnAsTheStateThatWentThrough) {
  Played trace(GetParam());
  const std::size_t n = trace.events.size();
  State through(trace.names);
  trace.play(through, 0, n);
  const std::uint64_t end = through.digest();
  for (std::size_t i = 0; i <= n; ++i) {
    State loaded(trace.names);
    ASSERT_TRUE(loaded.load(trace.state.save(), trace.names).ok());
    trace.play(loaded, i, n);
    EXPECT_EQ(loaded.digest(), end) << "loaded before event " << i;
    trace.play(trace.state, i, std::min(i + 1, n));
  }
}

// The last keyframe of a trace that lies before an event, and the state loaded from it.
std::string last_keyframe(Played& trace) {
  trace.play(trace.state, 0, trace.events.size());
  return trace.state.save();
}

TEST_P(Keyframe, CutAnywhereIsRefusedAndLeavesTheStateEmpty) {
  Played trace(GetParam());
  const std::string bytes = last_keyframe(trace);
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    Names names;
    State state(names);
    const Status status = state.load(std::string_view(bytes).substr(0, n), names);
    ASSERT_EQ(status.code(), Code::kDamaged) << n << " bytes of " << bytes.size();
    ASSERT_TRUE(state.worlds().empty());
    ASSERT_EQ(state.next_event(), 0u);
  }
}

TEST_P(Keyframe, WithABytePutBehindItIsRefused) {
  Played trace(GetParam());
  Names names;
  State state(names);
  EXPECT_EQ(state.load(last_keyframe(trace) + 'x', names).code(), Code::kDamaged);
}

// Loads a keyframe with one byte changed; where it is taken, it is saved and the whole trace runs
// on from it, judged. In a process of its own: a fault is then a failed test, not the end of all.
void go_on_from_damage(const std::string& path) {
  ::alarm(20);  // A loop over a number of the file is a fault, too.
  Played trace(path);
  const std::string good = last_keyframe(trace);
  Dice dice(good.size());
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bytes = good;
    bytes[i] = static_cast<char>(bytes[i] ^ (1 + dice.below(255)));
    State state(trace.names);
    if (!state.load(bytes, trace.names).ok()) continue;
    (void)state.save();
    std::array<bool, kRuleCount> rules;
    rules.fill(true);
    Judge judge(trace.names, {}, rules);
    for (const Event& event : trace.events) (void)state.apply(event, &judge);
    judge.finish();
    (void)state.digest();
  }
  std::_Exit(0);
}

class KeyframeDeathTest : public Keyframe {};

TEST_P(KeyframeDeathTest, WithAnyByteChangedIsRefusedOrGoesOnInBounds) {
  EXPECT_EXIT(go_on_from_damage(GetParam()), testing::ExitedWithCode(0), "");
}

std::string name_of(const testing::TestParamInfo<std::string>& info) {
  return case_name(info.param);
}

INSTANTIATE_TEST_SUITE_P(All, Keyframe, testing::ValuesIn(golden_traces()), name_of);
INSTANTIATE_TEST_SUITE_P(All, KeyframeDeathTest, testing::ValuesIn(golden_traces()), name_of);

TEST(KeyframeVersion, OfAnotherVersionIsRefused) {
  TextState m;
  m.run({R"({"ev":"pool","pool":"F","pages":8,"page_size":4})"});
  std::string bytes = m.state.save();
  bytes[0] = static_cast<char>(bytes[0] + 2);
  Names names;
  State state(names);
  const Status status = state.load(bytes, names);
  EXPECT_EQ(status.code(), Code::kDamaged);
  EXPECT_NE(status.message().find("version"), std::string::npos);
}

TEST(Keyframe, OfAPoolWhosePagesBecameSmallerIsWhole) {
  TextState s;
  for (const char* line : {R"({"ev":"pool","pool":"F","pages":8,"page_size":64})",
                           R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2],"first":0})",
                           R"({"ev":"fill","pool":"F","req":"A","pages":[1,2],"slots":[64,3]})",
                           R"({"ev":"pool","pool":"F","pages":128,"page_size":4})"}) {
    ASSERT_TRUE(s.apply(line).applied());
  }
  State loaded(s.names);
  ASSERT_TRUE(loaded.load(s.state.save(), s.names).ok());
  EXPECT_EQ(loaded.digest(), s.state.digest());
  const Extents& extents = loaded.world()->pool(0).extents;
  ASSERT_EQ(extents.written(1).size(), 1u);
  EXPECT_EQ(extents.written(1)[0].offsets.prefix, 4u);
  EXPECT_EQ(extents.written(2)[0].offsets.prefix, 3u);
}

TEST(KeyframeVersion, AnEmptyStateIsAKeyframe) {
  Names names;
  const State empty(names);
  State loaded(names);
  ASSERT_TRUE(loaded.load(empty.save(), names).ok());
  EXPECT_EQ(loaded.digest(), empty.digest());
}

}  // namespace
}  // namespace pagetape
