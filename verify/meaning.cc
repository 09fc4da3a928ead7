// SPDX-License-Identifier: Apache-2.0
#include "verify/meaning.h"

#include "traces/text.h"

namespace pagetape {

std::string alias_of(const Aliases& aliases, std::string_view name) {
  const auto at = aliases.find(name);
  return at == aliases.end() ? std::string(name) : at->second;
}

const Meaning::PoolFacts* Meaning::pool_of(Name pool_or_space) const {
  const auto at = pools_.find(pool_or_space);
  if (at != pools_.end()) return &at->second;
  for (const auto& [name, facts] : pools_) {
    if (facts.space == pool_or_space) return &facts;
  }
  return nullptr;
}

static std::uint64_t key_of(Name space, std::int64_t page) {
  return std::uint64_t{raw(space)} << 32 | static_cast<std::uint32_t>(page);
}

const Meaning::Holder* Meaning::holder(Name pool, std::int64_t page) const {
  const PoolFacts* facts = pool_of(pool);
  if (facts == nullptr) return nullptr;
  const auto at = holders_.find(key_of(facts->space, page));
  return at == holders_.end() ? nullptr : &at->second;
}

void Meaning::give(Name pool, Name req, const Pages& list) {
  const PoolFacts* facts = pool_of(pool);
  if (facts == nullptr) return;
  std::uint64_t& count = given_[{facts->space, req}];
  for (const PageId id : list) holders_[key_of(facts->space, raw(id))] = {req, count++};
}

std::string Meaning::page(Name pool, std::int64_t id) const {
  const PoolFacts* facts = pool_of(pool);
  if (facts == nullptr) return "page " + std::to_string(id);
  if (id < 0 || id >= facts->pages) {
    return s(facts->space) + " outside by " + std::to_string(id < 0 ? id : id - facts->pages + 1);
  }
  if (facts->reserved.contains(id)) return s(facts->space) + " reserved " + std::to_string(id);
  const Holder* h = holder(pool, id);
  if (h == nullptr) return s(facts->space) + " never given";
  return s(facts->space) + ' ' + alias_of(aliases_, names_.text(h->req)) + '#' +
         std::to_string(h->ordinal);
}

std::string Meaning::pages(Name pool, const Pages& list) const {
  std::string out;
  for (const PageId id : list) {
    out += out.empty() ? "" : ", ";
    out += id == kUnknownPage ? "unknown" : page(pool, raw(id));
  }
  return out;
}

std::string Meaning::slots(Name pool, const ev::Row& row) const {
  const PoolFacts* facts = pool_of(pool);
  if (!row.slots) return {};
  std::string out = " slots";
  for (const SlotId slot : *row.slots) {
    const std::int64_t at = raw(slot), size = facts == nullptr ? 1 : facts->page_size;
    out += ' ' +
           (at < 0 ? std::to_string(at) : page(pool, at / size) + '+' + std::to_string(at % size));
  }
  return out;
}

Name Meaning::pool_bound(Name backend, Name said, const std::optional<ev::Bound>& bound) const {
  if (said != kNone) return said;
  if (bound && bound->pool != kNone) return bound->pool;
  const auto at = bound_.find(backend);
  return at == bound_.end() ? first_pool_ : at->second;
}

// What a launch says of all its lanes: the event without them.
std::string Meaning::launch_head(const auto& e) const {
  Event event;
  auto plain = e;
  plain.rows = {};
  if (plain.bound) plain.bound->ptr = {};
  event.body = std::move(plain);
  return print_event(event, names_);
}

void Meaning::rows(const auto& e, const std::string& head, Name pool, const Tell& tell) const {
  for (const ev::Row& row : e.rows) {
    if (row.req == kNone) continue;
    std::string text = head + " len " + std::to_string(row.len.value_or(-1)) + " queries " +
                       std::to_string(row.q_len.value_or(1)) + slots(pool, row);
    tell({row.req, Aspect::kLaunches, std::move(text)});
    if (row.pages) tell({row.req, Aspect::kTables, "entries " + pages(pool, *row.pages)});
  }
}

bool Meaning::on_setup(const Event& event, const Tell& tell) {
  Event plain;
  plain.body = event.body;
  Aspect aspect = Aspect::kBindings;
  if (const auto* pool = std::get_if<ev::Pool>(&event.body)) {
    PoolFacts& facts = pools_[pool->pool];
    facts = {pool->space == kNone ? pool->pool : pool->space, pool->pages, pool->page_size, {}};
    for (const ev::Reserved& r : pool->reserved.value_or(std::vector<ev::Reserved>{})) {
      facts.reserved.insert(raw(r.page));
    }
    if (first_pool_ == kNone) first_pool_ = pool->pool;
  } else if (const auto* map = std::get_if<ev::Map>(&event.body)) {
    maps_[map->map] = *map;
  } else if (const auto* swap = std::get_if<ev::PoolSwap>(&event.body)) {
    bound_[swap->backend] = swap->pool;
  } else if (auto* buffer = std::get_if<ev::Buffer>(&plain.body)) {
    buffer->ptr = {};
  } else if (std::holds_alternative<ev::GraphCapture>(event.body)) {
    aspect = Aspect::kGraphs;
  } else if (!std::holds_alternative<ev::Backend>(event.body) &&
             !std::holds_alternative<ev::SwaState>(event.body) &&
             !std::holds_alternative<ev::Cached>(event.body) &&
             !std::holds_alternative<ev::LayerRemap>(event.body) &&
             !std::holds_alternative<ev::PoolSet>(event.body) &&
             !std::holds_alternative<ev::Scalar>(event.body) &&
             !std::holds_alternative<ev::Version>(event.body)) {
    return false;
  }
  tell({kNone, aspect, print_event(plain, names_)});
  return true;
}

void Meaning::on_pages(const Event& event, const Tell& tell) {
  const auto say = [&](Name req, std::string text) {
    tell({req, Aspect::kAllocation, std::move(text)});
  };
  if (const auto* e = std::get_if<ev::Alloc>(&event.body)) {
    std::string taken;  // What others still hold, and what lies outside: the free ones are alike.
    const PoolFacts* facts = pool_of(e->pool);
    for (const PageId id : e->pages) {
      if (facts != nullptr && (raw(id) < 0 || raw(id) >= facts->pages))
        taken += page(e->pool, raw(id));
    }
    say(e->req, "alloc of " + std::to_string(e->pages.size()) + " pages of " + s(e->pool) +
                    " from column " + std::to_string(e->first.value_or(-1)) + taken);
    give(e->pool, e->req, e->pages);
  } else if (const auto* e = std::get_if<ev::Share>(&event.body)) {
    say(e->req, "share of " + pages(e->pool, e->pages));
  } else if (const auto* e = std::get_if<ev::Free>(&event.body)) {
    say(e->req, "free of " + pages(e->pool, e->pages));
  } else if (const auto* e = std::get_if<ev::Evict>(&event.body)) {
    say(e->req,
        "evict of column " + std::to_string(e->logical) + ": " + page(e->pool, raw(e->page)));
  } else if (const auto* e = std::get_if<ev::PrefixKey>(&event.body)) {
    keys_[raw(e->key)] = page(e->pool, raw(e->page));
  } else if (const auto* e = std::get_if<ev::PrefixDrop>(&event.body)) {
    keys_.erase(raw(e->key));
  } else if (const auto* e = std::get_if<ev::PrefixHit>(&event.body)) {
    const auto offered = keys_.find(raw(e->key));
    say(e->req, "prefix hit of " + page(e->pool, raw(e->page)) + ", by the key of " +
                    (offered == keys_.end() ? "none offered" : offered->second));
  } else if (const auto* e = std::get_if<ev::Accept>(&event.body)) {
    tell({e->req, Aspect::kAccepted,
          "accepted " + std::to_string(e->accepted) + " of " + std::to_string(e->drafted)});
  } else if (const auto* e = std::get_if<ev::Rewind>(&event.body)) {
    tell({e->req, Aspect::kAccepted, "rewind of " + s(e->pool) + " to " + std::to_string(e->len)});
  } else if (const auto* e = std::get_if<ev::Fill>(&event.body)) {
    tell({e->req, Aspect::kLaunches, "fill of " + pages(e->pool, e->pages)});
  } else if (const auto* e = std::get_if<ev::Request>(&event.body)) {
    tell({e->req, Aspect::kLaunches, "request: " + s(e->state)});
  }
}

void Meaning::on_map(const Event& event, const Tell& tell) const {
  const auto entry = [&](Name map, bool from, std::int64_t id) {
    const auto at = maps_.find(map);
    if (at == maps_.end()) return std::to_string(id);
    const Name pool = from ? at->second.from : at->second.to;
    const PoolFacts* facts = pool_of(pool);
    const bool by_slot = names_.text(at->second.unit) == "slot" && facts != nullptr;
    return page(pool, by_slot ? id / facts->page_size : id);
  };
  if (const auto* e = std::get_if<ev::MapSet>(&event.body)) {
    const auto at = maps_.find(e->map);
    for (const Pair& p : e->pairs) {
      const Holder* h = at == maps_.end() ? nullptr : holder(at->second.from, p.first);
      tell({h == nullptr ? kNone : h->req, Aspect::kTables,
            "map " + s(e->map) + ": " + entry(e->map, true, p.first) + " to " +
                entry(e->map, false, p.second)});
    }
  } else if (const auto* e = std::get_if<ev::MapFree>(&event.body)) {
    for (const std::int64_t from : e->from) {
      tell({e->req, Aspect::kAllocation,
            "map " + s(e->map) + " frees " + entry(e->map, true, from)});
    }
  }
}

void Meaning::on_launch(const Event& event, const Tell& tell) {
  if (const auto* e = std::get_if<ev::Table>(&event.body)) {
    if (e->req != kNone) row_req_[e->row] = e->req;
    const Name pool = e->space != kNone ? e->space : first_pool_;
    tell({e->req, Aspect::kTables,
          "table " + s(e->buffer) + " from column " + std::to_string(e->col) + ", ids of space " +
              (e->space != kNone ? s(e->space) : "unsaid") + ": " + pages(pool, e->pages)});
  } else if (const auto* e = std::get_if<ev::Lens>(&event.body)) {
    for (std::size_t i = 0; i < e->values.size(); ++i) {
      const auto at = row_req_.find(e->row.value_or(0) + static_cast<std::int64_t>(i));
      if (at == row_req_.end()) continue;
      tell({at->second, Aspect::kLaunches,
            "length in " + s(e->buffer) + ": " + std::to_string(e->values[i])});
    }
  } else if (const auto* e = std::get_if<ev::Attention>(&event.body)) {
    rows(*e, launch_head(*e), pool_bound(e->backend, e->space, e->bound), tell);
  } else if (const auto* e = std::get_if<ev::Store>(&event.body)) {
    rows(*e, launch_head(*e), pool_bound(e->backend, e->space, e->bound), tell);
  } else if (const auto* e = std::get_if<ev::Copy>(&event.body)) {
    tell({e->req, Aspect::kLaunches,
          "copy of " + pages(e->from_pool, e->from) + " to " + pages(e->to_pool, e->to)});
  } else if (const auto* e = std::get_if<ev::GraphLaunch>(&event.body)) {
    for (const ev::Row& row : e->rows.value_or(ev::Rows{})) {
      if (row.req == kNone) continue;
      tell({row.req, Aspect::kGraphs,
            "graph " + s(e->graph) + " launched, len " + std::to_string(row.len.value_or(-1))});
      if (row.pages) tell({row.req, Aspect::kTables, "entries " + pages(first_pool_, *row.pages)});
    }
  } else if (const auto* e = std::get_if<ev::AsyncBegin>(&event.body)) {
    tell({e->by, Aspect::kLaunches, s(e->kind) + " begins of " + pages(e->pool, e->pages)});
  }
}

void Meaning::see(const Event& event, const Tell& tell) {
  if (on_setup(event, tell)) return;
  on_pages(event, tell);
  on_map(event, tell);
  on_launch(event, tell);
}

}  // namespace pagetape
