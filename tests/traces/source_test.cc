// SPDX-License-Identifier: Apache-2.0
#include "traces/source.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace pagetape {
namespace {

class SourceTest : public testing::Test {
 protected:
  ~SourceTest() override { std::filesystem::remove(path_); }

  // What opening and reading a file of those bytes says.
  Status read(std::string_view bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    Status status;
    const auto source = open_trace(path_, names_, status);
    if (source == nullptr) return status;
    Event event;
    while (source->next(event)) ++events_;
    return source->status();
  }

  const std::string path_ = testing::TempDir() + "source_test.trace";
  Names names_;
  int events_ = 0;
};

TEST_F(SourceTest, ATextIsReadAsText) {
  EXPECT_TRUE(read("{\"ev\": \"end\"}\n").ok());
  EXPECT_TRUE(read("\r\n\r\n\r\n\r\n{\"ev\": \"end\"}").ok());
  EXPECT_TRUE(read("\n").ok());
  EXPECT_EQ(events_, 2);
}

TEST_F(SourceTest, WhatIsNeitherFormIsATextInError) {
  const Status status = read("PK\x03\x04");
  EXPECT_EQ(status.code(), Code::kUsage);
  EXPECT_EQ(status.message(), path_ + ":1: not valid JSON at column 1: invalid literal");
}

TEST_F(SourceTest, TheMagicMakesABinaryTraceCutOrDamagedToo) {
  for (const char* begin : {"\x89PTAPE\r\n", "\x89PTA", "\x89", "\x89PTAPE\n", "XPTAPE\r\n\1"}) {
    const Status status = read(begin);
    EXPECT_EQ(status.message().find("JSON"), std::string::npos) << status.message();
  }
}

TEST_F(SourceTest, AnEmptyFileIsNeitherForm) {
  const Status status = read("");
  EXPECT_EQ(status.code(), Code::kUsage);
  EXPECT_EQ(status.message(), path_ + " is empty: neither a binary trace nor a text trace");
}

TEST_F(SourceTest, AFolderAndAMissingFileAreSaidToBe) {
  Status status;
  EXPECT_EQ(open_trace(testing::TempDir(), names_, status), nullptr);
  EXPECT_EQ(status.message(), testing::TempDir() + ": is a folder, not a trace");
  EXPECT_EQ(open_trace("no/such.ptape", names_, status), nullptr);
  EXPECT_EQ(status.message(), "no/such.ptape: cannot be read: No such file or directory");
  EXPECT_EQ(status.code(), Code::kUsage);
}

}  // namespace
}  // namespace pagetape
