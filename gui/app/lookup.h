// SPDX-License-Identifier: Apache-2.0
// Moments of a trace, and why they are as they are, looked up in a thread: a seek may take as long
// as reading a trace.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "gui/app/explain.h"
#include "gui/app/moment.h"

namespace pagetape {

// One question at a time; a new one takes the place of the one before, whose answer is dropped.
class Lookup {
 public:
  enum class Where : std::uint8_t { kHere, kThread };  // Here: asking takes until it is answered.

  explicit Lookup(Where where);
  ~Lookup();  // Stops.
  Lookup(const Lookup&) = delete;
  Lookup& operator=(const Lookup&) = delete;

  // From now on. Null: the place stays, and more of it is known. What is being asked is asked
  // there.
  void move_to(std::unique_ptr<Seeker> place, const Known& known);

  struct Question {
    EventIndex at = 0;
    std::optional<std::size_t> launch;
    std::optional<Ask> ask;  // Where given, explained too.
  };
  struct Answer {
    Moment moment;
    std::optional<Explanation> why;
  };
  void ask(Question question);
  void stop();  // What is asked stays without an answer.
  void wait();  // Until there is an answer, or nothing is asked.
  // Once each.
  std::optional<Answer> take();

  struct Progress {
    EventIndex at = 0, to = 0;
  };
  std::optional<Progress> progress() const;  // Nothing: nothing is asked.

 private:
  void run();
  void answer(std::unique_lock<std::mutex>& lock);

  mutable std::mutex mutex_;  // Of all that follows.
  std::condition_variable changed_;
  std::unique_ptr<Seeker> next_;  // To be taken by the thread.
  std::unique_ptr<Seeker>
      place_;  // The thread's, but for its atomics; it is replaced under the lock.
  std::shared_ptr<const Known> known_;
  std::optional<Question> question_;
  std::optional<Answer> answer_;
  std::uint64_t number_ = 0;  // Of the question.
  bool working_ = false, quit_ = false;
  std::thread thread_;  // None: here.
};

}  // namespace pagetape
