// SPDX-License-Identifier: Apache-2.0
#include "capture/flight.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <mutex>

#include "capture/sim/synth.h"
#include "replay/restate.h"
#include "tests/replay/replay_fixture.h"
#include "verify/report.h"

namespace pagetape {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Follower final : public Companion {
 public:
  explicit Follower(Names& names) : names_(names), state_(names) {}
  std::optional<Keyframe> keyframe() override { return std::nullopt; }
  void see(const Event& event) override {
    EXPECT_TRUE(state_.apply(event).applied());
    setup_.see(event, names_);
  }
  void restate(std::string_view why, const std::function<void(const Event&)>& give) override {
    pagetape::restate(state_, setup_, names_, why, give);
  }
  std::string found() override { return std::exchange(next_finding, ""); }

  std::string next_finding;

 private:
  Names& names_;
  State state_;
  SetupLog setup_;
};

class Flight : public testing::Test {
 protected:
  Flight() {
    sim::Config config;
    config.model = sim::find_model("tiny");
    EXPECT_EQ(sim::synthesize(config, folder_.file("s")).error, "");
    run_ = events_of(folder_.file("s"), names_);
    run_.pop_back();  // `end`
    std::filesystem::remove(folder_.file("s"));
  }

  void begin(const FlightLimits& limits, std::vector<Trigger> triggers = {}) {
    FlightOptions options;
    options.limits = limits;
    options.triggers = std::move(triggers);
    options.say = [this](const std::string& line) {
      const std::lock_guard lock(said_mutex_);  // Lines come from any thread.
      said_.push_back(line);
    };
    flight_ = std::make_unique<FlightRecorder>(folder_.file("x.ptape"), names_, options);
  }
  void give(const Event& event) {
    ASSERT_TRUE(flight_->before(event, companion_).ok());
    companion_.see(event);
    ASSERT_TRUE(flight_->add(event).ok());
    flight_->after(event, companion_);
  }
  void give_all() {
    for (const Event& event : run_) give(event);
  }
  Event event(const std::string& line) {
    Event out;
    EXPECT_TRUE(parse_event(line, names_, out).ok());
    return out;
  }
  // What is in the folder, but for the trace.
  std::vector<std::string> others() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.file("."))) {
      const std::string name = entry.path().filename().string();
      if (name != "x.ptape") out.push_back(name);
    }
    return out;
  }
  static std::vector<std::string> lines(const std::string& path) {
    Names names;
    std::vector<std::string> out;
    for (const Event& event : events_of(path, names)) out.push_back(print_event(event, names));
    return out;
  }
  // The lines behind the state that was said again.
  static std::vector<std::string> new_lines(const std::string& path) {
    std::vector<std::string> all = lines(path);
    const auto note = std::ranges::find_if(
        all, [](const std::string& line) { return line.find("restated up to") != line.npos; });
    return note == all.end() ? all : std::vector<std::string>(note + 1, all.end());
  }
  std::vector<std::string> last_of_run(std::size_t n) const {
    std::vector<std::string> out;
    for (std::size_t i = run_.size() - n; i < run_.size(); ++i) {
      out.push_back(print_event(run_[i], names_));
    }
    return out;
  }

  const ScratchFolder folder_;
  Names names_;
  std::vector<Event> run_;
  Follower companion_{names_};
  std::mutex said_mutex_;
  std::vector<std::string> said_;
  std::unique_ptr<FlightRecorder> flight_;
};

constexpr FlightLimits kOneStep{.ns = 1, .bytes = 0};  // Parts are a step long, and two are kept.

TEST_F(Flight, WithoutLimitsKeepsAll) {
  begin({});
  give_all();
  ASSERT_TRUE(flight_->close().ok());
  EXPECT_EQ(lines(folder_.file("x.ptape")), last_of_run(run_.size()));
  EXPECT_THAT(others(), IsEmpty());
}

TEST_F(Flight, KeepsTheLastPartsBehindTheirState) {
  begin(kOneStep);
  give_all();
  ASSERT_TRUE(flight_->close().ok());
  EXPECT_EQ(flight_->events(), run_.size());
  const std::vector<std::string> kept = new_lines(folder_.file("x.ptape"));
  ASSERT_GT(kept.size(), 1u);
  ASSERT_LT(kept.size(), run_.size() / 4);
  EXPECT_THAT(kept.front(), HasSubstr(R"("ev": "step")"));
  EXPECT_EQ(kept, last_of_run(kept.size()));
  EXPECT_THAT(others(), IsEmpty());
  const Report report = verify_trace(folder_.file("x.ptape"), {});
  EXPECT_EQ(report.verdict, Verdict::kPass) << report_text(report);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("x.ptape: the last " + std::to_string(kept.size()) +
                                           " of " + std::to_string(run_.size()) + " events")));
}

TEST_F(Flight, StaysWithinItsBytes) {
  constexpr std::uint64_t kBytes = 64 << 10;
  begin({.ns = 0, .bytes = kBytes});
  std::uint64_t most = 0;
  for (int round = 0; round < 24; ++round) {
    for (const Event& event : run_) {
      if (event.kind() == kKindOf<ev::Header>) continue;
      give(event);
      most = std::max(most, flight_->bytes());
    }
  }
  EXPECT_LE(most, kBytes + (16 << 10));  // And a state.
  EXPECT_GT(most, kBytes / 2);
  ASSERT_TRUE(flight_->close().ok());
}

