// SPDX-License-Identifier: Apache-2.0
#include "verify/coverage.h"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <tuple>

namespace pagetape {

// What is needed where a rule's events are there, but did not tell all.
static constexpr std::string_view kUnknownTables = "each live table cell and length";
static constexpr std::string_view kUnknownPages = "what a gap made unknown of its pages";

void Coverage::note_records(const ev::Header& header, const Names& names) {
  if (!header.records) return;
  has_records_ = true;
  for (Name kind : *header.records) {
    const std::size_t k = kind_named(names.text(kind));
    if (k < kKinds) records_[k] = true;
  }
}

Seen& Seen::operator|=(const Seen& other) {
  constexpr bool Seen::*kAll[] = {
      &Seen::launched, &Seen::attended, &Seen::bound,  &Seen::unbound, &Seen::space, &Seen::fact,
      &Seen::entries,  &Seen::reserved, &Seen::alloc,  &Seen::async,   &Seen::write, &Seen::digest,
      &Seen::evict,    &Seen::free,     &Seen::offset, &Seen::padding, &Seen::owners};
  static_assert((std::size(kAll) + 7) / 8 * 8 == offsetof(Seen, unknown));
  for (bool Seen::*one : kAll) this->*one |= other.*one;
  unknown |= other.unknown;
  return *this;
}

bool Coverage::judges_like(const Coverage& other) const {
  const auto decides = [](const Coverage& a, const Coverage& b) {
    return std::ranges::all_of(a.pools_, [&](const auto& entry) {
      const auto twin = b.pools_.find(entry.first);
      const Seen& seen = twin == b.pools_.end() ? Seen() : twin->second;
      return entry.second.alloc == seen.alloc && entry.second.write == seen.write;
    });
  };
  constexpr std::size_t kKeys = kKindOf<ev::PrefixKey>;
  return has_records_ == other.has_records_ && records_ == other.records_ &&
         recorded(kKeys) == other.recorded(kKeys) && decides(*this, other) && decides(other, *this);
}

Coverage Coverage::seen_only(Renaming& renamed) const {
  Coverage out;
  out.append(*this, renamed);
  out.judged_.fill(0);
  return out;
}

void Coverage::append(const Coverage& later, Renaming& renamed) {
  for (const auto& [key, seen] : later.backends_) backend(key.first, renamed(key.second)) |= seen;
  for (const auto& [key, seen] : later.pools_) pool(key.first, renamed(key.second)) |= seen;
  for (std::size_t r = 0; r < kRuleCount; ++r) judged_[r] += later.judged_[r];
  seen_ |= later.seen_;
  records_ |= later.records_;
  has_records_ |= later.has_records_;
}

// Could the rule be judged of this object? `applicable` turns false where nothing was to judge.
bool Coverage::checked(Rule rule, const Seen& seen, bool& applicable) const {
  const auto any = [this](auto... kinds) { return (says_it_records(kinds) || ...); };
  switch (rule) {
    case Rule::kOobPage:
      applicable = seen.launched;
      return seen.bound && !seen.unbound;
    case Rule::kWrongSpace:
      applicable = seen.launched;
      return seen.space;
    case Rule::kStaleBinding:
      applicable = seen.launched;
      return seen.fact || any(kKindOf<ev::SwaState>, kKindOf<ev::Cached>);
    case Rule::kShortTable:
      applicable = seen.attended;
      return seen.entries;
    case Rule::kPadLane:
      return seen.reserved || seen.padding;
    case Rule::kFreedPage:
    case Rule::kWrongOwner:
      return seen.alloc || seen.owners || any(kKindOf<ev::Alloc>);
    case Rule::kAliasedWrite:
      return seen.alloc || any(kKindOf<ev::Alloc>);
    case Rule::kInflightHazard:
      return seen.async || any(kKindOf<ev::AsyncBegin>);
    case Rule::kUninitRead:
      return seen.write || any(kKindOf<ev::Store>, kKindOf<ev::Fill>);
    case Rule::kStaleContent:
      return seen.digest;
    case Rule::kWindowEvicted:
      return seen.evict || any(kKindOf<ev::Evict>);
    case Rule::kFreelist:
      return seen.free || any(kKindOf<ev::Free>);
    case Rule::kOffsetOverflow:
      return seen.offset;
    case Rule::kGraphStale:
      applicable =
          seen_[kKindOf<ev::GraphLaunch>] || (has_records_ && !records_[kKindOf<ev::GraphLaunch>]);
      return recorded(kKindOf<ev::GraphCapture>);
    case Rule::kGeometry:
      applicable = recorded(kKindOf<ev::Extent>) || recorded(kKindOf<ev::View>);
      return applicable;
  }
  return true;
}

std::vector<NotChecked> Coverage::not_checked(const Names& names) const {
  std::vector<NotChecked> out;
  const auto add = [&](const RuleInfo& rule, const Key& key, const Seen& seen) {
    bool applicable = true;
    const bool known = !seen.unknown[static_cast<std::size_t>(rule.rule)];
    if (checked(rule.rule, seen, applicable) && known) return;
    std::string needs(rule.needs);
    if (!known) {
      applicable = true;
      needs = rule.scope == Scope::kBackend ? kUnknownTables : kUnknownPages;
    }
    out.push_back({rule.rule, key.first, key.second, std::move(needs), applicable, !known});
  };
  for (const RuleInfo& rule : kRules) {
    const std::size_t begin = out.size();
    if (rule.scope == Scope::kBackend) {
      for (const auto& [key, seen] : backends_) add(rule, key, seen);
    } else if (rule.scope == Scope::kPool) {
      for (const auto& [key, seen] : pools_) add(rule, key, seen);
    } else {
      add(rule, {INT64_MIN, kNone}, {});
    }
    std::sort(out.begin() + static_cast<std::ptrdiff_t>(begin), out.end(),
              [&](const NotChecked& a, const NotChecked& b) {
                return std::tuple(a.rank, names.text(a.object)) <
                       std::tuple(b.rank, names.text(b.object));
              });
  }
  return out;
}

}  // namespace pagetape
