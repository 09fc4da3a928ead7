// SPDX-License-Identifier: Apache-2.0
#include "verify/finding.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace pagetape {

bool earlier(const Finding& a, const Finding& b) {
  const auto key = [](const Finding& f) {
    const auto number = [](Layer layer) { return layer.is_named() ? -1 : layer.v; };
    return std::tuple(f.event, f.launch, f.row, f.column, f.rule, number(f.layer),
                      number(f.logical_layer), f.page);
  };
  return key(a) < key(b);
}

void Finding::rename(Renaming& renamed) {
  for (Name* name : {&backend, &req, &pool, &op, &graph, &map, &buffer, &object}) {
    *name = renamed(*name);
  }
  for (Layer* l : {&layer, &logical_layer}) *l = renamed(*l);
  for (Link& link : blame) {
    link.spot.object = renamed(link.spot.object);
    link.spot.attribute = renamed(link.spot.attribute);
    link.spot.layer = renamed(link.spot.layer);
  }
}

std::string Finding::id(const Names& names) const {
  std::string out(info(rule).name);
  out += '@' + std::to_string(event);
  const auto part = [&](char letter, std::int64_t value) {
    if (value >= 0) out += '.' + (letter + std::to_string(value));
  };
  part('n', launch);
  if (has_layer) out += ".l" + names.layer(logical_layer);
  part('r', row);
  part('c', column);
  if (object != kNone) out += '.' + std::string(names.text(object));
  return out;
}

void Findings::merge(Findings&& other) {
  for (std::size_t r = 0; r < kRuleCount; ++r) {
    counts_[r] += other.counts_[r];
    if (other.first_[r].empty()) continue;
    if (first_[r].empty() || earlier(other.first_[r][0], first_[r][0])) {
      first_[r] = std::move(other.first_[r]);
    }
  }
  kept_.insert(kept_.end(), std::make_move_iterator(other.kept_.begin()),
               std::make_move_iterator(other.kept_.end()));
  if (limit_ != 0 && kept_.size() >= limit_) trim();
}

void Findings::append(Findings&& later, Renaming& renamed) {
  for (Finding& finding : later.kept_) {
    finding.rename(renamed);
    // Only what was the first of its rule has a chain.
    if (first(finding.rule) != nullptr) finding.blame.clear();
  }
  for (std::vector<Finding>& of_rule : later.first_) {
    for (Finding& finding : of_rule) finding.rename(renamed);
  }
  merge(std::move(later));
}

void Findings::trim() {
  std::ranges::stable_sort(kept_, earlier);
  if (limit_ == 0 || kept_.size() < limit_) return;
  kept_.resize(limit_);
  full_ = true;
  last_ = kept_.back();
}

std::vector<Finding> Findings::sorted() {
  trim();
  return kept_;
}

std::uint64_t Findings::total() const {
  return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
}

}  // namespace pagetape
