// SPDX-License-Identifier: Apache-2.0
// Interned strings: every name of a trace is compared and stored as one integer.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "traces/ids.h"

namespace pagetape {

// Owns the strings; ids are dense from 1 in order of first use and never change. An Event means
// something only beside the table it was made with. Not thread-safe: one table a reader.
class Names {
 public:
  Names() = default;
  Names(const Names&) = delete;
  Names& operator=(const Names&) = delete;

  Name intern(std::string_view text);
  // kNone where the text was never interned.
  Name find(std::string_view text) const;
  // The view lives as long as the table. kNone and ids of another table give "".
  std::string_view text(Name id) const {
    return raw(id) < views_.size() ? views_.data()[raw(id)] : std::string_view();
  }
  std::string layer(Layer layer) const;
  // Number of ids in use, kNone included: every valid id is below.
  std::size_t size() const { return views_.size(); }

 private:
  std::deque<std::string> texts_;                            // A deque, so that views stay valid.
  std::vector<std::string_view> views_{std::string_view()};  // By id, kNone's first.
  std::unordered_map<std::string_view, Name> ids_;
};

// Names of one table as those of another, looked up once each.
class Renaming {
 public:
  Renaming(const Names& from, Names& to) : from_(from), to_(to) {}

  Name operator()(Name name);
  Layer operator()(Layer layer) {
    return layer.is_named() ? Layer::named((*this)(layer.name())) : layer;
  }

 private:
  const Names& from_;
  Names& to_;
  std::vector<Name> known_;
};

}  // namespace pagetape
