// SPDX-License-Identifier: Apache-2.0
#include "verify/suspects.h"

#include <gmock/gmock.h>

#include "tests/verify/json_fixture.h"
#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Event on(std::int32_t stream, EventBody body) {
  Event event;
  event.stream = stream;
  event.body = std::move(body);
  return event;
}
Event launch(std::int32_t stream) { return on(stream, ev::GraphLaunch{}); }
Event done(std::int64_t of) { return on(0, ev::LaunchDone{of}); }

void see(Suspects& suspects, const Event& event, EventIndex index) {
  if (const auto mark = launch_mark(event, index)) suspects.see(*mark);
}

TEST(Suspects, AreThoseOfEachStreamSinceTheLastThatCompleted) {
  Suspects suspects;
  see(suspects, launch(0), 0);
  see(suspects, launch(1), 1);
  see(suspects, launch(0), 2);
  see(suspects, launch(0), 3);
  see(suspects, done(2), 4);
  EXPECT_THAT(suspects.list(), ElementsAre(1, 3));
  EXPECT_EQ(suspects.count(), 2u);
  see(suspects, done(1), 5);
  see(suspects, done(3), 6);
  EXPECT_THAT(suspects.list(), IsEmpty());
}

TEST(Suspects, ATraceWithoutCompletionsNamesNone) {
  Suspects suspects;
  see(suspects, launch(0), 0);
  EXPECT_FALSE(suspects.known());
  EXPECT_THAT(suspects.list(), IsEmpty());
  EXPECT_EQ(suspects.count(), 0u);
}

TEST(Suspects, RanksAreApart) {
  Suspects suspects;
  Event other = launch(0);
  other.rank = 1;
  see(suspects, other, 0);
  see(suspects, launch(0), 1);
  see(suspects, done(1), 2);
  EXPECT_THAT(suspects.list(), ElementsAre(0));
}

TEST(Suspects, OfManyTheLastAreListedAndAllAreCounted) {
  Suspects suspects;
  see(suspects, launch(1), 0);
  see(suspects, done(0), 1);
  for (EventIndex i = 2; i < 1002; ++i) see(suspects, launch(0), i);
  EXPECT_EQ(suspects.count(), 1000u);
  EXPECT_EQ(suspects.list().size(), Suspects::kKept);
  EXPECT_EQ(suspects.list().back(), 1001u);
}

constexpr char kTrace[] = R"({"ev": "pool", "pool": "F", "pages": 8, "page_size": 16}
{"ev": "backend", "backend": "d"}
{"ev": "store", "backend": "d", "layer": 1, "rows": []}
{"ev": "launch_done", "event": 2}
{"ev": "store", "backend": "d", "layer": 2, "rows": []}
)";

TEST(Suspects, StandFirstInTheReport) {
  const ScratchFolder folder;
  const Report report = verify_trace(folder.write("trace.jsonl", kTrace), {});
  EXPECT_THAT(report_text(report), HasSubstr("1 launch begun and not completed"));
  EXPECT_THAT(report_text(report), HasSubstr("  event 4: "));
  EXPECT_EQ(json_of_report(report).at("suspects"), nlohmann::json({{"total", 1}, {"events", {4}}}));
  EXPECT_THAT(report_json(verify_lines(std::string(kTrace).substr(0, 150))),
              Not(HasSubstr("suspects")));
}

TEST(Suspects, CountErrorsAndKeepTheFirst) {
  Suspects suspects;
  for (EventIndex i = 0; i < 100; ++i) see(suspects, on(3, ev::CudaError{}), i);
  EXPECT_EQ(suspects.error_count(), 100u);
  EXPECT_EQ(suspects.errors().size(), Suspects::kKept);
  EXPECT_EQ(suspects.errors().front(), 0u);
  EXPECT_FALSE(suspects.known());
}

TEST(Suspects, WhatCudaReportedIsSaidWithoutAFinding) {
  const std::string error =
      R"({"ev": "cuda_error", "code": 700, "name": "CUDA_ERROR_ILLEGAL_ADDRESS", )"
      R"("message": "cuStreamSynchronize", "sticky": true})";
  const ScratchFolder folder;
  const Report report = verify_trace(folder.write("trace.jsonl", kTrace + error + '\n'), {});
  EXPECT_EQ(report.verdict, Verdict::kPass);
  EXPECT_THAT(report_text(report), AllOf(HasSubstr("CUDA reported 1 error:\n  event 5: "),
                                         HasSubstr("CUDA_ERROR_ILLEGAL_ADDRESS")));
  EXPECT_EQ(json_of_report(report).at("cuda_errors"),
            nlohmann::json({{"total", 1}, {"events", {5}}}));
  EXPECT_THAT(report_text(verify_lines(kTrace)), Not(HasSubstr("CUDA reported")));
}

}  // namespace
}  // namespace pagetape
