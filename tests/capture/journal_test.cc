// SPDX-License-Identifier: Apache-2.0
#include "capture/journal.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

using testing::ElementsAre;

TEST(Journal, GivesBackTheRingAndTheNamesInTheirOrder) {
  const ScratchFolder folder;
  Status status;
  const auto journal = Journal::create(folder.file("x"), "/dev/shm/r.ring", status);
  ASSERT_NE(journal, nullptr) << status.message();
  journal->add("F");
  journal->add("");
  journal->add("two\nlines");
  ASSERT_TRUE(journal->sync().ok());
  JournalContent content;
  ASSERT_TRUE(read_journal(folder.file("x"), content).ok());
  EXPECT_EQ(content.ring, "/dev/shm/r.ring");
  EXPECT_THAT(content.names, ElementsAre("F", "", "two\nlines"));
}

TEST(Journal, ALastNameThatWasCutIsLeftOut) {
  const ScratchFolder folder;
  Status status;
  {
    const auto journal = Journal::create(folder.file("x"), "r", status);
    journal->add("whole");
    journal->add("cut");
    ASSERT_TRUE(journal->sync().ok());
  }
  std::filesystem::resize_file(folder.file("x"), std::filesystem::file_size(folder.file("x")) - 1);
  JournalContent content;
  ASSERT_TRUE(read_journal(folder.file("x"), content).ok());
  EXPECT_THAT(content.names, ElementsAre("whole"));
}

TEST(Journal, AFileThatIsNoneIsRefused) {
  const ScratchFolder folder;
  JournalContent content;
  EXPECT_FALSE(read_journal(folder.file("nowhere"), content).ok());
  EXPECT_EQ(read_journal(folder.write("x", "no journal"), content).code(), Code::kDamaged);
}

}  // namespace
}  // namespace pagetape
