// SPDX-License-Identifier: Apache-2.0
#include "verify/condition.h"

#include <charconv>

namespace pagetape {
namespace {

constexpr std::array<bool, kRuleCount> kEveryRule = [] {
  std::array<bool, kRuleCount> rules{};
  rules.fill(true);
  return rules;
}();

template <class T>
bool parse_number(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

Status parse_rule(const std::string& name, Condition& out) {
  out.rule = rule_named(name);
  if (out.rule != kRuleCount) return {};
  return usage("there is no rule \"" + name + "\" (see `pagetape info --rules`)");
}

Status parse_page(const std::string& word, Names& names, Condition& out) {
  const std::size_t colon = word.rfind(':');
  std::int32_t page = 0;
  if (colon == std::string::npos || !parse_number(std::string_view(word).substr(colon + 1), page)) {
    return usage("a page is POOL:NUMBER, not \"" + word + '"');
  }
  out.name = names.intern(word.substr(0, colon));
  out.page = PageId{page};
  return {};
}

Layer parse_layer(const std::string& word, Names& names) {
  std::int32_t number = 0;
  return parse_number(word, number) && number >= 0 ? Layer::number(number)
                                                   : Layer::named(names.intern(word));
}

bool rows_name(const ev::Rows& rows, Name req) {
  return std::ranges::any_of(rows, [&](const ev::Row& row) { return row.req == req; });
}

bool names_request(const Event& event, Name req) {
  bool found = false;
  const auto look = [&]<class T>(const T& body) {
    for_each_field<T>([&]<class M>(const Field<T, M>& field) {
      const M& value = body.*(field.member);
      if constexpr (std::is_same_v<M, Name>) {
        const std::string_view name = field.name;
        found = found || (value == req && (name == "req" || name == "by"));
      } else if constexpr (std::is_same_v<M, ev::Rows>) {
        found = found || rows_name(value, req);
      } else if constexpr (std::is_same_v<M, std::optional<ev::Rows>>) {
        found = found || (value && rows_name(*value, req));
      }
    });
  };
  std::visit(look, event.body);
  return found;
}

bool sets_layer(const Event& event, Layer layer) {
  if (const auto* remap = std::get_if<ev::LayerRemap>(&event.body)) {
    return remap->layer == layer || remap->to == layer;
  }
  const auto* swap = std::get_if<ev::PoolSwap>(&event.body);
  return swap != nullptr && (swap->layers.all || std::ranges::find(swap->layers.list, layer) !=
                                                     swap->layers.list.end());
}

}  // namespace

std::string Condition::text(const Names& names) const {
  switch (kind) {
    case Kind::kFinding:
      return rule == kRuleCount ? "finding" : "rule " + std::string(kRules[rule].name);
    case Kind::kRequest:
      return "request " + std::string(names.text(name));
    case Kind::kPage:
      return "page " + std::string(names.text(name)) + ':' + std::to_string(raw(page));
    case Kind::kLayer:
      return "layer " + names.layer(layer);
    case Kind::kEventKind:
      return "kind " + std::string(kKindNames[event_kind]);
  }
  return {};
}

Status parse_condition(const std::vector<std::string>& words, Names& names, Condition& out) {
  const std::string what = words.empty() ? "" : words[0];
  if (what == "finding" && words.size() == 1) return {};
  if (words.size() != 2) {
    return usage(
        "a condition is: finding [RULE], rule RULE, request R, page POOL:P, layer L or "
        "kind EVENT");
  }
  const std::string& which = words[1];
  if (what == "finding" || what == "rule") return parse_rule(which, out);
  if (what == "request") {
    out.kind = Condition::Kind::kRequest;
    out.name = names.intern(which);
    return {};
  }
  if (what == "page") {
    out.kind = Condition::Kind::kPage;
    return parse_page(which, names, out);
  }
  if (what == "layer") {
    out.kind = Condition::Kind::kLayer;
    out.layer = parse_layer(which, names);
    return {};
  }
  if (what == "kind") {
    out.kind = Condition::Kind::kEventKind;
    out.event_kind = kind_named(which);
    return out.event_kind < kKinds ? Status() : usage("there is no event \"" + which + '"');
  }
  return usage("there is no condition \"" + what + '"');
}

JudgeWatch::JudgeWatch(const Names& names, std::size_t max_findings, Coverage known)
    : judge_(names, {.max_findings = max_findings}, kEveryRule, std::move(known)) {}

ConditionWatch::ConditionWatch(const Names& names, std::vector<Condition> conditions,
                               const Coverage& known)
    : conditions_(std::move(conditions)), met_(conditions_.size()), which_(conditions_.size()) {
  const bool judges = std::ranges::any_of(
      conditions_, [](const Condition& c) { return c.kind == Condition::Kind::kFinding; });
  if (judges) judge_.emplace(names, 1, known);
}

// Notes the conditions of the kind for which matches(condition) holds.
template <class F>
void ConditionWatch::look(Condition::Kind kind, F&& matches) {
  for (std::size_t i = 0; i < conditions_.size(); ++i) {
    if (conditions_[i].kind == kind && !met_[i]) met_[i] = matches(conditions_[i]);
  }
}

void ConditionWatch::on_event(const World& world, const Event& event, EventIndex index) {
  if (judge_) judge_->on_event(world, event, index);
  using Kind = Condition::Kind;
  look(Kind::kEventKind, [&](const Condition& c) { return event.kind() == c.event_kind; });
  look(Kind::kRequest, [&](const Condition& c) { return names_request(event, c.name); });
  look(Kind::kLayer, [&](const Condition& c) { return sets_layer(event, c.layer); });
}

void ConditionWatch::on_page(World& world, const PageAct& act) {
  if (judge_) judge_->on_page(world, act);
  look(Condition::Kind::kPage, [&](const Condition& c) {
    return act.page == c.page && act.pool != kNoPool && world.pool(act.pool).name == c.name;
  });
}

void ConditionWatch::on_launch(World& world, const LaunchView& view) {
  if (judge_) judge_->on_launch(world, view);
  look(Condition::Kind::kRequest, [&](const Condition& c) {
    return std::ranges::any_of(view.lanes, [&](const Lane& lane) { return lane.req == c.name; });
  });
  if (view.targets == nullptr) return;
  look(Condition::Kind::kLayer, [&](const Condition& c) {
    return std::ranges::any_of(view.targets->list, [&](const Target& target) {
      return target.logical == c.layer || target.physical == c.layer;
    });
  });
}

void ConditionWatch::on_graph_launch(const World& world, Name name, const GraphState& graph) {
  if (judge_) judge_->on_graph_launch(world, name, graph);
}

void ConditionWatch::restart() {
  if (judge_) judge_->restart();
}

bool ConditionWatch::met() {
  if (judge_) {
    const auto& counts = judge_->judge().findings().counts();
    look(Condition::Kind::kFinding, [&](const Condition& c) {
      return c.rule == kRuleCount ? counts != counts_ : counts[c.rule] != counts_[c.rule];
    });
    counts_ = counts;
  }
  const auto first = std::ranges::find(met_, true);
  const bool any = first != met_.end();
  if (any) which_ = static_cast<std::size_t>(first - met_.begin());
  met_.assign(conditions_.size(), false);
  return any;
}

}  // namespace pagetape
