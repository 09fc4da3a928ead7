// SPDX-License-Identifier: Apache-2.0
// What the events of a trace say, without what is free to differ between two runs.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>

#include "traces/event.h"
#include "traces/names.h"
#include "verify/diff.h"

namespace pagetape {

// What requests are called, by their names in the trace, where that is something else.
using Aliases = std::map<std::string, std::string, std::less<>>;
std::string alias_of(const Aliases& aliases, std::string_view name);

// Something that a request does, or the engine (kNone).
struct Deed {
  Name req = kNone;
  Aspect aspect = Aspect::kBindings;
  std::string text;
};

// Turns events, in their order, into deeds. A page is named by the space it is of, the request it
// was given to last, and the how-manieth of that request's: "S r3#17". A prefix key is known by the
// page that it was offered for.
class Meaning {
 public:
  using Tell = std::function<void(const Deed&)>;

  // Both outlive this.
  Meaning(const Names& names, const Aliases& aliases) : names_(names), aliases_(aliases) {}
  void see(const Event& event, const Tell& tell);

 private:
  struct Holder {
    Name req = kNone;
    std::uint64_t ordinal = 0;
  };
  struct PoolFacts {
    Name space = kNone;
    std::int64_t pages = 0, page_size = 1;
    std::set<std::int64_t> reserved;
  };

  std::string s(Name name) const { return std::string(names_.text(name)); }
  const PoolFacts* pool_of(Name pool_or_space) const;
  Name pool_bound(Name backend, Name said, const std::optional<ev::Bound>& bound) const;
  const Holder* holder(Name pool, std::int64_t page) const;
  void give(Name pool, Name req, const Pages& pages);
  std::string page(Name pool, std::int64_t id) const;
  std::string pages(Name pool, const Pages& list) const;
  std::string slots(Name pool, const ev::Row& row) const;
  std::string launch_head(const auto& e) const;
  void rows(const auto& e, const std::string& head, Name pool, const Tell& tell) const;
  void on_pages(const Event& event, const Tell& tell);
  void on_map(const Event& event, const Tell& tell) const;
  void on_launch(const Event& event, const Tell& tell);
  bool on_setup(const Event& event, const Tell& tell);

  const Names& names_;
  const Aliases& aliases_;
  std::map<Name, PoolFacts> pools_;
  Name first_pool_ = kNone;
  std::map<Name, ev::Map> maps_;
  std::map<Name, Name> bound_;  // Backend → pool swapped in last.
  std::unordered_map<std::uint64_t, Holder> holders_;
  std::map<std::pair<Name, Name>, std::uint64_t> given_;  // Space and request.
  std::map<std::int64_t, Name> row_req_;                  // Of the tables' rows, last said.
  std::unordered_map<std::uint32_t, std::string> keys_;   // By raw key: the page offered.
};

}  // namespace pagetape
