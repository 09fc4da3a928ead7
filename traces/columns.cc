// SPDX-License-Identifier: Apache-2.0
#include "traces/columns.h"

#include <array>
#include <cctype>

#include "traces/trace.capnp.h"

namespace pagetape {
namespace {

struct KindTable {
  std::array<std::uint8_t, kKinds> number{};
  std::array<std::size_t, 256> kind{};
  std::array<Slot, kKinds> slot{};

  KindTable() {
    const capnp::EnumSchema numbers = capnp::Schema::from<schema::Kind>();
    const capnp::StructSchema columns = capnp::Schema::from<schema::Columns>();
    kind.fill(kKinds);
    for (std::size_t i = 0; i < kKinds; ++i) {
      const std::string name = camel_case(kKindNames[i]);
      number[i] = static_cast<std::uint8_t>(numbers.getEnumerantByName(name).getOrdinal());
      kind[number[i]] = i;
      slot[i] = slot_of(columns, kKindNames[i]);
    }
  }
};

const KindTable& kinds() {
  static const KindTable table;
  return table;
}

}  // namespace

std::string camel_case(std::string_view name) {
  std::string out;
  bool upper = false;
  for (const char c : name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    out += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = false;
  }
  return out;
}

Slot slot_of(capnp::StructSchema schema, std::string_view name) {
  const auto field = schema.getFieldByName(camel_case(name));
  return {static_cast<std::uint16_t>(field.getProto().getSlot().getOffset()),
          field.getType().asStruct()};
}

std::uint8_t kind_number(std::size_t kind) { return kinds().number[kind]; }
std::size_t kind_of_number(std::uint8_t number) { return kinds().kind[number]; }
const Slot& kind_slot(std::size_t kind) { return kinds().slot[kind]; }

}  // namespace pagetape
