// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "traces/place.h"
#include "traces/text.h"
#include "traces/text_json.h"

namespace pagetape {
namespace {

using Json = nlohmann::json;

// What a field expects, as messages say it.
template <class T>
constexpr const char* kWhat = "an object";
template <class T>
constexpr const char* kWhat<std::optional<T>> = kWhat<T>;
template <>
constexpr const char* kWhat<Name> = "a string";
template <>
constexpr const char* kWhat<std::int64_t> = "an integer";
template <>
constexpr const char* kWhat<OptInt> = "an integer";
template <>
constexpr const char* kWhat<std::int32_t> = "an integer";
template <>
constexpr const char* kWhat<PageId> = "a page id";
template <>
constexpr const char* kWhat<SlotId> = "a slot";
template <>
constexpr const char* kWhat<bool> = "true or false";
template <>
constexpr const char* kWhat<double> = "a number";
template <>
constexpr const char* kWhat<Layer> = "a layer (an integer >= 0 or a string)";
template <>
constexpr const char* kWhat<Pair> = "a pair of integers";
template <>
constexpr const char* kWhat<ScalarValue> = "a string, a number, true or false";
template <>
constexpr const char* kWhat<Digests> = "a string or a list of strings";
template <>
constexpr const char* kWhat<LayerChoice> = "a list of layers or \"*\"";
template <>
constexpr const char* kWhat<Scalars> = "an object of names and values";
template <>
constexpr const char* kWhat<Pages> = "a list of page ids";
template <>
constexpr const char* kWhat<Slots> = "a list of slots";
template <>
constexpr const char* kWhat<Ints> = "a list of integers";
template <>
constexpr const char* kWhat<NameList> = "a list of strings";
template <>
constexpr const char* kWhat<Layers> = "a list of layers";
template <>
constexpr const char* kWhat<Pairs> = "a list of pairs";
template <>
constexpr const char* kWhat<std::vector<ev::Row>> = "a list of lanes";
template <>
constexpr const char* kWhat<std::vector<ev::Reserved>> = "a list of objects";
template <>
constexpr const char* kWhat<std::vector<ev::Launch>> = "a list of launches";

// Reads one event out of its JSON value. Each read() gives false and sets the error where the value
// is not what the field expects.
class EventParser {
 public:
  explicit EventParser(Names& names) : names_(names) {}

  bool event(const Json& value, Event& out) {
    const Place top;
    if (!value.is_object()) return fail("expected an object, found " + shown(value));
    const Json* word = kind_word(value, top);
    if (word == nullptr) return false;
    const std::size_t kind = kind_named(word->get_ref<const std::string&>());
    if (kind == kKinds) return fail("unknown event " + shown(*word));
    bool good = false;
    emplace_kind(out.body, kind,
                 [&](auto& body) { good = fields(value, top, body, is_common_key); });
    return good && common(value, top, out);
  }

  const std::string& error() const { return error_; }
  std::string extra() const { return extra_.is_null() ? std::string() : extra_.dump(); }

 private:
  using KeyTest = bool (*)(std::string_view);
  static bool is_common_key(std::string_view key) {
    return key == "ev" || key == "t" || key == "stream" || key == "src" || key == "rank";
  }
  static bool is_launch_key(std::string_view key) { return key == "ev"; }
  static bool is_no_key(std::string_view) { return false; }

  bool fail(std::string message) {
    error_ = std::move(message);
    return false;
  }

  bool expected(const char* what, const Json& found, const Place& at) {
    return fail("field \"" + at.text() + "\": expected " + what + ", found " + shown(found));
  }

  // The text of "ev", or null where it is missing or no string.
  const Json* kind_word(const Json& value, const Place& at) {
    const auto word = value.find("ev");
    if (word != value.end() && word->is_string()) return &*word;
    const Place ev = at / "ev";
    if (word == value.end()) {
      fail("missing field \"" + ev.text() + "\" (a string)");
    } else {
      expected(kWhat<Name>, *word, ev);
    }
    return nullptr;
  }

