// SPDX-License-Identifier: Apache-2.0
#include "verify/slice.h"

#include <algorithm>
#include <memory>
#include <tuple>

#include "traces/source.h"

namespace pagetape {
namespace {

constexpr std::int64_t kWhole = -1;  // As a row or column: the object itself.

class Slicer {
 public:
  Slicer(const Goal& goal, const SliceOptions& options, const Names& names)
      : goal_(goal), options_(options), names_(names) {}

  void see(Event&& event, EventIndex at) {
    at_ = at;
    rank_ = event.rank.value_or(INT64_MIN);
    frame_ = Event{};
    frame_.rank = event.rank;
    frame_.stream = event.stream;
    if (at != goal_.finding.event) {
      std::visit([&](auto& body) { cut(body); }, event.body);
      return;
    }
    if (options_.only_request) std::visit([&](auto& body) { cut_target(body); }, event.body);
    keep(std::move(event.body));
  }

  Tape take() {
    std::set<Name> requests;
    for (const Kept& k : tape_) {
      if (!std::holds_alternative<ev::Note>(k.event.body)) note_requests(k.event, requests);
    }
    std::erase_if(tape_, [&](const Kept& k) {
      if (std::holds_alternative<ev::Note>(k.event.body)) return true;
      if (options_.tail || k.origin == goal_.finding.event) return false;
      if (const auto* r = std::get_if<ev::Request>(&k.event.body)) {
        return !requests.contains(r->req);
      }
      const auto* w = std::get_if<ev::Rewind>(&k.event.body);
      return w != nullptr && !requests.contains(w->req);
    });
    return std::move(tape_);
  }

 private:
  using Key = std::tuple<std::int64_t, Name, std::int64_t, std::int64_t>;  // Rank, buffer, …

  bool wanted(std::int64_t page) const { return !options_.pages || options_.pages->contains(page); }
  bool wanted_slot(std::int64_t slot) const {
    return !options_.pages ||
           std::ranges::any_of(sizes_, [&](std::int64_t size) { return wanted(slot / size); });
  }
  bool wanted_in(Name map, std::int64_t entry) const {
    return slot_maps_.contains(map) ? wanted_slot(entry) : wanted(entry);
  }

  std::size_t keep(EventBody body) {
    Kept& k = tape_.emplace_back(Kept{frame_, at_, false});
    k.event.body = std::move(body);
    k.pinned = at_ == goal_.finding.event || std::ranges::count(goal_.finding.cause, at_) > 0;
    live_.push_back(0);
    return tape_.size() - 1;
  }

  // The event at `index` wrote there; what stood there before is written over. A write whose every
  // place is written over is gone (a note takes its place until the end).
  void own(const Key& key, std::size_t index) {
    const auto [at, fresh] = owners_.try_emplace(key, index);
    if (!fresh && at->second != kNever) release(at->second);
    at->second = index;
    if (index != kNever) ++live_[index];
  }
  void release(std::size_t index) {
    if (--live_[index] == 0 && !tape_[index].pinned) tape_[index].event.body = ev::Note{};
  }

  static void note_requests(const Event& event, std::set<Name>& requests) {
    std::visit(
        [&](const auto& e) {
          using T = std::decay_t<decltype(e)>;
          if constexpr (requires { e.req; } && !std::is_same_v<T, ev::Request> &&
                        !std::is_same_v<T, ev::Rewind>) {
            requests.insert(e.req);
          }
          if constexpr (requires { e.by; }) requests.insert(e.by);
          if constexpr (std::is_same_v<T, ev::Attention> || std::is_same_v<T, ev::Store>) {
            for (const ev::Row& row : e.rows) requests.insert(row.req);
          }
          if constexpr (std::is_same_v<T, ev::GraphLaunch>) {
            if (e.rows) {
              for (const ev::Row& row : *e.rows) requests.insert(row.req);
            }
          }
        },
        event.body);
  }

  template <class T>
  void cut_target(T& e) {
    const Name req = goal_.finding.req;
    const auto other = [&](const ev::Row& row) { return row.req != req; };
    if constexpr (std::is_same_v<T, ev::Attention> || std::is_same_v<T, ev::Store>) {
      if (req != kNone) std::erase_if(e.rows.edit(), other);
    } else if constexpr (std::is_same_v<T, ev::GraphLaunch>) {
      if (req != kNone && e.rows) std::erase_if(e.rows->edit(), other);
    }
  }

