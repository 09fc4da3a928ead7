// SPDX-License-Identifier: Apache-2.0
// What was judged before is not judged again; these tests hold that this loses no finding: random
// small engines are judged with and without reuse, and a difference is shrunk to a few events.
#include <gtest/gtest.h>

#include "tests/replay/replay_fixture.h"
#include "verify/judge.h"

namespace pagetape {
namespace {

using Lines = std::vector<std::string>;

struct Judged {
  std::vector<Finding> findings;
  std::string text;     // One line a finding.
  std::string covered;  // What was judged, how often, and what could not be.
};

std::string coverage_of(const Coverage& coverage, const Names& names) {
  std::string out;
  for (std::size_t r = 0; r < kRuleCount; ++r) {
    out += std::string(kRules[r].name) + ' ' + std::to_string(coverage.judged()[r]) + '\n';
  }
  for (const NotChecked& n : coverage.not_checked(names)) {
    out += std::string("not checked: ") + std::string(info(n.rule).name) + ' ' +
           std::to_string(n.rank) + ' ' + std::string(names.text(n.object)) + ' ' + n.needs +
           (n.applicable ? "" : ", not applicable") + '\n';
  }
  return out;
}

// Gives equal lanes one list, as a reader of binary traces does.
class SharedRows {
 public:
  void share(Event& event) {
    if (auto* e = std::get_if<ev::Attention>(&event.body)) share(e->rows);
    if (auto* e = std::get_if<ev::GraphLaunch>(&event.body); e != nullptr && e->rows) {
      share(*e->rows);
    }
  }

 private:
  void share(ev::Rows& rows) {
    const auto at = std::ranges::find(seen_, rows);
    if (at == seen_.end()) return seen_.push_back(rows);
    rows = *at;
  }
  std::vector<ev::Rows> seen_;
};

// With `reuse`, lanes that were seen before are not filled in anew, either.
Judged judge(const Lines& lines, bool reuse) {
  Machine m;
  std::array<bool, kRuleCount> rules;
  rules.fill(true);
  JudgeOptions options;
  options.max_findings = 0;
  options.reuse = reuse;
  Judge judge(m.names, options, rules);
  SharedRows rows;
  for (const std::string& line : lines) {
    Event event = m.event(line);
    if (reuse) rows.share(event);
    (void)m.state.apply(event, &judge);
  }
  judge.finish();
  Judged out{judge.findings().sorted(), {}, coverage_of(judge.coverage(), m.names)};
  for (const Finding& f : out.findings) out.text += f.id(m.names) + ": " + f.message + '\n';
  return out;
}

bool differ(const Lines& lines) {
  const Judged with = judge(lines, true), without = judge(lines, false);
  return with.findings != without.findings || with.covered != without.covered;
}

// Leaves out whatever is not needed for the two to differ.
Lines shrink(Lines lines) {
  for (std::size_t step = lines.size() / 2; step > 0; step /= 2) {
    for (std::size_t i = 0; i < lines.size();) {
      Lines less(lines.begin(), lines.begin() + static_cast<long>(i));
      less.insert(less.end(), lines.begin() + static_cast<long>(std::min(lines.size(), i + step)),
                  lines.end());
      if (differ(less)) {
        lines = std::move(less);
      } else {
        i += step;
      }
    }
  }
  return lines;
}

std::string shown(const Lines& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + '\n';
  for (const bool reuse : {true, false}) {
    const Judged judged = judge(lines, reuse);
    out += (reuse ? "with reuse:\n" : "without:\n") + judged.text + judged.covered;
  }
  return out;
}

// Random events of a small engine: three requests, two index spaces with a map between them and a
// second pool in the first, a table for each space. Mostly right, sometimes not.
class Engine {
 public:
  explicit Engine(std::uint64_t seed) : dice_(seed) {
    lines_ = {
        R"({"ev":"pool","pool":"F","pages":14,"page_size":4,"reserved":[{"page":0,"role":"pad"}]})",
        R"({"ev":"pool","pool":"S","pages":12,"page_size":4,"reserved":[{"page":0,"role":"pad"}]})",
        R"({"ev":"pool","pool":"E","pages":14,"page_size":4,"space":"F"})",
        R"({"ev":"pool","pool":"Y","pages":14,"page_size":4,"space":"Z"})",
        R"({"ev":"pool","pool":"G","pages":14,"page_size":4})",
        R"({"ev":"backend","backend":"t"})",
        R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"})",
        R"({"ev":"pool_swap","backend":"t","layers":[2],"pool":"S"})",
        R"({"ev":"pool_swap","backend":"t","layers":[3],"pool":"E"})",
        R"({"ev":"buffer","buffer":"F.t"})",
        R"({"ev":"buffer","buffer":"S.t"})",
        R"({"ev":"buffer","buffer":"l"})",
        R"({"ev":"graph_capture","graph":"G","launches":[)" + captured(0) + ',' + captured(2) +
            ',' + captured(1) + ',' + captured(3) + "]}"};
    if (!dice_.one_in(3)) declare_map();
  }

