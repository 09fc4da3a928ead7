// SPDX-License-Identifier: Apache-2.0
// The prompt of `pagetape debug`: lines from a terminal, edited by libedit, or from a script.
#include <histedit.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>

#include "verify/debugger.h"
#include "verify/not_negative.h"
#include "verify/verify_verbs.h"

namespace pagetape {
namespace {

constexpr const char* kPrompt = "(pagetape) ";
constexpr int kHistoryLines = 1000;

struct Flags {
  std::string trace, script;
  std::uint64_t at = 0;
  TimelineOptions options;
};

// Where lines typed before are kept, by the XDG base directory specification; empty: nowhere.
std::filesystem::path history_path() {
  std::filesystem::path folder;
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  if (state != nullptr && *state == '/') {
    folder = state;
  } else if (home != nullptr && *home == '/') {
    folder = std::filesystem::path(home) / ".local" / "state";
  } else {
    return {};
  }
  std::error_code error;
  std::filesystem::create_directories(folder / "pagetape", error);
  return error ? std::filesystem::path() : folder / "pagetape" / "debug_history";
}

// A terminal's lines, with history and completion.
class LineEditor {
 public:
  explicit LineEditor(const Debugger& debugger)
      : debugger_(debugger),
        edit_(el_init("pagetape", stdin, stdout, stderr), el_end),
        history_(history_init(), history_end),
        path_(history_path()) {
    HistEvent event;
    history(history_.get(), &event, H_SETSIZE, kHistoryLines);
    history(history_.get(), &event, H_SETUNIQUE, 1);
    if (!path_.empty()) history(history_.get(), &event, H_LOAD, path_.c_str());
    el_set(edit_.get(), EL_CLIENTDATA, this);
    el_set(
        edit_.get(), EL_PROMPT, +[](EditLine*) { return const_cast<char*>(kPrompt); });
    el_set(edit_.get(), EL_HIST, history, history_.get());
    el_set(edit_.get(), EL_EDITOR, "emacs");
    el_set(edit_.get(), EL_SIGNAL, 1);
    el_set(edit_.get(), EL_ADDFN, "pagetape-complete", "Complete the word", &LineEditor::complete);
    el_set(edit_.get(), EL_BIND, "^I", "pagetape-complete", nullptr);
    el_source(edit_.get(), nullptr);  // The user's ~/.editrc.
  }
  ~LineEditor() {
    HistEvent event;
    if (!path_.empty()) history(history_.get(), &event, H_SAVE, path_.c_str());
  }

  // False at the end of input.
  bool next(std::string& line) {
    int count = 0;
    const char* text = el_gets(edit_.get(), &count);
    if (text == nullptr || count <= 0) return false;
    line.assign(text, static_cast<std::size_t>(count));
    if (line.find_first_not_of(" \t\r\n") != std::string::npos) {
      HistEvent event;
      history(history_.get(), &event, H_ENTER, line.c_str());
    }
    if (line.ends_with('\n')) line.pop_back();
    return true;
  }

 private:
  static unsigned char complete(EditLine* edit, int) {
    LineEditor* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return self->complete_word();
  }

  // Inserts what all candidates share; where that is nothing, lists them.
  unsigned char complete_word() {
    const LineInfo* info = el_line(edit_.get());
    const std::string_view before(info->buffer,
                                  static_cast<std::size_t>(info->cursor - info->buffer));
    const std::vector<std::string> candidates = debugger_.complete(before);
    if (candidates.empty()) return CC_REFRESH_BEEP;
    const std::size_t word = before.size() - (before.find_last_of(" \t") + 1);
    std::string shared = candidates[0];
    for (const std::string& other : candidates) {
      const auto end = std::ranges::mismatch(shared, other).in1;
      shared.erase(end, shared.end());
    }
    std::string rest = shared.substr(std::min(word, shared.size()));
    if (candidates.size() == 1 && !shared.ends_with(':')) rest += ' ';
    if (!rest.empty()) {
      return el_insertstr(edit_.get(), rest.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
    }
    std::fputc('\n', stdout);
    for (const std::string& candidate : candidates) std::printf("%s  ", candidate.c_str());
    std::fputc('\n', stdout);
    return CC_REDISPLAY;
  }

  const Debugger& debugger_;
  std::unique_ptr<EditLine, void (*)(EditLine*)> edit_;
  std::unique_ptr<History, void (*)(History*)> history_;
  const std::filesystem::path path_;
};

void prompt_user(Debugger& debugger) {
  LineEditor editor(debugger);
  Debugger::Reply reply;
  for (std::string line; !reply.quit && editor.next(line);) {
    reply = debugger.run(line);
    std::fputs(reply.text.c_str(), stdout);
    std::fflush(stdout);
  }
}

// Prints each command behind a prompt, then what it says. False at a command in error.
bool run_script(Debugger& debugger, std::istream& script, const std::string& name) {
  Debugger::Reply reply;
  std::uint64_t number = 0;
  for (std::string line; !reply.quit && std::getline(script, line);) {
    ++number;
    reply = debugger.run(line);
    if (!reply.ok) {
      std::fflush(stdout);
      std::fprintf(stderr, "%s:%llu: %s", name.c_str(), static_cast<unsigned long long>(number),
                   reply.text.c_str());
      return false;
    }
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    std::printf("%s%s\n%s", kPrompt, line.c_str(), reply.text.c_str());
  }
  return true;
}

int run(const Flags& flags) {
  Names names;
  Status status;
  std::ifstream script;
  if (!flags.script.empty()) {
    script.open(flags.script);
    if (!script) status = usage(flags.script + ": cannot be read");
  }
  std::unique_ptr<Timeline> timeline;
  if (status.ok()) timeline = Timeline::open(flags.trace, names, flags.options, status);
  if (timeline != nullptr) status = timeline->seek(flags.at);
  if (!status.ok()) {
    std::fprintf(stderr, "pagetape: %s\n", status.message().c_str());
    return status.code() == Code::kDamaged ? 3 : 2;
  }
  Debugger debugger(*timeline, names);
  bool good = true;
  if (!flags.script.empty()) {
    good = run_script(debugger, script, flags.script);
  } else if (::isatty(STDIN_FILENO) != 0) {
    prompt_user(debugger);
  } else {
    good = run_script(debugger, std::cin, "stdin");
  }
  for (const std::string& warning : timeline->warnings()) {
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  if (!timeline->status().ok()) {
    std::fprintf(stderr, "pagetape: %s\n", timeline->status().message().c_str());
  }
  if (!good) return 2;
  if (debugger.found()) return 1;
  if (timeline->status().ok()) return 0;
  return timeline->status().code() == Code::kDamaged ? 3 : 2;
}

}  // namespace

void add_debug_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("debug", "Go through a trace, forwards and back");
  verb->add_option("TRACE", flags->trace, "A binary or text trace")->required();
  verb->add_option("--script", flags->script,
                   "Run the commands of a file (so are those of a standard input that is no "
                   "terminal); the first in error ends it")
      ->type_name("FILE");
  verb->add_option("--at", flags->at, "Begin before this event")
      ->check(not_negative())
      ->type_name("EVENT");
  verb->add_option("--memory", flags->options.memory,
                   "Bytes that states kept on the way may take; more make going back faster")
      ->capture_default_str();
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
