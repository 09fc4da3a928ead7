// SPDX-License-Identifier: Apache-2.0
#include "replay/setup_log.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

namespace pagetape {
namespace {

// What an event replaces: an earlier one with the same key.
using Key = std::tuple<std::int64_t, std::size_t, Name, Name, std::vector<Layer>>;

constexpr std::size_t kLeast = 64;

// Keys met on the way back from the newest event: what is older and has one of them is replaced.
class Replaced {
 public:
  // Whether the event still matters.
  bool needs(const Event& event) {
    rank_ = event.rank.value_or(INT64_MIN);
    return std::visit([this](const auto& body) { return on(body); }, event.body);
  }

 private:
  template <class T>
  bool mark(Name a, Name b = kNone, std::vector<Layer> layers = {}) {
    return keys_.insert({rank_, kKindOf<T>, a, b, std::move(layers)}).second;
  }
  template <class T>
  void want(Name a) {
    keys_.erase({rank_, kKindOf<T>, a, kNone, {}});
  }
  // What it was derived from has to be there before, in its version of then.
  void want_object(Name name) {
    want<ev::Pool>(name);
    want<ev::PoolSet>(name);
    want<ev::Map>(name);
    want<ev::Buffer>(name);
    want<ev::Version>(name);
  }

  template <class T>
  static bool on(const T&) {
    return false;
  }
  bool on(const ev::Header& e) { return mark<ev::Header>(e.engine, e.model); }
  bool on(const ev::Pool& e) { return mark<ev::Pool>(e.pool); }
  bool on(const ev::PoolLayer& e) {
    if (!mark<ev::PoolLayer>(e.pool, kNone, {e.layer})) return false;
    want<ev::Pool>(e.pool);
    return true;
  }
  bool on(const ev::Arena& e) { return mark<ev::Arena>(e.arena); }
  bool on(const ev::Extent& e) {
    if (!mark<ev::Extent>(e.arena, e.owner)) return false;
    want<ev::Arena>(e.arena);
    return true;
  }
  bool on(const ev::View& e) { return mark<ev::View>(e.object); }
  bool on(const ev::Buffer& e) { return mark<ev::Buffer>(e.buffer); }
  bool on(const ev::Map& e) {
    if (!mark<ev::Map>(e.map)) return false;
    want<ev::Pool>(e.from);
    want<ev::Pool>(e.to);
    return true;
  }
  bool on(const ev::PoolSet& e) {
    if (!mark<ev::PoolSet>(e.set)) return false;
    for (Name pool : e.pools) want<ev::Pool>(pool);
    return true;
  }
  bool on(const ev::Backend& e) { return mark<ev::Backend>(e.backend); }
  bool on(const ev::PoolSwap& e) {
    // Of all layers or of none: no list.
    if (!mark<ev::PoolSwap>(e.backend, kNone, e.layers.list)) return false;
    want<ev::Backend>(e.backend);
    want<ev::Pool>(e.pool);
    want<ev::PoolSet>(e.set);
    return true;
  }
  bool on(const ev::SwaState& e) {
    if (!mark<ev::SwaState>(e.backend)) return false;
    want<ev::Backend>(e.backend);
    want<ev::Pool>(e.swa_pool);
    want_object(e.derived_from);
    return true;
  }
  bool on(const ev::Cached& e) {
    if (!mark<ev::Cached>(e.backend, e.attr)) return false;
    want<ev::Backend>(e.backend);
    want_object(e.derived_from);
    return true;
  }
  bool on(const ev::LayerRemap& e) {
    if (!mark<ev::LayerRemap>(e.backend, kNone, {e.layer})) return false;
    want<ev::Backend>(e.backend);
    return true;
  }
  bool on(const ev::Version& e) {
    if (!mark<ev::Version>(e.object)) return false;
    for (const auto declared :
         {kKindOf<ev::Pool>, kKindOf<ev::PoolSet>, kKindOf<ev::Map>, kKindOf<ev::Buffer>}) {
      keys_.erase({rank_, declared, e.object, kNone, {}});
    }
    return true;
  }
  bool on(const ev::Scalar& e) { return mark<ev::Scalar>(e.name); }
  bool on(const ev::GraphCapture& e) {
    if (!mark<ev::GraphCapture>(e.graph)) return false;
    // It holds what stood then.
    std::erase_if(keys_, [this](const Key& key) {
      return std::get<0>(key) == rank_ && std::get<1>(key) != kKindOf<ev::GraphCapture>;
    });
    return true;
  }

  std::int64_t rank_ = 0;
  std::set<Key> keys_;
};

}  // namespace

void SetupLog::see(const Event& event, const Names& names) {
  has_keys_ |= std::holds_alternative<ev::PrefixKey>(event.body);
  if (const auto* request = std::get_if<ev::Request>(&event.body)) {
    const std::pair key(event.rank.value_or(INT64_MIN), request->req);
    const std::string_view state = names.text(request->state);
    requests_.erase(key);
    if (state != "finish" && state != "abort") requests_.emplace(key, event);
  }
  const bool setup = std::visit(
      []<class T>(const T&) {
        return kKindOf<T> <= kKindOf<ev::Version> || std::is_same_v<T, ev::Scalar> ||
               std::is_same_v<T, ev::GraphCapture>;
      },
      event.body);
  if (!setup) return;
  kept_.push_back(event);
  if (kept_.size() >= std::max(kLeast, 2 * compacted_)) compact();
}

const std::vector<Event>& SetupLog::events() {
  compact();
  return kept_;
}

void SetupLog::compact() {
  Replaced replaced;
  std::vector<Event> needed;
  for (auto event = kept_.rbegin(); event != kept_.rend(); ++event) {
    if (replaced.needs(*event)) needed.push_back(std::move(*event));
  }
  std::ranges::reverse(needed);
  kept_ = std::move(needed);
  compacted_ = kept_.size();
}

}  // namespace pagetape
