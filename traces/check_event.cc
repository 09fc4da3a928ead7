// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "traces/place.h"
#include "traces/text.h"
#include "traces/text_json.h"

namespace pagetape {
namespace {

constexpr std::int64_t kMostIds = INT32_MAX;  // Pages, rows, columns: 31 bits.
// Slots and token positions. A page id of 31 bits times a page of 65536 slots is 47 bits, so that
// no product or sum of a few of them leaves 64.
constexpr std::int64_t kMostSlots = (std::int64_t{1} << 47) - 1;
constexpr std::int64_t kMostPageSlots = 65536;
constexpr std::int64_t kMostHeads = 65536;  // Heads, and numbers in one.
// Bytes, where later code subtracts and adds.
constexpr std::int64_t kMostBytes = (std::int64_t{1} << 62) - 1;

// What the integers of a field lie between, those of lists too. Fields that are not named hold any
// integer: counts that rules judge (free_count.free, view), addresses, times.
struct Range {
  std::string_view field;
  std::int64_t low, high;
};
constexpr Range kRanges[] = {
    {"format", 1, kMostIds},
    {"tp", 1, kMostIds},
    {"pp", 1, kMostIds},
    {"dp", 1, kMostIds},
    {"pages", 0, kMostIds},
    {"page_size", 1, kMostPageSlots},
    {"page_bytes", 1, kMostIds},
    {"offset_bits", 1, 64},
    {"layers", 0, kMostIds},
    {"kv_heads", 1, kMostHeads},
    {"q_heads", 1, kMostHeads},
    {"head_dim", 1, kMostHeads},
    {"v_head_dim", 0, kMostHeads},  // 0 where V is a part of K, as in MLA.
    {"shape", 0, kMostSlots},
    {"stride", -kMostSlots, kMostSlots},
    {"bytes", 0, kMostBytes},
    {"begin", -kMostBytes, kMostBytes},  // Outside the arena is a finding, not an error of form.
    {"end", -kMostBytes, kMostBytes},
    {"rows", 0, kMostIds},
    {"cols", 0, kMostIds},
    {"capacity", 0, kMostBytes},
    {"used", 0, kMostBytes},
    {"first", 0, kMostIds},
    {"logical", 0, kMostIds},
    {"pairs", 0, kMostSlots},
    {"from", 0, kMostSlots},
    {"len", 0, kMostSlots},
    {"drafted", 0, kMostIds},
    {"accepted", 0, kMostIds},
    {"row", 0, kMostIds},
    {"col", 0, kMostIds},
    {"q_len", 0, kMostIds},
    {"q_pos", 0, kMostSlots},
    {"n", 0, kMostIds},
    {"window", 1, kMostSlots},
    {"table_rows", 0, kMostIds},
    {"table_cols", 0, kMostIds},
    {"event", 0, INT64_MAX},
    {"on", 0, kMostIds},
    {"index", 0, kMostIds},
    {"step", 0, INT64_MAX},
    {"batch", 0, kMostIds},
    {"grid", 0, kMostIds},
    {"block", 0, kMostIds},
    {"events", 0, INT64_MAX},
    {"after", 0, INT64_MAX},
};
// Fields whose integers are bounded in some events only: `slots` holds slot numbers elsewhere.
struct EventRange {
  std::string_view event;
  Range range;
};
constexpr EventRange kEventRanges[] = {
    {"lens", {"values", 0, kMostSlots}},
    {"fill", {"slots", 0, kMostPageSlots}},
    {"copy", {"slots", 0, kMostPageSlots}},
};

// Fields that hold one of a few words. The event is "" for an object inside one.
struct Words {
  std::string_view event, field;
  std::array<std::string_view, 6> words;
};
constexpr Words kWords[] = {
    {"pool", "kind", {"full", "swa", "mla", "state", "host", "index"}},
    {"pool", "layout", {"NHD", "HND"}},
    {"", "role", {"pad", "null"}},
    {"map", "unit", {"page", "slot"}},
    {"backend", "role", {"target", "draft"}},
    {"header", "clock", {"monotonic", "realtime"}},
    {"prefix_key", "when", {"written", "scheduled"}},
    {"request", "state", {"arrive", "run", "preempt", "resume", "finish", "abort"}},
    {"attention", "mode", {"decode", "extend", "verify", "draft"}},
    {"store", "negative", {"skip", "wrap"}},
    {"async_begin", "kind", {"read", "write"}},
};

// What the tables above say of one field.
struct Limits {
  std::int64_t low = INT64_MIN + 1, high = INT64_MAX;  // INT64_MIN is an absent OptInt.
  const Words* words = nullptr;
};

Limits limits_of(std::string_view event, std::string_view field) {
  Limits limits;
  const auto take = [&](const Range& range) {
    if (range.field != field) return;
    limits.low = range.low;
    limits.high = range.high;
  };
  for (const Range& range : kRanges) take(range);
  for (const EventRange& range : kEventRanges) {
    if (range.event == event) take(range.range);
  }
  for (const Words& words : kWords) {
    if (words.event == event && words.field == field) limits.words = &words;
  }
  return limits;
}

template <class T>
constexpr std::string_view event_name() {
  if constexpr (requires { T::kName; }) return T::kName;
  return {};
}

// The limits of T's fields in declared order, looked up once.
template <class T>
const std::vector<Limits>& limits_of_fields() {
  static const std::vector<Limits> limits = [] {
    std::vector<Limits> found;
    for_each_field<T>(
        [&](const auto& field) { found.push_back(limits_of(event_name<T>(), field.name)); });
    return found;
  }();
  return limits;
}

// Checks one event: each field by its type and the tables, then what several fields say together.
// Each check gives false and sets the error where it does not hold.
class EventChecker {
 public:
  explicit EventChecker(const Names& names) : names_(names) {}