  Lines run(int steps) {
    for (int i = 0; i < steps; ++i) step();
    return lines_;
  }

 private:
  struct Request {
    std::int64_t len = 0;
    std::vector<std::int64_t> pages[2];  // Of F and S, by logical page.
  };

  static std::string captured(int layer) {
    const std::string table = layer == 2 ? "S.t" : "F.t";
    std::string rows;
    for (int row = 0; row < 3; ++row) {
      rows += (row == 0 ? "" : ",") + std::string(R"({"req":null,"row":)") + num(row) + '}';
    }
    return R"({"ev":"attention","backend":"t","layer":)" + num(layer) + R"(,"table":")" + table +
           R"(","lens":"l","rows":[)" + rows + "]}";
  }

  static std::string num(std::int64_t n) { return std::to_string(n); }
  void add(std::string line) { lines_.push_back(std::move(line)); }
  static const char* pool_name(int s) { return s == 0 ? "F" : "S"; }
  std::string req_name(std::int64_t r) const { return std::string(1, static_cast<char>('A' + r)); }
  std::int64_t any_request() { return dice_.below(3); }
  std::int64_t any_page() { return 1 + dice_.below(11); }
  std::string of_req(const char* ev, int s, std::int64_t r, const std::string& rest) const {
    return std::string(R"({"ev":")") + ev + R"(","pool":")" + pool_name(s) + R"(","req":")" +
           req_name(r) + "\"," + rest + '}';
  }
  void cell(int s, std::int64_t row, std::int64_t col, std::int64_t page) {
    std::string tag;
    if (dice_.one_in(25)) tag = R"(,"unit":"block")";
    if (dice_.one_in(12)) tag = std::string(R"(,"space":")") + pool_name(dice_.one_in(4)) + '"';
    if (dice_.one_in(100)) tag = R"(,"space":"Z")";
    add(std::string(R"({"ev":"table","buffer":")") + pool_name(s) + R"(.t","row":)" + num(row) +
        R"(,"col":)" + num(col) + R"(,"pages":[)" + num(page) + ']' + tag + '}');
  }
  bool in_use(int s, std::int64_t page) const {
    return std::ranges::any_of(requests_, [&](const Request& r) {
      return std::ranges::find(r.pages[s], page) != r.pages[s].end();
    });
  }
  std::int64_t free_page(int s) {
    std::int64_t page = any_page();
    for (int i = 0; i < 30 && in_use(s, page); ++i) page = any_page();
    return page;
  }
  void store(std::int64_t r, int s, std::int64_t from, std::int64_t to, const char* layers) {
    std::string slots;
    for (std::int64_t i = from; i < to; ++i) {
      const auto& pages = requests_[r].pages[s];
      const std::int64_t page = pages[static_cast<std::size_t>(i / 4)];
      slots += (slots.empty() ? "" : ",") + num(page * 4 + i % 4);
    }
    add(std::string(R"({"ev":"store","backend":"t","layers":)") + layers + R"(,"rows":[{"req":")" +
        req_name(r) + R"(","slots":[)" + slots + "]}]}");
  }

  // A request gets some tokens: pages, cells, stores, its length.
  void grow(std::int64_t r) {
    Request& q = requests_[r];
    const std::int64_t from = q.len;
    q.len = std::min<std::int64_t>(q.len + 1 + dice_.below(5), 12);
    for (int s = 0; s < 2; ++s) {
      while (static_cast<std::int64_t>(q.pages[s].size()) * 4 < q.len) {
        const auto logical = static_cast<std::int64_t>(q.pages[s].size());
        const std::int64_t page = free_page(s);
        q.pages[s].push_back(page);
        std::string first = R"(,"first":)" + num(dice_.one_in(8) ? dice_.below(4) : logical);
        if (dice_.one_in(6)) first.clear();
        add(of_req("alloc", s, r, R"("pages":[)" + num(page) + ']' + first));
        if (!dice_.one_in(20)) cell(s, r, logical, page);
        if (s == 1) map_page(q.pages[0].back(), page);
      }
    }
    store(r, 0, from, q.len, dice_.one_in(12) ? "[0]" : "[0,1]");
    if (!dice_.one_in(12)) store(r, 0, from, q.len, "[3]");
    if (!dice_.one_in(12)) store(r, 1, from, q.len, "[2]");
    add(R"({"ev":"lens","buffer":"l","values":[)" + num(q.len) + R"(],"row":)" + num(r) + '}');
  }
  // The map, if there is one, counts pages or first slots.
  void map_page(std::int64_t from, std::int64_t to) {
    const std::int64_t n = by_slot_ ? 4 : 1;
    add(R"({"ev":"map_set","map":"m","pairs":[[)" + num(from * n) + ',' + num(to * n) + "]]}");
  }
  void unmap_page(std::int64_t from) {
    add(R"({"ev":"map_clear","map":"m","from":[)" + num(from * (by_slot_ ? 4 : 1)) + "]}");
  }
  void declare_map() {
    by_slot_ = dice_.one_in(4);
    add(std::string(R"({"ev":"map","map":"m","from":")") + (dice_.one_in(5) ? "G" : "F") +
        R"(","to":"S","unit":")" + (by_slot_ ? "slot" : "page") + "\"}");
  }

  void attend() {
    if (dice_.one_in(4)) {
      add(R"({"ev":"graph_launch","graph":"G","rows":[{"req":"A","row":0},{"req":"B","row":1}]})");
      return;
    }
    const std::int64_t layer = dice_.below(4);
    std::string rows, more;
    for (std::int64_t r = 0; r < 3; ++r) {
      if (requests_[r].len == 0 && !dice_.one_in(4)) continue;
      std::string lane = R"({"req":")" + req_name(r) + R"(","row":)" + num(r);
      if (dice_.one_in(3)) {
        lane += R"(,"len":)" + num(std::max<std::int64_t>(0, requests_[r].len - dice_.below(3)));
      }
      if (dice_.one_in(6)) lane += R"(,"q_len":2)";
      if (dice_.one_in(15)) lane += R"(,"first":1)";
      rows += (rows.empty() ? "" : ",") + lane + '}';
    }
    if (dice_.one_in(3)) more += R"(,"window":)" + num(1 + dice_.below(9));
    if (dice_.one_in(15)) more += R"(,"unit":"block")";
    if (dice_.one_in(15)) more += R"(,"space":"S")";
    if (dice_.one_in(15)) more += R"(,"bound":{"pages":6})";
    const std::string layers = dice_.one_in(3) ? "[0,1]" : '[' + num(layer) + ']';
    const bool to_s = layers == "[2]";
    add(R"({"ev":"attention","backend":"t","layers":)" + layers + R"(,"table":")" +
        (to_s ? "S.t" : "F.t") + R"(","lens":"l","rows":[)" + rows + ']' + more + '}');
  }

  void finish(std::int64_t r) {
    for (int s = 0; s < 2; ++s) {
      for (std::int64_t page : requests_[r].pages[s]) {
        if (dice_.one_in(12)) continue;
        add(of_req("free", s, r, R"("pages":[)" + num(page) + ']'));
      }
    }
    if (!dice_.one_in(4)) {
      add(R"({"ev":"request","req":")" + req_name(r) + R"(","state":"finish"})");
    }
    requests_[r] = {};
  }

  // What engines do seldom, and what they should not do.
  void disturb(std::int64_t r) {
    Request& q = requests_[r];
    const int s = static_cast<int>(dice_.below(2));
    const auto n = static_cast<std::int64_t>(q.pages[s].size());
    const std::int64_t at = n == 0 ? 0 : dice_.below(n);
    const std::int64_t own = n == 0 ? any_page() : q.pages[s][static_cast<std::size_t>(at)];
    switch (dice_.below(17)) {
      case 0:
        return cell(s, r, at, any_page());
      case 1:
        return cell(s, r, at, own);
      case 2:
        return add(of_req("free", s, r, R"("pages":[)" + num(own) + ']'));
      case 3:
        return add(of_req("evict", s, r, R"("logical":)" + num(at) + R"(,"page":)" + num(own)));
      case 4:
        return add(of_req("rewind", s, r, R"("len":)" + num(dice_.below(q.len + 1))));
      case 5:
        return map_page(any_page(), dice_.one_in(3) ? 0 : any_page());
      case 6:
        return unmap_page(any_page());
      case 7: {
        const std::string first = dice_.one_in(2) ? "" : R"(,"first":)" + num(dice_.below(3));
        return add(of_req("share", s, any_request(), R"("pages":[)" + num(own) + ']' + first));
      }
      case 8: {
        const std::string first = dice_.one_in(2) ? "" : R"(,"first":)" + num(dice_.below(3));
        return add(of_req("alloc", s, r, R"("pages":[)" + num(dice_.below(13)) + ']' + first));
      }
      case 9:
        return add(
            of_req("fill", s, r,
                   R"("pages":[)" + num(own) + R"(],"slots":[)" + num(dice_.below(5)) + ']'));
      case 10:
        return add(R"({"ev":"copy","from_pool":"F","to_pool":"F","req":")" + req_name(r) +
                   R"(","from":[)" + num(any_page()) + R"(],"to":[)" + num(own) + "]}");
      case 11:
        return in_other_pools(r, own);
      case 12:  // The map moves for a page that is nobody's, or no longer this request's.
        add(of_req("free", 0, r, R"("pages":[)" + num(own) + ']'));
        if (dice_.one_in(2))
          add(of_req("alloc", 0, any_request(), R"("pages":[)" + num(own) + ']'));
        if (!dice_.one_in(3)) attend();
        return dice_.one_in(2) ? unmap_page(own) : map_page(own, any_page());
      case 13:  // One page at two columns.
        return add(of_req("share", s, r,
                          R"("pages":[)" + num(own) + R"(],"first":)" + num(dice_.below(3))));
      default:
        return rare(s, own);
    }
  }
  // E has the owners of F and extents of its own; G is where a map may lead from.
  void in_other_pools(std::int64_t r, std::int64_t page) {
    const std::string req = R"("req":")" + req_name(r) + '"';
    const std::string of_e = R"(,"pool":"E",)" + req;
    const std::string pages = R"(,"pages":[)" + num(dice_.one_in(4) ? 0 : page) + ']';
    switch (dice_.below(6)) {
      case 0:
        return add(R"({"ev":"alloc")" + of_e + pages + R"(,"first":)" + num(dice_.below(3)) + '}');
      case 1:
        return add(R"({"ev":"fill")" + of_e + pages + '}');
      case 2:
        return add(R"({"ev":"rewind")" + of_e + R"(,"len":)" + num(dice_.below(9)) + '}');
      case 3:
        return add(R"({"ev":"free","pool":"G",)" + req + pages + '}');
      default:
        return add(R"({"ev":"alloc","pool":"G",)" + req + pages + R"(,"first":)" +
                   num(dice_.below(3)) + '}');
    }
  }
  void rare(int s, std::int64_t page) {
    if (!dice_.one_in(3)) return;
    switch (dice_.below(8)) {
      case 0:
        return add(R"({"ev":"buffer","buffer":"F.t"})");
      case 1:
        return add(R"({"ev":"pool","pool":"S","pages":9,"page_size":4})");
      case 2:
        return declare_map();
      case 3:
        return add(dice_.one_in(2) ? R"({"ev":"gap","why":"lost"})"
                                   : R"({"ev":"gap","why":"lost","pools":["F"]})");
      case 4:
        return add(std::string(R"({"ev":"async_begin","op":"o","kind":"write","pool":")") +
                   pool_name(s) + R"(","pages":[)" + num(page) + R"(],"by":"nic"})");
      case 5:
        return add(R"({"ev":"async_end","op":"o"})");
      case 6:  // A name that stood for a space stands for a pool of another from here on.
        return add(R"({"ev":"pool","pool":"Z","pages":9,"page_size":4,"space":"S"})");
      default:
        return add(R"({"ev":"pool","pool":"F","pages":14,"page_size":4,)"
                   R"("page_bytes":100,"offset_bits":10})");
    }
  }

  void step() {
    const std::int64_t r = any_request();
    const std::int64_t what = dice_.below(20);
    if (what < 6) return grow(r);
    if (what < 16) return attend();
    if (what == 16) return finish(r);
    disturb(r);
  }

  Dice dice_;
  bool by_slot_ = false;
  Lines lines_;
  Request requests_[3];
};

