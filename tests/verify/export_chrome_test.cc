// SPDX-License-Identifier: Apache-2.0
#include "verify/export_chrome.h"

#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>

#include "tests/verify/export_fixture.h"

namespace pagetape {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// The picture of a trace: its lanes by name, each the names of what stands in it.
class Picture {
 public:
  explicit Picture(const std::string& path) {
    const ScratchFolder folder;
    const std::string json = folder.file("x.json");
    report_ = verify_trace(path, {});
    OutputFile out;
    EXPECT_TRUE(out.open(json).ok());
    const auto exporter = chrome_exporter(*report_.names, !has_times(path), out);
    EXPECT_TRUE(walk_trace(report_, *exporter).ok());
    EXPECT_TRUE(out.commit().ok());
    events_ = nlohmann::json::parse(text_of(json)).at("traceEvents");
    for (const auto& e : events_) {
      const std::pair lane(e.at("pid"), e.value("tid", 0));
      if (e.at("ph") == "M") {
        if (e.at("name") == "thread_name") names_[lane] = e.at("args").at("name");
      } else {
        lanes_[names_.at(lane)].push_back(shown(e));
      }
    }
  }

  std::vector<std::string> lane(const std::string& name) const {
    const auto at = lanes_.find(name);
    return at == lanes_.end() ? std::vector<std::string>() : at->second;
  }
  const Report& report() const { return report_; }

 private:
  // "B attention layer 0 @3".
  static std::string shown(const nlohmann::json& e) {
    const std::string name = e.contains("name") ? ' ' + e.at("name").get<std::string>() : "";
    return e.at("ph").get<std::string>() + name + " @" +
           std::to_string(static_cast<int>(e.at("ts")));
  }

  Report report_;
  nlohmann::json events_;
  std::map<std::pair<int, int>, std::string> names_;
  std::map<std::string, std::vector<std::string>> lanes_;
};

Picture picture_of(const std::string& lines) {
  const ScratchFolder folder;
  return Picture(folder.write("trace.jsonl", lines));
}

constexpr char kLaunches[] = R"({"ev":"pool","pool":"F","pages":8,"page_size":4,"t":1000}
{"ev":"backend","backend":"d","t":1000}
{"ev":"step","step":0,"t":2000}
{"ev":"store","backend":"d","layer":1,"rows":[],"t":3000}
{"ev":"launch_done","event":3,"t":5000}
{"ev":"store","backend":"d","layer":2,"rows":[],"t":6000}
{"ev":"store","backend":"d","layer":3,"rows":[],"stream":4,"t":8000}
{"ev":"step","step":1,"mode":"decode","t":9000}
{"ev":"note","text":"x","t":9000}
)";

TEST(ExportChrome, ALaunchEndsWhenItIsDoneElseWhereItsLaneGoesOn) {
  const Picture picture = picture_of(kLaunches);
  EXPECT_THAT(picture.lane("d"), ElementsAre("B store layer 1 @3", "E @5", "B store layer 2 @6",
                                             "E @8", "B store layer 3 @8", "E @9"));
  EXPECT_THAT(picture.lane("stream 0"),
              ElementsAre("B store layer 1 @3", "E @5", "B store layer 2 @6", "E @9"));
  EXPECT_THAT(picture.lane("stream 4"), ElementsAre("B store layer 3 @8", "E @9"));
}

TEST(ExportChrome, StepsFollowEachOther) {
  EXPECT_THAT(picture_of(kLaunches).lane("steps"),
              ElementsAre("B step 0 @2", "E @9", "B step 1 decode @9", "i note: x @9", "E @9"));
}

TEST(ExportChrome, ARequestLeavesItsLaneToTheNext) {
  const Picture picture = picture_of(R"({"ev":"request","req":"A","state":"arrive","t":1000}
{"ev":"request","req":"A","state":"run","t":2000}
{"ev":"request","req":"A","state":"finish","t":3000}
{"ev":"request","req":"B","state":"arrive","t":4000}
)");
  EXPECT_THAT(picture.lane("lane 1"),
              ElementsAre("B A @1", "B arrive @1", "E @2", "B run @2", "E @3", "i finish @3",
                          "E @3", "B B @4", "B arrive @4", "E @4", "E @4"));
  EXPECT_THAT(picture.lane("lane 2"), IsEmpty());
}

TEST(ExportChrome, FindingsAndPagesStandAtTheirEvents) {
  const Picture picture = picture_of(std::string(kSmallTrace) + kBadLaunch);
  EXPECT_THAT(picture.lane("t"),
              ElementsAre("i bound to F @2", "B attention layer 0 @5", "i OOB_PAGE @5", "E @6"));
  EXPECT_THAT(picture.lane("F"), ElementsAre("C pages of F @0", "C pages of F @3"));
}

TEST(ExportChrome, AnEventThatWasRefusedEndsThePicture) {
  const Picture picture = picture_of(std::string(kSmallTrace) +
                                     R"({"ev":"free","pool":"none","req":"A","pages":[1]}
)" + kBadLaunch);
  EXPECT_FALSE(picture.report().status.ok());
  EXPECT_THAT(picture.lane("t"), ElementsAre("i bound to F @2"));
}

TEST(ExportChrome, RanksHaveLanesOfTheirOwn) {
  const Picture picture = picture_of(R"({"ev":"step","step":0,"rank":0}
{"ev":"step","step":7,"rank":1}
{"ev":"step","step":1,"rank":0}
)");
  EXPECT_THAT(picture.lane("steps"),
              ElementsAre("B step 0 @0", "B step 7 @1", "E @2", "B step 1 @2", "E @3", "E @3"));
}

}  // namespace
}  // namespace pagetape