TEST_F(Flight, CompletionsNameTheirLaunchByItsNewNumber) {
  begin(kOneStep);
  give_all();
  give(event(R"({"ev":"step","step":1000})"));
  std::uint64_t launch = flight_->events();
  give(*std::ranges::find_if(run_, [](const Event& e) { return e.kind() == kKindOf<ev::Store>; }));
  give(event(R"({"ev":"step","step":1001})"));
  give(event(R"({"ev":"launch_done","event":)" + std::to_string(launch) + "}"));
  give(event(R"({"ev":"launch_done","event":3})"));  // Cut away.
  give(event(R"({"ev":"launch_done","event":)" + std::to_string(launch) + "}"));
  ASSERT_TRUE(flight_->close().ok());
  const std::vector<std::string> all = lines(folder_.file("x.ptape"));
  ASSERT_GT(all.size(), 4u);
  EXPECT_THAT(all[all.size() - 4], HasSubstr(R"("ev": "store")"));
  const std::string done =
      R"({"ev": "launch_done", "event": )" + std::to_string(all.size() - 4) + "}";
  EXPECT_EQ(all[all.size() - 2], done);
  EXPECT_EQ(all[all.size() - 1], done);
}

TEST_F(Flight, ACudaErrorDumpsOnceAndTheRecordingGoesOn) {
  begin({}, {{"cuda-error", Trigger::Act::kDump}});
  for (std::size_t i = 0; i < 200; ++i) give(run_[i]);
  const Event error =
      event(R"({"ev":"cuda_error","code":700,"name":"CUDA_ERROR_X","message":"m"})");
  give(error);
  give(error);
  for (std::size_t i = 200; i < run_.size(); ++i) give(run_[i]);
  ASSERT_TRUE(flight_->close().ok());
  ASSERT_THAT(others(), SizeIs(1));
  EXPECT_THAT(others()[0], testing::MatchesRegex("x-cuda-error-[0-9]+T[0-9]+Z.ptape"));
  EXPECT_THAT(lines(folder_.file(others()[0])), SizeIs(201));
  EXPECT_THAT(lines(folder_.file("x.ptape")), SizeIs(run_.size() + 2));
}

TEST_F(Flight, AFindingStopsAndASignalStartsAgain) {
  begin({}, {{"finding", Trigger::Act::kStop}, {"usr1", Trigger::Act::kStart}});
  EXPECT_EQ(flight_->events(), 0u);
  flight_->pull("usr1");
  for (std::size_t i = 0; i < run_.size(); ++i) {
    if (i == 300) companion_.next_finding = "OOB_PAGE";
    if (i == run_.size() - 100) flight_->pull("usr1");
    give(run_[i]);
  }
  ASSERT_TRUE(flight_->close().ok());
  ASSERT_THAT(others(), SizeIs(1));
  EXPECT_THAT(others()[0], HasSubstr("x-finding-OOB_PAGE-"));
  EXPECT_THAT(lines(folder_.file(others()[0])), SizeIs(301));
  EXPECT_EQ(new_lines(folder_.file("x.ptape")), last_of_run(100));
}

TEST_F(Flight, StoppedToTheEndItLeavesNoTrace) {
  begin({}, {{"usr2", Trigger::Act::kStart}});
  give_all();
  EXPECT_EQ(flight_->written(), run_.size());
  ASSERT_TRUE(flight_->close().ok());
  EXPECT_FALSE(std::filesystem::exists(folder_.file("x.ptape")));
}

TEST_F(Flight, PartsOutliveARecorderThatEndsWithoutClose) {
  begin(kOneStep);
  give_all();
  ASSERT_TRUE(flight_->flush().ok());
  flight_ = nullptr;
  const std::vector<FlightPart> parts = parts_of(folder_.file("x.ptape"));
  ASSERT_GT(parts.size(), 1u);
  Names names;
  Status status;
  const auto writer = create_trace(folder_.file("y.ptape"), names, {}, status);
  std::uint64_t behind = 0;
  ASSERT_TRUE(join_parts(parts, names, *writer, nullptr, behind).ok());
  ASSERT_TRUE(writer->close().ok());
  EXPECT_EQ(behind, run_.size());
  const std::vector<std::string> kept = new_lines(folder_.file("y.ptape"));
  EXPECT_EQ(kept, last_of_run(kept.size()));
  remove_parts(folder_.file("x.ptape"));
  EXPECT_THAT(parts_of(folder_.file("x.ptape")), IsEmpty());
}

TEST_F(Flight, PartsThatDoNotFollowOnEachOtherAreDamage) {
  begin(kOneStep);
  for (std::size_t i = 0; i < run_.size(); ++i) {
    give(run_[i]);
    if (parts_of(folder_.file("x.ptape")).size() > 1 && i > 300) break;
  }
  std::vector<FlightPart> parts = parts_of(folder_.file("x.ptape"));
  ++parts.back().first;
  Names names;
  Status status;
  const auto writer = create_trace(folder_.file("y.ptape"), names, {}, status);
  std::uint64_t behind = 0;
  EXPECT_EQ(join_parts(parts, names, *writer, nullptr, behind).code(), Code::kDamaged);
}

}  // namespace
}  // namespace pagetape
