// SPDX-License-Identifier: Apache-2.0
#include "gui/app/lookup.h"

#include <utility>

namespace pagetape {

Lookup::Lookup(Where where) {
  if (where == Where::kThread) thread_ = std::thread([this] { run(); });
}

Lookup::~Lookup() {
  {
    const std::lock_guard lock(mutex_);
    quit_ = true;
    if (place_ != nullptr) place_->stop = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Lookup::move_to(std::unique_ptr<Seeker> place, const Known& known) {
  std::unique_lock lock(mutex_);
  known_ = std::make_shared<const Known>(known);
  if (place == nullptr) return;
  next_ = std::move(place);
  // What is on its way starts anew there.
  ++number_;
  if (place_ != nullptr) place_->stop = true;
  changed_.notify_all();
  if (!thread_.joinable() && question_) answer(lock);
}

void Lookup::ask(Question question) {
  std::unique_lock lock(mutex_);
  question_ = std::move(question);
  answer_.reset();
  ++number_;
  if (place_ != nullptr) place_->stop = true;
  changed_.notify_all();
  if (!thread_.joinable()) answer(lock);
}

void Lookup::stop() {
  const std::lock_guard lock(mutex_);
  question_.reset();
  ++number_;
  if (place_ != nullptr) place_->stop = true;
  changed_.notify_all();
}

void Lookup::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !question_ || answer_ || quit_; });
}

std::optional<Lookup::Answer> Lookup::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(answer_, std::nullopt);
}

std::optional<Lookup::Progress> Lookup::progress() const {
  const std::lock_guard lock(mutex_);
  if (!question_) return std::nullopt;
  return Progress{.at = working_ ? place_->going.load() : 0, .to = question_->at};
}

void Lookup::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(
        lock, [this] { return quit_ || (question_ && (next_ != nullptr || place_ != nullptr)); });
    if (quit_) return;
    answer(lock);
  }
}

// Answers the question at hand; one that was replaced on the way stays to be answered.
void Lookup::answer(std::unique_lock<std::mutex>& lock) {
  std::unique_ptr<Seeker> former;
  if (next_ != nullptr) former = std::exchange(place_, std::move(next_));
  if (place_ == nullptr) return;
  const std::uint64_t number = number_;
  const Question question = *question_;
  const std::shared_ptr<const Known> known = known_;
  Seeker& place = *place_;
  place.stop = false;
  place.going = 0;
  working_ = true;
  lock.unlock();
  former.reset();  // It may take a while to give up what it kept.
  Answer found{.moment = look_at(place, *known, question.at, question.launch), .why = {}};
  if (question.ask && !place.stop) {
    found.why = explain(place, known->rules, found.moment.at, *question.ask);
  }
  lock.lock();
  working_ = false;
  if (number != number_) return;
  answer_ = std::move(found);
  question_.reset();
  changed_.notify_all();
}

}  // namespace pagetape
