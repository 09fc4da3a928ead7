// SPDX-License-Identifier: Apache-2.0
#include "traces/text_json.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace pagetape {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kShownBytes = 60;

// Builds the value. The library's own builder keeps the last of two equal keys silently, and has no
// limit of depth.
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(Json& root) : root_(root) {}
  const std::string& error() const { return error_; }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override { return add(value); }
  bool number_unsigned(std::uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }  // Not in a text.
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    auto [at, fresh] = open_.back()->get_ref<Json::object_t&>().try_emplace(name);
    if (!fresh) error_ = "the key " + shown(name) + " stands twice in one object";
    member_ = &at->second;
    return fresh;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& what) override {
    error_ = "not valid JSON at column " + std::to_string(position) + reason(what);
    return false;
  }

 private:
  // Containers in containers hold still while they are filled: a list's last element is the one
  // open, and nothing is added beside it until it is closed.
  Json* place(Json&& value) {
    if (open_.empty()) return &(root_ = std::move(value));
    Json& parent = *open_.back();
    if (parent.is_object()) return &(*member_ = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json value) {
    if (open_.size() == kMaxDepth) {
      error_ = "lists and objects are nested deeper than " + std::to_string(kMaxDepth);
      return false;
    }
    open_.push_back(place(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  // The library's words between its own preamble and the text it read last (which may be long, and
  // may be anything).
  static std::string reason(const nlohmann::detail::exception& what) {
    if (what.id == 406) return ": a number is too large";
    std::string text = what.what();
    const std::size_t end = std::min(text.find("; last read"), text.find("; expected"));
    std::size_t begin = text.find(" - ");
    if (begin == std::string::npos || begin >= end) return {};
    begin += 3;
    return ": " + text.substr(begin, end == std::string::npos ? end : end - begin);
  }

  Json& root_;
  std::vector<Json*> open_;
  Json* member_ = nullptr;  // Of the innermost object, the value of the key read last.
  std::string error_;
};

}  // namespace

Status parse_json(std::string_view text, Json& value) {
  if (text.size() > kMaxLineBytes) {
    return usage("longer than " + std::to_string(kMaxLineBytes >> 20) + " MiB");
  }
  // The library takes a NUL for the end, and would not see what follows.
  if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
    return usage("not valid JSON at column " + std::to_string(at + 1) + ": a NUL byte");
  }
  Builder builder(value);
  if (Json::sax_parse(text.begin(), text.end(), &builder)) return {};
  return usage(builder.error());
}

std::string shown(const Json& value) {
  if (value.is_array()) return "a list";
  if (value.is_object()) return "an object";
  if (!value.is_string()) return value.dump();
  const std::string& text = value.get_ref<const std::string&>();
  if (text.size() <= kShownBytes) return json_string(text);
  return json_string(std::string_view(text).substr(0, kShownBytes)) + "...";
}

std::string json_string(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace pagetape
