// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "traces/limits.h"
#include "traces/place.h"
#include "traces/text.h"
#include "traces/text_json.h"

namespace pagetape {
namespace {

// Whether `allows` says all there is to say of a field of type M.
template <class M>
inline constexpr bool kAlone = requires(const M& value) {
  allows(Limits(), Names(), value);
};
template <class E>
inline constexpr bool kAlone<std::vector<E>> = kAlone<E>;
template <class E>
inline constexpr bool kAlone<std::optional<E>> = kAlone<E>;
template <>
inline constexpr bool kAlone<ev::Rows> = kAlone<ev::Row>;
template <>
inline constexpr bool kAlone<Pair> = true;
template <>
inline constexpr bool kAlone<LayerChoice> = true;

// The place of whoever only asks whether: nothing is kept on the way to a value.
struct Anywhere {
  Anywhere operator/(std::string_view) const { return {}; }
  Anywhere operator[](std::size_t) const { return {}; }
  static std::string text() { return {}; }
};

// Checks one event: each value by its type and limits, then what several say together. Each check
// gives false and sets the error where it does not hold, which says where if it is of the Place
// that knows. Without kValues, the values that stand alone are known to be within their limits.
template <bool kValues, class Place>
class EventChecker {
 public:
  explicit EventChecker(const Names& names) : names_(names) {}

  bool event(const Event& event) {
    const Place top;
    if (!std::visit([&](const auto& body) { return object(body, top); }, event.body)) return false;
    if (kValues && !common(event, top)) return false;
    if (event.extra.empty()) return true;
    nlohmann::json overlay;
    if (parse_json(event.extra, overlay).ok() && overlay.is_object()) return true;
    return fail("the unknown fields are not a JSON object");
  }

  const std::string& error() const { return error_; }

  // Whether there is more to say of a body of type T than of each value alone.
  template <class T>
  static constexpr bool says_more() {
    bool more = requires(EventChecker checker, const T& body, const Place& at) {
      checker.whole(body, at);
    };
    for_each_field<T>([&]<class M>(const Field<T, M>&) { more |= !kAlone<M>; });
    return more;
  }

 private:
  bool common(const Event& event, const Place& top) {
    static const Limits stream = limits_of("", "stream"), rank = limits_of("", "rank");
    return value(std::int64_t{event.stream}, top / "stream", stream) &&
           value(event.rank, top / "rank", rank) && known(event.src, top / "src");
  }

  bool fail(std::string message) {
    error_ = std::move(message);
    return false;
  }

  bool expected(const Place& at, const std::string& what) {
    return fail("field \"" + at.text() + "\": expected " + what);
  }

  bool missing(const Place& at, const char* what) {
    return fail("missing field \"" + at.text() + "\" (" + what + ")");
  }

  template <class T>
  bool object(const T& object, const Place& at) {
    const Limits* limits = limits_of_fields<T>().data();
    bool good = true;
    for_each_field<T>([&]<class M>(const Field<T, M>& field) {
      if constexpr (kValues || !kAlone<M>) {
        good = good && value(object.*field.member, at / field.name, *limits);
      }
      ++limits;
    });
    if constexpr (requires { whole(object, at); }) good = good && whole(object, at);
    return good;
  }

  // A name of the table, or none.
  bool known(Name name, const Place& at) {
    return raw(name) < names_.size() || expected(at, "a name of this trace");
  }

  bool value(Name name, const Place& at, const Limits& limits) {
    if (!known(name, at)) return false;
    if (allows(limits, names_, name)) return true;
    if (name == kNone) return missing(at, "a string");
    std::string what;
    for (std::string_view word : limits.words) {
      what += (what.empty() ? "" : ", ") + std::string(word);
    }
    return expected(at, "one of " + what + "; found " + shown(names_.text(name)));
  }

  bool value(std::int64_t number, const Place& at, const Limits& limits) {
    if (allows(limits, names_, number)) return true;
    const std::string bound = number < limits.low ? ">= " + std::to_string(limits.low)
                                                  : "<= " + std::to_string(limits.high);
    return expected(at, "an integer " + bound + ", found " + std::to_string(number));
  }

  bool value(const OptInt& number, const Place& at, const Limits& limits) {
    return !number.has_value() || value(*number, at, limits);
  }

  bool value(PageId page, const Place& at, const Limits& limits) {
    return allows(limits, names_, page) || expected(at, "a page id, found -2147483648");
  }

  bool value(SlotId slot, const Place& at, const Limits& limits) {
    if (allows(limits, names_, slot)) return true;
    return expected(at, "a slot within 48 bits, found " + std::to_string(raw(slot)));
  }

