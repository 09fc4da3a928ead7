// SPDX-License-Identifier: Apache-2.0
// pagetape join TRACE --coredump-summary FILE | --xid LINE | --address A
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <memory>

#include "verify/join.h"
#include "verify/verify_verbs.h"

namespace pagetape {

namespace {
struct Flags {
  std::string trace, file, xid, address, format = "text";
};

constexpr std::size_t kMaxTextBytes = 64u << 20;

Status read_text(const std::string& path, std::string& text) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return usage(path + ": cannot be read");
  text.resize(kMaxTextBytes);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return {};
}

Status read_fault(const Flags& flags, Fault& fault) {
  if (flags.file.empty() && flags.xid.empty() && flags.address.empty()) {
    return usage(
        "say what is known of the fault: --coredump-summary FILE, --xid LINE, --address A");
  }
  std::string text = flags.xid;
  if (!flags.file.empty()) {
    if (Status status = read_text(flags.file, text); !status.ok()) return status;
  }
  if (!text.empty()) {
    const Status status = parse_fault(text, fault);
    if (!status.ok()) {
      return usage((flags.file.empty() ? "--xid" : flags.file) + ": " + status.message());
    }
  }
  if (flags.address.empty()) return {};
  fault.address = parse_address(flags.address);
  if (!fault.address) return usage("--address " + flags.address + ": is no address, as 0x7f1200");
  fault.bytes = 1;
  if (fault.said_by.empty()) fault.said_by = "--address";
  return {};
}

int run(const Flags& flags) {
  Fault fault;
  if (Status status = read_fault(flags, fault); !status.ok()) {
    std::fprintf(stderr, "pagetape join: %s\n", status.message().c_str());
    return 2;
  }
  const JoinReport report = join_trace(flags.trace, fault);
  if (report.exit_code() != 2) {
    std::fputs((flags.format == "json" ? join_json(report) : join_text(report)).c_str(), stdout);
  }
  if (!report.status.ok()) std::fprintf(stderr, "pagetape: %s\n", report.status.message().c_str());
  return report.exit_code();
}
}  // namespace

void add_join_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("join", "Say which launch and table entry led to a fault");
  verb->add_option("TRACE", flags->trace, "A binary or text trace")->required();
  CLI::Option* file =
      verb->add_option("--coredump-summary", flags->file,
                       "What cuda-gdb prints of a GPU core dump, or a report of compute-sanitizer");
  verb->add_option("--xid", flags->xid, "The driver's line: \"NVRM: Xid (PCI:...): 31, ...\"")
      ->excludes(file);
  verb->add_option("--address", flags->address,
                   "The address, in hexadecimal; beside a core dump, which has none");
  verb->add_option("--format", flags->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->footer(
      "The address is looked for with `pool_layer` (k_ptr, v_ptr), `attention.bound.ptr`, "
      "`buffer`,\n"
      "`arena` and `extent`. Looked at are the launches that had not completed (`launch_done`);\n"
      "where the trace does not say which, the last.");
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