  bool event(const Event& event) {
    const Place top;
    if (!std::visit([&](const auto& body) { return object(body, top); }, event.body)) return false;
    const Limits ids{0, kMostIds};
    if (!value(std::int64_t{event.stream}, top / "stream", ids)) return false;
    if (!value(event.rank, top / "rank", ids)) return false;
    if (!known(event.src, top / "src")) return false;
    if (event.extra.empty()) return true;
    nlohmann::json overlay;
    if (parse_json(event.extra, overlay).ok() && overlay.is_object()) return true;
    return fail("the unknown fields are not a JSON object");
  }

  const std::string& error() const { return error_; }

 private:
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
    for_each_field<T>([&](const auto& field) {
      good = good && member(object.*field.member, field.need, at / field.name, *limits++);
    });
    return good && whole(object, at);
  }

  template <class M>
  bool member(const M& part, Need need, const Place& at, const Limits& limits) {
    if constexpr (std::is_same_v<M, Name>) {
      if (part == kNone) return need != Need::kRequired || missing(at, "a string");
    }
    return value(part, at, limits);
  }

  // A name of the table, or none.
  bool known(Name name, const Place& at) {
    return raw(name) < names_.size() || expected(at, "a name of this trace");
  }

  bool value(Name name, const Place& at, const Limits& limits) {
    if (name == kNone) return missing(at, "a string");
    if (!known(name, at)) return false;
    if (limits.words == nullptr) return true;
    const auto& words = limits.words->words;
    const std::string_view text = names_.text(name);
    if (!text.empty() && std::find(words.begin(), words.end(), text) != words.end()) return true;
    std::string what;
    for (std::string_view word : words) {
      if (!word.empty()) what += (what.empty() ? "" : ", ") + std::string(word);
    }
    return expected(at, "one of " + what + "; found " + shown(text));
  }

  bool value(std::int64_t number, const Place& at, const Limits& limits) {
    const bool low = number < limits.low;
    if (!low && number <= limits.high) return true;
    const std::string bound =
        low ? ">= " + std::to_string(limits.low) : "<= " + std::to_string(limits.high);
    return expected(at, "an integer " + bound + ", found " + std::to_string(number));
  }

  bool value(const OptInt& number, const Place& at, const Limits& limits) {
    return !number.has_value() || value(*number, at, limits);
  }

  // Any id may stand in a trace, negative ones too: whether it is a page is for the rules to say.
  bool value(PageId page, const Place& at, const Limits&) {
    return page != kUnknownPage || expected(at, "a page id, found -2147483648");
  }

  bool value(SlotId slot, const Place& at, const Limits&) {
    if (-kMostSlots <= raw(slot) && raw(slot) <= kMostSlots) return true;
    return expected(at, "a slot within 48 bits, found " + std::to_string(raw(slot)));
  }

  bool value(Layer layer, const Place& at, const Limits&) {
    if (!layer.is_named()) return true;
    return layer.name() == kNone ? missing(at, "a layer") : known(layer.name(), at);
  }

  bool value(bool, const Place&, const Limits&) { return true; }

  bool value(double number, const Place& at, const Limits&) {
    return std::isfinite(number) || expected(at, "a finite number");
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
      if (!value(list[i], at[i], limits)) return false;
    }
    return true;
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
  template <class T>
  bool whole(const T&, const Place&) {
    return true;
  }

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

  bool whole(const ev::Row& lane, const Place& at) {
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
  EventChecker checker(names);
  return checker.event(event) ? Status() : usage(checker.error());
}

}  // namespace pagetape