class Reuse : public testing::TestWithParam<int> {};

TEST_P(Reuse, LosesNoFinding) {
  constexpr int kSeeds = 20;
  for (int i = 0; i < kSeeds; ++i) {
    const std::uint64_t seed = static_cast<std::uint64_t>(GetParam()) * kSeeds + i;
    const Lines lines = Engine(seed).run(80);
    if (!differ(lines)) continue;
    FAIL() << "seed " << seed << ":\n" << shown(shrink(lines));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Reuse, testing::Range(0, 16));

constexpr const char* kHead[] = {
    R"({"ev":"pool","pool":"F","pages":8,"page_size":4,"reserved":[{"page":0,"role":"pad"}]})",
    R"({"ev":"backend","backend":"t"})",
    R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"})",
    R"({"ev":"buffer","buffer":"b"})",
    R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2,3],"first":0})",
    R"({"ev":"fill","pool":"F","req":"A","pages":[1,2,3]})",
    R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2,3]})",
    R"({"ev":"attention","backend":"t","layer":0,"table":"b",
        "rows":[{"req":"A","len":12,"row":0}]})",
};

// The same launch again after these lines: what is found then.
std::string found_after(const std::vector<const char*>& between) {
  Lines lines(std::begin(kHead), std::end(kHead));
  lines.insert(lines.end(), between.begin(), between.end());
  lines.push_back(kHead[std::size(kHead) - 1]);
  const Judged reused = judge(lines, true);
  const Judged anew = judge(lines, false);
  EXPECT_EQ(reused.text, anew.text);
  EXPECT_EQ(reused.covered, anew.covered);
  std::string out;
  for (const Finding& f : reused.findings) {
    out +=
        (out.empty() ? "" : " ") + std::string(info(f.rule).name) + '@' + std::to_string(f.column);
  }
  return out;
}

