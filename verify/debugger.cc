// SPDX-License-Identifier: Apache-2.0
#include "verify/debugger.h"

#include <algorithm>
#include <charconv>

#include "traces/text.h"
#include "verify/inspect.h"
#include "verify/report.h"

namespace pagetape {
namespace {

constexpr std::size_t kMostText = 1000;     // Bytes of an event in its text form.
constexpr std::size_t kMostFindings = 100;  // That `findings` lists.
constexpr std::size_t kMostLaunches = 4;    // That `where` lists of one event.

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  while (true) {
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) return words;
    const std::size_t end = std::min(line.find_first_of(" \t\r", begin), line.size());
    words.emplace_back(line.substr(begin, end - begin));
    line.remove_prefix(end);
  }
}

bool parse_number(const std::string& word, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out);
  return error == std::errc() && end == word.data() + word.size();
}

Debugger::Reply wrong(const std::string& why) { return {.text = why + '\n', .ok = false}; }

// Judges one event alone, and keeps in words what it launches.
class Here final : public JudgeWatch {
 public:
  Here(const Names& names, const Coverage& known) : JudgeWatch(names, 1, known), names_(names) {}

  void on_launch(World& world, const LaunchView& view) override {
    JudgeWatch::on_launch(world, view);
    if (++launches_ > kMostLaunches) return;
    text_ += "launch:";
    if (view.number >= 0) {
      text_ += " graph " + s(view.graph_name) + " launch " + std::to_string(view.number) + ',';
    }
    text_ += view.attention != nullptr ? " attention" : view.store != nullptr ? " store" : " copy";
    if (view.backend != nullptr) text_ += " of backend " + s(view.backend->name);
    if (view.targets != nullptr) add_targets(world, *view.targets);
    text_ += ", " + std::to_string(view.lanes.size()) +
             (view.lanes.size() == 1 ? " lane\n" : " lanes\n");
  }
  std::string launches() const {
    if (launches_ <= kMostLaunches) return text_;
    return text_ + "… " + std::to_string(launches_) + " launches in all\n";
  }

 private:
  std::string s(Name name) const { return std::string(names_.text(name)); }
  void add_targets(const World& world, const Targets& targets) {
    for (std::size_t i = 0; i < std::min<std::size_t>(targets.list.size(), 8); ++i) {
      const Target& target = targets.list[i];
      text_ += ", layer " + names_.layer(target.physical);
      if (target.logical != target.physical) {
        text_ += " (logical " + names_.layer(target.logical) + ')';
      }
      if (target.binding.pool != kNoPool) {
        text_ += " in pool " + s(world.pool(target.binding.pool).name);
      }
    }
    if (targets.list.size() > 8) text_ += ", …";
  }

  const Names& names_;
  std::string text_;
  std::size_t launches_ = 0;
};

}  // namespace

// ---- the table of commands ----

struct Debugger::Command {
  std::string_view name, arguments, sentence;
  Reply (Debugger::*run)(const Words&);
  std::size_t most_words;
};

// A command may be shortened to what the first of those with that beginning is meant by.
const std::vector<Debugger::Command>& Debugger::commands() {
  static const std::vector<Command> all{
      {"next", "[N]", "Apply this event, or N of them.", &Debugger::next, 1},
      {"back", "[N]", "Undo the event before, or N of them.", &Debugger::back, 1},
      {"goto", "N|end", "Stand before event N.", &Debugger::go_to, 1},
      {"until", "CONDITION", "Forward to where the condition is met.", &Debugger::until, 2},
      {"break", "CONDITION", "Have `continue` stop there.", &Debugger::add_break, 2},
      {"continue", "", "Forward to the next break.", &Debugger::go_on, 0},
      {"reverse-continue", "", "Back to the last break.", &Debugger::go_back, 0},
      {"breaks", "", "The breaks and their numbers.", &Debugger::breaks, 0},
      {"delete", "N", "Forget a break.", &Debugger::remove, 1},
      {"show", "[WHAT NAME]", "A value and the event since which it stands.", &Debugger::show, 3},
      {"where", "", "The event at hand, what it launches, what rule it breaks.", &Debugger::where,
       0},
      {"findings", "", "What rules the trace breaks.", &Debugger::findings, 0},
      {"rank", "[N|none]", "Show the objects of that rank.", &Debugger::rank, 1},
      {"help", "", "This.", &Debugger::help, 0},
      {"quit", "", "Leave.", &Debugger::quit, 0},
  };
  return all;
}

