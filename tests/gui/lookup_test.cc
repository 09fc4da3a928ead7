// SPDX-License-Identifier: Apache-2.0
#include "gui/app/lookup.h"

#include <dlfcn.h>
#include <pthread.h>

#include "tests/gui/gui_fixture.h"

#ifndef __SANITIZE_THREAD__  // It brings a lock of its own, and sees for itself what is shared.
// The program's own mutex lock, which counts: what is shared without one goes wrong once in a
// million times, and no test would see it.
static thread_local std::size_t locks_taken = 0;

extern "C" int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  static const auto next =
      reinterpret_cast<int (*)(pthread_mutex_t*)>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  ++locks_taken;
  return next(mutex);
}
#endif

namespace pagetape {
namespace {

class LookupTest : public GuiTest {
 protected:
  void begin(Lookup& lookup) {
    auto trace = open();
    events = trace->index.events;
    finding = trace->index.findings.empty() ? 0 : trace->index.findings[0].event;
    lookup.move_to(std::move(trace->place), trace->index.known);
  }
  EventIndex events = 0, finding = 0;
};

TEST_F(LookupTest, AThreadAnswersAsAskingHereDoes) {
  synth("stale-swa");
  Lookup here(Lookup::Where::kHere), thread(Lookup::Where::kThread);
  begin(here);
  begin(thread);
  for (Lookup* lookup : {&here, &thread}) {
    lookup->ask({.at = finding, .launch = {}, .ask = Ask()});
    lookup->wait();
  }
  const auto a = here.take(), b = thread.take();
  ASSERT_TRUE(a && b && a->why && b->why);
  EXPECT_EQ(a->moment.at, finding);
  EXPECT_EQ(a->moment.json, b->moment.json);
  EXPECT_EQ(a->moment.findings_total, b->moment.findings_total);
  EXPECT_GT(a->moment.findings_total, 0U);
  EXPECT_EQ(a->why->subject, b->why->subject);
  EXPECT_FALSE(a->why->links.empty());
  EXPECT_FALSE(here.take()) << "an answer is given once";
}

TEST_F(LookupTest, OnlyTheLastQuestionIsAnswered) {
  synth("none");
  Lookup lookup(Lookup::Where::kThread);
  begin(lookup);
  for (EventIndex event = 0; event < events; ++event) {
    lookup.ask({.at = events - 1 - event, .launch = {}, .ask = {}});
    if (const auto early = lookup.take()) {
      EXPECT_GE(early->moment.at, events - 1 - event);
    }
  }
  lookup.ask({.at = 7, .launch = {}, .ask = {}});
  lookup.wait();
  const auto answer = lookup.take();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->moment.at, 7U);
  EXPECT_FALSE(lookup.progress());
}

#ifndef __SANITIZE_THREAD__
TEST_F(LookupTest, WhatItsThreadSharesIsTouchedUnderTheLock) {
  synth("none");
  Lookup lookup(Lookup::Where::kThread);
  begin(lookup);
  const auto locks = [](const auto& touch) {
    const std::size_t before = locks_taken;
    touch();
    return locks_taken - before;
  };
  EXPECT_EQ(locks([] {}), 0U);
  EXPECT_GE(locks([&] { lookup.ask({.at = 7, .launch = {}, .ask = {}}); }), 1U);
  EXPECT_GE(locks([&] { lookup.wait(); }), 1U);
  std::optional<Lookup::Answer> answer;
  EXPECT_EQ(locks([&] { answer = lookup.take(); }), 1U);
  EXPECT_TRUE(answer);
  EXPECT_EQ(locks([&] { (void)lookup.progress(); }), 1U);
  EXPECT_EQ(locks([&] { lookup.stop(); }), 1U);
  EXPECT_EQ(locks([&] { lookup.move_to(nullptr, Known()); }), 1U);
}
#endif

TEST_F(LookupTest, WhatIsStoppedHasNoAnswer) {
  synth("none");
  Lookup lookup(Lookup::Where::kThread);
  lookup.ask({.at = 5, .launch = {}, .ask = {}});  // There is no place yet: it waits.
  ASSERT_TRUE(lookup.progress());
  EXPECT_EQ(lookup.progress()->to, 5U);
  lookup.stop();
  lookup.wait();
  begin(lookup);
  EXPECT_FALSE(lookup.take());
  EXPECT_FALSE(lookup.progress());
}

TEST_F(LookupTest, AQuestionIsAskedAgainWhereItMovesTo) {
  synth("none");
  Lookup lookup(Lookup::Where::kThread);
  lookup.ask({.at = events, .launch = {}, .ask = {}});
  begin(lookup);
  lookup.ask({.at = events - 1, .launch = {}, .ask = {}});
  begin(lookup);
  lookup.wait();
  const auto answer = lookup.take();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->moment.at, events - 1);
}

}  // namespace
}  // namespace pagetape
