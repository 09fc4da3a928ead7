// SPDX-License-Identifier: Apache-2.0
#include "gui/app/viewer.h"

#include <algorithm>
#include <sstream>

#include "gui/app/numbers.h"
#include "verify/report.h"

namespace pagetape {
namespace {

constexpr std::size_t kMostUndo = 200;

constexpr Command kCommands[] = {
    {"next-finding", "", "n", "to the next finding"},
    {"previous-finding", "", "N", "to the finding before"},
    {"blame", "[ROW COLUMN | POOL:PAGE]", "b", "explain the finding, a cell or a page"},
    {"follow", "NUMBER", "", "to the event of a line of the explanation (keys 1 to 9)"},
    {"return", "", "Backspace", "to the event selected before"},
    {"goto", "EVENT", "", "to an event"},
    {"request", "NAME", "", "to where a request began that lives here, or lived last"},
    {"declared", "NAME", "", "to where a pool, backend or graph was declared"},
    {"step", "", "Right", "to the next event"},
    {"back", "", "Left", "to the event before"},
    {"next-step", "", "Down", "to the engine's next step"},
    {"previous-step", "", "Up", "to the engine's step before"},
    {"first", "", "Home", "to the first event"},
    {"last", "", "End", "to the last event"},
    {"next-launch", "", "]", "to the event's next launch"},
    {"previous-launch", "", "[", "to the event's launch before"},
    {"play", "", "Space", "on from step to step; again: stop"},
    {"bookmark", "[NOTE]", "k", "put a bookmark here, or take it away"},
    {"next-bookmark", "", "'", "to the next bookmark"},
    {"previous-bookmark", "", "\"", "to the bookmark before"},
    {"zoom-in", "", "+", "nearer, around the event selected"},
    {"zoom-out", "", "-", "farther"},
    {"pan-left", "", "a", "a quarter of the view to the left"},
    {"pan-right", "", "d", "a quarter of the view to the right"},
    {"fit", "", "f", "the whole trace"},
    {"focus", "", "z", "the events around the one selected"},
    {"undo-view", "", "u", "back to the view before"},
    {"measure", "", "m", "measure from here; again: no more"},
    {"range", "[BEGIN END]", "", "measure these events (Shift and drag); none: no more"},
    {"zoom-range", "", "Z", "the events that are measured"},
    {"pin-lane", "NAME", "", "a lane on top (click its name); again: no more"},
    {"hide-lane", "NAME", "", "no such lane (right click on its name); again: show it"},
    {"lanes", "[TEXT]", "", "lanes with this in their names only; none: all"},
    {"all-lanes", "", "l", "all lanes in their order"},
    {"what-if", "", "w", "what the run would have read in a patched engine"},
    {"compare", "", "C", "what differs from the other trace (--compare)"},
    {"next-difference", "", ".", "to the next step that differs"},
    {"previous-difference", "", ",", "to the difference before"},
    {"stop", "", "x", "stop what runs in the background"},
    {"wait", "", "", "until what runs in the background is over (for scripts)"},
    {"rule", "NAME", "", "show the findings of a rule, or hide them"},
    {"all-rules", "", "", "show the findings of all rules"},
    {"only", "layer L | request R", "", "show the findings of a layer or a request only"},
    {"all-findings", "", "A", "show the findings of all rules, layers and requests"},
    {"colour", "[owner | age | space | writer]", "p", "what colours of the pool map mean"},
    {"copy", "[ROW COLUMN]", "c", "copy what is said of the event, or of a cell of its table"},
    {"palette", "", "/", "find a command, finding, request or pool by its name"},
    {"theme", "", "t", "dark or light"},
    {"scale", "[NUMBER]", "", "how large all is, 0.5 to 4; none: as the screen wants it"},
    {"help", "", "?", "the keys"},
    {"quit", "", "q", "close the viewer"},
};

}  // namespace

std::span<const Command> viewer_commands() { return kCommands; }

Viewer::Viewer(std::unique_ptr<OpenTrace> trace, Lookup::Where where)
    : trace_(std::move(trace)),
      lookup_(std::make_unique<Lookup>(where)),
      axis_(trace_->index.events) {
  rules_.fill(true);
  show_findings();
  say_what_was_not_checked();
  lookup_->move_to(std::move(trace_->place), index().known);
  select(0, std::nullopt);
  if (!index().status.ok()) message_ = index().status.message();
}

std::optional<std::string_view> Viewer::command_of(std::string_view key) const {
  for (const Command& command : kCommands) {
    if (!key.empty() && command.key == key) return command.name;
  }
  return std::nullopt;
}

bool Viewer::run(std::string_view line) {
  std::istringstream in{std::string(line)};
  Words words;
  for (std::string word; in >> word;) words.push_back(word);
  if (words.empty() || words[0].starts_with('#')) return true;
  const std::string name = words[0];
  words.erase(words.begin());
  (void)collect();
  message_.clear();
  if (name == "next-finding" || name == "previous-finding") return go_finding(name[0] == 'n');
  if (name == "next-step" || name == "previous-step") return go_step(name[0] == 'n');
  if (name == "next-launch" || name == "previous-launch") return go_launch(name[0] == 'n');
  if (name == "goto") return go_word(words);
  if (name == "request") return go_request(words);
  if (name == "declared") return go_declared(words);
  if (name == "step") return go(selected() + 1);
  if (name == "back") return selected() > 0 ? go(selected() - 1) : fail("this is the first event");
  if (name == "first") return go(0);
  if (name == "last") return go(index().events - std::min<EventIndex>(index().events, 1));
  if (name == "return") {
    if (visited_.empty()) return fail("no event was selected before");
    select(visited_.back(), std::nullopt);
    visited_.pop_back();
    axis_.reveal(static_cast<double>(selected()));
    return true;
  }
  if (name == "blame") return blame(words);
  if (name == "follow") return follow(words);
  if (name == "rule" || name == "all-rules") return filter(words);
  if (name == "only" || name == "all-findings") return only(words);
  if (name == "colour") return colour(words);
  if (name == "scale") return size(words);
  if (name == "bookmark") return bookmark(words);
  if (name == "next-bookmark" || name == "previous-bookmark") return go_bookmark(name[0] == 'n');
  if (name == "play") return play();
  if (name == "measure" || name == "range") return measure(name, words);
  if (name.ends_with("lane") || name.ends_with("lanes")) return choose_lanes(name, words);
  if (name == "what-if") return show(LowPane::kWhatIf);
  if (name == "compare") return show(LowPane::kCompare);
  if (name == "next-difference" || name == "previous-difference")
    return go_difference(name[0] == 'n');
  if (name == "stop" || name == "wait") return background(name);
  if (name == "copy") return copy(words);
  if (name == "undo-view") {
    if (axes_.empty()) return fail("this is the first view");
    axis_ = axes_.back();
    axes_.pop_back();
    return true;
  }
  return view(name) || toggle(name) || fail("there is no command \"" + name + "\"");
}

void Viewer::adopt(std::unique_ptr<OpenTrace> trace) {
  const EventIndex events = index().events;
  const bool at_the_end = events > 1 && selected_ + 1 == events;
  trace_ = std::move(trace);
  ++generation_;
  axis_.grow(index().events);
  show_findings();
  say_what_was_not_checked();
  mark_differing();
  lookup_->move_to(std::move(trace_->place), index().known);
  if (at_the_end && index().events > events) {
    select(index().events - 1, std::nullopt);
  } else if (!seeking()) {
    // What else is known may let more rules judge.
    select(selected_, moment_.launch);
  }
  if (!index().status.ok()) message_ = index().status.message();
}

bool Viewer::fail(std::string why) {
  message_ = std::move(why);
  return false;
}

void Viewer::select(EventIndex event, std::optional<std::size_t> launch, std::optional<Ask> ask) {
  selected_ = event;
  sought_ = 0;
  lookup_->ask({.at = event, .launch = launch, .ask = std::move(ask)});
  (void)collect();
}

// Takes what was looked up. False where nothing was.
bool Viewer::collect() {
  std::optional<Lookup::Answer> answer = lookup_->take();
  if (!answer) return false;
  moment_ = std::move(answer->moment);
  selected_ = moment_.at;
  if (answer->why) take_why(std::move(*answer->why));
  return true;
}

void Viewer::wait() {
  lookup_->wait();
  (void)collect();
}

std::string Viewer::seeking_text() const {
  constexpr double kSoon = 0.15;
  const auto progress = lookup_->progress();
  if (!progress || sought_ < kSoon) return "";
  return "seeking event " + grouped(progress->to) + ": " +
         std::to_string(progress->at * 100 / std::max<EventIndex>(progress->to, 1)) + "% (x stops)";
}

bool Viewer::go(EventIndex event) {
  if (event >= index().events) {
    return fail("the last event is " +
                std::to_string(index().events == 0 ? 0 : index().events - 1));
  }
  if (event != selected()) visited_.push_back(selected());
  if (visited_.size() > kMostUndo) visited_.erase(visited_.begin());
  select(event, std::nullopt);
  axis_.reveal(static_cast<double>(selected()));
  return true;
}

bool Viewer::go_word(const Words& words) {
  EventIndex event = 0;
  if (words.empty() || !number_in(words[0], event)) return fail("it is: goto EVENT");
  return go(event);
}

bool Viewer::go_request(const Words& words) {
  if (words.size() != 1) return fail("it is: request NAME");
  const Name req = trace_->names.find(words[0]);
  const RequestLife* best = nullptr;
  for (const RequestLife& life : index().lives) {
    if (life.req != req || req == kNone) continue;
    if (best == nullptr || life.begin <= selected_) best = &life;
  }
  if (best == nullptr) return fail("this trace has no request \"" + words[0] + '"');
  return go(best->begin);
}

bool Viewer::go_declared(const Words& words) {
  if (words.size() != 1) return fail("it is: declared NAME");
  const Name name = trace_->names.find(words[0]);
  const auto go_one = [&](const auto& things) {
    const auto it = std::ranges::find_if(things, [&](const auto& thing) {
      return thing.name == name && name != kNone && thing.declared != kNever;
    });
    return it != things.end() && go(it->declared);
  };
  return go_one(index().pools) || go_one(index().backends) || go_one(index().graphs) ||
         fail("this trace has no pool, backend or graph \"" + words[0] + '"');
}

bool Viewer::go_step(bool forward) {
  const std::vector<StepStart>& steps = index().steps;
  const auto it = forward ? std::ranges::upper_bound(steps, selected(), {}, &StepStart::event)
                          : std::ranges::lower_bound(steps, selected(), {}, &StepStart::event);
  if (forward && it == steps.end()) return fail("there is no step behind this event");
  if (!forward && it == steps.begin()) return fail("there is no step before this event");
  return go(forward ? it->event : std::prev(it)->event);
}

bool Viewer::go_launch(bool forward) {
  const std::size_t launches = moment_.launches.size();
  if (launches == 0) return fail("this event launches no attention");
  if (forward ? moment_.launch + 1 >= launches : moment_.launch == 0) {
    return fail(forward ? "this is the event's last launch" : "this is the event's first launch");
  }
  select(selected(), moment_.launch + (forward ? 1 : std::size_t(-1)));
  return true;
}

void Viewer::remember() {
  if (!axes_.empty() && axes_.back() == axis_) return;
  axes_.push_back(axis_);
  if (axes_.size() > kMostUndo) axes_.erase(axes_.begin());
}

void Viewer::zoom(double factor, double at) { axis_.zoom(factor, at); }
void Viewer::pan(double events) { axis_.pan(events); }

bool Viewer::view(std::string_view name) {
  const auto here = static_cast<double>(selected());
  const Axis before = axis_;
  if (name == "zoom-in" || name == "zoom-out") {
    axis_.reveal(here);
    axis_.zoom(name == "zoom-in" ? 0.5 : 2, here + 0.5);
  } else if (name == "pan-left" || name == "pan-right") {
    axis_.pan(axis_.span() / (name == "pan-left" ? -4 : 4));
  } else if (name == "fit") {
    axis_.fit();
  } else if (name == "focus") {
    axis_.show(here - 60, here + 60);
  } else if (name == "zoom-range") {
    const std::optional<EventRange> range = this->range();
    if (!range) {
      message_ = "nothing is measured: press m, or Shift and drag";
      return true;
    }
    axis_.show(static_cast<double>(range->begin), static_cast<double>(range->end));
  } else {
    return false;
  }
  if (axes_.empty() || !(axes_.back() == before)) axes_.push_back(before);
  if (axes_.size() > kMostUndo) axes_.erase(axes_.begin());
  return true;
}

bool Viewer::toggle(std::string_view name) {
  if (name == "theme") {
    dark_ = !dark_;
  } else if (name == "help") {
    helping_ = !helping_;
  } else if (name == "palette") {
    palette_open_ = !palette_open_;
  } else if (name == "quit") {
    quit_ = true;
  } else {
    return false;
  }
  return true;
}

}  // namespace pagetape
