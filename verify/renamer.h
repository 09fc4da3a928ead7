// SPDX-License-Identifier: Apache-2.0
// Names of a trace that say nothing, for those that must not be seen.
#pragma once

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "traces/event.h"
#include "traces/names.h"

namespace pagetape {

// By field of an event: the letter of what it names. Names of other fields stay.
struct FieldLetter {
  std::string_view field, letter;
};

// Gives names a letter for what they name and a number, in the order in which it meets them:
// request r0, cache #r0. The same name becomes the same one wherever it stands.
class Renamer {
 public:
  // Both outlive it.
  Renamer(Names& names, std::span<const FieldLetter> letters) : names_(names), letters_(letters) {}

  template <class T>
  void rename(T& object) {
    for_each_field<T>([&](const auto& f) { value(object.*f.member, f.name); });
  }

  void value(Name& name, std::string_view field) {
    if (const std::string_view letter = letter_of(field); !letter.empty()) rename_as(letter, name);
  }
  void rename_as(std::string_view letter, Name& name) {
    if (name == kNone) return;
    const auto [at, fresh] = map_.try_emplace(name, kNone);
    if (fresh) {
      const bool cache = names_.text(name).starts_with('#');
      std::string text = cache ? "#" : "";
      text += letter;
      text += std::to_string(counts_[text]++);
      at->second = names_.intern(text);
    }
    name = at->second;
  }
  void value(ev::Rows& rows, std::string_view field) { value(rows.edit(), field); }
  void value(Layer& layer, std::string_view) {
    if (!layer.is_named()) return;
    Name name = layer.name();
    value(name, "layer");
    layer = Layer::named(name);
  }

 private:
  template <class T>
  void value(T& v, std::string_view field) {
    if constexpr (requires { T::fields(); }) {
      rename(v);
    } else if constexpr (requires { v.has_value(), v.emplace(); }) {
      if (v) value(*v, field);
    } else if constexpr (std::is_same_v<T, LayerChoice> || std::is_same_v<T, Digests>) {
      value(v.list, field);
    } else if constexpr (std::is_same_v<T, ev::Launch>) {
      std::visit([&](auto& body) { rename(body); }, v);
    } else if constexpr (std::is_same_v<T, Scalars>) {
      for (auto& [name, scalar] : v) value(name, field);
    } else if constexpr (requires { v.begin(), v.end(); }) {
      for (auto& element : v) value(element, field);
    }
  }

  std::string_view letter_of(std::string_view field) const {
    const auto at = std::ranges::find(letters_, field, &FieldLetter::field);
    return at == letters_.end() ? std::string_view() : at->letter;
  }

  Names& names_;
  std::span<const FieldLetter> letters_;
  std::map<Name, Name> map_;
  std::map<std::string, int> counts_;
};

}  // namespace pagetape