Debugger::Reply Debugger::help(const Words&) {
  std::string out;
  const auto line = [&](std::string_view name, std::string_view arguments,
                        std::string_view sentence) {
    std::string begin = "  " + std::string(name);
    if (!arguments.empty()) begin += ' ' + std::string(arguments);
    begin.resize(std::max<std::size_t>(begin.size() + 1, 26), ' ');
    out += begin + std::string(sentence) + '\n';
  };
  for (const Command& command : commands()) {
    line(command.name, command.arguments, command.sentence);
  }
  out += "Conditions:\n";
  line("finding [RULE]", "", "A rule is broken (`rule RULE`: the same).");
  line("request R", "", "The event or a lane names the request.");
  line("page POOL:P", "", "The page is given, freed, written or copied.");
  line("layer L", "", "The layer, logical or physical, is launched, bound or remapped.");
  line("kind EVENT", "", "The event is of that kind.");
  out += "To show:\n";
  for (const Shown& shown : kShown) line(shown.what, shown.arguments, "");
  out += "A command may be shortened: `u finding`.\n";
  for (std::size_t at; (at = out.find(" \n")) != std::string::npos;) out.erase(at, 1);
  return {.text = out};
}

Debugger::Reply Debugger::quit(const Words&) { return {.text = "", .quit = true}; }

Debugger::Reply Debugger::run(std::string_view line) {
  Words words = words_of(line);
  if (words.empty() || words[0].starts_with('#')) return {};
  const auto command = std::ranges::find_if(
      commands(), [&](const Command& c) { return c.name.starts_with(words[0]); });
  if (command == commands().end()) {
    return wrong("there is no command \"" + words[0] + "\" (see `help`)");
  }
  words.erase(words.begin());
  if (words.size() > command->most_words) {
    std::string form(command->name);
    if (!command->arguments.empty()) form += ' ' + std::string(command->arguments);
    return wrong("it is: " + form);
  }
  return (this->*command->run)(words);
}

// ---- going ----

// The place in one line, and why there is no further one.
std::string Debugger::here() const {
  std::string out;
  if (const Event* event = timeline_.event()) {
    out = "event " + std::to_string(timeline_.at());
    const World* world = timeline_.state().world(event->rank.value_or(State::kNoRank));
    if (world != nullptr && world->step >= 0) out += ", step " + std::to_string(world->step);
    return out + ": " + describe(*event, names_) + '\n';
  }
  out = "the end, behind " + std::to_string(timeline_.end()) + " events\n";
  if (!timeline_.status().ok()) out += timeline_.status().message() + '\n';
  return out;
}

Debugger::Reply Debugger::next(const Words& words) {
  std::uint64_t count = 1;
  if (!words.empty() && !parse_number(words[0], count)) return wrong("it is: next [N]");
  moved_ = true;
  while (count > 0 && timeline_.step()) --count;
  return {.text = here()};
}

Debugger::Reply Debugger::back(const Words& words) {
  std::uint64_t count = 1;
  if (!words.empty() && !parse_number(words[0], count)) return wrong("it is: back [N]");
  moved_ = true;
  if (count > 1) {
    // At once, over all that lies between; where events are missing, to one that is not.
    const EventIndex at = timeline_.at();
    (void)timeline_.seek(count < at ? at - count : 0);
  } else if (count == 1 && !timeline_.back()) {
    return {.text = "the beginning\n" + here()};
  }
  return {.text = here()};
}

Debugger::Reply Debugger::go_to(const Words& words) {
  std::uint64_t event = timeline_.end();
  if (words.empty() || (words[0] != "end" && !parse_number(words[0], event))) {
    return wrong("it is: goto N, or goto end");
  }
  moved_ = true;
  // The end may turn out to be nearer on the way there.
  if (const Status status = timeline_.seek(event); !status.ok() && words[0] != "end") {
    return wrong(status.message());
  }
  return {.text = here()};
}

Debugger::Reply Debugger::travel(const std::vector<Condition>& conditions, bool forward,
                                 const std::string& met) {
  const bool judges = std::ranges::any_of(
      conditions, [](const Condition& c) { return c.kind == Condition::Kind::kFinding; });
  ConditionWatch watch(names_, conditions, judges ? overview().known : Coverage());
  const bool found =
      forward ? timeline_.run_until(watch, !moved_) : timeline_.run_back_until(watch);
  moved_ = true;
  if (!found) return {.text = here()};
  const Condition& condition = conditions[watch.which()];
  std::string text = met;
  if (!text.empty()) text += condition.text(names_) + '\n';
  text += here();
  if (condition.kind == Condition::Kind::kFinding) text += judged_here(false);
  return {.text = text};
}

