// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "capture/capture_verbs.h"

namespace pagetape {

void add_doctor_verb(CLI::App& app, int& exit_code, std::vector<RuleNeed> rules) {
  auto options = std::make_shared<DoctorOptions>();
  auto format = std::make_shared<std::string>("text");
  options->rules = std::move(rules);
  CLI::App* verb = app.add_subcommand(
      "doctor", "Say what would be recorded here: the machine, the engines' hooks, the rules");
  verb->add_option("--python", options->interpreter, "Interpreter that runs the engine")
      ->capture_default_str()
      ->type_name("PROGRAM");
  verb->add_option("--hooks", options->injection.python,
                   "Folder of the Python package that records engines; otherwise python/ beside "
                   "this program")
      ->envname("PAGETAPE_PYTHON")
      ->type_name("DIR");
  verb->add_option("--cupti", options->injection.cupti, "As in record")
      ->envname("PAGETAPE_CUPTI")
      ->type_name("FILE");
  verb->add_option("--shared-memory", options->shared_memory, "Folder in memory for the rings")
      ->capture_default_str()
      ->type_name("DIR");
  verb->add_option("--format", *format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->footer(
      "The engine's modules are imported, in processes of their own, which takes as long "
      "as that takes; nothing is started and nothing recorded.");
  verb->callback([options, format, &exit_code] {
    Status status;
    const nlohmann::ordered_json report = examine(*options, status);
    std::printf("%s",
                *format == "json" ? (report.dump(1) + '\n').c_str() : doctor_text(report).c_str());
    if (!status.ok()) std::fprintf(stderr, "pagetape doctor: %s\n", status.message().c_str());
    exit_code = status.ok() ? 0 : 2;
  });
}

}  // namespace pagetape
