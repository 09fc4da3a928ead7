// SPDX-License-Identifier: Apache-2.0
#include "capture/journal.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "tests/traces/trace_fixture.h"

namespace pagetape {
namespace {

using testing::ElementsAre;

TEST(Journal, GivesBackTheRingAndTheNamesInTheirOrder) {
  const ScratchFolder folder;
  Status status;
  const auto journal = Journal::create(folder.path("x"), "/dev/shm/r.ring", status);
  ASSERT_NE(journal, nullptr) << status.message();
  journal->add("F");
  journal->add("");
  journal->add("two\nlines");
  ASSERT_TRUE(journal->sync().ok());
  JournalContent content;
  ASSERT_TRUE(read_journal(folder.path("x"), content).ok());
  EXPECT_EQ(content.ring, "/dev/shm/r.ring");
  EXPECT_THAT(content.names, ElementsAre("F", "", "two\nlines"));
}

TEST(Journal, ALastNameThatWasCutIsLeftOut) {
  const ScratchFolder folder;
  Status status;
  {
    const auto journal = Journal::create(folder.path("x"), "r", status);
    journal->add("whole");
    journal->add("cut");
    ASSERT_TRUE(journal->sync().ok());
  }
  std::filesystem::resize_file(folder.path("x"), std::filesystem::file_size(folder.path("x")) - 1);
  JournalContent content;
  ASSERT_TRUE(read_journal(folder.path("x"), content).ok());
  EXPECT_THAT(content.names, ElementsAre("whole"));
}

TEST(Journal, AFileThatIsNoneIsRefused) {
  const ScratchFolder folder;
  JournalContent content;
  EXPECT_FALSE(read_journal(folder.path("nowhere"), content).ok());
  EXPECT_EQ(read_journal(folder.write("x", "no journal"), content).code(), Code::kDamaged);
}

}  // namespace
}  // namespace pagetape
