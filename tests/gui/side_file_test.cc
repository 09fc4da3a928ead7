// SPDX-License-Identifier: Apache-2.0
#include "gui/app/side_file.h"

#include <fstream>

#include "tests/gui/gui_fixture.h"

namespace pagetape {
namespace {

using SideFileTest = GuiTest;

TEST_F(SideFileTest, WhatIsWrittenIsRead) {
  const Session session{.selected = 7,
                        .begin = 1.5,
                        .end = 99,
                        .hidden_rules = {"OOB_PAGE"},
                        .layer = "22",
                        .request = "r\"0",
                        .colours = "age",
                        .pinned_lanes = {"requests"},
                        .hidden_lanes = {"step"},
                        .lanes = "draft",
                        .dark = false,
                        .bookmarks = {{7, "here \xff it begins"}}};
  ASSERT_TRUE(write_session(path_, session).ok());
  Session read;
  ASSERT_TRUE(read_session(path_, read).ok());
  EXPECT_EQ(read.request, session.request);
  EXPECT_EQ(read.bookmarks.at(0).event, 7U);
  EXPECT_THAT(read.bookmarks[0].note, ::testing::StartsWith("here"));
  EXPECT_EQ(read.hidden_rules, session.hidden_rules);
  EXPECT_EQ(read.end, 99);
}

TEST_F(SideFileTest, NoFileIsNoError) {
  Session read;
  read.selected = 3;
  EXPECT_TRUE(read_session(path_, read).ok());
  EXPECT_EQ(read.selected, 3U);
}

TEST_F(SideFileTest, ANonsenseFileIsSaid) {
  for (const char* text : {"", "[]", "{\"selected\": \"soon\"}", "{"}) {
    std::ofstream(path_) << text;
    Session read;
    EXPECT_FALSE(read_session(path_, read).ok()) << text;
  }
}

TEST_F(SideFileTest, AFolderThatCannotBeWrittenIsSaid) {
  const Status status = write_session("/proc/no/such", {});
  EXPECT_THAT(status.message(), ::testing::HasSubstr("bookmarks are not kept"));
}

}  // namespace
}  // namespace pagetape