TEST(JudgeLaunch, ALaunchThatNothingChangedForIsAsCleanAsBefore) { EXPECT_EQ(found_after({}), ""); }

TEST(JudgeLaunch, AFreedPageIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"free","pool":"F","req":"A","pages":[2]})"}), "FREED_PAGE@1");
}

TEST(JudgeLaunch, ARewrittenCellIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"table","buffer":"b","row":0,"col":1,"pages":[9]})"}),
            "OOB_PAGE@1");
}

TEST(JudgeLaunch, ACellThatIsRewrittenByAnEarlierOnesPageStandsTwice) {
  EXPECT_EQ(found_after({R"({"ev":"table","buffer":"b","row":0,"col":2,"pages":[1]})"}),
            "ALIASED_WRITE@2");
}

TEST(JudgeLaunch, AnEvictionIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"evict","pool":"F","req":"A","logical":0,"page":1})"}),
            "WINDOW_EVICTED@0");
}

TEST(JudgeLaunch, ARewindIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"rewind","pool":"F","req":"A","len":6})"}),
            "UNINIT_READ@1 UNINIT_READ@2");
}

TEST(JudgeLaunch, ARewindByAnotherOwnerIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"share","pool":"F","req":"B","pages":[1],"first":0})",
                         R"({"ev":"rewind","pool":"F","req":"B","len":2})"}),
            "UNINIT_READ@0");
}

