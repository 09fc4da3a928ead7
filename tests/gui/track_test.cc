// SPDX-License-Identifier: Apache-2.0
#include "gui/app/track.h"

#include <gtest/gtest.h>

namespace pagetape {
namespace {

TEST(Track, GivesWhatIsInView) {
  Track track;
  track.set(0, 1);
  track.set(50, 2, true);
  track.set(60, 1);
  track.finish(100);
  const std::vector<Span> spans = track.spans(Axis(100), 1'000);
  ASSERT_EQ(spans.size(), 3U);
  EXPECT_EQ(spans[1].x0, 500);
  EXPECT_EQ(spans[1].x1, 600);
  EXPECT_TRUE(spans[1].flagged);
  EXPECT_EQ(track.at(55).value, 2U);
  EXPECT_EQ(track.next_flagged(0), 50U);
  EXPECT_EQ(track.next_flagged(50), kNever);
}

TEST(Track, GathersWhatIsNarrowerThanAPixelAndKeepsItsFlag) {
  Track track;
  for (EventIndex e = 0; e < 10'000; ++e) track.set(e, 1 + e % 2, e == 5'000);
  const std::vector<Span> spans = track.spans(Axis(10'000), 100);
  EXPECT_LE(spans.size(), 101U);
  int flagged = 0;
  for (const Span& span : spans) flagged += span.flagged;
  EXPECT_EQ(flagged, 1);
}

TEST(Track, TakesBoundedMemoryHoweverOftenItChanges) {
  Track track(64);
  for (EventIndex e = 0; e < 10'000; ++e) track.set(e, 1 + e % 2, e == 7);
  track.finish(10'000);
  EXPECT_LE(track.changes(), 64U);
  EXPECT_TRUE(track.at(7).flagged) << "a flag outlives that it was made coarser";
}

TEST(Track, TheLastOfSeveralAtOneEventCounts) {
  Track track;
  track.set(3, 1);
  track.set(3, 2);
  EXPECT_EQ(track.at(3).value, 2U);
  EXPECT_EQ(track.at(2).value, 0U);
}

TEST(Density, CountsByShareOfItsBins) {
  Density density(100'000);
  for (EventIndex e = 0; e < 100'000; e += 10) density.add(e);
  density.finish();
  EXPECT_EQ(density.total(), 10'000U);
  EXPECT_NEAR(density.count(0, 100'000), 10'000, 1e-6);
  EXPECT_NEAR(density.count(20'000, 30'000), 1'000, 5);
}

}  // namespace
}  // namespace pagetape
