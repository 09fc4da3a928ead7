// SPDX-License-Identifier: Apache-2.0
// The bytes of a keyframe: a walk over the state's own visit() functions, both ways. Integers are
// variable-length; a name is its text where it first stands and a number after, so that the bytes
// do not depend on the order in which a reader interned its names. So is a set of layers, of which
// a judge may have interned more than the state uses. In a list of plain structures each integer is
// the difference to the one in the element before: ids ascend, and events are near each other.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "replay/layer_sets.h"
#include "replay/sparse_array.h"
#include "traces/event_launch.h"
#include "traces/fields.h"
#include "traces/names.h"

namespace pagetape {

template <class T>
inline constexpr bool kIsVector = false;
template <class T>
inline constexpr bool kIsVector<std::vector<T>> = true;
template <class T>
inline constexpr bool kIsMap = false;
template <class K, class V>
inline constexpr bool kIsMap<std::map<K, V>> = true;
template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;
template <class T>
inline constexpr bool kIsPair = false;
template <class A, class B>
inline constexpr bool kIsPair<std::pair<A, B>> = true;
template <class T>
inline constexpr bool kIsVariant = false;
template <class... T>
inline constexpr bool kIsVariant<std::variant<T...>> = true;
template <class T>
inline constexpr bool kIsSparse = false;
template <class T, std::size_t N>
inline constexpr bool kIsSparse<SparseArray<T, N>> = true;

// Elements whose integers are kept as differences: no list is within them.
template <class T>
concept Plain = std::is_trivially_copyable_v<T>;

// The integers of the element before, in the order of their visit.
class Differences {
 public:
  void begin() { at_ = 0; }
  // The integer that this one is told relative to; 0 outside of lists.
  std::uint64_t& last() { return last_[std::min(at_++, last_.size() - 1)]; }

 private:
  std::array<std::uint64_t, 16> last_{};
  std::size_t at_ = 0;
};

template <class T>
concept Reflected = requires {
  T::fields();
};

// Fields of an event, for archives of either direction.
template <class A, class T>
void archive_fields(A& a, T& value) {
  for_each_field<T>([&](const auto& field) { a(value.*(field.member)); });
}

class SaveArchive {
 public:
  static constexpr bool kLoading = false;
  explicit SaveArchive(const Names& names) : names_(names) {}

  template <class... T>
  void operator()(const T&... values) {
    (save(values), ...);
  }
  // The table of the sets to come.
  void use(const LayerSets& sets) {
    sets_ = &sets;
    set_ids_.clear();
  }
  std::string take() { return std::move(out_); }

 private:
  void number(std::uint64_t v) {
    for (; v >= 0x80; v >>= 7) out_.push_back(static_cast<char>(v | 0x80));
    out_.push_back(static_cast<char>(v));
  }
  void signed_number(std::int64_t v) {
    number(static_cast<std::uint64_t>(v) << 1 ^ static_cast<std::uint64_t>(v >> 63));
  }
  void save(Name name) {
    if (name == kNone) return number(0);
    auto [it, fresh] = ids_.try_emplace(raw(name), ids_.size() + 1);
    number(it->second);
    if (fresh) save_text(names_.text(name));
  }
  void save_text(std::string_view text) {
    number(text.size());
    out_.append(text);
  }
  void save(Layer layer) {
    number(layer.is_named());
    layer.is_named() ? save(layer.name()) : number(static_cast<std::uint64_t>(layer.v));
  }
  void save(LayerSet set) {
    if (set == kNoLayers || set == kAllLayers) return number(static_cast<std::uint64_t>(set));
    auto [it, fresh] = set_ids_.try_emplace(static_cast<std::uint32_t>(set), set_ids_.size() + 2);
    number(it->second);
    if (!fresh) return;
    LayerSets::Listed listed = sets_->list(set);
    std::ranges::sort(listed.layers, {}, [this](Layer layer) { return order(layer); });
    (*this)(listed.complement, listed.layers);
  }
  // Named layers are ordered by when their names were interned: here, by their text.
  std::tuple<bool, std::int32_t, std::string_view> order(Layer layer) const {
    return {layer.is_named(), layer.is_named() ? 0 : layer.v,
            layer.is_named() ? names_.text(layer.name()) : std::string_view()};
  }
  void save(const std::string& text) { save_text(text); }
  void save(OptInt v) { signed_number(v.has_value() ? *v : INT64_MIN); }
  void save(double v) {
    std::uint64_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    number(bits);
  }
  void save(bool v) { number(v); }
  void save(const ev::Rows& rows) { save(rows.list()); }