  bool value(Layer layer, const Place& at, const Limits& limits) {
    if (!allows(limits, names_, layer)) return missing(at, "a layer");
    return !layer.is_named() || known(layer.name(), at);
  }

  bool value(bool, const Place&, const Limits&) { return true; }

  bool value(double number, const Place& at, const Limits& limits) {
    return allows(limits, names_, number) || expected(at, "a finite number");
  }

  bool value(const Pair& pair, const Place& at, const Limits& limits) {
    return value(pair.first, at[0], limits) && value(pair.second, at[1], limits);
  }

  bool value(const LayerChoice& choice, const Place& at, const Limits& limits) {
    return value(choice.list, at, limits);
  }

  bool value(const Digests& digests, const Place& at, const Limits& limits) {
    if (!digests.per_page && digests.list.size() != 1) return expected(at, "one digest");
    return value(digests.list, at, limits);
  }

  bool value(const ScalarValue& scalar, const Place& at, const Limits&) {
    if (!known(scalar.json, at)) return false;
    const std::string_view text = names_.text(scalar.json);
    nlohmann::json json;
    // It is printed as it stands, so neither space nor a byte order mark may be around it.
    if (!text.empty() && std::string_view("\"-0123456789tf").find(text.front()) != text.npos &&
        !std::isspace(static_cast<unsigned char>(text.back())) && parse_json(text, json).ok()) {
      return true;
    }
    return expected(at, "a string, a number, true or false");
  }

  bool value(const Scalars& scalars, const Place& at, const Limits& limits) {
    std::set<Name> seen;
    for (const auto& [name, scalar] : scalars) {
      const Place here = at / names_.text(name);
      if (name == kNone || !known(name, here)) return expected(at, "names of this trace");
      if (!seen.insert(name).second) return expected(here, "one value, found two");
      if (!value(scalar, here, limits)) return false;
    }
    return true;
  }

  bool value(const ev::Launch& launch, const Place& at, const Limits&) {
    return std::visit([&](const auto& body) { return object(body, at); }, launch);
  }

  template <class T>
  bool value(const std::optional<T>& part, const Place& at, const Limits& limits) {
    return !part.has_value() || value(*part, at, limits);
  }

  template <class T>
  bool value(const std::vector<T>& list, const Place& at, const Limits& limits) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      if constexpr (!kValues && std::is_same_v<T, ev::Row>) {
        if (says_no_more(list.data()[i])) continue;
      }
      if (!value(list[i], at[i], limits)) return false;
    }
    return true;
  }

  bool value(const ev::Rows& rows, const Place& at, const Limits& limits) {
    if (!kValues && (rows.slot_lanes() != nullptr || rows.by_row())) return true;
    return value(rows.list(), at, limits);
  }

  bool value(const std::vector<ev::Launch>& launches, const Place& at, const Limits& limits) {
    captured_ = true;
    for (std::size_t i = 0; i < launches.size(); ++i) {
      if (!value(launches[i], at[i], limits)) return false;
    }
    captured_ = false;
    return true;
  }

  template <class T>
  requires requires { T::fields(); }
  bool value(const T& part, const Place& at, const Limits&) { return object(part, at); }

  // What the fields of an object say together.
  bool whole(const ev::Pool& pool, const Place& at) {
    if (!pool.reserved.has_value()) return true;
    std::set<PageId> seen;
    for (std::size_t i = 0; i < pool.reserved->size(); ++i) {
      const PageId page = (*pool.reserved)[i].page;
      const Place list = at / "reserved", element = list[i];
      if (seen.insert(page).second) continue;
      return expected(element / "page",
                      "each reserved page once, found " + std::to_string(raw(page)) + " again");
    }
    return true;
  }

  bool whole(const ev::Extent& extent, const Place& at) {
    if (extent.begin <= extent.end) return true;
    return expected(at / "end", "an end that is not before begin (" + std::to_string(extent.begin) +
                                    "), found " + std::to_string(extent.end));
  }

  bool whole(const ev::Fill& fill, const Place& at) {
    const std::size_t pages = fill.pages.size();
    if (!slots_of(fill.slots, pages, at)) return false;
    if (!fill.digest.has_value() || !fill.digest->per_page) return true;
    return as_long_as(fill.digest->list.size(), pages, at / "digest", "pages");
  }

  bool whole(const ev::Copy& copy, const Place& at) {
    return as_long_as(copy.to.size(), copy.from.size(), at / "to", "from") &&
           slots_of(copy.slots, copy.from.size(), at);
  }

  bool whole(const ev::Kernel& kernel, const Place& at) {
    return dimensions(kernel.grid, at / "grid") && dimensions(kernel.block, at / "block");
  }

