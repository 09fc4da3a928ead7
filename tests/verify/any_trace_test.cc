// SPDX-License-Identifier: Apache-2.0
// Whatever events a trace holds: what cannot apply changes nothing, a keyframe goes on alike, and
// the judgement is the same in both forms, judged anew, and in parts.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/verify/verify_fixture.h"
#include "traces/limits.h"
#include "traces/writer.h"
#include "verify/dice.h"

namespace pagetape {
namespace {

// Random events of every kind, with any value that its field may hold: what no engine would record,
// and a trace may hold all the same.
class AnyEvents {
 public:
  // `names` is the table of the events, and outlives this.
  AnyEvents(std::uint64_t seed, Names& names) : dice_(seed), names_(names) {}

  // So many, each as check_event wants it. Half of the lists are about what kBegin declares.
  std::vector<Event> list(std::size_t n) {
    std::vector<Event> out;
    if (dice_.one_in(2)) {
      for (const char* line : kBegin) (void)parse_event(line, names_, out.emplace_back());
    }
    while (out.size() < n) {
      Event event = next();
      if (check_event(event, names_).ok()) out.push_back(std::move(event));
    }
    return out;
  }

 private:
  static constexpr const char* kBegin[] = {
      R"({"ev":"pool","pool":"F","pages":14,"page_size":4,"reserved":[{"page":0,"role":"pad"}]})",
      R"({"ev":"pool","pool":"S","pages":9,"page_size":4,"reserved":[{"page":0,"role":"null"}]})",
      R"({"ev":"pool","pool":"E","pages":14,"page_size":4,"space":"F"})",
      R"({"ev":"map","map":"m","from":"F","to":"S","unit":"page"})",
      R"({"ev":"pool_set","set":"kv","pools":["F","S"]})",
      R"({"ev":"backend","backend":"b"})",
      R"({"ev":"backend","backend":"d"})",
      R"({"ev":"pool_swap","backend":"b","layers":"*","pool":"F"})",
      R"({"ev":"pool_swap","backend":"b","layers":[2,3],"pool":"S","set":"kv"})",
      R"({"ev":"swa_state","backend":"b","uses_swa":true,"swa_pool":"S","derived_from":"kv"})",
      R"({"ev":"buffer","buffer":"t","rows":6,"cols":8})",
      R"({"ev":"buffer","buffer":"u"})",
      R"({"ev":"buffer","buffer":"l"})",
      R"({"ev":"buffer","buffer":"s"})",
      R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2,3],"first":0})",
      R"({"ev":"alloc","pool":"S","req":"A","pages":[1,2,3],"first":0})",
      R"({"ev":"map_set","map":"m","pairs":[[1,1],[2,2],[3,3]]})",
      R"({"ev":"fill","pool":"F","req":"A","pages":[1,2,3]})",
      R"({"ev":"fill","pool":"S","req":"A","pages":[1,2,3]})",
      R"({"ev":"table","buffer":"t","row":0,"col":0,"pages":[1,2,3],"space":"F"})",
      R"({"ev":"lens","buffer":"l","values":[12,4]})",
  };
  // What a field of that name may be called, so that events speak of the same things.
  struct Called {
    std::string_view field;
    std::vector<std::string_view> names;
  };
  static std::span<const std::string_view> names_for(std::string_view field) {
    static const std::vector<Called> all = {
        {"pool", {"F", "S", "E"}},
        {"from_pool", {"F", "S"}},
        {"to_pool", {"F", "S"}},
        {"swa_pool", {"S", "F"}},
        {"from", {"F", "S"}},
        {"to", {"S", "F"}},
        {"pools", {"F", "S", "E"}},
        {"req", {"A", "B", "#c"}},
        {"by", {"A", "B", "#c"}},
        {"backend", {"b", "d"}},
        {"buffer", {"t", "u", "l", "s"}},
        {"table", {"t", "u"}},
        {"buffers", {"t", "u", "l", "s"}},
        {"inputs", {"t", "u", "l", "s"}},
        {"lens", {"l"}},
        {"slots", {"s"}},
        {"map", {"m"}},
        {"graph", {"g", "h"}},
        {"set", {"kv"}},
        {"space", {"F", "S", "Z"}},
        {"spaces", {"F", "S", "Z"}},
        {"op", {"o", "q"}},
        {"ops", {"o", "q"}},
    };
    static const std::vector<std::string_view> others = {"F", "kv", "m", "t", "x"};
    const auto found = std::ranges::find(all, field, &Called::field);
    return found == all.end() ? others : found->names;
  }

  Event next() {
    // Those that the rules have most to say of come more often.
    static constexpr std::array kOften = {
        kKindOf<ev::Attention>, kKindOf<ev::Store>,       kKindOf<ev::Table>,
        kKindOf<ev::Alloc>,     kKindOf<ev::Free>,        kKindOf<ev::Lens>,
        kKindOf<ev::Rewind>,    kKindOf<ev::MapSet>,      kKindOf<ev::Fill>,
        kKindOf<ev::Share>,     kKindOf<ev::GraphLaunch>, kKindOf<ev::GraphCapture>,
        kKindOf<ev::Evict>};
    const std::size_t kind =
        dice_.one_in(2) ? one_of(kOften) : static_cast<std::size_t>(dice_.below(kKinds));
    Event event;
    emplace_kind(event.body, kind, [&](auto& body) { fill_fields(body); });
    if (auto* graph = std::get_if<ev::GraphCapture>(&event.body)) {
      if (graph->scalars) sort(*graph->scalars);
    }
    if (dice_.one_in(16)) event.stream = static_cast<std::int32_t>(dice_.below(4));
    if (dice_.one_in(40)) event.rank = dice_.below(3);
    return event;
  }
  // The members of an object have no order that the text form keeps.
  void sort(Scalars& scalars) const {
    std::ranges::sort(scalars, {}, [&](const auto& s) { return names_.text(s.first); });
    const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
    scalars.erase(std::unique(scalars.begin(), scalars.end(), same), scalars.end());
  }

  template <class List>
  auto one_of(const List& list) -> std::decay_t<decltype(*std::begin(list))> {
    return list[static_cast<std::size_t>(dice_.below(static_cast<std::int64_t>(std::size(list))))];
  }
  std::int64_t number(std::int64_t low, std::int64_t high) {
    static constexpr std::int64_t kSpecial[] = {
        -1,        -2,        16,        63,         64,        65,          255,
        256,       512,       4096,      65536,      8657,      INT32_MAX,   INT32_MIN,
        1LL << 31, 1LL << 32, 1LL << 40, kMostSlots, INT64_MAX, -kMostSlots, INT64_MIN + 1};
    return std::clamp(dice_.one_in(7) ? one_of(kSpecial) : dice_.below(9), low, high);
  }
  std::size_t count() {
    return static_cast<std::size_t>(dice_.one_in(50) ? dice_.below(200) : dice_.below(4));
  }

  void fill(std::string_view, const Limits& l, std::int64_t& v) { v = number(l.low, l.high); }
  void fill(std::string_view, const Limits& l, OptInt& v) {
    if (dice_.one_in(2)) v = number(l.low, l.high);
  }
  void fill(std::string_view field, const Limits& l, Name& v) {
    if (l.may_be_none && dice_.one_in(3)) return;
    v = names_.intern(l.words.empty() ? one_of(names_for(field)) : one_of(l.words));
  }
  void fill(std::string_view, const Limits&, PageId& v) {
    v = PageId{static_cast<std::int32_t>(number(INT32_MIN + 1, INT32_MAX))};
  }
  void fill(std::string_view, const Limits&, SlotId& v) {
    v = SlotId{dice_.one_in(8) ? number(-kMostSlots, kMostSlots) : dice_.below(40)};
  }
  void fill(std::string_view, const Limits&, Layer& v) {
    v = dice_.one_in(16) ? Layer::named(names_.intern("x"))
                         : Layer::number(static_cast<std::int32_t>(dice_.below(4)));
  }
  void fill(std::string_view, const Limits&, bool& v) { v = dice_.one_in(2); }
  void fill(std::string_view, const Limits&, ScalarValue& v) {
    v.json = names_.intern(one_of(std::array{"1", "\"a\"", "true", "null", "1.5"}));
  }
  void fill(std::string_view, const Limits&, OptNumber& v) {
    if (dice_.one_in(2)) v = static_cast<double>(dice_.below(256)) / 4 - 8;
  }
  template <class T>
  void fill(std::string_view field, const Limits& l, std::optional<T>& v) {
    if (dice_.one_in(2)) fill(field, l, v.emplace());
  }
  template <class T>
  void fill(std::string_view field, const Limits& l, std::vector<T>& v) {
    v.resize(count());
    for (T& element : v) fill(field, l, element);
  }
  template <class A, class B>
  void fill(std::string_view field, const Limits& l, std::pair<A, B>& v) {
    fill(field, l, v.first);
    fill(field, l, v.second);
  }
  void fill(std::string_view field, const Limits& l, LayerChoice& v) {
    v.all = dice_.one_in(2);
    if (!v.all) fill(field, l, v.list);
  }
  void fill(std::string_view field, const Limits& l, Digests& v) {
    v.per_page = dice_.one_in(2);
    fill(field, l, v.list);
  }
  void fill(std::string_view field, const Limits& l, ev::Rows& v) {
    std::vector<ev::Row> rows;
    fill(field, l, rows);
    v = ev::Rows(std::move(rows));
  }
  void fill(std::string_view, const Limits&, ev::Launch& v) {
    if (dice_.one_in(8)) {
      fill_fields(v.emplace<ev::Copy>());
    } else if (dice_.one_in(2)) {
      fill_fields(v.emplace<ev::Store>());
    } else {
      fill_fields(v.emplace<ev::Attention>());
    }
  }
  template <class T>
  requires requires { T::fields(); }
  void fill(std::string_view, const Limits&, T& v) { fill_fields(v); }

  template <class T>
  void fill_fields(T& v) {
    std::size_t i = 0;
    for_each_field<T>([&](const auto& field) {
      const Limits& limits = limits_of_fields<T>()[i++];
      if (field.need != Need::kOptional || dice_.one_in(2)) {
        fill(field.name, limits, v.*(field.member));
      }
    });
  }

  Dice dice_;
  Names& names_;
};

