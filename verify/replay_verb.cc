// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>

#include "replay/session.h"
#include "verify/crosscheck.h"
#include "verify/not_negative.h"
#include "verify/replay_report.h"
#include "verify/verify_verbs.h"
#include "verify/what_if.h"

namespace pagetape {
namespace {

struct Flags {
  std::string trace, device = "auto", golden, write_golden, format = "text";
  std::vector<std::string> what_if;
  ReplayOptions options;
  unsigned threads = 0;
  int gpu = 0, verify = 1;
  std::uint64_t memory_mib = 0;
  std::size_t max_findings = 20;
  bool no_crosscheck = false;

  bool json() const { return format == "json"; }
  // Where words go: standard output, but for JSON, which stands there alone.
  std::FILE* words() const { return json() ? stderr : stdout; }
};

void say_cpu_instead(const Status& why) {
  std::fprintf(stderr, "pagetape: %s; the CPU replays\n", why.message().c_str());
}

std::unique_ptr<Machine> machine_for(const Flags& flags, Status& status) {
  if (flags.device != "cpu") {
    std::unique_ptr<Machine> gpu = make_cuda_machine(flags.gpu, status);
    if (gpu != nullptr || flags.device == "cuda") return gpu;
    say_cpu_instead(status);
    status = Status();
  }
  return make_cpu_machine(flags.threads);
}

// Where the GPU that `auto` took fails, the CPU takes over, here and from then on.
template <class Work>
auto execute(Flags& flags, std::unique_ptr<Machine>& machine, Work&& work) {
  const bool replaceable = flags.device == "auto" && machine->name() != "cpu";
  return work_on(machine, replaceable, flags.threads, work, [&](const Status& why) {
    say_cpu_instead(why);
    flags.device = "cpu";
  });
}

// A digest as text: what it is of, a line a step, a line a lane.
std::string golden_text(const ReplayReport& report) {
  std::ostringstream out;
  char line[160];
  out << "pagetape digest 1: " << report.digest_name << '\n';
  for (const StepDigest& s : report.steps) {
    std::snprintf(line, sizeof line, "step %" PRId64 " %016" PRIx64 "\n", s.step, s.digest);
    out << line;
  }
  for (const LaneDigest& d : report.lanes) {
    std::snprintf(line, sizeof line, "lane %" PRIu64 " %" PRId64 " %s %u %s %016" PRIx64 "\n",
                  d.event, d.launch, report.names->layer(d.layer).c_str(), d.lane,
                  d.req == kNone ? "-" : std::string(report.names->text(d.req)).c_str(), d.digest);
    out << line;
  }
  return out.str();
}

// Says where two digests part. True where they do not.
bool same_digest(const std::string& golden, const std::string& now, std::FILE* out) {
  std::istringstream a(golden), b(now);
  std::string was, is, step;
  for (;;) {
    const bool more_a = static_cast<bool>(std::getline(a, was));
    const bool more_b = static_cast<bool>(std::getline(b, is));
    if (!more_a && !more_b) return true;
    if (!more_a) was = "nothing more";
    if (!more_b) is = "nothing more";
    if (was == is) continue;
    std::fprintf(
        out, "The digest differs. The file says:  %s\n                    the replay:      %s\n",
        was.c_str(), is.c_str());
    // Steps come first; which launch and request it is stands in the lines of lanes.
    while (std::getline(a, was) && std::getline(b, is)) {
      if (was != is && was.starts_with("lane")) {
        std::fprintf(
            out,
            "First launch, layer, lane and request: %s\n                    the replay:      %s\n",
            was.c_str(), is.c_str());
        break;
      }
    }
    return false;
  }
}

int compare_golden(const Flags& flags, const ReplayReport& report) {
  std::ifstream file(flags.golden);
  if (!file) {
    std::fprintf(stderr, "pagetape: %s: cannot be read\n", flags.golden.c_str());
    return 2;
  }
  const std::string golden((std::istreambuf_iterator<char>(file)), {});
  return same_digest(golden, golden_text(report), flags.words()) ? 0 : 1;
}

int write_golden(const Flags& flags, const ReplayReport& report) {
  std::ofstream file(flags.write_golden);
  file << golden_text(report);
  file.close();
  if (file) return 0;
  std::fprintf(stderr, "pagetape: %s: cannot be written\n", flags.write_golden.c_str());
  return 2;
}

// Runs again with other chunks and numbers of threads: nothing may change.
int verify_again(const Flags& flags, const ReplayReport& first) {
  for (int run = 1; run < flags.verify; ++run) {
    Status status;
    Flags other = flags;
    other.options.executor.chunk_shift = 2 + run % 5;
    other.threads = 1 + static_cast<unsigned>(run);
    const std::unique_ptr<Machine> machine = machine_for(other, status);
    if (machine == nullptr) return 2;
    const ReplayReport again = replay_trace(flags.trace, other.options, *machine);
    if (again.steps == first.steps && again.findings == first.findings) continue;
    for (std::size_t i = 0; i < first.steps.size() && i < again.steps.size(); ++i) {
      if (again.steps[i] == first.steps[i]) continue;
      std::fprintf(flags.words(),
                   "Run %d differs from the first at step %" PRId64
                   ": this is a defect of pagetape itself.\n",
                   run + 1, first.steps[i].step);
      break;
    }
    return 4;
  }
  std::fprintf(flags.words(), "%d runs with other grids and threads: the same bits.\n",
               flags.verify);
  return 0;
}

// What the machine found against what the rules say. A difference is a defect of ours.
int compare_judges(const Flags& flags, const CrossCheck& check) {
  const std::string words = crosscheck_text(check);
  if (!words.empty()) std::fputs(words.c_str(), flags.words());
  return check.differing == 0 ? 0 : 4;
}

int fail(const Status& status) {
  std::fprintf(stderr, "pagetape: %s\n", status.message().c_str());
  return status.code() == Code::kDamaged ? 3 : 2;
}

int run_what_if(Flags& flags, std::unique_ptr<Machine>& machine) {
  std::vector<Variant> variants;
  for (const std::string& word : flags.what_if) {
    const Status status = make_variant(word, variants.emplace_back());
    if (!status.ok()) return fail(status);
  }
  const WhatIfReport report = execute(flags, machine, [&](Machine& on) {
    return what_if(flags.trace, variants, flags.options, on);
  });
  for (const std::string& warning : report.warnings) {
    std::fprintf(stderr, "pagetape: %s\n", warning.c_str());
  }
  if (!report.status.ok()) return fail(report.status);
  const std::string out = flags.json() ? what_if_json(report) : what_if_text(report);
  std::fputs(out.c_str(), stdout);
  return 0;
}

int run(Flags flags) {
  Status status;
  std::unique_ptr<Machine> machine = machine_for(flags, status);
  if (machine == nullptr) return fail(status);
  if (flags.memory_mib > 0) flags.options.memory = flags.memory_mib << 20;
  if (!flags.what_if.empty()) return run_what_if(flags, machine);
  flags.options.lanes = !flags.golden.empty() || !flags.write_golden.empty();
  const ReplayReport report = execute(
      flags, machine, [&](Machine& on) { return replay_trace(flags.trace, flags.options, on); });
  for (const std::string& warning : report.warnings) {
    std::fprintf(stderr, "pagetape: %s\n", warning.c_str());
  }
  std::optional<CrossCheck> check;
  if (report.status.ok() && !flags.no_crosscheck) check = crosscheck(report, flags.options);
  const std::string out = flags.json()
                              ? replay_json(report, flags.max_findings, check ? &*check : nullptr)
                              : replay_text(report, flags.max_findings);
  std::fputs(out.c_str(), stdout);
  if (!report.status.ok()) return fail(report.status);
  if (check) {
    if (const int code = compare_judges(flags, *check); code != 0) return code;
  }
  if (flags.verify > 1) {
    if (const int code = verify_again(flags, report); code != 0) return code;
  }
  if (!flags.write_golden.empty()) {
    if (const int code = write_golden(flags, report); code != 0) return code;
  }
  if (!flags.golden.empty()) {
    if (const int code = compare_golden(flags, report); code != 0) return code;
  }
  return report.findings.empty() ? 0 : 1;
}

}  // namespace

static std::string what_if_help() {
  std::string out = "Replay as if the engine had been patched, and say what is read: a list of\n";
  for (const auto& [name, meaning] : known_variants()) {
    out += "  " + std::string(name) + ": " + std::string(meaning) + "\n";
  }
  return out +
         "  or a file of edits, a line each: {\"at\": EVENT, \"set\": {FIELD: VALUE}}, "
         "\"insert\": {EVENT}, \"drop\": true";
}

static void add_flags(CLI::App& verb, Flags& flags) {
  verb.add_option("TRACE", flags.trace, "A binary or text trace")->required();
  verb.add_option("--device", flags.device, "Who executes; auto: a GPU where there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  verb.add_option("--gpu", flags.gpu, "Which GPU")->capture_default_str();
  verb.add_option("--threads", flags.threads, "Of the CPU; 0: all")->capture_default_str();
  verb.add_option("--on-oob", flags.options.executor.on_oob,
                  "An id that a launch must not use: record and skip it, trap, or clamp it")
      ->transform(CLI::CheckedTransformer(std::map<std::string, OnOob>{
          {"record", OnOob::kRecord}, {"trap", OnOob::kTrap}, {"clamp", OnOob::kClamp}}))
      ->option_text("record|trap|clamp");
  verb.add_option("--seed", flags.options.executor.seed, "Of K, V and Q")
      ->check(not_negative())
      ->capture_default_str();
  verb.add_option("--layers", flags.options.layers, "Execute these physical layers only")
      ->delimiter(',')
      ->allow_extra_args(false);
  verb.add_option("--heads", flags.options.heads, "Keep so many K/V heads; 0: all")
      ->check(CLI::NonNegativeNumber);
  verb.add_option(
      "--memory", flags.memory_mib,
      "MiB of K and V at a time (of a GPU three quarters of what is free, of a CPU 4096); "
      "fewer mean more passes and no other result");
  verb.add_option("--verify", flags.verify, "Run so many times, cut otherwise, and compare")
      ->check(CLI::PositiveNumber);
  verb.add_option("--golden", flags.golden, "Compare with a digest written before");
  verb.add_option("--write-golden", flags.write_golden, "Write the digest, lane by lane");
  verb.add_option("--max-findings", flags.max_findings, "Printed")
      ->check(not_negative())
      ->capture_default_str();
}

void add_replay_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("replay", "Execute a trace's launches again, checked");
  add_flags(*verb, *flags);
  verb->add_flag("--no-crosscheck", flags->no_crosscheck,
                 "Do not compare what the machine finds with what the verifier says");
  verb->add_option("--what-if", flags->what_if, what_if_help())
      ->delimiter(',')
      ->allow_extra_args(false);
  verb->add_option("--format", flags->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