  // Everything that is declared, bound and captured stays.
  template <class T>
  void cut(T& e) {
    constexpr bool kNothing = std::is_same_v<T, ev::LaunchDone> || std::is_same_v<T, ev::Step> ||
                              std::is_same_v<T, ev::Kernel> || std::is_same_v<T, ev::CudaError> ||
                              std::is_same_v<T, ev::Note> || std::is_same_v<T, ev::End> ||
                              std::is_same_v<T, ev::Accept>;
    constexpr bool kJudgedOnly = std::is_same_v<T, ev::Attention> ||
                                 std::is_same_v<T, ev::FreeCount> || std::is_same_v<T, ev::Access>;
    if constexpr (kNothing) {
      return;
    } else if constexpr (kJudgedOnly) {
      if (options_.tail) keep(std::move(e));
    } else {
      keep(std::move(e));
    }
  }

  void cut(ev::Header& e) {
    ev::Header plain;
    plain.format = e.format;
    plain.records = std::move(e.records);
    keep(std::move(plain));
  }
  void cut(ev::Map& e) {
    if (names_.text(e.unit) == "slot") slot_maps_.insert(e.map);
    keep(e);
  }
  void cut(ev::Pool& e) {
    sizes_.insert(e.page_size);
    keep(std::move(e));
  }

  // Runs of pages wanted, each with the logical page that it begins at.
  template <class T>
  void cut_runs(T& e, std::int64_t first, const auto& set_first, const auto& kept) {
    if (!options_.pages) {
      kept(keep(std::move(e)), first, std::int64_t{0});
      return;
    }
    const Pages pages = std::move(e.pages);
    for (std::size_t i = 0; i < pages.size();) {
      std::size_t end = i;
      T part = e;
      for (; end < pages.size() && wanted(raw(pages[end])); ++end) part.pages.push_back(pages[end]);
      const auto begin = static_cast<std::int64_t>(i);
      i = end == i ? i + 1 : end;
      if (part.pages.empty()) continue;
      set_first(part, begin);
      kept(keep(std::move(part)), first + begin, begin);
    }
  }
  template <class T>
  void cut_owned(T& e) {
    cut_runs(
        e, 0,
        [&](T& part, std::int64_t by) {
          if (part.first.has_value()) part.first = *part.first + by;
        },
        [](std::size_t, std::int64_t, std::int64_t) {});
  }
  void cut(ev::Alloc& e) { cut_owned(e); }
  void cut(ev::Share& e) { cut_owned(e); }

  void cut(ev::Table& e) {
    if (options_.tail) {
      keep(std::move(e));
      return;
    }
    const auto count = std::ssize(e.pages);
    const std::int64_t row = e.row, col = e.col;
    const Name buffer = e.buffer;
    for (std::int64_t i = 0; i < count; ++i) own({rank_, buffer, row, col + i}, kNever);
    const auto own_run = [&](std::size_t index, std::int64_t from, std::int64_t) {
      const auto* part = std::get_if<ev::Table>(&tape_[index].event.body);
      const std::int64_t n = std::ssize(part->pages);
      for (std::int64_t i = 0; i < n; ++i) own({rank_, buffer, row, from + i}, index);
    };
    cut_runs(
        e, col, [](ev::Table& part, std::int64_t by) { part.col += by; }, own_run);
  }

  template <class T>
  void cut_values(T& e, std::int64_t plane) {
    const std::int64_t row = e.row.value_or(0), count = std::ssize(e.values);
    const Name buffer = e.buffer;
    const std::size_t index = keep(std::move(e));
    if (options_.tail || stores_by_buffer_) return;
    for (std::int64_t i = 0; i < count; ++i) own({rank_, buffer, row + i, plane}, index);
  }
  void cut(ev::Lens& e) { cut_values(e, kWhole); }
  void cut(ev::SlotList& e) { cut_values(e, kWhole - 1); }
  void cut(ev::Refresh& e) {
    const Name buffer = e.buffer;
    const std::size_t index = keep(e);
    if (!options_.tail) own({rank_, buffer, kWhole, kWhole}, index);
  }

