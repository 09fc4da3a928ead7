// SPDX-License-Identifier: Apache-2.0
// How the fields of events map to columns: what both directions of the codec (columns_out.h and
// columns_in.h) agree on, and where in its structure of the schema each column is.
#pragma once

#include <capnp/any.h>
#include <capnp/schema.h>

#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <variant>
#include <vector>

#include "traces/event.h"

namespace pagetape {

// Types that are structures of columns: each has fields(); to those without, we give them here.
template <class T>
struct FieldsOf {
  static constexpr auto fields(auto...) { return T::fields(); }
};
template <>
struct FieldsOf<LayerChoice> {
  static constexpr auto fields(auto...) {
    return std::tuple(required("all", &LayerChoice::all), required("list", &LayerChoice::list));
  }
};
template <>
struct FieldsOf<Digests> {
  static constexpr auto fields(auto...) {
    return std::tuple(required("per_page", &Digests::per_page), required("list", &Digests::list));
  }
};
template <>
struct FieldsOf<Pair> {
  static constexpr auto fields(auto...) {
    return std::tuple(required("from", &Pair::first), required("to", &Pair::second));
  }
};
template <>
struct FieldsOf<Scalars::value_type> {
  using Scalar = Scalars::value_type;
  static constexpr auto fields(auto...) {
    return std::tuple(required("name", &Scalar::first), required("value", &Scalar::second));
  }
};

// What every event has, as columns of schema::Columns itself.
struct EventCommon {
  OptInt t;
  std::int64_t stream = 0;
  OptInt rank;
  Name src = kNone;
  std::int64_t extra = 0;  // 0: none; n: the n-th of schema::Columns.extras.
  static constexpr auto fields(auto...) {
    return std::tuple(optional("t", &EventCommon::t), required("stream", &EventCommon::stream),
                      optional("rank", &EventCommon::rank), optional("src", &EventCommon::src),
                      required("extra", &EventCommon::extra));
  }
};

namespace internal {
template <class T>
struct IsVector : std::false_type {};
template <class E>
struct IsVector<std::vector<E>> : std::true_type {};
template <>
struct IsVector<ev::Rows> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class E>
struct IsOptional<std::optional<E>> : std::true_type {};
template <class T>
struct Strip {
  using type = T;
};
template <class E>
struct Strip<std::vector<E>> : Strip<E> {};
template <>
struct Strip<ev::Rows> : Strip<ev::Row> {};
template <class E>
struct Strip<std::optional<E>> : Strip<E> {};

template <class T, class... Of>
inline constexpr bool kOneOf = (std::is_same_v<T, Of> || ...);
}  // namespace internal

// What is within the lists and options of M.
template <class M>
using Element = typename internal::Strip<M>::type;

// One cell each: an integer, or what one integer stands for.
template <class M>
concept Cell = internal::kOneOf<M, std::int64_t, OptInt, Name, PageId, SlotId, Layer, bool, OptBool,
                                ScalarValue, std::optional<Layer>>;

template <class M>
concept Optional = internal::IsOptional<M>::value && !Cell<M>;

// Lists of cells, and lists (or options) of structures.
template <class M>
concept CellList = !Cell<M> && !std::is_same_v<M, OptNumber> && Cell<Element<M>>;

template <class M>
concept Structure = std::is_class_v<M> && !Cell<M> && !Optional<M> && !internal::IsVector<M>::value;

template <class M>
concept StructureList = !Cell<M> && !std::is_same_v<M, OptNumber> && !CellList<M> && !Structure<M>;

// What stands for a cell of M in an elided column.
template <Cell M>
inline constexpr std::int64_t kFallback =
    internal::kOneOf<M, OptInt, OptBool, std::optional<Layer>> ? INT64_MIN : 0;

// ---- limits: what a reader lets a file ask for (M13, M15, M20) ----

inline constexpr std::uint64_t kMaxEventElements = std::uint64_t{1} << 18;
inline constexpr std::uint64_t kMaxSegmentElements = std::uint64_t{1} << 26;
inline constexpr std::uint64_t kMaxSegmentTableCells = std::uint64_t{1} << 31;
// Bits of the first slot of a run that stand apart: those that move with every step.
inline constexpr int kLowSlotBits = 6;
// More than a writer puts in one, whose slots may take 8 bytes each (kMaxBodyBytes).
inline constexpr std::uint64_t kMaxSegmentSlots = std::uint64_t{1} << 23;

// The lanes of a launch may be those of one of so many lists told before it (M21). Layers over two
// pools take turns with two lists of slots, and a draft's come between.
inline constexpr std::size_t kToldLanes = 4;

// The version of the event model that this code writes and knows.
inline constexpr std::uint32_t kModelFormat = 1;

// ---- places in the schema ----

// "page_size" is "pageSize" there: Cap'n Proto allows no underscores.
std::string camel_case(std::string_view name);

// Where the pointer of a field stands in a structure, and the structure it points to.
struct Slot {
  std::uint16_t index = 0;
  capnp::StructSchema schema;  // Of Column for a cell, of Lists for a list, …
};
Slot slot_of(capnp::StructSchema schema, std::string_view name);

// The slots of the fields of T, in their declared order, looked up once.
template <class T>
const std::vector<Slot>& slots_of(capnp::StructSchema schema) {
  static const std::vector<Slot> slots = [schema] {
    std::vector<Slot> found;
    std::apply([&](const auto&... field) { (found.push_back(slot_of(schema, field.name)), ...); },
               FieldsOf<T>::fields());
    return found;
  }();
  return slots;
}

// The number in schema::Kind of each kind, and the other way round (kKinds: none of ours).
std::uint8_t kind_number(std::size_t kind);
std::size_t kind_of_number(std::uint8_t number);

// The slot in schema::Columns of each kind.
const Slot& kind_slot(std::size_t kind);

}  // namespace pagetape