constexpr std::uint64_t kLists = 25;  // A case.

class AnyTrace : public testing::TestWithParam<std::uint64_t> {
 protected:
  // Calls look(events, seed) with lists of events, each of which applies behind those before it.
  template <class F>
  void each_list(F&& look) {
    for (std::uint64_t i = 0; i < kLists && !HasFatalFailure(); ++i) {
      const std::uint64_t seed = GetParam() * kLists + i;
      std::vector<Event> applied;
      State state(names);
      for (Event& event : AnyEvents(seed, names).list(20 + seed % 180)) {
        if (state.apply(event).applied()) {
          applied.push_back(std::move(event));
        } else {
          state.skip_to(applied.size());
        }
      }
      look(applied, seed);
    }
  }

  // As a binary trace, with a keyframe behind every so many events; 0: none.
  void write(const std::vector<Event>& events, std::size_t keyframe_each) {
    Status status;
    const auto writer = create_trace(path, names, {.segment_events = 64}, status);
    ASSERT_TRUE(writer != nullptr) << status.message();
    State state(names);
    for (std::size_t i = 0; i < events.size(); ++i) {
      if (keyframe_each > 0 && i > 0 && i % keyframe_each == 0) {
        ASSERT_TRUE(writer->add_keyframe(state.save(), state.digest()).ok());
      }
      ASSERT_TRUE(writer->add(events[i]).ok()) << print_event(events[i], names);
      ASSERT_TRUE(state.apply(events[i]).applied());
    }
    ASSERT_TRUE(writer->close().ok());
  }

