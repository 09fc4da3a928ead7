// SPDX-License-Identifier: Apache-2.0
#include "capture/doctor.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "capture/ring_file.h"

namespace pagetape {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json line(const char* what, bool ok, std::string detail) {
  return {{"what", what}, {"ok", ok}, {"detail", std::move(detail)}};
}

std::string mib(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

// A ring is made, and goes again.
Json shared_memory(const DoctorOptions& options) {
  const std::string& top = options.shared_memory;
  const std::string folder = top + "/pagetape-" + random_name();
  const char* const otherwise = ": each process would write its own trace";
  if (mkdir(folder.c_str(), 0700) != 0) {
    return line("shared memory", false, top + ": " + std::strerror(errno) + otherwise);
  }
  struct statvfs room {};
  (void)statvfs(top.c_str(), &room);
  Status status;
  std::uint64_t got = 0;
  {
    const auto ring = RingFile::create(folder, options.ring_bytes, -1, status);
    if (ring != nullptr) {
      got = ring->header().data_bytes;
      ::unlink(ring->path().c_str());
    }
  }
  ::rmdir(folder.c_str());
  if (!status.ok()) return line("shared memory", false, status.message() + otherwise);
  return line("shared memory", got == options.ring_bytes,
              top + ": " + mib(room.f_bavail * room.f_frsize) + " free, a ring of " + mib(got) +
                  " was made; each process takes one");
}

std::string dl_failure() {
  const char* error = dlerror();
  return error != nullptr ? error : "cannot be loaded";
}

Json driver() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return line("CUDA driver", false, dl_failure());
  using Version = int (*)(int*);
  const auto version = reinterpret_cast<Version>(dlsym(library, "cuDriverGetVersion"));
  int n = 0;
  if (version == nullptr || version(&n) != 0) return line("CUDA driver", false, "has no version");
  return line("CUDA driver", true,
              "for CUDA " + std::to_string(n / 1000) + '.' + std::to_string(n % 1000 / 10));
}

Json gpus() {
  std::error_code error;
  int n = 0;
  for (const auto& entry : fs::directory_iterator("/dev", error)) {
    const std::string name = entry.path().filename().string();
    const bool device = name.starts_with("nvidia") && name.size() > 6 &&
                        name.find_first_not_of("0123456789", 6) == name.npos;
    if (device && access(entry.path().c_str(), R_OK | W_OK) == 0) ++n;
  }
  return line("GPUs", n > 0, std::to_string(n) + " in /dev that this user may open");
}

Json cupti() {
  for (const char* name : kCuptiLibraries) {
    if (dlopen(name, RTLD_NOW | RTLD_LOCAL) != nullptr) return line("CUPTI", true, name);
  }
  return line("CUPTI", false, dl_failure() + ": CUDA's own calls are not recorded");
}

// A library that the engine's processes are to load.
Json library(const char* what, const std::string& path, const char* without) {
  if (path.empty()) return line(what, false, std::string("not found: ") + without);
  void* loaded = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  return line(what, loaded != nullptr, loaded != nullptr ? path : dl_failure() + ": " + without);
}

Json injected_already() {
  const char* other = std::getenv(kCudaVariable);
  const bool free = other == nullptr || *other == 0;
  return line(kCudaVariable, free,
              free ? "not set: record may set it"
                   : std::string(other) + ": stays, and CUDA's own calls are not recorded");
}

std::string limit(int which) {
  rlimit found{};
  if (getrlimit(which, &found) != 0) return "unknown";
  return found.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(found.rlim_cur) + " bytes";
}

Json limits() {
  rlimit files{};
  const bool ok = getrlimit(RLIMIT_FSIZE, &files) == 0 && files.rlim_cur == RLIM_INFINITY;
  return line("limits", ok,
              "files (a ring and a trace are some): " + limit(RLIMIT_FSIZE) +
                  "; locked memory (device tables pin theirs): " + limit(RLIMIT_MEMLOCK));
}

Json sandbox() {
  std::ifstream file("/proc/self/status");
  if (!file) return line("sandbox", false, "/proc is not there: a thread that died is not noticed");
  std::string row;
  while (std::getline(file, row)) {
    if (!row.starts_with("Seccomp:")) continue;
    const bool filtered = row.find_last_of("12") != row.npos;
    return line("sandbox", true,
                filtered ? "system calls are filtered; what record needs of them was tried above"
                         : "none; ptrace is not used, nor are privileges");
  }
  return line("sandbox", true, "unknown; ptrace is not used, nor are privileges");
}

Json machine(const DoctorOptions& options, const Injected& injected) {
  return {shared_memory(options),
          limits(),
          sandbox(),
          library("recorder", injected.capture, "hooks write the text form instead"),
          line("hooks", !injected.python.empty(),
               injected.python.empty() ? "python/ is not beside this program: --hooks names it"
                                       : injected.python),
          driver(),
          gpus(),
          cupti(),
          library("CUPTI source", injected.cupti, "CUDA's own calls are not recorded"),
          injected_already()};
}

// What the interpreter says of its engines.
Status ask(const std::string& interpreter, const std::string& folder, std::string& answer) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return system_error(std::strerror(errno));
  const char* before = std::getenv("PYTHONPATH");
  const std::string path =
      folder + (before != nullptr && *before != 0 ? ':' + std::string(before) : "");
  setenv("PYTHONPATH", path.c_str(), 1);
  unsetenv("PAGETAPE_OUT");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  const char* const arguments[] = {interpreter.c_str(), "-m", "pagetape", "doctor", nullptr};
  pid_t child = 0;
  const int error =
      posix_spawnp(&child, arguments[0], &actions, nullptr, const_cast<char**>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (error != 0) {
    ::close(ends[0]);
    return usage(interpreter + ": " + std::strerror(error));
  }
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR);) {
    if (n > 0) answer.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return usage(interpreter + ": `-m pagetape doctor` failed");
  return {};
}

