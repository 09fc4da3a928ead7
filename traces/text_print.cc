// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "traces/text.h"
#include "traces/text_json.h"

namespace pagetape {
namespace {

using Json = nlohmann::json;

// Whether a field has something to say: what is required always has.
bool present(Name value) { return value != kNone; }
bool present(const OptInt& value) { return value.has_value(); }
template <class T>
bool present(const std::optional<T>& value) {
  return value.has_value();
}
template <class T>
bool present(const T&) {
  return true;
}

using Form = FieldCell::Form;

Form form_of(std::int64_t) { return Form::kInteger; }
Form form_of(const OptInt&) { return Form::kInteger; }
Form form_of(PageId) { return Form::kInteger; }
Form form_of(double) { return Form::kNumber; }
Form form_of(bool) { return Form::kBool; }
Form form_of(Name) { return Form::kString; }
Form form_of(Layer layer) { return layer.is_named() ? Form::kString : Form::kInteger; }
template <class T>
Form form_of(const T&) {
  return Form::kJson;
}
template <class T>
Form form_of(const std::optional<T>& value) {
  return form_of(*value);
}

// Of what has the form of a string.
Name name_in(Name value) { return value; }
Name name_in(Layer value) { return value.name(); }
template <class T>
Name name_in(const T&) {
  return kNone;
}
template <class T>
Name name_in(const std::optional<T>& value) {
  return name_in(*value);
}

// Prints one event. An overlay (null where there is none) holds the unknown fields of the value
// printed, and under the names of known fields the overlays of those.
class EventPrinter {
 public:
  explicit EventPrinter(const Names& names) : names_(names) {}

  std::string event(const Event& event) {
    Json overlay;
    if (!event.extra.empty() && !parse_json(event.extra, overlay).ok()) overlay = nullptr;
    const Json* extra = overlay.is_object() ? &overlay : nullptr;
    const std::int32_t usual_stream = std::holds_alternative<ev::AsyncBegin>(event.body) ? 1 : 0;
    out_ += '{';
    std::visit([&](const auto& body) { kind_and_fields(body, extra); }, event.body);
    if (event.t.has_value()) member("t", event.t, nullptr);
    if (event.stream != usual_stream) member("stream", event.stream, nullptr);
    if (event.src != kNone) member("src", event.src, nullptr);
    if (event.rank.has_value()) member("rank", event.rank, nullptr);
    if (extra != nullptr) {
      for (const char* common : {"ev", "t", "stream", "src", "rank"}) overlay.erase(common);
      std::visit([&](const auto& body) { unknown(body, extra); }, event.body);
    }
    out_ += '}';
    return std::move(out_);
  }

  template <class T>
  void cells(const T& body, std::vector<FieldCell>& cells) {
    std::size_t i = 0;
    for_each_field<T>([&](const auto& field) { cell(body.*field.member, cells[i++]); });
  }

 private:
  template <class T>
  void cell(const T& value, FieldCell& cell) {
    cell.form = present(value) ? form_of(value) : Form::kAbsent;
    cell.text.clear();
    if (cell.form == Form::kAbsent) return;
    if (cell.form == Form::kString) {
      cell.text = names_.text(name_in(value));
      return;
    }
    out_.clear();
    print(value, nullptr);
    cell.text = out_;
  }

  template <class T>
  void kind_and_fields(const T& value, const Json* extra) {
    out_ += "\"ev\": \"";
    out_ += T::kName;
    out_ += '"';
    fields(value, extra);
  }

  template <class T>
  void fields(const T& value, const Json* extra) {
    for_each_field<T>([&](const auto& field) {
      const auto& part = value.*field.member;
      if (field.need == Need::kOptional && !present(part)) return;
      member(field.name, part, find(extra, field.name));
    });
  }

  template <class T>
  void unknown(const T&, const Json* extra) {
    if (extra == nullptr) return;
    for (const auto& item : extra->items()) {
      const std::string& key = item.key();
      bool known = false;
      for_each_field<T>([&](const auto& field) { known = known || key == field.name; });
      if (known) continue;
      separate();
      out_ += json_string(key) + ": " + item.value().dump();
    }
  }

