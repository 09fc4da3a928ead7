// SPDX-License-Identifier: Apache-2.0
#include "verify/regression.h"

#include <cctype>

#include "traces/text.h"

namespace pagetape {

static std::string word(const std::string& name) {
  std::string out;
  for (const char c : name) out += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return out;
}

std::string regression_text(const std::vector<Event>& events, const Names& names) {
  std::string out;
  for (const Event& event : events) out += print_event(event, names) + '\n';
  return out;
}

std::string regression_gtest(const std::string& name, Rule rule, const std::vector<Event>& events,
                             const Names& names) {
  const std::string id = word(name), rule_name(info(rule).name);
  return R"(// A finding of )" + rule_name + R"(, made small by `pagetape shrink`.
#include <gtest/gtest.h>

#include <fstream>

#include "verify/trace_matchers.h"

constexpr char kTrace[] = R"trace()" +
         regression_text(events, names) + R"()trace";

TEST(PagetapeRegression, )" +
         id + R"() {
  const std::string path = testing::TempDir() + ")" +
         id + R"(.jsonl";
  std::ofstream(path) << kTrace;
  EXPECT_THAT(path, pagetape::HasFinding(")" +
         rule_name + R"("));
}
)";
}

std::string regression_bazel(const std::string& name, Rule rule, const std::string& trace) {
  return "load(\"//verify:trace_test.bzl\", \"trace_test\")\n\ntrace_test(\n    name = \"" +
         word(name) + "\",\n    finds = \"" + std::string(info(rule).name) + "\",\n    trace = \"" +
         trace + "\",\n)\n";
}

}  // namespace pagetape