  // All that is said of a trace, but for where it is.
  static std::string judged(const std::string& trace, const VerifyOptions& options) {
    Report report = verify_trace(trace, options);
    report.trace.clear();
    return report_json(report);
  }

  const ScratchFolder folder;
  const std::string path = folder.file("any.ptape");
  Names names;
  VerifyOptions options = [] {
    VerifyOptions all;
    all.judge.max_findings = 0;
    return all;
  }();
};

TEST_P(AnyTrace, WhatCannotApplyChangesNothing) {
  for (std::uint64_t i = 0; i < kLists; ++i) {
    const std::uint64_t seed = GetParam() * kLists + i;
    State state(names);
    for (const Event& event : AnyEvents(seed, names).list(60)) {
      const std::uint64_t digest = state.digest();
      const EventIndex next = state.next_event();
      if (state.apply(event).applied()) continue;
      state.skip_to(next);
      ASSERT_EQ(state.digest(), digest) << "seed " << seed << ": " << print_event(event, names);
    }
  }
}

TEST_P(AnyTrace, AKeyframeGoesOnAlike) {
  each_list([&](const std::vector<Event>& events, std::uint64_t seed) {
    State whole(names), later(names);
    Names others;
    const std::size_t from = events.size() / 2;
    for (std::size_t i = 0; i < events.size(); ++i) {
      if (i == from) {
        ASSERT_TRUE(later.load(whole.save(), others).ok()) << "seed " << seed;
      }
      ASSERT_TRUE(whole.apply(events[i]).applied());
      if (i < from) continue;
      Event event;
      const std::string line = print_event(events[i], names);
      ASSERT_TRUE(parse_event(line, others, event).ok()) << line;
      ASSERT_TRUE(later.apply(event).applied()) << "seed " << seed << ": " << line;
      ASSERT_EQ(later.digest(), whole.digest()) << "seed " << seed << ": " << line;
    }
  });
}

TEST_P(AnyTrace, IsJudgedAlikeInBothForms) {
  each_list([&](const std::vector<Event>& events, std::uint64_t seed) {
    write(events, 0);
    std::string lines;
    for (const Event& event : events) lines += print_event(event, names) + '\n';
    EXPECT_EQ(judged(path, options), judged(folder.write("any.jsonl", lines), options))
        << "seed " << seed;
  });
}

TEST_P(AnyTrace, IsJudgedAlikeAnewAndInParts) {
  each_list([&](const std::vector<Event>& events, std::uint64_t seed) {
    write(events, 7);
    const std::string whole = judged(path, options);
    VerifyOptions anew = options, in_parts = options;
    anew.judge.reuse = false;
    in_parts.jobs = 3;
    EXPECT_EQ(judged(path, anew), whole) << "seed " << seed;
    EXPECT_EQ(judged(path, in_parts), whole) << "seed " << seed;
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, AnyTrace, testing::Range<std::uint64_t>(0, 8));

}  // namespace
}  // namespace pagetape