  void cut(ev::Free& e) {
    std::erase_if(e.pages, [&](PageId p) { return !wanted(raw(p)); });
    if (!e.pages.empty()) keep(std::move(e));
  }
  void cut(ev::AsyncBegin& e) {
    std::erase_if(e.pages, [&](PageId p) { return !wanted(raw(p)); });
    if (!e.pages.empty()) keep(std::move(e));
  }
  void cut(ev::Fill& e) {
    Pages pages;
    Ints slots;
    NameList digests;
    const bool lists = e.slots && e.slots->size() == e.pages.size();
    const bool each = e.digest && e.digest->list.size() == e.pages.size();
    for (std::size_t i = 0; i < e.pages.size(); ++i) {
      if (!wanted(raw(e.pages[i]))) continue;
      pages.push_back(e.pages[i]);
      if (lists) slots.push_back((*e.slots)[i]);
      if (each) digests.push_back(e.digest->list[i]);
    }
    if (pages.empty()) return;
    e.pages = std::move(pages);
    if (lists) e.slots = std::move(slots);
    if (each) e.digest->list = std::move(digests);
    keep(std::move(e));
  }
  template <class T>
  void cut_page(T& e) {
    if (wanted(raw(e.page))) keep(std::move(e));
  }
  void cut(ev::Evict& e) { cut_page(e); }
  void cut(ev::PrefixKey& e) { cut_page(e); }
  void cut(ev::PrefixHit& e) { cut_page(e); }
  void cut(ev::PrefixDrop& e) { cut_page(e); }
  // By the page mapped to: of an index's other mappings the pages are gone. An entry kept before
  // that is given such a page now is cleared instead.
  void cut(ev::MapSet& e) {
    ev::MapClear clear{e.map, {}};
    std::erase_if(e.pairs, [&](const Pair& p) {
      if (wanted_in(e.map, p.second)) return false;
      if (mapped_.erase({e.map, p.first}) > 0) clear.from.push_back(p.first);
      return true;
    });
    for (const Pair& p : e.pairs) mapped_.insert({e.map, p.first});
    if (!clear.from.empty()) keep(std::move(clear));
    if (!e.pairs.empty()) keep(std::move(e));
  }
  template <class T>
  void cut_from(T& e) {
    if (options_.pages) {
      std::erase_if(e.from, [&](std::int64_t from) { return !mapped_.contains({e.map, from}); });
    }
    if (!e.from.empty()) keep(std::move(e));
  }
  void cut(ev::MapClear& e) { cut_from(e); }
  void cut(ev::MapFree& e) { cut_from(e); }
  void cut(ev::Store& e) {
    stores_by_buffer_ = stores_by_buffer_ || e.slots != kNone;
    std::vector<ev::Row>& rows = e.rows.edit();
    for (ev::Row& row : rows) {
      if (row.slots) std::erase_if(*row.slots, [&](SlotId s) { return !wanted_slot(raw(s)); });
    }
    std::erase_if(rows, [](const ev::Row& row) { return row.slots && row.slots->empty(); });
    if (!e.rows.empty()) keep(std::move(e));
  }
  void cut(ev::Copy& e) {
    Pages from, to;
    for (std::size_t i = 0; i < std::min(e.from.size(), e.to.size()); ++i) {
      if (!wanted(raw(e.from[i])) && !wanted(raw(e.to[i]))) continue;
      from.push_back(e.from[i]);
      to.push_back(e.to[i]);
    }
    if (from.empty()) return;
    e.from = std::move(from);
    e.to = std::move(to);
    keep(std::move(e));
  }

  void cut(ev::GraphCapture& e) {
    const auto writes = [](const ev::Launch& l) {
      return !std::holds_alternative<ev::Attention>(l);
    };
    if (e.launches && std::ranges::any_of(*e.launches, writes)) {
      writing_.insert({rank_, e.graph});
      stores_by_buffer_ = true;
    }
    if (e.stepped.value_or(false)) writing_.insert({rank_, e.graph});
    keep(std::move(e));
  }
  // A graph that only reads changes nothing; but of the finding's own, the launch before tells
  // whether its inputs were rewritten since, and by what they had been.
  void cut(ev::GraphLaunch& e) {
    const Name graph = e.graph;
    const bool writes = options_.tail || writing_.contains({rank_, graph});
    const bool own_launch = goal_.finding.rule == Rule::kGraphStale && graph == goal_.finding.graph;
    if (!writes && !own_launch) return;
    const std::size_t index = keep(std::move(e));
    if (writes) return;
    owners_.clear();
    if (before_ != kNever && !tape_[before_].pinned) tape_[before_].event.body = ev::Note{};
    before_ = index;
  }

  const Goal& goal_;
  const SliceOptions& options_;
  const Names& names_;
  std::set<Name> slot_maps_;
  std::set<std::pair<Name, std::int64_t>> mapped_;  // Map and index of entries ever kept.
  EventIndex at_ = 0;
  std::int64_t rank_ = 0;
  Event frame_;  // What the event at hand says beside its body, as far as it matters.
  Tape tape_;
  std::vector<std::uint64_t> live_;  // Places of each event that are not written over.
  std::map<Key, std::size_t> owners_;
  std::set<std::int64_t> sizes_;  // Tokens a page, of the pools so far.
  std::set<std::pair<std::int64_t, Name>> writing_;
  bool stores_by_buffer_ = false;
  EventIndex before_ = kNever;  // Place in tape_ of the graph's launch before.
};

}  // namespace

Status slice(const std::string& path, Names& names, const Goal& goal, const SliceOptions& options,
             Tape& tape) {
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return status;
  Slicer slicer(goal, options, names);
  Event event;
  while (source->position() <= goal.finding.event || options.tail) {
    if (!source->next(event)) break;
    slicer.see(std::move(event), source->position() - 1);
    event = Event{};
  }
  if (!source->status().ok() && source->position() <= goal.finding.event) return source->status();
  tape = slicer.take();
  return {};
}

}  // namespace pagetape