  // What every event may have.
  bool common(const Json& value, const Place& at, Event& out) {
    // An operation runs beside the kernels, so the model gives it a stream of its own.
    out.stream = std::holds_alternative<ev::AsyncBegin>(out.body) ? 1 : 0;
    return member(value, at, "t", Need::kOptional, out.t) &&
           member(value, at, "stream", Need::kOptional, out.stream) &&
           member(value, at, "src", Need::kOptional, out.src) &&
           member(value, at, "rank", Need::kOptional, out.rank);
  }

  // The fields of an object; what `also` does not know either goes to the overlay.
  template <class T>
  bool fields(const Json& value, const Place& at, T& out, KeyTest also) {
    bool good = true;
    std::size_t known = 0;
    for_each_field<T>([&](const auto& field) {
      known += value.contains(field.name);
      good = good && member(value, at, field.name, field.need, out.*field.member);
    });
    if (good && known < value.size()) keep_unknown<T>(value, at, also);
    return good;
  }

  template <class T>
  void keep_unknown(const Json& value, const Place& at, KeyTest also) {
    for (const auto& item : value.items()) {
      const std::string& key = item.key();
      bool known = also(key);
      for_each_field<T>([&](const auto& field) { known = known || key == field.name; });
      if (!known) overlay(at)[key] = item.value();
    }
  }

  Json& overlay(const Place& at) { return at.up == nullptr ? extra_ : overlay(*at.up)[at.key()]; }

  template <class M>
  bool member(const Json& value, const Place& at, const char* name, Need need, M& out) {
    const auto found = value.find(name);
    const Place here = at / name;
    if (found == value.end()) {
      if (need == Need::kOptional) return true;
      const char* or_null = need == Need::kNullable ? " or null)" : ")";
      return fail("missing field \"" + here.text() + "\" (" + kWhat<M> + or_null);
    }
    if (need != Need::kNullable) return read(*found, here, out);
    if (found->is_null()) return true;
    return found->is_string() ? read(*found, here, out)
                              : expected("a string or null", *found, here);
  }

  // Integers of the text that a signed integer of the given width holds.
  bool integer(const Json& value, const Place& at, const char* what, std::int64_t low,
               std::int64_t high, std::int64_t& out) {
    if (!value.is_number_integer()) return expected(what, value, at);
    const bool large = value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX;
    out = large ? 0 : value.get<std::int64_t>();
    if (!large && low <= out && out <= high) return true;
    const char* width = high == INT32_MAX ? " within 32 bits" : " within 64 bits";
    return expected((std::string(what) + width).c_str(), value, at);
  }

  // INT64_MIN stands for an absent OptInt, INT32_MIN for an unknown table cell.
  bool read(const Json& value, const Place& at, std::int64_t& out) {
    return integer(value, at, "an integer", INT64_MIN + 1, INT64_MAX, out);
  }

  bool read(const Json& value, const Place& at, OptInt& out) {
    std::int64_t number = 0;
    if (!read(value, at, number)) return false;
    out = number;
    return true;
  }

  bool read(const Json& value, const Place& at, std::int32_t& out) {
    std::int64_t number = 0;
    if (!integer(value, at, "an integer", INT32_MIN, INT32_MAX, number)) return false;
    out = static_cast<std::int32_t>(number);
    return true;
  }

  bool read(const Json& value, const Place& at, PageId& out) {
    std::int64_t number = 0;
    if (!integer(value, at, "a page id", INT32_MIN + 1, INT32_MAX, number)) return false;
    out = PageId{static_cast<std::int32_t>(number)};
    return true;
  }

  bool read(const Json& value, const Place& at, SlotId& out) {
    std::int64_t number = 0;
    if (!integer(value, at, "a slot", INT64_MIN + 1, INT64_MAX, number)) return false;
    out = SlotId{number};
    return true;
  }

  bool read(const Json& value, const Place& at, Layer& out) {
    if (value.is_string()) {
      out = Layer::named(names_.intern(value.get_ref<const std::string&>()));
      return true;
    }
    std::int64_t number = 0;
    if (!integer(value, at, kWhat<Layer>, 0, INT32_MAX, number)) return false;
    out = Layer::number(static_cast<std::int32_t>(number));
    return true;
  }