  static const Json* find(const Json* overlay, const std::string& key) {
    if (overlay == nullptr || !overlay->is_object()) return nullptr;
    const auto at = overlay->find(key);
    return at == overlay->end() || !at->is_object() ? nullptr : &*at;
  }

  void separate() {
    if (!out_.empty() && out_.back() != '{' && out_.back() != '[') out_ += ", ";
  }

  template <class T>
  void member(std::string_view name, const T& value, const Json* extra) {
    separate();
    out_ += '"';
    out_ += name;
    out_ += "\": ";
    print(value, extra);
  }

  void print(std::int64_t value, const Json*) { out_ += std::to_string(value); }
  void print(std::int32_t value, const Json*) { out_ += std::to_string(value); }
  void print(const OptInt& value, const Json*) { out_ += std::to_string(*value); }
  void print(PageId value, const Json*) { out_ += std::to_string(raw(value)); }
  void print(SlotId value, const Json*) { out_ += std::to_string(raw(value)); }
  void print(bool value, const Json*) { out_ += value ? "true" : "false"; }
  void print(const ScalarValue& value, const Json*) { out_ += names_.text(value.json); }

  void print(Name value, const Json*) {
    out_ += value == kNone ? "null" : json_string(names_.text(value));
  }

  // The shortest digits that give the same value. JSON has no infinities, and check_event lets
  // none pass; as an integer, -0 would lose its sign.
  void print(double value, const Json*) {
    if (value == 0 && std::signbit(value)) {
      out_ += "-0.0";
      return;
    }
    char digits[32];
    const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
    out_.append(digits, end);
  }

  void print(Layer value, const Json*) {
    out_ += value.is_named() ? json_string(names_.text(value.name())) : std::to_string(value.v);
  }

  void print(const Pair& value, const Json*) {
    out_ += '[' + std::to_string(value.first) + ", " + std::to_string(value.second) + ']';
  }

  void print(const LayerChoice& value, const Json*) {
    if (value.all) {
      out_ += "\"*\"";
    } else {
      print(value.list, nullptr);
    }
  }

  void print(const Digests& value, const Json*) {
    if (value.per_page || value.list.empty()) {
      print(value.list, nullptr);
    } else {
      print(value.list.front(), nullptr);
    }
  }

  void print(const Scalars& value, const Json*) {
    out_ += '{';
    for (const auto& [name, scalar] : value) {
      separate();
      out_ += json_string(names_.text(name)) + ": ";
      print(scalar, nullptr);
    }
    out_ += '}';
  }

  void print(const ev::Launch& value, const Json* extra) {
    out_ += '{';
    std::visit(
        [&](const auto& launch) {
          kind_and_fields(launch, extra);
          unknown(launch, extra);
        },
        value);
    out_ += '}';
  }

  template <class T>
  void print(const std::optional<T>& value, const Json* extra) {
    print(*value, extra);
  }

  template <class T>
  void print(const std::vector<T>& value, const Json* extra) {
    out_ += '[';
    for (std::size_t i = 0; i < value.size(); ++i) {
      separate();
      print(value[i], extra == nullptr ? nullptr : find(extra, std::to_string(i)));
    }
    out_ += ']';
  }

  void print(const ev::Rows& rows, const Json* extra) { print(rows.list(), extra); }

  template <class T>
  requires requires { T::fields(); }
  void print(const T& value, const Json* extra) {
    out_ += '{';
    fields(value, extra);
    unknown(value, extra);
    out_ += '}';
  }

  const Names& names_;
  std::string out_;
};

}  // namespace

std::string print_event(const Event& event, const Names& names) {
  return EventPrinter(names).event(event);
}

std::vector<std::string_view> field_names(std::size_t kind) {
  std::vector<std::string_view> names;
  EventBody body;
  emplace_kind(body, kind, [&]<class T>(T&) {
    for_each_field<T>([&](const auto& field) { names.emplace_back(field.name); });
  });
  return names;
}

void print_fields(const Event& event, const Names& names, std::vector<FieldCell>& cells) {
  EventPrinter printer(names);
  std::visit(
      [&]<class T>(const T& body) {
        cells.resize(std::tuple_size_v<decltype(T::fields())>);
        printer.cells(body, cells);
      },
      event.body);
}

}  // namespace pagetape