TEST(JudgeLaunch, ASmallerPoolIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"pool","pool":"F","pages":3,"page_size":4})"}), "OOB_PAGE@2");
}

TEST(JudgeLaunch, ACopyOfWhatTheSourceLacksIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"alloc","pool":"F","req":"A","pages":[4]})",
                         R"({"ev":"copy","from_pool":"F","to_pool":"F","req":"A","from":[4],
                            "to":[2]})"}),
            "UNINIT_READ@1");
}

TEST(JudgeLaunch, APageGivenOutForALaterColumnIsFoundWhenFreedAtTheOldOneToo) {
  EXPECT_EQ(
      found_after({R"({"ev":"free","pool":"F","req":"A","pages":[1]})",
                   R"({"ev":"alloc","pool":"F","req":"A","pages":[1],"first":5})",
                   R"({"ev":"fill","pool":"F","req":"A","pages":[1]})", kHead[std::size(kHead) - 1],
                   R"({"ev":"free","pool":"F","req":"A","pages":[1]})"}),
      "FREED_PAGE@0");
}

TEST(JudgeLaunch, ARewindAtALaterColumnIsFoundAtTheFirstOfThePage) {
  EXPECT_EQ(found_after({R"({"ev":"share","pool":"F","req":"A","pages":[1],"first":5})",
                         kHead[std::size(kHead) - 1],
                         R"({"ev":"rewind","pool":"F","req":"A","len":16})"}),
            "UNINIT_READ@0");
}