// Which rules the events recorded allow.
Json rules(const std::vector<RuleNeed>& all, const Json& records) {
  const std::set<std::string> there = records.get<std::set<std::string>>();
  Json judged = Json::array(), not_judged = Json::array();
  for (const RuleNeed& rule : all) {
    bool any = false;
    for (std::size_t at = 0; at <= rule.needs.size();) {
      const std::size_t end = std::min(rule.needs.find('|', at), rule.needs.size());
      any = any || there.contains(rule.needs.substr(at, end - at));
      at = end + 1;
    }
    if (any) {
      judged.push_back(rule.rule);
    } else {
      not_judged.push_back({{"rule", rule.rule}, {"needs", rule.needs}});
    }
  }
  return {{"judged", judged}, {"not_judged", not_judged}};
}

std::string joined(const Json& list) {
  std::string out;
  for (const Json& one : list) out += (out.empty() ? "" : ", ") + one.get<std::string>();
  return out;
}

// In lines of 100 columns behind a label.
std::string wrapped(const std::string& label, const std::string& text) {
  const std::string indent(label.size(), ' ');
  std::string out, row = label;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (row.size() + word.size() + 1 > 100 && row.size() > label.size()) {
      out += row + '\n';
      row = indent;
    }
    row += ' ' + word;
    at = end + 1;
  }
  return out + row + '\n';
}

std::string engine_text(const Json& engine) {
  const Json& version = engine.at("version");
  std::string out = engine.at("engine").get<std::string>() +
                    (version.is_string() ? ' ' + version.get<std::string>() : "") + ": " +
                    engine.at("status").get<std::string>();
  if (engine.contains("why")) out += " (" + engine.at("why").get<std::string>() + ')';
  if (!engine.contains("hooks")) return out + '\n';
  const Json& driven = engine.at("driven");
  const bool known = std::find(driven.begin(), driven.end(), version) != driven.end();
  out += known ? ", a release they were run with" : ", a release they were never run with";
  out += (driven.empty() || known ? "" : " (" + joined(driven) + " they were)") + '\n';
  Json fitting = Json::array();
  std::string others;
  for (const Json& hook : engine.at("hooks")) {
    const auto status = hook.at("status").get<std::string>();
    if (status == "fits") {
      fitting.push_back(hook.at("hook"));
    } else {
      others += wrapped("  " + status + ':', hook.at("hook").get<std::string>() + ": " +
                                                 hook.at("why").get<std::string>());
    }
  }
  out += wrapped("  fits:", joined(fitting)) + others;
  const Json& records = engine.at("records");
  out += wrapped("  records:", joined(records));
  const auto recorded = [&](const char* kind) {
    return std::find(records.begin(), records.end(), kind) != records.end();
  };
  if (!recorded("attention")) {
    out += recorded("store") ? "  no attention is recorded: of launches, stores alone are judged\n"
                             : "  no launch is recorded: what reads and writes is not judged\n";
  }
  out += wrapped("  judged:", joined(engine.at("rules").at("judged")));
  for (const Json& rule : engine.at("rules").at("not_judged")) {
    out += "  not judged: " + rule.at("rule").get<std::string>() + " (needs " +
           rule.at("needs").get<std::string>() + ")\n";
  }
  return out;
}

}  // namespace

Json examine(const DoctorOptions& options, Status& status) {
  const Injected injected = found(options.injection);
  Json report{{"schema", 1}, {"machine", machine(options, injected)}};
  report["python"] = nullptr;
  report["engines"] = Json::array();
  std::string answer;
  status = {};
  if (injected.python.empty()) return report;
  status = ask(options.interpreter, injected.python, answer);
  if (!status.ok()) return report;
  Json said = Json::parse(answer, nullptr, false);
  if (said.is_discarded()) {
    status = usage(options.interpreter + ": does not answer");
    return report;
  }
  report["python"] = {{"version", said.at("python")}, {"executable", said.at("executable")}};
  for (Json& engine : said.at("engines")) {
    if (engine.contains("records")) engine["rules"] = rules(options.rules, engine["records"]);
    report["engines"].push_back(std::move(engine));
  }
  return report;
}

std::string doctor_text(const Json& report) {
  std::string out;
  for (const Json& one : report.at("machine")) {
    out += wrapped(std::string(one.at("ok").get<bool>() ? "ok  " : "-   ") +
                       one.at("what").get<std::string>() + ':',
                   one.at("detail").get<std::string>());
  }
  if (report.at("python").is_object()) {
    out += "\nPython " + report.at("python").at("version").get<std::string>() + " (" +
           report.at("python").at("executable").get<std::string>() + ")\n";
  }
  for (const Json& engine : report.at("engines")) out += '\n' + engine_text(engine);
  return out;
}

}  // namespace pagetape
