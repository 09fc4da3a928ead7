// SPDX-License-Identifier: Apache-2.0
#include "verify/anonymous.h"

#include <algorithm>
#include <set>

#include "verify/renamer.h"

namespace pagetape {
namespace {

constexpr FieldLetter kLetters[] = {
    {"req", "r"},     {"by", "r"},       {"pool", "p"},   {"from_pool", "p"},
    {"to_pool", "p"}, {"swa_pool", "p"}, {"pools", "p"},  {"space", "p"},
    {"spaces", "p"},  {"from", "p"},     {"to", "p"},     {"allocator", "a"},
    {"arena", "z"},   {"owner", "e"},    {"object", "x"}, {"derived_from", "x"},
    {"buffer", "t"},  {"table", "t"},    {"lens", "t"},   {"slots", "t"},
    {"buffers", "t"}, {"inputs", "t"},   {"map", "m"},    {"set", "s"},
    {"backend", "b"}, {"attr", "f"},     {"op", "o"},     {"ops", "o"},
    {"key", "k"},     {"digest", "d"},   {"graph", "g"},  {"name", "n"},
    {"scalars", "n"}, {"class", "c"},    {"kernel", "c"}, {"layer", "l"},
    {"layers", "l"},
};

// Puts f(id) in the place of every page id, of the page of every slot, and of every pool's bound.
template <class F>
class IdWalk {
 public:
  IdWalk(F& f, std::int64_t page_size) : f_(f), size_(page_size) {}

  template <class T>
  void walk(T& object) {
    for_each_field<T>([&](const auto& f) { value(object.*f.member); });
    if constexpr (std::is_same_v<T, ev::Pool> || std::is_same_v<T, ev::Bound>) count(object.pages);
    if constexpr (std::is_same_v<T, ev::MapClear> || std::is_same_v<T, ev::MapFree>) {
      for (std::int64_t& from : object.from) from = f_(from);
    }
  }
  void count(std::int64_t& pages) { pages = f_(pages); }
  void count(OptInt& pages) {
    if (pages.has_value()) pages = f_(*pages);
  }
  void value(PageId& page) {
    if (page != kUnknownPage) page = PageId{static_cast<std::int32_t>(f_(raw(page)))};
  }
  void value(SlotId& slot) {
    const std::int64_t at = raw(slot);
    if (at >= 0) slot = SlotId{f_(at / size_) * size_ + at % size_};
  }

 private:
  void value(ev::Rows& rows) { value(rows.edit()); }
  void value(Pair& pair) { pair = {f_(pair.first), f_(pair.second)}; }
  template <class T>
  void value(T& v) {
    if constexpr (requires { T::fields(); }) {
      walk(v);
    } else if constexpr (requires { v.has_value(), v.emplace(); }) {
      if (v) value(*v);
    } else if constexpr (std::is_same_v<T, ev::Launch>) {
      std::visit([&](auto& body) { walk(body); }, v);
    } else if constexpr (!std::is_same_v<T, Scalars> && !std::is_same_v<T, Digests> &&
                         requires { v.begin(), v.end(); }) {
      for (auto& element : v) value(element);
    }
  }

  F& f_;
  std::int64_t size_;
};

template <class F>
void map_ids(Tape& tape, Finding& finding, std::int64_t page_size, F f) {
  IdWalk<F> walk(f, page_size);
  for (Kept& k : tape) std::visit([&](auto& body) { walk.walk(body); }, k.event.body);
  if (finding.page != INT64_MIN) finding.page = f(finding.page);
  if (finding.bound >= 0) finding.bound = f(finding.bound);
  if (finding.slot != INT64_MIN) {
    SlotId slot{finding.slot};
    walk.value(slot);
    finding.slot = raw(slot);
  }
}

// Tokens a page, where every pool, map and entry counts in pages of that size; 0 where not.
std::int64_t one_page_size(const Tape& tape, const Names& names) {
  std::int64_t size = 0;
  bool mixed = false;
  for (const Kept& k : tape) {
    if (const auto* pool = std::get_if<ev::Pool>(&k.event.body)) {
      mixed = mixed || (size != 0 && pool->page_size != size);
      size = pool->page_size;
    }
    std::visit(
        [&](const auto& e) {
          using T = std::decay_t<decltype(e)>;
          if constexpr (requires { e.unit; }) mixed = mixed || names.text(e.unit) == "slot";
          if constexpr (requires { e.page_size; } && !std::is_same_v<T, ev::Pool>) {
            mixed = mixed || (e.page_size.has_value() && *e.page_size != size);
          }
        },
        k.event.body);
  }
  return mixed ? 0 : size;
}

}  // namespace

void make_anonymous(Tape& tape, Finding& finding, Names& names) {
  Renamer renamer(names, kLetters);
  for (Kept& k : tape) std::visit([&](auto& body) { renamer.rename(body); }, k.event.body);
  renamer.value(finding.backend, "backend");
  renamer.value(finding.req, "req");
  renamer.value(finding.pool, "pool");
  renamer.value(finding.op, "op");
  renamer.value(finding.graph, "graph");
  renamer.value(finding.map, "map");
  renamer.value(finding.buffer, "buffer");
  renamer.value(finding.object, "object");
  if (finding.has_layer) {
    renamer.value(finding.layer, "layer");
    renamer.value(finding.logical_layer, "layer");
  }
}

bool make_ids_small(Tape& tape, Finding& finding, const Names& names) {
  const std::int64_t size = one_page_size(tape, names);
  if (size == 0) return false;
  std::set<std::int64_t> used;
  map_ids(tape, finding, size, [&](std::int64_t id) {
    used.insert(id);
    return id;
  });
  std::map<std::int64_t, std::int64_t> small;
  std::int64_t last = 0, next = 0;
  for (const std::int64_t id : used) {
    next = id <= 0 ? id : next + std::min<std::int64_t>(id - last, 2);
    last = std::max<std::int64_t>(id, 0);
    small[id] = next;
    next = std::max<std::int64_t>(next, 0);
  }
  map_ids(tape, finding, size, [&](std::int64_t id) { return small.at(id); });
  return true;
}

}  // namespace pagetape
