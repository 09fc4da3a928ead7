// SPDX-License-Identifier: Apache-2.0
#include "gui/app/side_file.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace pagetape {

using Json = nlohmann::ordered_json;

std::string side_file_of(const std::string& trace) { return trace + ".view.json"; }

Status read_session(const std::string& file, Session& out) {
  std::ifstream in(file);
  if (!in) return {};
  const Json json = Json::parse(in, nullptr, false);
  try {
    Session session;
    session.selected = json.at("selected").get<EventIndex>();
    session.begin = json.at("begin").get<double>();
    session.end = json.at("end").get<double>();
    session.hidden_rules = json.at("hidden_rules").get<std::vector<std::string>>();
    session.layer = json.at("layer").get<std::string>();
    session.request = json.at("request").get<std::string>();
    session.colours = json.at("colours").get<std::string>();
    // Those of before there were such have none.
    using Names = std::vector<std::string>;
    session.pinned_lanes = json.value("pinned_lanes", Names());
    session.hidden_lanes = json.value("hidden_lanes", Names());
    session.lanes = json.value("lanes", std::string());
    session.dark = json.at("dark").get<bool>();
    for (const Json& mark : json.at("bookmarks")) {
      session.bookmarks.push_back(
          {mark.at("event").get<EventIndex>(), mark.at("note").get<std::string>()});
    }
    out = std::move(session);
  } catch (const Json::exception&) {
    return usage(file + ": is no session of this viewer; it is left as it is");
  }
  return {};
}

Status write_session(const std::string& file, const Session& session) {
  Json bookmarks = Json::array();
  for (const Bookmark& mark : session.bookmarks) {
    bookmarks.push_back({{"event", mark.event}, {"note", mark.note}});
  }
  const Json json = {{"selected", session.selected},
                     {"begin", session.begin},
                     {"end", session.end},
                     {"hidden_rules", session.hidden_rules},
                     {"layer", session.layer},
                     {"request", session.request},
                     {"colours", session.colours},
                     {"pinned_lanes", session.pinned_lanes},
                     {"hidden_lanes", session.hidden_lanes},
                     {"lanes", session.lanes},
                     {"dark", session.dark},
                     {"bookmarks", std::move(bookmarks)}};
  const std::string part = file + ".part";
  std::ofstream out(part);
  out << json.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(part, file, error);
  if (out && !error) return {};
  const std::string why = error ? error.message() : std::strerror(errno);
  std::filesystem::remove(part, error);
  return system_error(file + ": cannot be written (" + why + "): bookmarks are not kept");
}

}  // namespace pagetape
