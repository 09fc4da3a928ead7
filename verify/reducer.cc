// SPDX-License-Identifier: Apache-2.0
#include "verify/reducer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "traces/text.h"

namespace pagetape {

using Json = nlohmann::ordered_json;

static bool removable(const Kept& kept) { return !kept.pinned; }

// The request that an event is about; kNone where it is about none or several.
static Name request_of(const Event& event) {
  return std::visit(
      [](const auto& e) {
        if constexpr (requires { e.req; }) return e.req;
        return kNone;
      },
      event.body);
}

bool Reducer::try_without(Tape& tape, std::size_t begin, std::size_t end) {
  Tape trial;
  trial.reserve(tape.size());
  for (std::size_t i = 0; i < tape.size(); ++i) {
    if (i < begin || i >= end || !removable(tape[i])) trial.push_back(tape[i]);
  }
  if (trial.size() == tape.size() || !oracle_.holds(trial, goal_)) return false;
  tape = std::move(trial);
  return true;
}

void Reducer::drop_requests(Tape& tape) {
  std::set<Name> requests;
  for (const Kept& k : tape) requests.insert(request_of(k.event));
  requests.erase(kNone);
  for (const Name req : requests) {
    if (out_of_budget()) return;
    Tape trial = tape;
    std::erase_if(trial, [&](const Kept& k) { return removable(k) && request_of(k.event) == req; });
    if (trial.size() < tape.size() && oracle_.holds(trial, goal_)) tape = std::move(trial);
  }
  progress_(std::to_string(tape.size()) + " events without the other requests");
}

// Runs of half the events, then of a quarter, … down to single ones, from the end: what comes last
// depends on what comes first.
bool Reducer::drop_events(Tape& tape) {
  const std::size_t before = tape.size();
  for (std::size_t run = std::max<std::size_t>(tape.size() / 2, 1);; run /= 2) {
    for (std::size_t end = tape.size(); end > 0 && !out_of_budget();) {
      const std::size_t begin = end > run ? end - run : 0;
      try_without(tape, begin, end);
      end = std::min(begin, tape.size());
    }
    progress_(std::to_string(tape.size()) + " events, runs of " + std::to_string(run) + " tried");
    if (run <= 1 || out_of_budget()) break;
  }
  return tape.size() < before;
}

// Replaces the event by that of the line; `at` follows it where events before it go.
bool Reducer::try_event(Tape& tape, std::size_t& at, const std::string& text) {
  Event event;
  if (out_of_budget() || !parse_event(text, names_, event).ok()) return false;
  if (!check_event(event, names_).ok()) return false;
  Tape trial = tape;
  trial[at].event = std::move(event);
  const EventIndex origin = tape[at].origin;
  if (!oracle_.holds(trial, goal_)) return false;
  if (at >= trial.size() || trial[at].origin != origin) return false;  // It could not apply.
  tape = std::move(trial);
  return true;
}

// Every list and object of an event, the innermost last.
static void places_of(const Json& json, const Json::json_pointer& at,
                      std::vector<Json::json_pointer>& out) {
  if (!json.is_structured()) return;
  out.push_back(at);
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) places_of(value, at / key, out);
  } else {
    for (std::size_t i = 0; i < json.size(); ++i) places_of(json[i], at / i, out);
  }
}

// Takes elements [begin, end) out of the list, and out of those beside it that go with it, an
// element each; where the list begins is told beside it.
static void cut_list(Json& event, const Json::json_pointer& at, std::size_t begin,
                     std::size_t end) {
  const std::size_t size = event[at].size();
  const std::string key = at.back();
  Json& parent = event[at.parent_pointer()];
  const auto cut = [&](Json& list) {
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(begin),
               list.begin() + static_cast<std::ptrdiff_t>(end));
  };
  if (!parent.is_object()) {
    cut(event[at]);
    return;
  }
  const bool paged = key == "pages" || key == "slots" || key == "digest" || key == "from" ||
                     key == "to" || key == "logical";
  for (const char* other : {"pages", "slots", "digest", "from", "to", "logical", "spaces"}) {
    if (!paged || other == key) continue;
    if (parent.contains(other) && parent[other].is_array() && parent[other].size() == size) {
      cut(parent[other]);
    }
  }
  cut(event[at]);
  if (begin > 0) return;
  const char* start = key == "values"              ? "row"
                      : parent.contains("buffer")  ? "col"
                      : parent.contains("logical") ? "logical"
                                                   : "first";
  if (parent.contains(start) && parent[start].is_number_integer()) {
    parent[start] = parent[start].get<std::int64_t>() + static_cast<std::int64_t>(end);
  }
}

bool Reducer::thin_event(Tape& tape, std::size_t& at) {
  bool any = false;
  Json json = Json::parse(print_event(tape[at].event, names_));
  std::vector<Json::json_pointer> places;
  places_of(json, Json::json_pointer(), places);
  const auto attempt = [&](Json& trial) {
    if (!try_event(tape, at, trial.dump())) return false;
    json = std::move(trial);
    any = true;
    return true;
  };
  for (const Json::json_pointer& place : places) {
    if (!json.contains(place)) continue;
    if (json[place].is_object()) {
      std::vector<std::string> keys;
      for (const auto& [key, value] : json[place].items()) keys.push_back(key);
      for (const std::string& key : keys) {
        Json trial = json;
        trial[place].erase(key);
        if (key != "ev") attempt(trial);
      }
      continue;
    }
    for (std::size_t run = std::max<std::size_t>(json[place].size() / 2, 1);; run /= 2) {
      for (std::size_t end = json[place].size(); end > 0;) {
        const std::size_t begin = end > run ? end - run : 0;
        Json trial = json;
        cut_list(trial, place, begin, end);
        attempt(trial);
        end = std::min(begin, json[place].size());
      }
      if (run <= 1 || out_of_budget()) break;
    }
  }
  return any;
}

bool Reducer::thin_events(Tape& tape) {
  bool any = false;
  for (std::size_t at = tape.size(); at-- > 0 && !out_of_budget();) {
    if (at < tape.size()) any = thin_event(tape, at) || any;
  }
  progress_(std::to_string(tape.size()) + " events, lists and fields thinned");
  return any;
}

}  // namespace pagetape
