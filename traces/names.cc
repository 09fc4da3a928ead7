// SPDX-License-Identifier: Apache-2.0
#include "traces/names.h"

namespace pagetape {

Name Names::intern(std::string_view text) {
  if (auto it = ids_.find(text); it != ids_.end()) return it->second;
  const Name id{static_cast<std::uint32_t>(views_.size())};
  views_.push_back(texts_.emplace_back(text));
  ids_.emplace(views_.back(), id);
  return id;
}

Name Names::find(std::string_view text) const {
  auto it = ids_.find(text);
  return it == ids_.end() ? kNone : it->second;
}

std::string Names::layer(Layer layer) const {
  return layer.is_named() ? std::string(text(layer.name())) : std::to_string(layer.v);
}

Name Renaming::operator()(Name name) {
  if (raw(name) >= known_.size()) known_.resize(from_.size(), kNone);
  // An id of neither table stays "none".
  if (name == kNone || raw(name) >= known_.size()) return kNone;
  Name& known = known_[raw(name)];
  if (known == kNone) known = to_.intern(from_.text(name));
  return known;
}

}  // namespace pagetape
