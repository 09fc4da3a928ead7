// SPDX-License-Identifier: Apache-2.0
#include "capture/text_writer.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <sstream>

namespace pagetape {
namespace {

TEST(TextWriter, WritesALineAnEventAndLeavesKeyframesOut) {
  const std::string path = testing::TempDir() + "/text_writer_test.jsonl";
  Names names;
  Status status;
  const auto writer = create_text_trace(path, names, status);
  ASSERT_NE(writer, nullptr) << status.message();
  Event event;
  event.body = ev::Refresh{names.intern("b")};
  ASSERT_TRUE(writer->add(event).ok());
  ASSERT_TRUE(writer->add_keyframe("state", 1).ok());
  event.body = ev::End{};
  ASSERT_TRUE(writer->add(event).ok());
  EXPECT_EQ(writer->events(), 2u);
  ASSERT_TRUE(writer->close().ok());
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_EQ(text.str(), "{\"ev\": \"refresh\", \"buffer\": \"b\"}\n{\"ev\": \"end\"}\n");
  EXPECT_EQ(writer->bytes(), text.str().size());
  std::remove(path.c_str());
}

TEST(TextWriter, AFolderThatIsNotThereIsNamed) {
  Names names;
  Status status;
  EXPECT_EQ(create_text_trace("/no/such/folder/x.jsonl", names, status), nullptr);
  EXPECT_NE(status.message().find("/no/such/folder/x.jsonl"), std::string::npos);
}

}  // namespace
}  // namespace pagetape
