// SPDX-License-Identifier: Apache-2.0
// Commands about findings: which are shown, going to them, and what led to them.
#include <algorithm>
#include <utility>

#include "gui/app/links.h"
#include "gui/app/numbers.h"
#include "gui/app/viewer.h"
#include "verify/report.h"

namespace pagetape {

bool Viewer::go_finding(bool forward) {
  const auto event_of = [&](std::size_t group) { return index().findings[group].event; };
  const auto it = forward ? std::ranges::upper_bound(shown_, selected(), {}, event_of)
                          : std::ranges::lower_bound(shown_, selected(), {}, event_of);
  // A finding at the first event would be missed by looking behind it only.
  if (shown_.empty()) {
    return fail(index().total == 0 ? "this trace has no findings"
                                   : "the filter hides all findings");
  }
  if (forward && it == shown_.end()) return fail("there is no finding behind this event");
  if (!forward && it == shown_.begin()) return fail("there is no finding before this event");
  return go(event_of(forward ? *it : *std::prev(it)));
}

bool Viewer::blame(const Words& words) {
  Ask ask;
  const auto colon = words.empty() ? std::string::npos : words[0].rfind(':');
  if (words.size() == 2) {
    std::int64_t row = 0, column = 0;
    if (!number_in(words[0], row) || !number_in(words[1], column)) {
      return fail("it is: blame ROW COLUMN");
    }
    if (seeking()) return fail("the table of this event is not there yet");
    ask = {.launch = moment_.launch, .row = row, .column = column};
    if (moment_.table) ask.bound = moment_.table->pool;
  } else if (colon != std::string::npos) {
    ask.pool = words[0].substr(0, colon);
    if (trace_->names.find(ask.pool) == kNone ||
        !number_in(std::string_view(words[0]).substr(colon + 1), ask.page)) {
      return fail("it is: blame POOL:PAGE");
    }
  } else if (!words.empty()) {
    return fail("it is: blame [ROW COLUMN | POOL:PAGE]");
  }
  std::optional<std::size_t> launch;
  if (!seeking()) launch = moment_.launch;
  select(selected_, launch, std::move(ask));
  return message_.empty();
}

// Its sentences, or why there are none.
void Viewer::take_why(Explanation&& why) {
  if (!why.status.ok()) {
    message_ = why.status.message();
    return;
  }
  explanation_ = std::move(why);
  explained_ = {.title = "Why event " + std::to_string(explanation_.at),
                .note = explanation_.subject,
                .command = to_event(explanation_.at),
                .tone = {},
                .lines = {}};
  // What one event wrote is one line.
  const std::vector<Link>& links = explanation_.links;
  for (std::size_t i = 0; i < links.size();) {
    Line line{{std::to_string(links[i].event), Tone::kPlain, to_event(links[i].event)}, {"  "}};
    const std::string& said = links[i].sentence;
    std::ranges::move(linked(said.empty() ? "(cannot be read)" : said, trace_->names),
                      std::back_inserter(line));
    std::string values;
    std::size_t end = i;
    for (; end < links.size() && links[end].event == links[i].event; ++end) {
      if (links[end].value.empty() || values.find(links[end].value) != std::string::npos) continue;
      values += (values.empty() ? "" : "; ") + links[end].value;
    }
    if (!values.empty()) line.push_back({"  (" + values + ')', Tone::kDim});
    explained_.lines.push_back(std::move(line));
    i = end;
  }
}

bool Viewer::follow(const Words& words) {
  std::size_t number = 0;
  if (words.empty() || !number_in(words[0], number)) return fail("it is: follow NUMBER");
  if (number < 1 || number > explained_.lines.size()) return fail("there is no such line");
  return run(explained_.lines[number - 1][0].command);
}

bool Viewer::filter(const Words& words) {
  if (words.empty()) {
    rules_.fill(true);
  } else {
    const auto rule = std::ranges::find(kRules, words[0], &RuleInfo::name);
    if (rule == kRules.end()) return fail("there is no rule \"" + words[0] + '"');
    bool& shown = rules_[static_cast<std::size_t>(rule->rule)];
    shown = !shown;
  }
  show_findings();
  return true;
}

bool Viewer::only(const Words& words) {
  if (words.empty()) {
    rules_.fill(true);
    only_layer_.clear();
    only_request_.clear();
  } else if (words.size() == 2 && words[0] == "layer") {
    only_layer_ = words[1] == only_layer_ ? "" : words[1];
  } else if (words.size() == 2 && words[0] == "request") {
    if (trace_->names.find(words[1]) == kNone) {
      return fail("this trace has no request \"" + words[1] + '"');
    }
    only_request_ = words[1] == only_request_ ? "" : words[1];
  } else {
    return fail("it is: only layer L, or only request R");
  }
  show_findings();
  return true;
}

bool Viewer::shows(const FindingGroup& group) const {
  if (!rules_[static_cast<std::size_t>(group.rule)]) return false;
  if (!only_request_.empty() && group.reqs != 0 &&
      !std::ranges::binary_search(index().req_sets[group.reqs],
                                  trace_->names.find(only_request_))) {
    return false;
  }
  return only_layer_.empty() || group.layers == 0 ||
         std::ranges::any_of(index().layer_sets[group.layers], [&](const Layer& layer) {
           return trace_->names.layer(layer) == only_layer_;
         });
}

void Viewer::show_findings() {
  shown_.clear();
  events_shown_ = 0;
  EventIndex last = kNever;
  for (std::size_t i = 0; i < index().findings.size(); ++i) {
    const FindingGroup& group = index().findings[i];
    if (!shows(group)) continue;
    shown_.push_back(i);
    if (std::exchange(last, group.event) != group.event) ++events_shown_;
  }
}

// A line a rule: what lacks the same events together.
void Viewer::say_what_was_not_checked() {
  not_checked_ = {};
  if (!index().whole()) return;
  std::string idle;
  for (const NotChecked& n : index().known.rules.not_checked(trace_->names)) {
    const RuleInfo& rule = info(n.rule);
    if (!n.applicable) {
      if (idle.find(rule.name) == std::string::npos) {
        idle += (idle.empty() ? "" : ", ") + std::string(rule.name);
      }
      continue;
    }
    const std::string object = n.object == kNone ? "the trace" : text(n.object);
    std::vector<Line>& lines = not_checked_.lines;
    const std::string needs = "  (needs " + n.needs + ')';
    if (lines.empty() || lines.back()[0].text != rule.name || lines.back()[2].text != needs) {
      lines.push_back({{std::string(rule.name)}, {"  " + object}, {needs, Tone::kDim}});
    } else if (lines.back()[1].text.find(object) == std::string::npos) {
      lines.back()[1].text += ", " + object;
    }
  }
  not_checked_.title = not_checked_.lines.empty() ? "Nothing is left unchecked" : "Not checked";
  if (!idle.empty()) not_checked_.lines.push_back({{"nothing to judge: " + idle, Tone::kDim}});
}

FindingItem Viewer::finding(std::size_t number) const {
  const std::size_t group = shown_[number];
  return {.group = group, .here = index().findings[group].event == selected()};
}

std::size_t Viewer::finding_number() const {
  const auto event_of = [&](std::size_t group) { return index().findings[group].event; };
  return static_cast<std::size_t>(std::ranges::lower_bound(shown_, selected(), {}, event_of) -
                                  shown_.begin());
}

}  // namespace pagetape
