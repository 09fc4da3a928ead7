// SPDX-License-Identifier: Apache-2.0
// The commands of `pagetape debug`: a line in, text out. Knows no terminal.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "replay/timeline.h"
#include "verify/condition.h"

namespace pagetape {

// Stands where its timeline does. Findings are those of `pagetape verify`, with all rules: at the
// first command that needs them, the whole trace is judged once, for what the rules need to know of
// it; from then on, any event can be judged alone. So going back neither loses nor doubles one.
class Debugger {
 public:
  struct Reply {
    std::string text;  // Ends with a newline, or is empty.
    bool ok = true;    // False: the command was in error, and text says why.
    bool quit = false;
  };

  // Both outlive the debugger; `names` is the timeline's.
  Debugger(Timeline& timeline, Names& names) : timeline_(timeline), names_(names) {}

  // Runs a command. An empty line, or one that begins with `#`, does nothing.
  Reply run(std::string_view line);

  // What the last word of the line may become: commands, objects of the state at hand, rules.
  std::vector<std::string> complete(std::string_view line) const;

  // Whether a finding was shown.
  bool found() const { return found_; }

 private:
  using Words = std::vector<std::string>;
  struct Command;
  struct Overview {
    Coverage known;
    std::array<std::uint64_t, kRuleCount> counts{};
    std::vector<Finding> first;  // The earliest.
    std::uint64_t total = 0;
  };
  static const std::vector<Command>& commands();

  Reply next(const Words& words);
  Reply back(const Words& words);
  Reply go_to(const Words& words);
  Reply until(const Words& words);
  Reply add_break(const Words& words);
  Reply breaks(const Words& words);
  Reply remove(const Words& words);
  Reply go_on(const Words& words);
  Reply go_back(const Words& words);
  Reply show(const Words& words);
  Reply where(const Words& words);
  Reply findings(const Words& words);
  Reply rank(const Words& words);
  Reply help(const Words& words);
  Reply quit(const Words& words);

  const Overview& overview();
  const World* world() const;
  std::string here() const;
  std::string judged_here(bool launches);
  Reply travel(const std::vector<Condition>& conditions, bool forward, const std::string& met);
  Words names_for(const Words& words) const;

  Timeline& timeline_;
  Names& names_;
  std::map<std::uint64_t, Condition> breaks_;  // By number.
  std::uint64_t next_break_ = 1;
  std::optional<std::int64_t> rank_;  // Whose objects are shown; absent: the event's.
  std::optional<Overview> overview_;
  bool moved_ = false;  // Until then, the event at hand may be the first that is looked for.
  bool found_ = false;
};

}  // namespace pagetape
