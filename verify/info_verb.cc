// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <memory>

#include "bazel/build_info.h"
#include "replay/machine.h"
#include "replay/outcome.h"
#include "traces/reader.h"
#include "traces/source.h"
#include "verify/rules.h"
#include "verify/verify_verbs.h"

namespace pagetape {

namespace {
struct Flags {
  std::string trace;
  bool rules = false, outcomes = false, build = false, devices = false;
};
}  // namespace

static void print_rules() {
  for (const RuleInfo& rule : kRules) {
    std::printf("%-16s %s\n%16s needs %s\n", std::string(rule.name).c_str(),
                std::string(rule.sentence).c_str(), "", std::string(rule.needs).c_str());
  }
}

static void print_outcomes() {
  for (const OutcomeInfo& outcome : kOutcomes) {
    std::printf("%-20s %s\n", std::string(outcome.name).c_str(),
                std::string(outcome.sentence).c_str());
  }
}

static void print_build() {
  std::printf("compiler    %s\n", std::string(kCompiler).c_str());
  std::printf("assertions  %s\n", kAssertions ? "on" : "off");
  if (kHaveCuda) {
    std::printf("CUDA        %s at build time: sm_90, sm_100a, and PTX for what comes later\n",
                std::string(kCudaVersion).c_str());
  } else {
    std::printf("CUDA        not found at build time: the GPU parts are left out\n");
  }
}

// What replay can execute on, and which code the driver picked for it.
static void print_devices() {
  std::printf("cpu         %s\n",
              std::string(kIsaNames[static_cast<std::size_t>(widest_isa())]).c_str());
  Status status;
  const std::vector<GpuInfo> found = gpus(status);
  if (!status.ok()) std::printf("cuda        %s\n", status.message().c_str());
  for (std::size_t i = 0; i < found.size(); ++i) {
    const GpuInfo& gpu = found[i];
    const std::string code = gpu.code == 0 ? "no code for it: replay refuses it"
                                           : "runs the code for sm_" + std::to_string(gpu.code);
    std::printf("cuda %-6zu %s, %d.%d, %zu MiB, %s\n", i, gpu.name.c_str(), gpu.major, gpu.minor,
                gpu.memory >> 20, code.c_str());
  }
}

static int print_trace(const std::string& path) {
  Names names;
  Status status;
  std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) {
    std::fprintf(stderr, "pagetape: %s\n", status.message().c_str());
    return status.code() == Code::kDamaged ? 3 : 2;
  }
  std::array<std::uint64_t, kKinds> counts{};
  std::uint64_t events = 0;
  Event event;
  while (source->next(event)) {
    ++counts[event.kind()];
    ++events;
    if (const auto* header = std::get_if<ev::Header>(&event.body)) {
      std::printf("engine      %s %s\n", std::string(names.text(header->engine)).c_str(),
                  std::string(names.text(header->engine_version)).c_str());
    }
  }
  std::printf("events      %llu\n", static_cast<unsigned long long>(events));
  for (std::size_t k = 0; k < kKinds; ++k) {
    if (counts[k] == 0) continue;
    std::printf("  %-16s %llu\n", std::string(kKindNames[k]).c_str(),
                static_cast<unsigned long long>(counts[k]));
  }
  if (auto reader = Reader::open(path, names, status)) {
    std::printf("segments    %zu\nkeyframes   %zu\nbytes       %llu\nindex       %s\n",
                reader->segments().size(), reader->keyframes().size(),
                static_cast<unsigned long long>(reader->file_bytes()),
                reader->index_rebuilt() ? "rebuilt (the file has none)" : "in the file");
  }
  for (const std::string& warning : source->warnings()) {
    std::printf("warning: %s\n", warning.c_str());
  }
  if (source->status().ok()) return 0;
  std::fprintf(stderr, "pagetape: %s\n", source->status().message().c_str());
  return source->status().code() == Code::kDamaged ? 3 : 2;
}

static int run(const Flags& flags) {
  if (flags.rules) print_rules();
  if (flags.outcomes) print_outcomes();
  if (flags.build) print_build();
  if (flags.devices) print_devices();
  if (!flags.trace.empty()) return print_trace(flags.trace);
  if (flags.rules || flags.outcomes || flags.build || flags.devices) return 0;
  std::fprintf(stderr, "pagetape info: give a TRACE, --rules, --outcomes, --build or --devices\n");
  return 2;
}

void add_info_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("info", "What a trace holds, what the program knows");
  verb->add_option("TRACE", flags->trace, "A binary or text trace");
  verb->add_flag("--rules", flags->rules, "The rules, and the events that each needs");
  verb->add_flag("--outcomes", flags->outcomes, "Why an event may not apply");
  verb->add_flag("--build", flags->build, "How this program was built");
  verb->add_flag("--devices", flags->devices, "What replay can execute on, with which code");
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