  static bool says_no_more(const ev::Row& lane) {
    return !lane.spaces.has_value() && !lane.logical.has_value();
  }

  bool whole(const ev::Row& lane, const Place& at) {
    return says_no_more(lane) || pages_agree(lane, at);
  }

  bool pages_agree(const ev::Row& lane, const Place& at) {
    const std::size_t pages = lane.pages.has_value() ? lane.pages->size() : 0;
    if (lane.spaces.has_value() &&
        !as_long_as(lane.spaces->size(), pages, at / "spaces", "pages")) {
      return false;
    }
    if (!lane.logical.has_value()) return true;
    if (lane.first.has_value()) return expected(at / "first", "nothing where logical is given");
    if (lane.pages.has_value() &&
        !as_long_as(lane.logical->size(), pages, at / "logical", "pages")) {
      return false;
    }
    return increasing(*lane.logical, at / "logical");
  }

  bool whole(const ev::Attention& attention, const Place& at) {
    if (!layers_of(attention, at)) return false;
    if (attention.table != kNone && attention.lens != kNone && attention.rows.by_row()) return true;
    const Place rows = at / "rows";
    for (std::size_t i = 0; i < attention.rows.size() && !captured_; ++i) {
      const ev::Row& lane = attention.rows[i];
      const Place here = rows[i];
      if (!lane.pages.has_value()) {
        if (!lane.row.has_value()) return missing(here / "pages", "a list of page ids, or a row");
        if (attention.table == kNone) return missing(at / "table", "the buffer that row is of");
      }
      if (lane.len.has_value()) continue;
      if (attention.lens == kNone) return missing(here / "len", "an integer, or lens beside rows");
    }
    return true;
  }

  bool whole(const ev::Store& store, const Place& at) {
    if (!layers_of(store, at)) return false;
    if (store.rows.slot_lanes() != nullptr) return true;
    const Place rows = at / "rows";
    for (std::size_t i = 0; i < store.rows.size() && !captured_; ++i) {
      const ev::Row& lane = store.rows[i];
      const Place here = rows[i];
      if (lane.slots.has_value()) continue;
      if (!lane.row.has_value()) return missing(here / "slots", "a list of slots, or row and n");
      if (!lane.n.has_value()) return missing(here / "n", "an integer");
      if (store.slots == kNone) return missing(at / "slots", "the buffer that row is of");
    }
    return true;
  }

  template <class T>
  bool layers_of(const T& launch, const Place& at) {
    if (launch.layer.has_value() && launch.layers.has_value()) {
      return expected(at / "layers", "nothing where layer is given");
    }
    if (launch.layer.has_value() || launch.layers.has_value()) return true;
    return missing(at / "layer", "a layer, or layers");
  }

  // The first n slots of each page: one figure for all pages, or one a page.
  bool slots_of(const std::optional<Ints>& slots, std::size_t pages, const Place& at) {
    if (!slots.has_value() || slots->size() == 1) return true;
    return as_long_as(slots->size(), pages, at / "slots", "pages");
  }

  bool as_long_as(std::size_t size, std::size_t other, const Place& at, const char* field) {
    if (size == other) return true;
    return expected(at, "as many as " + std::string(field) + " (" + std::to_string(other) +
                            "), found " + std::to_string(size));
  }

  bool increasing(const Ints& list, const Place& at) {
    for (std::size_t i = 1; i < list.size(); ++i) {
      if (list[i - 1] >= list[i]) {
        return expected(at[i], "more than " + std::to_string(list[i - 1]) + ", found " +
                                   std::to_string(list[i]));
      }
    }
    return true;
  }

  bool dimensions(const Ints& list, const Place& at) {
    if (1 <= list.size() && list.size() <= 3) return true;
    return expected(at, "one to three integers, found " + std::to_string(list.size()));
  }

  const Names& names_;
  std::string error_;
  // Within a graph's launches a lane may lack what the lane of each graph launch gives.
  bool captured_ = false;
};

}  // namespace

Status check_event(const Event& event, const Names& names) {
  if (EventChecker<true, Anywhere>(names).event(event)) return {};
  EventChecker<true, Place> checker(names);
  return checker.event(event) ? Status() : usage(checker.error());
}

bool says_more(std::size_t kind) {
  static constexpr auto kSaysMore = []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array{
        EventChecker<false, Anywhere>::says_more<std::variant_alternative_t<I, EventBody>>()...};
  }
  (std::make_index_sequence<kKinds>());
  return kSaysMore[kind];
}

bool is_whole(const Event& event, const Names& names) {
  return EventChecker<false, Anywhere>(names).event(event);
}

}  // namespace pagetape
