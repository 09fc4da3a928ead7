// SPDX-License-Identifier: Apache-2.0
#include "verify/request_match.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "traces/source.h"
#include "verify/turns.h"

namespace pagetape {
namespace {

using GoesOn = std::function<bool(EventIndex)>;

// So many turns tell requests apart: the prompt's length, its chunks, the first tokens.
constexpr std::size_t kTelling = 4;
constexpr EventIndex kAsk = 1024;
// Stands for each request whose counterpart is being looked for.
constexpr const char* kSomeone = "?";

// Names of requests, in the order of their first appearance.
Status names_of(const std::string& path, const GoesOn& goes_on, std::vector<std::string>& out) {
  Names names;
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return status;
  std::vector<bool> seen;
  const auto see = [&](Name name) {
    if (name == kNone) return;
    if (raw(name) >= seen.size()) seen.resize(names.size());
    if (seen[raw(name)]) return;
    seen[raw(name)] = true;
    out.emplace_back(names.text(name));
  };
  Event event;
  while (source->next(event)) {
    if (source->position() % kAsk == 0 && goes_on && !goes_on(source->position())) {
      return usage(path + ": comparing it was stopped");
    }
    if (const auto* request = std::get_if<ev::Request>(&event.body)) see(request->req);
    if (const auto* alloc = std::get_if<ev::Alloc>(&event.body)) see(alloc->req);
    if (const auto* attention = std::get_if<ev::Attention>(&event.body)) {
      for (const ev::Row& row : attention->rows) see(row.req);
    }
  }
  return source->status();
}

// What each of these requests does in its first turns, as a hash, whoever it is; in their order.
Status beginnings_of(const std::string& path, const std::vector<std::string>& requests,
                     const GoesOn& goes_on, std::vector<std::uint64_t>& out) {
  Aliases nobody;
  for (const std::string& request : requests) nobody[request] = kSomeone;
  std::map<std::string, std::pair<std::size_t, std::uint64_t>, std::less<>> begun;
  for (const std::string& request : requests) begun[request] = {0, 0};
  std::size_t left = requests.size();
  Turns turns(path, nobody, goes_on);
  std::vector<std::pair<Doer, Turn>> some;
  while (left > 0 && turns.next(some)) {
    for (const auto& [doer, turn] : some) {
      const auto at = begun.find(doer.request);
      if (at == begun.end() || at->second.first == kTelling) continue;
      auto& [n, hash] = at->second;
      for (const std::uint64_t said : turn.said) hash = hash * 0x9e3779b97f4a7c15u ^ said;
      left -= ++n == kTelling;
    }
    some.clear();
  }
  for (const std::string& request : requests) out.push_back(begun[request].second);
  return turns.status();
}

// Those that the other side has no request of that name for.
std::vector<std::string> only_in(const std::vector<std::string>& mine,
                                 const std::vector<std::string>& others) {
  const std::set<std::string> known(others.begin(), others.end());
  std::vector<std::string> out;
  std::ranges::copy_if(mine, std::back_inserter(out),
                       [&](const std::string& name) { return !known.contains(name); });
  return out;
}

}  // namespace

Status match_requests(const std::string& good, const std::string& bad, const GoesOn& goes_on,
                      Aliases& aliases) {
  std::vector<std::string> all_good, all_bad;
  Status status = names_of(good, goes_on, all_good);
  if (status.ok()) status = names_of(bad, goes_on, all_bad);
  if (!status.ok()) return status;
  const std::vector<std::string> mine = only_in(all_good, all_bad);
  std::vector<std::string> others = only_in(all_bad, all_good);
  if (mine.empty() || others.empty()) return {};
  std::vector<std::uint64_t> how_mine, how_others;
  status = beginnings_of(good, mine, goes_on, how_mine);
  if (status.ok()) status = beginnings_of(bad, others, goes_on, how_others);
  if (!status.ok()) return status;
  std::map<std::uint64_t, std::vector<std::size_t>> alike;  // Indices of `others`, the first last.
  for (std::size_t i = others.size(); i-- > 0;) alike[how_others[i]].push_back(i);
  std::vector<std::size_t> left;
  std::vector<bool> taken(others.size());
  const auto match = [&](std::size_t i, std::size_t other) {
    aliases[others[other]] = mine[i];
    taken[other] = true;
  };
  for (std::size_t i = 0; i < mine.size(); ++i) {
    std::vector<std::size_t>& some = alike[how_mine[i]];
    if (some.empty()) {
      left.push_back(i);
    } else {
      match(i, some.back());
      some.pop_back();
    }
  }
  std::size_t other = 0;
  for (const std::size_t i : left) {
    while (other < others.size() && taken[other]) ++other;
    if (other < others.size()) match(i, other);
  }
  return {};
}

}  // namespace pagetape