Debugger::Reply Debugger::until(const Words& words) {
  Condition condition;
  if (const Status status = parse_condition(words, names_, condition); !status.ok()) {
    return wrong(status.message());
  }
  return travel({condition}, true, "");
}

// ---- breaks ----

Debugger::Reply Debugger::add_break(const Words& words) {
  Condition condition;
  if (const Status status = parse_condition(words, names_, condition); !status.ok()) {
    return wrong(status.message());
  }
  breaks_[next_break_] = condition;
  return {.text = "break " + std::to_string(next_break_++) + ": " + condition.text(names_) + '\n'};
}

Debugger::Reply Debugger::breaks(const Words&) {
  std::string out;
  for (const auto& [number, condition] : breaks_) {
    out += "break " + std::to_string(number) + ": " + condition.text(names_) + '\n';
  }
  return {.text = out.empty() ? "no breaks\n" : out};
}

Debugger::Reply Debugger::remove(const Words& words) {
  std::uint64_t number = 0;
  if (words.empty() || !parse_number(words[0], number)) return wrong("it is: delete N");
  if (breaks_.erase(number) == 0) return wrong("there is no break " + words[0]);
  return {};
}

static std::vector<Condition> values(const std::map<std::uint64_t, Condition>& breaks) {
  std::vector<Condition> out;
  out.reserve(breaks.size());
  for (const auto& [number, condition] : breaks) out.push_back(condition);
  return out;
}

Debugger::Reply Debugger::go_on(const Words&) { return travel(values(breaks_), true, "break: "); }

Debugger::Reply Debugger::go_back(const Words&) {
  return travel(values(breaks_), false, "break: ");
}

// ---- looking ----

const World* Debugger::world() const {
  const auto& worlds = timeline_.state().worlds();
  if (rank_) return timeline_.state().world(*rank_);
  const Event* event = timeline_.event();
  const World* of_event =
      event == nullptr ? nullptr : timeline_.state().world(event->rank.value_or(State::kNoRank));
  return of_event != nullptr || worlds.empty() ? of_event : &worlds.begin()->second;
}

Debugger::Reply Debugger::rank(const Words& words) {
  std::uint64_t number = 0;
  if (words.empty()) {
    rank_.reset();
  } else if (words[0] == "none") {
    rank_ = State::kNoRank;
  } else if (parse_number(words[0], number) && number <= INT64_MAX) {
    rank_ = static_cast<std::int64_t>(number);
  } else {
    return wrong("it is: rank [N|none]");
  }
  return {};
}

Debugger::Reply Debugger::show(const Words& words) {
  const World* world = this->world();
  const World empty;
  Reply reply;
  const Status status = inspect(world != nullptr ? *world : empty, names_, words, reply.text);
  return status.ok() ? reply : wrong(status.message());
}

// The first finding of each rule at the event at hand, if asked with what it launches.
std::string Debugger::judged_here(bool launches) {
  const Event* event = timeline_.event();
  if (event == nullptr) return "";
  Here here(names_, overview().known);
  State state = timeline_.state();
  (void)state.apply(*event, &here);
  std::string out = launches ? here.launches() : "";
  const Findings& findings = here.judge().findings();
  std::vector<Finding> firsts;  // Of each rule.
  for (const RuleInfo& rule : kRules) {
    if (const Finding* first = findings.first(rule.rule)) firsts.push_back(*first);
  }
  std::ranges::sort(firsts, earlier);
  for (const Finding& finding : firsts) {
    out += "-> " + place_of(finding, names_) + ": " + finding.message + '\n';
    if (finding.cause.empty()) continue;
    out += finding.cause.size() == 1 ? "   because of event" : "   because of events";
    for (EventIndex cause : finding.cause) {
      out += (cause == finding.cause.front() ? " " : ", ") + std::to_string(cause);
    }
    out += '\n';
  }
  const std::uint64_t total = findings.total();
  found_ = found_ || total > 0;
  if (total > firsts.size()) out += "-> " + std::to_string(total) + " findings in all\n";
  return out;
}