TEST(JudgeLaunch, AnAllocThroughAPoolThatReservesThePageEmptiesItInTheOthers) {
  EXPECT_EQ(found_after({R"({"ev":"pool","pool":"E","pages":8,"page_size":4,"space":"F",
                             "reserved":[{"page":2,"role":"pad"}]})",
                         kHead[std::size(kHead) - 1],
                         R"({"ev":"alloc","pool":"E","req":"B","pages":[2]})"}),
            "PAD_LANE@0 UNINIT_READ@1");
}

TEST(JudgeLaunch, APoolNamedLikeASpaceChangesWhatACellsSpaceMeans) {
  EXPECT_EQ(
      found_after({R"({"ev":"pool","pool":"Y","pages":8,"page_size":4,"space":"Z"})",
                   R"({"ev":"pool","pool":"K","pages":8,"page_size":4,"space":"Q"})",
                   R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"K"})",
                   R"({"ev":"alloc","pool":"K","req":"A","pages":[1,2,3],"first":0})",
                   R"({"ev":"fill","pool":"K","req":"A","pages":[1,2,3]})",
                   R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2,3],"space":"Q"})",
                   kHead[std::size(kHead) - 1],
                   R"({"ev":"pool","pool":"Q","pages":8,"page_size":4,"space":"Z"})"}),
      "WRONG_SPACE@0 WRONG_SPACE@1 WRONG_SPACE@2");
}

// Pool S behind a map from F: its lane of A is judged by value against A's pages of F.
constexpr const char* kMapped[] = {
    R"({"ev":"pool","pool":"S","pages":8,"page_size":4,"reserved":[{"page":0,"role":"pad"}]})",
    R"({"ev":"map","map":"m","from":"F","to":"S","unit":"page"})",
    R"({"ev":"map_set","map":"m","pairs":[[1,4],[2,5],[3,6]]})",
    R"({"ev":"alloc","pool":"S","req":"A","pages":[4,5,6],"first":0})",
    R"({"ev":"fill","pool":"S","req":"A","pages":[4,5,6]})",
    R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"S"})",
    R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[4,5,6]})",
};

std::string found_mapped(std::initializer_list<const char*> between) {
  std::vector<const char*> lines(std::begin(kMapped), std::end(kMapped));
  lines.insert(lines.end(), between.begin(), between.end());
  return found_after(lines);
}

TEST(JudgeLaunch, AMapEntryOfAPageThatNobodyOwnsIsComparedAllTheSame) {
  EXPECT_EQ(
      found_mapped({R"({"ev":"free","pool":"F","req":"A","pages":[2]})",
                    kHead[std::size(kHead) - 1], R"({"ev":"map_set","map":"m","pairs":[[2,7]]})"}),
      "WRONG_SPACE@1");
}

TEST(JudgeLaunch, AMapEntryOfAPageThatAnotherOwnsNowIsComparedAllTheSame) {
  EXPECT_EQ(
      found_mapped({R"({"ev":"free","pool":"F","req":"A","pages":[2]})",
                    R"({"ev":"alloc","pool":"F","req":"B","pages":[2],"first":0})",
                    kHead[std::size(kHead) - 1], R"({"ev":"map_set","map":"m","pairs":[[2,7]]})"}),
      "WRONG_SPACE@1");
}