  template <class T>
  void save(const T& v) {
    if constexpr (std::is_enum_v<T> || std::is_integral_v<T>) {
      // kNever and other all-ones sentinels are -1: one byte.
      auto value = static_cast<std::uint64_t>(static_cast<std::int64_t>(v));
      if (differences_ != nullptr) value -= std::exchange(differences_->last(), value);
      signed_number(static_cast<std::int64_t>(value));
    } else if constexpr (kIsVector<T>) {
      number(v.size());
      elements<typename T::value_type>([&](auto&& save_one) {
        for (const auto& x : v) save_one(x);
      });
    } else if constexpr (kIsMap<T>) {
      save_map(v);
    } else if constexpr (kIsOptional<T>) {
      number(v.has_value());
      if (v) save(*v);
    } else if constexpr (kIsPair<T>) {
      (*this)(v.first, v.second);
    } else if constexpr (kIsVariant<T>) {
      number(v.index());
      std::visit([this](const auto& x) { save(x); }, v);
    } else if constexpr (kIsSparse<T>) {
      std::uint64_t last = 0;
      elements<typename T::value_type>([&](auto&& save_one) {
        v.for_each([&](std::uint64_t i, const auto& x) {
          if (x == std::decay_t<decltype(x)>()) return;
          number(i + 1 - last);
          save_one(x);
          last = i + 1;
        });
      });
      number(0);
    } else if constexpr (Reflected<T>) {
      archive_fields(*this, v);
    } else {
      const_cast<T&>(v).visit(*this);  // visit() serves both directions.
    }
  }
  // Calls f with what saves one element of a list.
  template <class E, class F>
  void elements(F&& f) {
    if constexpr (Plain<E>) {
      Differences differences;
      f([&](const E& element) {
        differences.begin();
        Differences* const outer = std::exchange(differences_, &differences);
        save(element);
        differences_ = outer;
      });
    } else {
      f([&](const E& element) { save(element); });
    }
  }
  template <class K, class V>
  void save_map(const std::map<K, V>& map) {
    std::vector<const std::pair<const K, V>*> entries;
    entries.reserve(map.size());
    for (const auto& entry : map) entries.push_back(&entry);
    if constexpr (std::is_same_v<K, Layer>) {
      std::ranges::sort(entries, {}, [this](const auto* entry) { return order(entry->first); });
    }
    number(entries.size());
    for (const auto* entry : entries) (*this)(entry->first, entry->second);
  }
  void save(const Digests& v) { (*this)(v.per_page, v.list); }
  void save(const ScalarValue& v) { save(v.json); }

  const Names& names_;
  std::string out_;
  Differences* differences_ = nullptr;  // Of the list whose element is at hand.
  std::unordered_map<std::uint32_t, std::uint64_t> ids_;
  const LayerSets* sets_ = nullptr;
  std::unordered_map<std::uint32_t, std::uint64_t> set_ids_;
};

// Reads what SaveArchive wrote. Never trusts a count: each costs at least a byte that is there.
class LoadArchive {
 public:
  static constexpr bool kLoading = true;
  LoadArchive(std::string_view bytes, Names& names) : in_(bytes), names_(names) {}

  template <class... T>
  void operator()(T&... values) {
    (load(values), ...);
  }
  // The table of the sets to come.
  void use(LayerSets& sets) {
    sets_ = &sets;
    known_sets_.clear();
  }
  bool ok() const { return ok_; }
  bool at_end() const { return in_.empty(); }

