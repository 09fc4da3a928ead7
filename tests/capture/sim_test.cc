// SPDX-License-Identifier: Apache-2.0
// The simulated engine as a whole. That each planted defect breaks its rules and no other is tested
// where the rules are: planted_test.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "capture/sim/synth.h"
#include "traces/text.h"

namespace pagetape::sim {
namespace {

std::string file(const std::string& name) { return testing::TempDir() + "/sim_test." + name; }

Config config(const char* model, const char* bug) {
  Config to;
  to.model = find_model(model);
  to.bug = find_bug(bug)->bug;
  return to;
}

std::string text_of(const Config& config) {
  const std::string path = file("jsonl");
  const SynthResult result = synthesize(config, path);
  EXPECT_EQ(result.error, "");
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  std::remove(path.c_str());
  return text.str();
}

struct Trace {
  explicit Trace(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      const Status status = parse_event(line, names, events.emplace_back());
      EXPECT_TRUE(status.ok()) << status.message();
    }
  }
  Names names;
  std::vector<Event> events;
};

// Ids that the draft's window layers read, in the order of the launches: where a stale draft goes
// wrong, as the kernel sees it.
struct DraftReads {
  std::int32_t first_past_pool = 0;
  std::int64_t reads = 0, wrong = 0;
};

DraftReads stale_draft_reads(const Config& config) {
  const Trace trace(text_of(config));
  const Names& names = trace.names;
  const Model& model = *config.model;
  const Name table = names.find("draft.page_table"), lens = names.find("draft.cache_seqlens");
  std::map<std::pair<std::int64_t, std::int64_t>, std::int32_t> cells;
  std::map<std::int64_t, std::int64_t> lengths, swa_of;
  DraftReads result;
  for (const Event& event : trace.events) {
    if (const auto* one = std::get_if<ev::Table>(&event.body); one && one->buffer == table) {
      std::int64_t col = one->col;
      for (const PageId page : one->pages) cells[{one->row, col++}] = raw(page);
    } else if (const auto* map = std::get_if<ev::MapSet>(&event.body)) {
      for (const auto& [from, to] : map->pairs) swa_of[from] = to;
    } else if (const auto* length = std::get_if<ev::Lens>(&event.body);
               length && length->buffer == lens) {
      std::int64_t row = length->row.value_or(0);
      for (const std::int64_t value : length->values) lengths[row++] = value;
    } else if (const auto* launch = std::get_if<ev::GraphLaunch>(&event.body)) {
      for (const ev::Row& row : *launch->rows) {
        const std::int64_t len = lengths[*row.row];
        for (std::int64_t col = std::max<std::int64_t>(len - model.window, 0) / model.page_size;
             col * model.page_size < len; ++col) {
          const std::int32_t page = cells[{*row.row, col}];
          ++result.reads;
          result.wrong += swa_of[page] != page;
          if (page >= model.swa_pages && result.first_past_pool == 0) {
            result.first_past_pool = page;
          }
        }
      }
    }
  }
  return result;
}

TEST(Sim, SameArgumentsGiveTheSameBytes) {
  EXPECT_EQ(text_of(config("tiny", "none")), text_of(config("tiny", "none")));
}

TEST(Sim, AnotherSeedGivesAnotherTrace) {
  Config other = config("tiny", "none");
  other.seed = 2;
  EXPECT_NE(text_of(config("tiny", "none")), text_of(other));
}

TEST(Sim, TinyStaleDraftReadsPastThePoolInAFewThousandEvents) {
  EXPECT_EQ(stale_draft_reads(config("tiny", "stale-swa")).first_past_pool, 8);
  EXPECT_LT(synthesize(config("tiny", "stale-swa"), file("count.jsonl")).events, 5000u);
}

TEST(Sim, StaleDraftOfALongRunFirstReadsThePageThatEqualsThePageCount) {
  Config run = config("gemma4-e4b", "stale-swa");
  run.steps = 400;
  EXPECT_EQ(stale_draft_reads(run).first_past_pool, 8657);
}

TEST(Sim, StaleDraftOfAShortRunReadsTheRightPagesByAccident) {
  Config run = config("gemma4-e4b", "stale-swa");
  run.prompt_tokens = 1024;
  run.output_tokens = 256;
  const DraftReads reads = stale_draft_reads(run);
  EXPECT_GT(reads.reads, 10'000);
  EXPECT_EQ(reads.wrong, 0);
  EXPECT_EQ(reads.first_past_pool, 0);
}

TEST(Sim, EveryRequestFinishesAlsoWhereTheyArePreempted) {
  Config run = config("tiny", "none");
  run.requests = 20;
  const std::string text = text_of(run);
  std::size_t finished = 0;
  for (std::size_t at = 0; (at = text.find(R"("state": "finish")", at)) != std::string::npos;
       ++at) {
    ++finished;
  }
  EXPECT_EQ(finished, 20u);
  EXPECT_NE(text.find(R"("state": "preempt")"), std::string::npos);
  EXPECT_NE(text.find(R"("ev": "prefix_hit")"), std::string::npos);
}

TEST(Sim, EveryDefectIsPlantedAndNamedOnce) {
  const std::string healthy = text_of(config("tiny", "none"));
  std::set<std::string_view> names;
  for (const BugInfo& info : bugs()) {
    EXPECT_TRUE(names.insert(info.name).second);
    if (info.bug == Bug::kNone) continue;
    EXPECT_NE(text_of(config("tiny", std::string(info.name).c_str())), healthy) << info.name;
  }
}

TEST(Sim, SaysWhatDoesNotFit) {
  Config run = config("tiny", "none");
  run.prompt_tokens = 10'000;
  EXPECT_NE(synthesize(run, file("none.jsonl")).error.find("does not fit"), std::string::npos);
  EXPECT_NE(synthesize(config("tiny", "none"), "/no/such/folder/x.jsonl").error, "");
}

}  // namespace
}  // namespace pagetape::sim
