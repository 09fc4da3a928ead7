// SPDX-License-Identifier: Apache-2.0
#include "verify/online_check.h"

#include <gmock/gmock.h>

#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

// What a check says of lines of the text form; its verdict is the last.
std::vector<std::string> said_of(const std::string& lines) {
  const ScratchFolder folder;
  Names names;
  Status status;
  const auto source = open_trace(folder.write("trace.jsonl", lines), names, status);
  EXPECT_TRUE(status.ok()) << status.message();
  std::vector<std::string> said;
  OnlineCheck check(names,
                    [&](std::string_view, const std::string& line) { said.push_back(line); });
  Event event;
  while (source->next(event)) check.see(event);
  said.push_back(check.verdict());
  return said;
}

TEST(OnlineCheck, SaysARulesFirstFindingOnce) {
  const auto said = said_of(std::string(kSmallTrace) + kGoodLaunch + kBadLaunch + kBadLaunch);
  ASSERT_THAT(said, SizeIs(2));
  EXPECT_THAT(said[0], HasSubstr("OOB_PAGE at event 6"));
  EXPECT_THAT(said[1], HasSubstr("FAIL: 2 findings in 8 events and 3 launches"));
}

TEST(OnlineCheck, SaysNothingButTheVerdictOfCleanEvents) {
  const auto said = said_of(std::string(kSmallTrace) + kGoodLaunch);
  ASSERT_THAT(said, SizeIs(1));
  EXPECT_THAT(said[0], HasSubstr("no finding in 6 events and 1 launches"));
}

TEST(OnlineCheck, AnEventThatCannotApplyEndsItAndIsSaid) {
  const auto said = said_of(std::string(kSmallTrace) +
                            R"({"ev":"alloc","pool":"G","req":"A","pages":[1],"first":0})"
                            "\n" +
                            kBadLaunch);
  ASSERT_THAT(said, SizeIs(1));
  EXPECT_THAT(said[0], HasSubstr("INCOMPLETE: no finding in 5 events"));
}

}  // namespace
}  // namespace pagetape
