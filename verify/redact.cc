// SPDX-License-Identifier: Apache-2.0
#include "verify/redact.h"

namespace pagetape {

static constexpr FieldLetter kLetters[] = {
    {"req", "r"}, {"by", "r"}, {"op", "o"}, {"ops", "o"}, {"key", "k"}, {"digest", "d"},
};

Redactor::Redactor(Names& names)
    : names_(names), renamer_(names, kLetters), redacted_(names.intern("redacted")) {}

void Redactor::redact(Event& event) {
  event.src = kNone;
  event.extra.clear();
  std::visit(
      [&](auto& body) {
        renamer_.rename(body);
        strip(body);
      },
      event.body);
}

void Redactor::strip(ev::Header& e) {
  const std::string_view model = names_.text(e.model);
  const std::size_t folders = model.find_last_of("/\\");
  if (folders != std::string_view::npos) e.model = names_.intern(model.substr(folders + 1));
}

void Redactor::strip(ev::GraphCapture& e) {
  if (!e.scalars) return;
  for (auto& [name, value] : *e.scalars) strip_scalar(value);
}

void Redactor::strip_object(Name& object) {
  if (!declared_.contains(object)) renamer_.rename_as("x", object);
}

// Numbers and truth values say nothing of anybody.
void Redactor::strip_scalar(ScalarValue& value) {
  if (!names_.text(value.json).starts_with('"')) return;
  Name word = value.json;
  renamer_.rename_as("v", word);
  value.json = names_.intern('"' + std::string(names_.text(word)) + '"');
}

}  // namespace pagetape
