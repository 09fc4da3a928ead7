// SPDX-License-Identifier: Apache-2.0
#include "verify/redact.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

using testing::HasSubstr;
using testing::Not;

// A text trace, redacted.
std::string redacted(const std::string& path) {
  Names names;
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  Redactor redactor(names);
  Event event;
  std::string out;
  while (source->next(event)) {
    redactor.redact(event);
    out += print_event(event, names) + '\n';
  }
  return out;
}

std::string redacted_lines(const std::string& lines) {
  const ScratchFolder folder;
  return redacted(folder.write("trace.jsonl", lines));
}

// Findings as they are told, without the names and words of a request's own.
std::vector<nlohmann::ordered_json> findings_without_requests(const Report& report) {
  std::vector<nlohmann::ordered_json> out;
  for (const Finding& f : report.findings) {
    auto& json = out.emplace_back(finding_json(f, *report.names));
    for (const char* named : {"id", "req", "message", "op", "object"}) json.erase(named);
  }
  return out;
}

class Redacted : public testing::TestWithParam<std::string> {};

TEST_P(Redacted, HasTheSameFindingsAndNothingElseUnchecked) {
  VerifyOptions options;
  options.judge.max_findings = 0;
  const Report before = verify_trace(GetParam(), options);
  const Report after = verify_lines(redacted(GetParam()), options);
  EXPECT_EQ(after.status.code(), before.status.code()) << after.status.message();
  EXPECT_EQ(after.verdict, before.verdict);
  EXPECT_EQ(after.judged, before.judged);
  EXPECT_EQ(after.counts, before.counts);
  EXPECT_EQ(findings_without_requests(after), findings_without_requests(before));
}

INSTANTIATE_TEST_SUITE_P(Golden, Redacted, testing::ValuesIn([] {
                           std::vector<std::string> traces = golden_traces();
                           traces.push_back(kGolden + std::string("/sglang-0.5.19-defect.ptape"));
                           return traces;
                         }()),
                         [](const auto& of) { return case_name(of.param); });

TEST(Redact, RenamesRequestsInOrderOfAppearanceAndKeepsPools) {
  EXPECT_EQ(redacted_lines(R"({"ev":"pool","pool":"alice","pages":8,"page_size":4}
{"ev":"alloc","pool":"alice","req":"bob","pages":[1]}
{"ev":"share","pool":"alice","req":"#tree","pages":[1]}
{"ev":"alloc","pool":"alice","req":"alice","pages":[2]}
{"ev":"free","pool":"alice","req":"bob","pages":[1]}
)"),
            R"({"ev": "pool", "pool": "alice", "pages": 8, "page_size": 4}
{"ev": "alloc", "pool": "alice", "req": "r0", "pages": [1]}
{"ev": "share", "pool": "alice", "req": "#r0", "pages": [1]}
{"ev": "alloc", "pool": "alice", "req": "r1", "pages": [2]}
{"ev": "free", "pool": "alice", "req": "r0", "pages": [1]}
)");
}

TEST(Redact, LeavesNothingOfWhatASecretWasWrittenInto) {
  const std::string out = redacted_lines(
      R"({"ev":"header","format":1,"model":"/home/secret/llama","secret":"secret"}
{"ev":"pool","pool":"F","pages":8,"page_size":4,"src":"/home/secret/x.py:1"}
{"ev":"arena","arena":"a","bytes":64}
{"ev":"extent","arena":"a","owner":"secret","begin":0,"end":8}
{"ev":"extent","arena":"a","owner":"F","begin":8,"end":16}
{"ev":"view","object":"secret.view","allocator":1,"kernel":1}
{"ev":"access","object":"secret.access","used":1,"capacity":2}
{"ev":"alloc","pool":"F","req":"secret","pages":[1]}
{"ev":"fill","pool":"F","req":"secret","pages":[1],"digest":"secret"}
{"ev":"prefix_key","pool":"F","page":1,"key":"secret prompt"}
{"ev":"async_begin","op":"copy secret","kind":"read","pool":"F","pages":[1],"by":"secret"}
{"ev":"stream_wait","on":1,"ops":["copy secret"]}
{"ev":"scalar","name":"x","value":"secret"}
{"ev":"graph_capture","graph":"g","scalars":{"x":"secret","n":8}}
{"ev":"note","text":"secret"}
{"ev":"cuda_error","code":700,"name":"illegal","message":"secret"}
{"ev":"gap","why":"secret"}
)");
  EXPECT_THAT(out, Not(HasSubstr("secret")));
  EXPECT_THAT(out, HasSubstr(R"("model": "llama")"));
  EXPECT_THAT(out, HasSubstr(R"("owner": "F")"));
  EXPECT_THAT(out, HasSubstr(R"("scalars": {"n": 8, "x": "v0"})"));
  EXPECT_THAT(out, HasSubstr(R"({"ev": "scalar", "name": "x", "value": "v0"})"));
}

}  // namespace
}  // namespace pagetape
