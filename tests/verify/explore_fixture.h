// SPDX-License-Identifier: Apache-2.0
// Traces of several streams, drawn; and the dependencies looked up pair by pair, as the model says
// them, for tests of what finds them event by event.
#pragma once

#include <map>
#include <set>

#include "tests/verify/verify_fixture.h"

namespace pagetape {

// Must the event at `i` come before that at `j` in any order? Direct dependencies only. Made apart
// from verify/event_dependencies: it looks at the whole trace, and at two events at a time.
class PairwiseOrder {
 public:
  // `write`: that word in the events' table.
  PairwiseOrder(const std::vector<Event>& events, Name write) : events_(events), write_(write) {
    find_seen_ends();
  }

  bool must(std::size_t i, std::size_t j) const {
    if (i >= j || events_[i].rank != events_[j].rank) return false;
    if (is_end(j)) return op_of_begin(i) == op_of_end(j) && op_of_end(j) != kNone;
    if (is_end(i)) return seen_.contains({i, j});
    if (events_[i].stream == events_[j].stream) return true;
    if (is_host(i)) return true;  // The host's acts, and what it issued behind them.
    if (is_setup(j)) return true;
    return waited(i, j) || reported(i, j);
  }

 private:
  template <class T>
  const T* as(std::size_t i) const {
    return std::get_if<T>(&events_[i].body);
  }
  bool is_end(std::size_t i) const { return as<ev::AsyncEnd>(i) != nullptr; }
  Name op_of_end(std::size_t i) const { return is_end(i) ? as<ev::AsyncEnd>(i)->op : kNone; }
  Name op_of_begin(std::size_t i) const {
    const auto* begin = as<ev::AsyncBegin>(i);
    return begin == nullptr ? kNone : begin->op;
  }
  bool is_setup(std::size_t i) const {
    return as<ev::Pool>(i) || as<ev::Backend>(i) || as<ev::PoolSwap>(i) || as<ev::Buffer>(i) ||
           as<ev::Scalar>(i) || as<ev::End>(i);
  }
  bool is_host(std::size_t i) const {
    if (is_setup(i) || as<ev::Alloc>(i) || as<ev::Free>(i) || as<ev::Request>(i) ||
        as<ev::LaunchDone>(i) || as<ev::Step>(i)) {
      return true;
    }
    return as<ev::Fill>(i) != nullptr && seen_by_.contains(i);
  }
  bool reported(std::size_t i, std::size_t j) const {
    const auto* done = as<ev::LaunchDone>(j);
    return done != nullptr && static_cast<std::size_t>(done->event) == i;
  }
  bool waited(std::size_t i, std::size_t j) const {
    const auto* wait = as<ev::StreamWait>(j);
    if (wait == nullptr) return false;
    if (!wait->ops) return events_[i].stream == wait->on;
    const auto named = [&](Name op) {
      return std::ranges::find(*wait->ops, op) != wait->ops->end();
    };
    return op_of_begin(i) != kNone && named(op_of_begin(i)) && events_[i].stream == wait->on;
  }
  std::set<std::int32_t> pages_of(std::size_t i) const {
    std::set<std::int32_t> out;
    const auto add = [&](const Pages& pages) {
      for (PageId page : pages) out.insert(raw(page));
    };
    if (const auto* e = as<ev::Free>(i)) add(e->pages);
    if (const auto* e = as<ev::Fill>(i)) add(e->pages);
    if (const auto* e = as<ev::AsyncBegin>(i)) add(e->pages);
    return out;
  }
  // A free of a page behind the end of an operation on it shows that the end was seen; the fill of
  // what was written too.
  void find_seen_ends() {
    for (std::size_t i = 0; i < events_.size(); ++i) {
      if (!is_end(i)) continue;
      std::size_t begin = i;
      while (begin > 0 && op_of_begin(begin) != op_of_end(i)) --begin;
      const bool writes = as<ev::AsyncBegin>(begin)->kind == write_;
      for (std::size_t j = i + 1; j < events_.size(); ++j) {
        if (!as<ev::Free>(j) && !(as<ev::Fill>(j) && writes)) continue;
        const std::set<std::int32_t> ours = pages_of(begin), theirs = pages_of(j);
        const bool meets = std::ranges::any_of(ours, [&](auto p) { return theirs.contains(p); });
        if (!meets) continue;
        seen_.insert({i, j});
        seen_by_.insert(j);
        break;
      }
    }
  }

  const std::vector<Event>& events_;
  Name write_ = kNone;
  std::set<std::pair<std::size_t, std::size_t>> seen_;
  std::set<std::size_t> seen_by_;
};

// A trace of one pool and three streams in which anything may follow anything.
inline std::string drawn_trace(std::uint64_t seed, int events) {
  Dice dice(seed);
  std::string out = R"({"ev":"pool","pool":"F","pages":9,"page_size":4}
{"ev":"backend","backend":"t"}
{"ev":"pool_swap","backend":"t","layers":"*","pool":"F"}
)";
  std::vector<bool> owned(9, false);
  std::vector<int> pending;
  int ops = 0;
  for (int n = 0; n < events; ++n) {
    const auto page = dice.below(8) + 1;
    const std::string p = std::to_string(page);
    const std::string stream = R"(,"stream":)" + std::to_string(dice.below(3)) + "}\n";
    switch (dice.below(9)) {
      case 0:
        out += std::string(R"({"ev":")") + (owned[page] ? "free" : "alloc") +
               R"(","pool":"F","req":"A","pages":[)" + p + "]" + stream;
        owned[page] = !owned[page];
        break;
      case 1:
        out += R"({"ev":"fill","pool":"F","req":"A","pages":[)" + p + "]" + stream;
        break;
      case 2:
      case 3:
        out += R"({"ev":"attention","backend":"t","layer":0,"rows":[{"req":"A","len":4,"pages":[)" +
               p + "]}]" + stream;
        break;
      case 4:
        out +=
            R"({"ev":"stream_wait","on":)" + std::to_string(dice.below(3)) +
            (ops > 0 && dice.one_in(2) ? R"(,"ops":["o)" + std::to_string(dice.below(ops)) + "\"]"
                                       : "") +
            stream;
        break;
      case 5:
        pending.push_back(ops);
        out += R"({"ev":"async_begin","op":"o)" + std::to_string(ops++) + R"(","kind":")" +
               (dice.one_in(2) ? "read" : "write") + R"(","pool":"F","pages":[)" + p +
               R"(],"by":"#host")" + stream;
        break;
      case 6:
        if (pending.empty()) break;
        out += R"({"ev":"async_end","op":"o)" + std::to_string(pending.back()) + "\"}\n";
        pending.pop_back();
        break;
      case 7:
        out += R"({"ev":"launch_done","event":)" + std::to_string(dice.below(3)) + "}\n";
        break;
      default:
        if (dice.one_in(4))
          out += R"({"ev":"scalar","name":"s","value":1})"
                 "\n";
    }
  }
  return out;
}

}  // namespace pagetape
