// SPDX-License-Identifier: Apache-2.0
// Traces for tests of the state and of the rules: written as text lines, or the golden ones.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "replay/state.h"
#include "tests/traces/scratch_folder.h"
#include "traces/source.h"
#include "traces/text.h"
#include "verify/dice.h"

namespace pagetape {

inline constexpr const char* kGolden = "traces/golden";

// The golden text traces below one folder of traces/golden ("": all), in order.
inline std::vector<std::string> golden_traces(const std::string& folder = "") {
  std::vector<std::string> out;
  const std::filesystem::path top = std::filesystem::path(kGolden) / folder;
  if (!std::filesystem::exists(top)) return out;
  const auto follow = std::filesystem::directory_options::follow_directory_symlink;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(top, follow)) {
    if (entry.path().extension() == ".jsonl") out.push_back(entry.path().string());
  }
  std::ranges::sort(out);
  return out;
}

// The name of a test case from a path: letters, digits and underscores.
inline std::string case_name(const std::string& path) {
  std::string out = path.substr(std::string(kGolden).size() + 1);
  out = out.substr(0, out.rfind('.'));
  for (char& c : out) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return out;
}

// A state with its table of names, fed with text lines.
struct TextState {
  Names names;
  State state{names};

  Event event(std::string line) {
    std::erase(line, '\n');
    Event out;
    const Status status = parse_event(line, names, out);
    EXPECT_TRUE(status.ok()) << line << ": " << status.message();
    return out;
  }
  Outcome apply(const std::string& line, Observer* observer = nullptr) {
    return state.apply(event(line), observer);
  }
  // Applies lines that must apply.
  void run(std::initializer_list<const char*> lines) {
    for (const char* line : lines) {
      const Outcome outcome = apply(line);
      EXPECT_TRUE(outcome.applied()) << line << ": " << outcome.name();
    }
  }
  const World& world(std::int64_t rank = State::kNoRank) const { return *state.world(rank); }
  const Pool& pool(const char* name) const { return *world().pools.find(names.find(name)); }
  const Space& space(const char* name) const { return world().space_of(pool(name)); }
  std::vector<std::string> owners(const char* pool, int page) const {
    std::vector<std::string> out;
    for (Name name : space(pool).owners(PageId{page})) out.emplace_back(names.text(name));
    return out;
  }
  // Is every offset of [begin, end) written in the layer?
  bool written(const char* name, int page, std::uint32_t begin, std::uint32_t end,
               int layer = 0) const {
    LayerSets sets = world().layers;
    return pool(name).extents.covers(sets, static_cast<std::uint32_t>(page),
                                     sets.of(Layer::number(layer)), begin, end);
  }
  std::string digest_of(const char* name, std::uint64_t page) const {
    const Name* digest = pool(name).digests.find(page);
    return digest == nullptr ? "" : std::string(names.text(*digest));
  }
};

// The events of a trace of either form, up to where reading ends.
inline std::vector<Event> events_of(const std::string& path, Names& names) {
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  std::vector<Event> out;
  Event event;
  while (source != nullptr && source->next(event)) out.push_back(event);
  return out;
}

}  // namespace pagetape