  bool read(const Json& value, const Place& at, Name& out) {
    if (!value.is_string()) return expected(kWhat<Name>, value, at);
    out = names_.intern(value.get_ref<const std::string&>());
    return true;
  }

  bool read(const Json& value, const Place& at, bool& out) {
    if (!value.is_boolean()) return expected(kWhat<bool>, value, at);
    out = value.get<bool>();
    return true;
  }

  bool read(const Json& value, const Place& at, double& out) {
    if (!value.is_number()) return expected(kWhat<double>, value, at);
    out = value.get<double>();
    return true;
  }

  bool read(const Json& value, const Place& at, ScalarValue& out) {
    if (value.is_structured() || value.is_null()) return expected(kWhat<ScalarValue>, value, at);
    out.json = names_.intern(value.dump());
    return true;
  }

  bool read(const Json& value, const Place& at, Scalars& out) {
    if (!value.is_object()) return expected(kWhat<Scalars>, value, at);
    for (const auto& [name, scalar] : value.items()) {
      out.emplace_back(names_.intern(name), ScalarValue());
      if (!read(scalar, at / name, out.back().second)) return false;
    }
    return true;
  }

  bool read(const Json& value, const Place& at, Pair& out) {
    if (!value.is_array() || value.size() != 2) return expected(kWhat<Pair>, value, at);
    return read(value[0], at[0], out.first) && read(value[1], at[1], out.second);
  }

  bool read(const Json& value, const Place& at, LayerChoice& out) {
    out.all = value == "*";
    if (out.all) return true;
    return value.is_array() ? read(value, at, out.list) : expected(kWhat<LayerChoice>, value, at);
  }

  bool read(const Json& value, const Place& at, Digests& out) {
    out.per_page = value.is_array();
    if (out.per_page) return read(value, at, out.list);
    if (!value.is_string()) return expected(kWhat<Digests>, value, at);
    return read(value, at, out.list.emplace_back());
  }

  bool read(const Json& value, const Place& at, ev::Launch& out) {
    if (!value.is_object()) return expected("an object", value, at);
    const Json* word = kind_word(value, at);
    if (word == nullptr) return false;
    const std::string& kind = word->get_ref<const std::string&>();
    if (kind == ev::Attention::kName) {
      return fields(value, at, out.emplace<ev::Attention>(), is_launch_key);
    }
    if (kind == ev::Store::kName) return fields(value, at, out.emplace<ev::Store>(), is_launch_key);
    if (kind == ev::Copy::kName) return fields(value, at, out.emplace<ev::Copy>(), is_launch_key);
    return expected("attention, store or copy", *word, at / "ev");
  }

  template <class T>
  bool read(const Json& value, const Place& at, std::optional<T>& out) {
    return read(value, at, out.emplace());
  }

  bool read(const Json& value, const Place& at, ev::Rows& out) {
    out.renew().clear();
    return read(value, at, out.edit());
  }

  // Grows as elements turn out good: reserving lanes for a list of 30 million zeros takes 6 GB.
  template <class T>
  bool read(const Json& value, const Place& at, std::vector<T>& out) {
    if (!value.is_array()) return expected(kWhat<std::vector<T>>, value, at);
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (!read(value[i], at[i], out.emplace_back())) return false;
    }
    return true;
  }

  template <class T>
  requires requires { T::fields(); }
  bool read(const Json& value, const Place& at, T& out) {
    if (!value.is_object()) return expected(kWhat<T>, value, at);
    return fields(value, at, out, is_no_key);
  }

  Names& names_;
  std::string error_;
  Json extra_;  // The overlay of unknown fields: null until there is one.
};

}  // namespace

Status parse_event(std::string_view line, Names& names, Event& event) {
  event = Event();
  try {
    Json value;
    if (Status status = parse_json(line, value); !status.ok()) return status;
    EventParser parser(names);
    if (!parser.event(value, event)) return usage(parser.error());
    event.extra = parser.extra();
  } catch (const std::exception& what) {  // Memory ran out; the library has no other way to say it.
    return usage(std::string("the line cannot be held: ") + what.what());
  }
  return check_event(event, names);
}

}  // namespace pagetape