Debugger::Reply Debugger::where(const Words&) {
  (void)overview();  // First of all: it moves the place, and puts it back.
  const Event* event = timeline_.event();
  if (event == nullptr) return {.text = here()};
  std::string text =
      "event " + std::to_string(timeline_.at()) + " of " + std::to_string(timeline_.end());
  const World* world = timeline_.state().world(event->rank.value_or(State::kNoRank));
  if (world != nullptr && world->step >= 0) {
    text += ", step " + std::to_string(world->step);
    if (world->step_mode != kNone) text += " (" + std::string(names_.text(world->step_mode)) + ')';
  }
  std::string line = print_event(*event, names_);
  if (line.size() > kMostText) {
    const std::string size = std::to_string(line.size());
    line = line.substr(0, kMostText) + "… (" + size + " bytes)";
  }
  return {.text = text + '\n' + line + '\n' + judged_here(true)};
}

// Judges the whole trace, once.
const Debugger::Overview& Debugger::overview() {
  if (overview_) return *overview_;
  const EventIndex at = timeline_.at();
  JudgeWatch watch(names_, kMostFindings, {});
  (void)timeline_.seek(0);
  while (timeline_.step(&watch)) {
  }
  Judge& judge = watch.judge();
  judge.finish();
  (void)timeline_.seek(at);
  overview_.emplace(Overview{.known = judge.coverage(),
                             .counts = judge.findings().counts(),
                             .first = judge.findings().sorted(),
                             .total = judge.findings().total()});
  return *overview_;
}

Debugger::Reply Debugger::findings(const Words&) {
  const Overview& all = overview();
  if (all.total == 0) return {.text = "no findings\n"};
  found_ = true;
  std::string out;
  for (std::size_t r = 0; r < kRuleCount; ++r) {
    if (all.counts[r] == 0) continue;
    std::string name(kRules[r].name);
    name.resize(16, ' ');
    out += name + std::to_string(all.counts[r]) + '\n';
  }
  // One line an event and rule: a launch may break a rule in many places.
  const Finding* last = nullptr;
  for (const Finding& finding : all.first) {
    if (last != nullptr && last->event == finding.event && last->rule == finding.rule) continue;
    out += "event " + std::to_string(finding.event) + ": " + std::string(info(finding.rule).name) +
           ": " + finding.message + '\n';
    last = &finding;
  }
  if (all.total > all.first.size()) {
    out += "… (the first " + std::to_string(all.first.size()) + " of " + std::to_string(all.total) +
           " findings are looked at)\n";
  }
  return {.text = out};
}

// ---- completion ----

// What may follow the words of a line.
Debugger::Words Debugger::names_for(const Words& words) const {
  Words out;
  if (words.empty()) {
    for (const Command& command : commands()) out.emplace_back(command.name);
    return out;
  }
  const auto command = std::ranges::find_if(
      commands(), [&](const Command& c) { return c.name.starts_with(words[0]); });
  if (command == commands().end()) return out;
  const World* world = this->world();
  const bool stops = command->name == "until" || command->name == "break";
  if (command->name == "goto" && words.size() == 1) return {"end"};
  if (command->name == "show" && words.size() == 1) {
    for (const Shown& shown : kShown) out.emplace_back(shown.what);
  } else if (command->name == "show" && words.size() == 2 && world != nullptr) {
    out = names_to_show(*world, names_, words[1]);
  } else if (stops && words.size() == 1) {
    out = {"finding", "rule", "request", "page", "layer", "kind"};
  } else if (stops && words.size() == 2) {
    if (words[1] == "finding" || words[1] == "rule") {
      for (const RuleInfo& rule : kRules) out.emplace_back(rule.name);
    } else if (words[1] == "kind") {
      out.assign(kKindNames.begin(), kKindNames.end());
    } else if (world != nullptr) {
      out = names_to_show(*world, names_, words[1]);
      if (words[1] == "page") {
        for (std::string& pool : out) pool += ':';
      }
    }
  }
  return out;
}

std::vector<std::string> Debugger::complete(std::string_view line) const {
  Words words = words_of(line);
  std::string begin;
  if (!words.empty() && line.find_last_of(" \t\r") + 1 != line.size()) {
    begin = words.back();
    words.pop_back();
  }
  Words out = names_for(words);
  std::erase_if(out, [&](const std::string& word) { return !word.starts_with(begin); });
  return out;
}

}  // namespace pagetape