 private:
  std::uint64_t number() {
    if (!in_.empty() && static_cast<unsigned char>(*in_.data()) < 0x80) {  // Mostly.
      const auto byte = static_cast<unsigned char>(*in_.data());
      in_ = {in_.data() + 1, in_.size() - 1};
      return byte;
    }
    return long_number();
  }
  [[gnu::noinline]] std::uint64_t long_number() {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (in_.empty() || !ok_) break;
      const auto byte = static_cast<unsigned char>(in_.front());
      in_.remove_prefix(1);
      if (shift < 64) v |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return v;
    }
    ok_ = false;
    in_ = {};
    return 0;
  }
  std::int64_t signed_number() {
    const std::uint64_t v = number();
    return static_cast<std::int64_t>(v >> 1 ^ (~(v & 1) + 1));
  }
  std::size_t count() {
    const std::uint64_t n = number();
    if (n > in_.size()) {
      ok_ = false;
      in_ = {};
      return 0;
    }
    return n;
  }
  std::string_view text() {
    const std::size_t n = count();
    const std::string_view t = in_.substr(0, n);
    in_.remove_prefix(n);
    return t;
  }
  void load(Name& name) {
    const std::uint64_t id = number();
    name = kNone;
    if (id == 0) return;
    if (id == known_.size() + 1) known_.push_back(names_.intern(text()));
    if (id > known_.size()) {
      ok_ = false;
      return;
    }
    name = known_[id - 1];
  }
  void load(Layer& layer) {
    if (number() != 0) {
      Name name;
      load(name);
      layer = Layer::named(name);
    } else {
      layer = Layer::number(static_cast<std::int32_t>(number() & INT32_MAX));
    }
  }
  void load(LayerSet& set) {
    const std::uint64_t id = number();
    set = id == 1 ? kAllLayers : kNoLayers;
    if (id < 2) return;
    if (id == known_sets_.size() + 2) {
      LayerSets::Listed listed;
      (*this)(listed.complement, listed.layers);
      known_sets_.push_back(sets_->of(listed));
    }
    if (id >= known_sets_.size() + 2) {
      ok_ = false;
      return;
    }
    set = known_sets_[id - 2];
  }
  void load(std::string& v) { v = text(); }
  void load(OptInt& v) {
    const std::int64_t n = signed_number();
    v = n == INT64_MIN ? OptInt() : OptInt(n);
  }
  void load(double& v) {
    const std::uint64_t bits = number();
    std::memcpy(&v, &bits, sizeof v);
  }
  void load(bool& v) { v = number() != 0; }
  void load(ev::Rows& rows) { load(rows.edit()); }

  template <class T>
  void load(T& v) {
    if constexpr (std::is_enum_v<T> || std::is_integral_v<T>) {
      auto value = static_cast<std::uint64_t>(signed_number());
      if (differences_ != nullptr) {
        std::uint64_t& last = differences_->last();
        value = last += value;
      }
      v = static_cast<T>(value);
    } else if constexpr (kIsVector<T>) {
      v.clear();
      Differences differences;
      for (std::size_t n = count(); n > 0 && ok_; --n) {
        v.emplace_back();
        load_element(v.back(), differences);
      }
    } else if constexpr (kIsMap<T>) {
      v.clear();
      for (std::size_t n = count(); n > 0 && ok_; --n) {
        typename T::key_type key{};
        load(key);
        load(v[key]);
      }
    } else if constexpr (kIsOptional<T>) {
      v.reset();
      if (number() != 0) load(v.emplace());
    } else if constexpr (kIsPair<T>) {
      (*this)(v.first, v.second);
    } else if constexpr (kIsVariant<T>) {
      load_variant(v);
    } else if constexpr (kIsSparse<T>) {
      v.clear();
      std::uint64_t index = 0;
      Differences differences;
      for (std::uint64_t step; ok_ && (step = number()) != 0;) {
        index += step;
        load_element(v.at(index - 1), differences);
      }
    } else if constexpr (Reflected<T>) {
      archive_fields(*this, v);
    } else {
      v.visit(*this);
    }
  }
  template <class E>
  void load_element(E& element, Differences& differences) {
    Differences* const outer = differences_;
    if constexpr (Plain<E>) {
      differences.begin();
      differences_ = &differences;
    }
    load(element);
    differences_ = outer;
  }
  template <class... T>
  void load_variant(std::variant<T...>& v) {
    const std::uint64_t index = number();
    bool found = false;
    std::uint64_t i = 0;
    ((i++ == index ? (load(v.template emplace<T>()), found = true) : false), ...);
    ok_ = ok_ && found;
  }
  void load(Digests& v) { (*this)(v.per_page, v.list); }
  void load(ScalarValue& v) { load(v.json); }

  std::string_view in_;
  Names& names_;
  std::vector<Name> known_;
  LayerSets* sets_ = nullptr;
  std::vector<LayerSet> known_sets_;
  Differences* differences_ = nullptr;  // Of the list whose element is at hand.
  bool ok_ = true;
};

}  // namespace pagetape
