// SPDX-License-Identifier: Apache-2.0
// What the palette offers.
#include <algorithm>
#include <set>

#include "gui/app/numbers.h"
#include "gui/app/viewer.h"
#include "verify/report.h"

namespace pagetape {

std::vector<PaletteItem> Viewer::palette(std::string_view typed, std::size_t most) const {
  std::vector<PaletteItem> items;
  offer_typed(typed, items);
  offer_places(items);
  offer_choices(items);
  return best_items(typed, items, most);
}

// What the letters say by themselves, and commands.
void Viewer::offer_typed(std::string_view typed, std::vector<PaletteItem>& items) const {
  const std::string words(typed);
  EventIndex event = 0;
  if (number_in(typed, event)) items.push_back({"go to event " + words, "goto " + words});
  if (const auto colon = typed.rfind(':'); colon != std::string_view::npos && colon > 0) {
    std::int64_t page = 0;
    const std::string pool(typed.substr(0, colon));
    const bool is_pool = std::ranges::any_of(
        index().pools, [&](const PoolHistory& history) { return text(history.name) == pool; });
    if (is_pool && number_in(typed.substr(colon + 1), page)) {
      // Said as it was typed: what does not match that is left out.
      items.push_back(
          {words + ": page " + std::to_string(page) + " of pool " + pool + ", who has it, and why",
           "blame " + words});
    }
  }
  if (typed.starts_with("note ")) {
    items.push_back({"bookmark with the " + words, "bookmark " + words.substr(5)});
  }
  for (const Command& command : viewer_commands()) {
    const std::string name(command.name), help(command.help);
    // With its arguments, as in a script.
    if (!command.arguments.empty() && typed.starts_with(name + ' ')) {
      items.push_back({words + ": " + help, words});
    }
    if (!command.arguments.empty() && command.arguments[0] != '[') continue;
    const std::string key = command.key.empty() ? "" : " (" + std::string(command.key) + ')';
    items.push_back({name + ": " + help + key, name});
  }
}

// Events that have names.
void Viewer::offer_places(std::vector<PaletteItem>& items) const {
  for (const Finding& first : index().firsts) {
    items.push_back(
        {"first " + std::string(info(first.rule).name) + " at event " + std::to_string(first.event),
         to_event(first.event)});
  }
  for (const Bookmark& mark : bookmarks_) {
    items.push_back({"bookmark at event " + std::to_string(mark.event) + ' ' + mark.note,
                     to_event(mark.event)});
  }
  for (const Incident& incident : index().incidents) {
    items.push_back(
        {incident.text + " at event " + std::to_string(incident.event), to_event(incident.event)});
  }
  const auto declared = [&](const std::string& what, const auto& things) {
    for (const auto& thing : things) {
      items.push_back(
          {what + ' ' + text(thing.name) + " is declared", "declared " + text(thing.name)});
    }
  };
  declared("pool", index().pools);
  declared("backend", index().backends);
  declared("graph", index().graphs);
  for (const RequestLife& life : index().lives) {
    items.push_back({"request " + text(life.req) + " arrives", to_event(life.begin)});
  }
}

// What is shown, and how.
void Viewer::offer_choices(std::vector<PaletteItem>& items) const {
  for (const LaneView& lane : lanes_of(index(), trace_->names)) {
    items.push_back({"pin lane " + lane.name, "pin-lane " + lane.name});
    items.push_back({"hide lane " + lane.name, "hide-lane " + lane.name});
  }
  for (const std::string_view colours : kColours) {
    items.push_back(
        {"colour the pool map by " + std::string(colours), "colour " + std::string(colours)});
  }
  std::set<Layer> layers;
  for (const auto& set : index().layer_sets) layers.insert(set.begin(), set.end());
  for (const Layer& layer : layers) {
    const std::string name = trace_->names.layer(layer);
    items.push_back({"only findings of layer " + name, "only layer " + name});
  }
  for (const RuleInfo& rule : kRules) {
    items.push_back({"show or hide " + std::string(rule.name), "rule " + std::string(rule.name)});
  }
  std::set<Name> requests;  // Each may live several times.
  for (const RequestLife& life : index().lives) {
    if (!requests.insert(life.req).second) continue;
    items.push_back(
        {"only findings of request " + text(life.req), "only request " + text(life.req)});
  }
}

}  // namespace pagetape
