// SPDX-License-Identifier: Apache-2.0
#include "verify/variant.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace pagetape {
namespace {

using Json = nlohmann::ordered_json;
using Known = std::pair<std::string_view, std::string_view>;

constexpr Known kKnown[] = {
    {"none", "As recorded."},
    {"clamp", "Ids are moved into the bound pool before they are used."},
    {"resolve-per-call",
     "No SWA state is cached: each launch, and each capture, asks the pool bound at that time."},
    {"swap-swa-state", "The SWA state is swapped with the pool, in all three parts."},
    {"swap-swa-state-flags", "Without the flags: at run time they stay as they were cached."},
    {"swap-swa-state-buffer",
     "Without the table buffer: a capture finds none and falls through to the full table."},
    {"swap-swa-state-graph",
     "Without the swap around graph capture: graphs freeze the old choice."},
};

Status line_error(const std::string& path, std::size_t line, const std::string& what) {
  return usage(path + ":" + std::to_string(line) + ": " + what);
}

Status parse_edit(const std::string& text, Edit& edit, std::string& what) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) {
    what = "expected a JSON object";
    return usage(what);
  }
  for (const auto& [key, value] : json.items()) {
    if (key == "at" && value.is_number_unsigned()) {
      edit.at = value.get<std::uint64_t>();
    } else if (key == "drop" && value.is_boolean()) {
      edit.drop = value.get<bool>();
    } else if (key == "set" && value.is_object()) {
      edit.set = value.dump();
    } else if (key == "insert" && value.is_object()) {
      edit.insert = value.dump();
    } else {
      what = "\"" + key + "\" is unknown or of a wrong type: at (an event's index), set, insert " +
             "(objects) and drop (true) are expected";
      return usage(what);
    }
  }
  if (!json.contains("at")) what = "\"at\" is missing: the index of an event";
  if (json.size() < 2 && what.empty()) what = "expected \"set\", \"insert\" or \"drop\"";
  return what.empty() ? Status() : usage(what);
}

Status read_edits(const std::string& path, Variant& out) {
  std::ifstream file(path);
  if (!file) {
    std::string names;
    for (const Known& known : kKnown)
      names += (names.empty() ? "" : ", ") + std::string(known.first);
    return usage("--what-if " + path + ": neither a file of edits nor one of " + names);
  }
  std::string line;
  for (std::size_t n = 1; std::getline(file, line); ++n) {
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    std::string what;
    if (!parse_edit(line, out.edits.emplace_back(), what).ok()) return line_error(path, n, what);
  }
  return {};
}

}  // namespace

std::span<const Known> known_variants() { return kKnown; }

Status make_variant(const std::string& word, Variant& out) {
  out = {};
  out.name = word;
  const auto is = [&](const Known& known) { return known.first == word; };
  if (std::ranges::none_of(kKnown, is)) return read_edits(word, out);
  if (word == "clamp") {
    out.clamp = true;
  } else if (word.starts_with("swap-swa-state") || word == "resolve-per-call") {
    out.per_call = word == "resolve-per-call";
    out.repair = {.flags = word != "swap-swa-state-flags",
                  .buffer = word != "swap-swa-state-buffer",
                  .graph = word != "swap-swa-state-graph"};
  }
  return {};
}

}  // namespace pagetape