TEST(JudgeLaunch, AMapThatLeadsFromAnotherPoolIsComparedAnew) {
  EXPECT_EQ(found_mapped({R"({"ev":"pool","pool":"G","pages":8,"page_size":4})",
                          R"({"ev":"alloc","pool":"G","req":"A","pages":[1,2,3],"first":0})",
                          kHead[std::size(kHead) - 1],
                          R"({"ev":"map","map":"m","from":"G","to":"S","unit":"page"})",
                          R"({"ev":"map_set","map":"m","pairs":[[2,7]]})"}),
            "WRONG_SPACE@1");
}

TEST(JudgeLaunch, ALongerWindowReadsPositionsThatWereNotJudged) {
  Lines lines(std::begin(kHead), std::begin(kHead) + 5);
  lines.insert(
      lines.end(),
      {R"({"ev":"store","backend":"t","layer":0,"rows":[{"req":"A","slots":[7,8,9,10,11]}]})",
       R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2,3]})",
       R"({"ev":"attention","backend":"t","layer":0,"table":"b","window":5,
           "rows":[{"req":"A","len":8,"row":0}]})",
       R"({"ev":"attention","backend":"t","layer":0,"table":"b","window":6,
           "rows":[{"req":"A","len":8,"row":0}]})"});
  const Judged reused = judge(lines, true);
  ASSERT_EQ(reused.findings.size(), 1u) << reused.text;
  EXPECT_EQ(reused.findings[0].rule, Rule::kUninitRead);
  EXPECT_EQ(reused.findings[0].event, 8u);
}

TEST(JudgeLaunch, ACopyWithinAGraphLaunchIsSeenByTheLaunchBehindIt) {
  Lines lines(std::begin(kHead), std::begin(kHead) + 7);
  const std::string attention = R"({"ev":"attention","backend":"t","layer":0,"table":"b",)"
                                R"("rows":[{"req":"A","row":0,"len":12}]})";
  lines.push_back(R"({"ev":"alloc","pool":"F","req":"A","pages":[4]})");
  lines.push_back(R"({"ev":"graph_capture","graph":"G","launches":[)" + attention +
                  R"(,{"ev":"copy","from_pool":"F","to_pool":"F","req":"A","from":[4],"to":[2]},)" +
                  attention + "]}");
  lines.push_back(R"({"ev":"graph_launch","graph":"G"})");
  const Judged reused = judge(lines, true);
  EXPECT_EQ(reused.text, judge(lines, false).text);
  ASSERT_EQ(reused.findings.size(), 1u) << reused.text;
  EXPECT_EQ(reused.findings[0].rule, Rule::kUninitRead);
  EXPECT_EQ(reused.findings[0].launch, 2);
}

// A window that begins within the last page leaves what is before it to be judged.
TEST(JudgeLaunch, AWiderWindowMeetsWhatANarrowOneLeftOut) {
  const std::string head = R"({"ev":"attention","backend":"t","layer":0,"table":"b","lens":"l",)";
  const std::string rows = R"("rows":[{"req":"A","row":0}]})";
  const Lines lines = {
      R"({"ev":"pool","pool":"F","pages":8,"page_size":8})",
      R"({"ev":"backend","backend":"t"})",
      R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"})",
      R"({"ev":"buffer","buffer":"b"})",
      R"({"ev":"buffer","buffer":"l"})",
      R"({"ev":"alloc","pool":"F","req":"A","pages":[2,3],"first":0})",
      R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[2,3]})",
      R"({"ev":"fill","pool":"F","req":"A","pages":[2,3],"slots":[8,4]})",
      R"({"ev":"lens","buffer":"l","values":[12]})",
      head + rows,
      R"({"ev":"store","backend":"t","layer":0,"rows":[{"req":"A","slots":[29,30,31]}]})",
      R"({"ev":"lens","buffer":"l","values":[16]})",
      head + R"("window":2,)" + rows,
      head + rows};
  const Judged reused = judge(lines, true);
  EXPECT_EQ(reused.text, judge(lines, false).text);
  ASSERT_EQ(reused.findings.size(), 1u) << reused.text;
  EXPECT_EQ(reused.findings[0].rule, Rule::kUninitRead);
  EXPECT_EQ(reused.findings[0].event, lines.size() - 1);
}

