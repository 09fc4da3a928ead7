// SPDX-License-Identifier: Apache-2.0
#include "gui/app/stale_uses.h"

#include <algorithm>

#include "verify/judge.h"

namespace pagetape {

EventIndex stale_since(const World& world, const Fact& fact, const Binding& binding) {
  if (!Judge::fact_stale(world, fact, binding)) return kNever;
  // Once what it was derived from is rebuilt, it stays stale for as long as the fact stands.
  if (Judge::fact_stale(world, fact, Binding()) || binding.by == kNever) return fact.by;
  return fact.by == kNever ? binding.by : std::max(fact.by, binding.by);
}

bool StaleUses::add(std::int64_t rank, const World& world, const Names& names,
                    const LaunchView& view, EventIndex at) {
  if (view.facts == nullptr || view.targets == nullptr || view.backend == nullptr) return false;
  bool of_swa_state = false;
  for (const Fact& fact : *view.facts) {
    Spells* spells = nullptr;
    EventIndex last = kNever;
    const Binding* right = nullptr;  // Layers bound alike are right alike.
    for (const Target& target : view.targets->list) {
      const Binding& binding = target.binding;
      if (right != nullptr && right->pool == binding.pool && right->set == binding.set) continue;
      const EventIndex since = stale_since(world, fact, binding);
      if (since == kNever) right = &binding;
      if (since == kNever || since == last) continue;
      last = since;
      of_swa_state = of_swa_state || fact.attr == kNone;
      if (spells == nullptr) {
        spells = &uses_[{rank, std::string(names.text(view.backend->name)),
                         std::string(names.text(fact.attr))}];
      }
      const auto it = std::ranges::lower_bound(*spells, since, {}, &Spells::value_type::first);
      if ((it != spells->end() && it->first == since) || full()) continue;
      spells->insert(it, {since, at});
      ++kept_;
    }
  }
  return of_swa_state;
}

EventIndex StaleUses::first(std::int64_t rank, const std::string& backend, const std::string& attr,
                            EventIndex since) const {
  const auto uses = uses_.find({rank, backend, attr});
  if (uses == uses_.end()) return kNever;
  const auto it = std::ranges::lower_bound(uses->second, since, {}, &Spells::value_type::first);
  return it != uses->second.end() && it->first == since ? it->second : kNever;
}

}  // namespace pagetape
