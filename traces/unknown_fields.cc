// SPDX-License-Identifier: Apache-2.0
#include "traces/unknown_fields.h"

#include <nlohmann/json.hpp>
#include <set>

#include "traces/text_json.h"

namespace pagetape {
namespace {

using Json = nlohmann::json;

// Follows an overlay (Event::extra) beside the value that it belongs to: its members are unknown
// fields, but for those that bear a known field's name and are followed in turn.
class UnknownFields {
 public:
  template <class T>
  void object(const T& value, const Json& overlay, const std::string& path) {
    if (!overlay.is_object()) return;
    for (const auto& item : overlay.items()) {
      const std::string& key = item.key();
      bool known = false;
      for_each_field<T>([&](const auto& field) {
        if (key != field.name) return;
        known = true;
        follow(value.*field.member, item.value(), path + key);
      });
      if (!known) found_.insert(path + key);
    }
  }

  std::vector<std::string> sorted() const { return {found_.begin(), found_.end()}; }

 private:
  template <class T>
  void follow(const std::optional<T>& value, const Json& overlay, const std::string& path) {
    if (value.has_value()) follow(*value, overlay, path);
  }

  template <class T>
  void follow(const std::vector<T>& list, const Json& overlay, const std::string& path) {
    if (!overlay.is_object()) return;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const auto element = overlay.find(std::to_string(i));
      if (element != overlay.end()) follow(list[i], *element, path + "[]");
    }
  }

  void follow(const ev::Rows& rows, const Json& overlay, const std::string& path) {
    follow(rows.list(), overlay, path);
  }

  void follow(const ev::Launch& launch, const Json& overlay, const std::string& path) {
    std::visit([&](const auto& body) { object(body, overlay, path + "."); }, launch);
  }

  template <class T>
  void follow(const T& value, const Json& overlay, const std::string& path) {
    if constexpr (requires { T::fields(); }) object(value, overlay, path + ".");
  }

  std::set<std::string> found_;
};

}  // namespace

std::vector<std::string> unknown_fields(const Event& event) {
  Json overlay;
  if (event.extra.empty() || !parse_json(event.extra, overlay).ok()) return {};
  UnknownFields fields;
  std::visit([&](const auto& body) { fields.object(body, overlay, ""); }, event.body);
  return fields.sorted();
}

}  // namespace pagetape