// Pages of a store count for OFFSET_OVERFLOW where their pool says what an offset can express.
TEST(JudgeLaunch, PoolsOfOneStoreCountEachForItself) {
  for (const bool first : {true, false}) {
    const std::string bytes = R"(,"page_bytes":64,"offset_bits":32)";
    Lines lines = {
        R"({"ev":"pool","pool":"P","pages":8,"page_size":8)" + (first ? bytes : "") + '}',
        R"({"ev":"pool","pool":"Q","pages":8,"page_size":8)" + (first ? "" : bytes) + '}',
        R"({"ev":"backend","backend":"t"})",
        R"({"ev":"pool_swap","backend":"t","layers":[0],"pool":"P"})",
        R"({"ev":"pool_swap","backend":"t","layers":[1],"pool":"Q"})",
        R"({"ev":"alloc","pool":"P","req":"A","pages":[3],"first":0})",
        R"({"ev":"alloc","pool":"Q","req":"A","pages":[3],"first":0})"};
    for (const char* slot : {"24", "25", "26"}) {
      lines.push_back(R"({"ev":"store","backend":"t","layers":[0,1],"unit":"slot",)"
                      R"("rows":[{"req":"A","slots":[)" +
                      std::string(slot) + "]}]}");
    }
    const std::string covered = judge(lines, true).covered;
    EXPECT_NE(covered.find("OFFSET_OVERFLOW 3\n"), std::string::npos) << covered;
    EXPECT_NE(covered.find("OOB_PAGE 6\n"), std::string::npos) << covered;
  }
}

TEST(JudgeLaunch, EveryFindingIsReportedAgainByEveryLaunch) {
  Lines lines(std::begin(kHead), std::end(kHead));
  lines.push_back(R"({"ev":"free","pool":"F","req":"A","pages":[3]})");
  for (int i = 0; i < 3; ++i) lines.push_back(kHead[std::size(kHead) - 1]);
  EXPECT_EQ(judge(lines, true).findings.size(), 3u);
}

TEST(JudgeLaunch, WhatIsJudgedCountsAlikeWithReuseAndWithout) {
  Lines lines(std::begin(kHead), std::end(kHead));
  for (int i = 0; i < 3; ++i) lines.push_back(kHead[std::size(kHead) - 1]);
  EXPECT_EQ(judge(lines, true).covered, judge(lines, false).covered);
}

TEST(JudgeLaunch, EntriesThatAreMissingCountForNothingWithReuseEither) {
  EXPECT_EQ(found_after({R"({"ev":"buffer","buffer":"b"})",
                         R"({"ev":"table","buffer":"b","row":0,"col":1,"pages":[2,3]})",
                         kHead[std::size(kHead) - 1], kHead[std::size(kHead) - 1]}),
            "");
  EXPECT_EQ(found_after({R"({"ev":"buffer","buffer":"b"})",
                         R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1]})",
                         R"({"ev":"table","buffer":"b","row":0,"col":2,"pages":[3]})",
                         kHead[std::size(kHead) - 1], kHead[std::size(kHead) - 1]}),
            "");
}

TEST(JudgeLaunch, EntriesOfUnknownPagesCountAsSuchWithReuseToo) {
  EXPECT_EQ(found_after({R"({"ev":"gap","why":"lost"})",
                         R"({"ev":"share","pool":"F","req":"A","pages":[1],"first":0})",
                         R"({"ev":"alloc","pool":"F","req":"A","pages":[2,3],"first":1})",
                         R"({"ev":"fill","pool":"F","req":"A","pages":[2,3]})",
                         R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2,3]})",
                         kHead[std::size(kHead) - 1], kHead[std::size(kHead) - 1]}),
            "");
}

TEST(JudgeLaunch, EntriesWhoseSpaceIsSaidCountApartFromTheOthers) {
  EXPECT_EQ(found_after({R"({"ev":"table","buffer":"b","row":0,"col":2,"pages":[3],"space":"F"})",
                         kHead[std::size(kHead) - 1], kHead[std::size(kHead) - 1]}),
            "");
}

}  // namespace
}  // namespace pagetape
