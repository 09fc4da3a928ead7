// SPDX-License-Identifier: Apache-2.0
// What goes on by itself, and what is kept from one time to the next.
#include <algorithm>
#include <utility>

#include "gui/app/numbers.h"
#include "gui/app/scale.h"
#include "gui/app/viewer.h"

namespace pagetape {

// A pane, or again the table.
bool Viewer::show(LowPane pane) {
  if (pane == LowPane::kCompare && compare_run_ == nullptr) {
    return fail("no other trace is compared: open one with --compare FILE");
  }
  pane_ = pane_ == pane ? LowPane::kTable : pane;
  if (pane == LowPane::kWhatIf && what_if_run_ == nullptr) {
    what_if_run_ = run_what_if(trace_->path);
  }
  tick(0);
  return true;
}

// What runs is stopped, or waited for.
bool Viewer::background(std::string_view name) {
  if (name == "stop") {
    if (!busy()) return fail("nothing runs in the background");
    if (what_if_run_ != nullptr) what_if_run_->stop();
    if (compare_run_ != nullptr) compare_run_->stop();
    lookup_->stop();
    selected_ = moment_.at;
    playing_ = false;
  } else {
    if (what_if_run_ != nullptr) what_if_run_->wait();
    if (compare_run_ != nullptr) compare_run_->wait();
    wait();
  }
  tick(0);
  return true;
}

void Viewer::tick(double seconds) {
  constexpr double kSecondsAStep = 0.25;
  (void)collect();
  sought_ += seconds;
  if (playing_ && (played_ += seconds) >= kSecondsAStep && !seeking()) {
    played_ = 0;
    playing_ = index().steps.empty() ? go(selected() + 1) : go_step(true);
  }
  if (what_if_run_ != nullptr) what_if_ = what_if_run_->told();
  take_compared();
}

bool Viewer::play() {
  playing_ = !playing_;
  played_ = 0;
  return true;
}

bool Viewer::size(const Words& words) {
  float scale = 0;
  const bool is_one = words.empty() || (words.size() == 1 && number_in(words[0], scale) &&
                                        scale >= kLeastScale && scale <= kMostScale);
  if (!is_one) return fail("it is: scale NUMBER, from 0.5 to 4");
  scale_ = scale;
  return true;
}

bool Viewer::colour(const Words& words) {
  if (words.empty()) {
    colours_ = static_cast<Colours>((static_cast<std::size_t>(colours_) + 1) % std::size(kColours));
    return true;
  }
  const auto it = std::ranges::find(kColours, words[0]);
  if (it == std::end(kColours)) return fail("it is: colour owner, age, space or writer");
  colours_ = static_cast<Colours>(it - std::begin(kColours));
  return true;
}

bool Viewer::bookmark(const Words& words) {
  std::string note;
  for (const std::string& word : words) note += (note.empty() ? "" : " ") + word;
  const auto at = std::ranges::lower_bound(bookmarks_, selected(), {}, &Bookmark::event);
  const bool here = at != bookmarks_.end() && at->event == selected();
  if (!here) {
    bookmarks_.insert(at, {selected(), note});
  } else if (note.empty()) {
    bookmarks_.erase(at);
  } else {
    at->note = note;
  }
  return true;
}

bool Viewer::go_bookmark(bool forward) {
  const auto it = forward ? std::ranges::upper_bound(bookmarks_, selected(), {}, &Bookmark::event)
                          : std::ranges::lower_bound(bookmarks_, selected(), {}, &Bookmark::event);
  if (forward && it == bookmarks_.end()) return fail("there is no bookmark behind this event");
  if (!forward && it == bookmarks_.begin()) return fail("there is no bookmark before this event");
  const Bookmark& mark = forward ? *it : *std::prev(it);
  if (!go(mark.event)) return false;
  message_ = mark.note;
  return true;
}

Session Viewer::session() const {
  Session out{.selected = selected(),
              .begin = axis_.begin(),
              .end = axis_.end(),
              .hidden_rules = {},
              .layer = only_layer_,
              .request = only_request_,
              .colours = std::string(kColours[static_cast<std::size_t>(colours_)]),
              .pinned_lanes = lane_choice_.pinned,
              .hidden_lanes = lane_choice_.hidden,
              .lanes = lane_choice_.filter,
              .dark = dark_,
              .bookmarks = bookmarks_};
  for (const RuleInfo& rule : kRules) {
    if (!rules_[static_cast<std::size_t>(rule.rule)]) out.hidden_rules.emplace_back(rule.name);
  }
  return out;
}

void Viewer::keep_bookmarks(std::vector<Bookmark> bookmarks) {
  bookmarks_ = std::move(bookmarks);
  std::ranges::sort(bookmarks_, {}, &Bookmark::event);
}

void Viewer::restore(const Session& session) {
  keep_bookmarks(session.bookmarks);
  for (const RuleInfo& rule : kRules) {
    const bool hidden =
        std::ranges::find(session.hidden_rules, rule.name) != session.hidden_rules.end();
    rules_[static_cast<std::size_t>(rule.rule)] = !hidden;
  }
  only_layer_ = session.layer;
  only_request_ = session.request;
  lane_choice_ = {
      .pinned = session.pinned_lanes, .hidden = session.hidden_lanes, .filter = session.lanes};
  dark_ = session.dark;
  (void)colour({session.colours});
  show_findings();
  if (session.selected < index().events) select(session.selected, std::nullopt);
  if (session.end > session.begin) axis_.show(session.begin, session.end);
  message_.clear();
}

}  // namespace pagetape
