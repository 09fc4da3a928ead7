// SPDX-License-Identifier: Apache-2.0
#include "verify/output_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace pagetape {
namespace {

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class OutputFileTest : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(path_) << "before"; }
  ~OutputFileTest() override { std::remove(path_.c_str()); }
  std::string path_ = testing::TempDir() + "/output_file_test.txt";
};

TEST_F(OutputFileTest, PutsWhatWasWrittenInPlace) {
  OutputFile file;
  ASSERT_TRUE(file.open(path_).ok());
  EXPECT_EQ(contents(path_), "before");
  ASSERT_TRUE(file.commit("after").ok());
  EXPECT_EQ(contents(path_), "after");
}

TEST_F(OutputFileTest, ChangesNothingWithoutACommit) {
  {
    OutputFile file;
    ASSERT_TRUE(file.open(path_).ok());
    EXPECT_TRUE(std::filesystem::exists(path_ + ".partial"));
  }
  EXPECT_EQ(contents(path_), "before");
  EXPECT_FALSE(std::filesystem::exists(path_ + ".partial"));
}

TEST_F(OutputFileTest, RefusesAFolderAndAPathThatIsNot) {
  OutputFile folder, missing;
  EXPECT_THAT(folder.open(testing::TempDir()).message(), testing::HasSubstr("it is a folder"));
  EXPECT_THAT(missing.open(path_ + "/none/x").message(), testing::HasSubstr("cannot be written"));
}

TEST_F(OutputFileTest, WritesThroughToWhatIsNoFile) {
  OutputFile null, full;
  ASSERT_TRUE(null.open("/dev/null").ok());
  EXPECT_TRUE(null.commit("x").ok());
  ASSERT_TRUE(full.open("/dev/full").ok());
  EXPECT_FALSE(full.commit("x").ok());
}

}  // namespace
}  // namespace pagetape
