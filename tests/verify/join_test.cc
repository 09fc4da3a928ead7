// SPDX-License-Identifier: Apache-2.0
#include "verify/join.h"

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr char kFolder[] = "traces/golden/faults/";

std::string text_of(const std::string& name) {
  std::ifstream file(kFolder + name);
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}

JoinReport join(const std::string& report) {
  Fault fault;
  const Status status = parse_fault(text_of(report), fault);
  EXPECT_TRUE(status.ok()) << status.message();
  return join_trace(std::string(kFolder) + "crash.jsonl", fault);
}

JoinReport join_address(const std::string& lines, std::uint64_t address) {
  const ScratchFolder folder;
  Fault fault;
  fault.address = address;
  return join_trace(folder.write("trace.jsonl", lines), fault);
}

// Two pages of K at 0x1000, 0x100 bytes each.
constexpr char kSmall[] =
    R"({"ev": "pool", "pool": "P", "pages": 2, "page_size": 4, "page_bytes": 256}
{"ev": "pool_layer", "pool": "P", "layer": 0, "k_ptr": 4096}
{"ev": "backend", "backend": "b"}
{"ev": "pool_swap", "backend": "b", "layers": "*", "pool": "P"}
)";

TEST(Join, TheDriversAddressLeadsToTheEntry) {
  const JoinReport report = join("xid31.txt");
  EXPECT_EQ(report.exit_code(), 0);
  ASSERT_EQ(report.entries.size(), 1u);
  const JoinEntry& e = report.entries[0];
  EXPECT_EQ(e.event, 18u);
  EXPECT_EQ(report.names->text(e.req), "A");
  EXPECT_EQ(e.table_row, 2);
  EXPECT_EQ(e.column, 1);
  EXPECT_EQ(e.id, 17);
  EXPECT_EQ(e.region.pages, 8u);
  EXPECT_EQ(e.past_end(*report.fault.address), 9 * 65536);
  EXPECT_THAT(join_text(report),
              testing::AllOf(HasSubstr("request A"), HasSubstr("589,824 bytes past the end")));
}

TEST(Join, TheSanitizersAddressIsInTheSamePage) {
  const JoinReport report = join("memcheck.txt");
  ASSERT_EQ(report.entries.size(), 1u);
  EXPECT_EQ(report.entries[0].id, 17);
  EXPECT_TRUE(report.kernel_known);
}

TEST(Join, ACoreDumpHasTheLaunchAndNoEntry) {
  const JoinReport report = join("coredump.txt");
  EXPECT_THAT(report.entries, IsEmpty());
  EXPECT_THAT(report.launches, testing::ElementsAre(18));
  EXPECT_THAT(report.findings, Not(IsEmpty()));
  EXPECT_THAT(join_text(report), HasSubstr("Without an address no entry can be told"));
}

TEST(Join, SlotsOfAStoreAreNamed) {
  const std::string store =
      R"({"ev": "store", "backend": "b", "layer": 0, "rows": [{"req": "A", "slots": [9]}]})"
      "\n";
  const JoinReport report = join_address(kSmall + store, 0x1000 + 2 * 256 + 5);
  ASSERT_EQ(report.entries.size(), 1u);
  EXPECT_TRUE(report.entries[0].is_slot);
  EXPECT_EQ(report.entries[0].id, 9);
  EXPECT_EQ(report.entries[0].past_end(*report.fault.address), 5);
}

TEST(Join, AnAddressThatNoEntryLeadsToIsSaid) {
  const std::string attention =
      R"({"ev": "attention", "backend": "b", "layer": 0, "rows": [{"req": "A", "len": 4, )"
      R"("pages": [1]}]})"
      "\n";
  const JoinReport report = join_address(kSmall + attention, 0x1000 + 20 * 256);
  EXPECT_EQ(report.exit_code(), 0);
  EXPECT_THAT(report.entries, IsEmpty());
  EXPECT_THAT(join_text(report), HasSubstr("No entry of these launches leads there"));
  EXPECT_THAT(join_address(kSmall + attention, 16).entries, IsEmpty());
}

TEST(Join, WhatTheTraceDoesNotHaveIsNamed) {
  const JoinReport report =
      join_address(R"({"ev": "pool", "pool": "P", "pages": 2, "page_size": 4})"
                   "\n",
                   4096);
  EXPECT_THAT(join_text(report), HasSubstr("no `pool_layer` event"));
}

TEST(Join, AMissingTraceIsAnError) {
  Fault fault;
  fault.address = 4096;
  EXPECT_EQ(join_trace("nowhere.ptape", fault).exit_code(), 2);
}

TEST(Join, JsonHasTheSameInFields) {
  const auto json = nlohmann::json::parse(join_json(join("xid31.txt")));
  EXPECT_EQ(json.at("address"), "0x7f1234310000");
  EXPECT_EQ(json.at("entries").at(0).at("entry"), 17);
  EXPECT_EQ(json.at("entries").at(0).at("past_end"), 9 * 65536);
}

}  // namespace
}  // namespace pagetape
