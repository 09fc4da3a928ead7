// SPDX-License-Identifier: Apache-2.0
// Events to columns: one FieldOut for each field, by its type. columns_in.h is the way back.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "traces/column.h"
#include "traces/columns.h"
#include "traces/event_view.h"
#include "traces/names.h"
#include "traces/table_history.h"

namespace pagetape {

// What the columns of a segment share while they are gathered.
class Out {
 public:
  explicit Out(const Names& names) : names_(names) {}

  // The number of a name among the strings of this segment.
  [[gnu::always_inline]] std::int64_t local(Name name) {
    if (raw(name) < local_.size()) [[likely]] {
      const std::uint32_t number = local_.data()[raw(name)];
      if (number != 0 || name == kNone) [[likely]]
        return number;
    }
    return add(name);
  }
  const std::vector<Name>& strings() const { return strings_; }
  // What a name takes at most, whichever of the table it is.
  std::uint64_t most_a_name() {
    for (; looked_at_ < names_.size(); ++looked_at_) {
      const Name name{static_cast<std::uint32_t>(looked_at_)};
      longest_ = std::max(longest_, names_.text(name).size());
    }
    return longest_ + 16;
  }
  const Names& names() const { return names_; }

  void clear() {
    for (const Name name : strings_) local_[raw(name)] = 0;
    strings_.clear();
    history.clear();
    bytes = elements = table_cells = slots = 0;
  }

  std::int64_t rank = kAbsentCell;  // Of the event at hand.
  TableHistory history;
  std::uint64_t bytes = 0;  // About what the columns take before compression: 4 bytes a cell.
  std::uint64_t elements = 0, table_cells = 0, slots = 0;  // Those told again counted again.

 private:
  std::int64_t add(Name name) {
    if (name == kNone) return 0;
    if (raw(name) >= local_.size()) local_.resize(names_.size(), 0);
    strings_.push_back(name);
    bytes += names_.text(name).size() + 16;
    return local_[raw(name)] = static_cast<std::uint32_t>(strings_.size());
  }

  const Names& names_;
  std::vector<std::uint32_t> local_;  // By Name; 0: not yet in this segment.
  std::vector<Name> strings_;
  std::size_t looked_at_ = 0, longest_ = 0;  // Of the table's names.
};

inline std::int64_t to_cell(Out&, std::int64_t v) { return v; }
inline std::int64_t to_cell(Out&, OptInt v) { return v.value_or(kAbsentCell); }
inline std::int64_t to_cell(Out& out, Name v) { return out.local(v); }
inline std::int64_t to_cell(Out&, PageId v) { return raw(v); }
inline std::int64_t to_cell(Out&, SlotId v) { return raw(v); }
inline std::int64_t to_cell(Out& out, Layer v) {
  return v.is_named() ? ~out.local(v.name()) : std::int64_t{v.v};
}
inline std::int64_t to_cell(Out&, bool v) { return v; }
inline std::int64_t to_cell(Out&, OptBool v) { return v ? std::int64_t{*v} : kAbsentCell; }
inline std::int64_t to_cell(Out& out, ScalarValue v) { return out.local(v.json); }
inline std::int64_t to_cell(Out& out, const std::optional<Layer>& v) {
  return v ? to_cell(out, *v) : kAbsentCell;
}

// Each has put(out, value), write(pointer, schema of what it points to) and clear(). A value is one
// of the field's own type, or what a view of the event has for it: Absent, a span for a list.
template <class M>
struct FieldOut;

template <Cell M>
struct FieldOut<M> {
  ColumnOut column{kFallback<M>};

  // Its 4 bytes are counted with those of the structure's other cells.
  [[gnu::always_inline]] void put(Out& out, const M& value) { column.push(to_cell(out, value)); }
  [[gnu::always_inline]] void put(Out& out, Absent) { put(out, M()); }
  // n values that stand in a row, or (null) as many of which nothing is said.
  template <class E>
  void put_all(Out& out, const E* values, std::size_t n) {
    out.bytes += 4 * n;
    if (values == nullptr) return column.fill(n, to_cell(out, M()));
    column.append(std::span(values, n), [&out](E v) { return to_cell(out, M(v)); });
  }
  // Whether the cells from `at` on are those of the n values of(0), of(1), …
  template <class F>
  bool holds(Out& out, std::size_t at, std::size_t, std::size_t n, F&& of) const {
    return column.holds(at, n, [&](std::size_t i) { return to_cell(out, M(of(i))); });
  }
  void write(capnp::AnyPointer::Builder p, capnp::StructSchema) const { column.write(p); }
  void clear() { column.clear(); }
};

// Lists of slots, told by runs where that is not longer. Counts are one more where lists may be
// absent.
void write_slots(schema::SlotLists::Builder out, const ColumnOut& counts, bool may_be_absent,
                 const ColumnOut& slots);

template <CellList M>
struct FieldOut<M> {
  ColumnOut counts, values;

  template <class E>
  void put(Out& out, std::span<const E> list, std::int64_t bias = 0) {
    out.bytes += 4 + 4 * list.size();
    if constexpr (std::is_same_v<Element<M>, SlotId>) out.slots += list.size();
    counts.push(static_cast<std::int64_t>(list.size()) + bias);
    values.append(list, [&out](E value) { return to_cell(out, value); });
  }
  template <class E>
  void put(Out& out, const std::vector<E>& list) {
    put(out, std::span<const E>(list));
  }
  void put(Out& out, Absent) {
    out.bytes += 4;
    counts.push(0);
  }
  template <class List>
  void put(Out& out, const std::optional<List>& list) {
    if (!list) return put(out, Absent());
    put(out, std::span<const typename List::value_type>(*list), 1);
  }
  // The same of n fields, of all of which nothing is said.
  void put_absent(Out& out, std::size_t n) {
    out.bytes += 4 * n;
    counts.fill(n, 0);
  }
  // Whether the n lists from `at` on, with values from `first` on, are those of of(0), of(1), …,
  // which may be absent.
  template <class F>
  bool holds(Out& out, std::size_t at, std::size_t first, std::size_t n, F&& of) const {
    const auto count = [&of](std::size_t i) {
      return of(i) ? static_cast<std::int64_t>(of(i)->size()) + 1 : 0;
    };
    if (!counts.holds(at, n, count)) return false;
    for (std::size_t i = 0; i < n; ++i) {
      if (!of(i)) continue;
      const auto& list = *of(i);
      const auto cell = [&](std::size_t k) { return to_cell(out, list[k]); };
      if (!values.holds(first, list.size(), cell)) return false;
      first += list.size();
    }
    return true;
  }
  void write(capnp::AnyPointer::Builder p, capnp::StructSchema) const {
    if constexpr (std::is_same_v<Element<M>, SlotId>) {
      write_slots(p.initAs<schema::SlotLists>(), counts, Optional<M>, values);
    } else {
      auto lists = p.initAs<schema::Lists>();
      counts.write(capnp::toAny(lists).getPointerSection()[0]);
      values.write_values(lists.initValues());
    }
  }
  void clear() { counts.clear(), values.clear(); }
};

template <>
struct FieldOut<OptNumber> {
  ColumnOut present;
  std::vector<double> values;

  void put(Out& out, const OptNumber& value) {
    out.bytes += 4;
    present.push(value.has_value());
    if (value) values.push_back(*value);
  }
  void put(Out& out, Absent) { put(out, OptNumber()); }
  void write(capnp::AnyPointer::Builder p, capnp::StructSchema) const {
    if (values.empty()) return;
    auto numbers = p.initAs<schema::Numbers>();
    present.write(capnp::toAny(numbers).getPointerSection()[0]);
    auto list = numbers.initValues(static_cast<unsigned>(values.size()));
    for (unsigned i = 0; i < list.size(); ++i) list.set(i, values[i]);
  }
  void clear() { present.clear(), values.clear(); }
};

// The pages of `table` events, as changes.
class TableCellsOut {
 public:
  void put(Out& out, Name buffer, std::int64_t row, std::int64_t col,
           std::span<const PageId> pages);
  void write(capnp::AnyPointer::Builder p, capnp::StructSchema) const;
  void clear() { cells_.clear(), runs_.clear(), skips_.clear(), lengths_.clear(), values_.clear(); }

 private:
  ColumnOut cells_, runs_, skips_, lengths_, values_;
};

// A structure: a FieldOut for each field.
template <Structure T>
struct FieldOut<T> {
  template <class M>
  using ColumnsFor = std::conditional_t<std::is_same_v<T, ev::Table> && std::is_same_v<M, Pages>,
                                        TableCellsOut, FieldOut<M>>;
  template <class... M>
  static std::tuple<ColumnsFor<M>...> columns_for(std::tuple<Field<T, M>...>);
  decltype(columns_for(FieldsOf<T>::fields())) columns;

  // f(column, field, i) for each field.
  template <class F>
  static void each(auto& columns, F&& f) {
    constexpr auto fields = FieldsOf<T>::fields();
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (f(std::get<I>(columns), std::get<I>(fields), I), ...);
    }
    (std::make_index_sequence<std::tuple_size_v<decltype(fields)>>());
  }

  void put(Out& out, const T& value) {
    std::apply([&](const auto&... field) { put_fields(out, value.*field.member...); },
               FieldsOf<T>::fields());
  }
  // The fields in declared order. Inlined: most are a cell, and that a store.
  template <class... V>
  [[gnu::always_inline]] void put_fields(Out& out, const V&... values) {
    static_assert(sizeof...(V) == std::tuple_size_v<decltype(columns)>);
    out.bytes += 4 * cells_of(FieldsOf<T>::fields());
    put_all(out, std::tie(values...), std::index_sequence_for<V...>());
  }
  template <class... M>
  static constexpr std::size_t cells_of(const std::tuple<Field<T, M>...>&) {
    return (std::size_t{Cell<M>} + ... + 0);
  }
  template <std::size_t... I>
  [[gnu::always_inline]] void put_all(Out& out, const auto& all, std::index_sequence<I...>) {
    (put_field<I>(out, all), ...);
  }
  template <std::size_t I>
  [[gnu::always_inline]] void put_field(Out& out, const auto& all) {
    auto& column = std::get<I>(columns);
    if constexpr (std::is_same_v<decltype(column), TableCellsOut&>) {
      column.put(out, std::get<0>(all), std::get<1>(all), std::get<2>(all), std::get<I>(all));
    } else {
      column.put(out, std::get<I>(all));
    }
  }
  void write(capnp::AnyPointer::Builder p, capnp::StructSchema schema) const {
    const auto size = schema.getProto().getStruct();
    write_fields(p.initAsAnyStruct(size.getDataWordCount(), size.getPointerCount()), schema);
  }
  void write_fields(capnp::AnyStruct::Builder any, capnp::StructSchema schema) const {
    const std::vector<Slot>& slots = slots_of<T>(schema);
    auto pointers = any.getPointerSection();
    each(columns, [&](const auto& column, const auto&, std::size_t i) {
      column.write(pointers[slots[i].index], slots[i].schema);
    });
  }
  void clear() {
    each(columns, [](auto& column, const auto&, std::size_t) { column.clear(); });
  }
};

// The lanes of launches. Those of one of the last few lists are not told again.
class LanesOut {
 public:
  // Returns what stands for them in the column of counts: how many they are and `bias`, or which
  // list before has them (M21).
  std::int64_t put(Out& out, const auto& lanes, std::size_t n, std::int64_t bias) {
    out.elements += n;
    for (std::size_t back = 1; back <= std::min(told_, kToldLanes); ++back) {
      const Told& told = list_before(back);
      if (told.lanes != n || !same(out, told, lanes)) continue;
      out.slots += told.slots;
      out.table_cells += told.cells;
      return -static_cast<std::int64_t>(back);
    }
    if (n > 0) tell(out, lanes, n);
    return static_cast<std::int64_t>(n) + bias;
  }
  void write_fields(capnp::AnyStruct::Builder any, capnp::StructSchema schema) const {
    columns_.write_fields(any, schema);
  }
  void clear() {
    columns_.clear();
    told_ = at_ = 0;
  }

 private:
  // A list: where its lanes begin, and the values of each field that is of lists.
  struct Told {
    std::size_t lanes = 0, at = 0;
    std::uint64_t slots = 0, cells = 0;  // In the lists of its lanes: slots, and all others.
    std::array<std::size_t, std::tuple_size_v<decltype(FieldOut<ev::Row>::columns)>> values{};
  };
  Told& list_before(std::size_t back) { return lists_[(told_ - back) % kToldLanes]; }

  void tell(Out& out, const auto& lanes, std::size_t n) {
    Told& told = lists_[told_++ % kToldLanes];
    told.lanes = n;
    told.at = std::exchange(at_, at_ + n);
    FieldOut<ev::Row>::each(columns_.columns, [&](auto& column, const auto&, std::size_t i) {
      if constexpr (requires { column.values; }) told.values[i] = column.values.size();
    });
    put_all(out, lanes);
    told.slots = told.cells = 0;
    FieldOut<ev::Row>::each(
        columns_.columns, [&]<class R>(auto& column, const Field<ev::Row, R>&, std::size_t i) {
          if constexpr (requires { column.values; }) {
            std::uint64_t& of = std::is_same_v<Element<R>, SlotId> ? told.slots : told.cells;
            of += column.values.size() - told.values[i];
          }
        });
  }
  void put_all(Out& out, std::span<const ev::Row> lanes) {
    for (const ev::Row& lane : lanes) columns_.put(out, lane);
  }
  // By column: a lane's lists are those of which a view says nothing.
  void put_all(Out& out, const LanesView& lanes) {
    FieldOut<ev::Row>::each(
        columns_.columns, [&]<class R>(auto& column, const Field<ev::Row, R>& field, std::size_t) {
          if constexpr (Cell<R>) {
            column.put_all(out, lanes.column(field.member), lanes.n);
          } else {
            column.put_absent(out, lanes.n);
          }
        });
  }

  bool same(Out& out, const Told& told, std::span<const ev::Row> lanes) const {
    bool all = true;
    FieldOut<ev::Row>::each(
        columns_.columns, [&](const auto& column, const auto& field, std::size_t i) {
          const auto of = [ lanes, &field ](std::size_t k) -> const auto& {
            return lanes[k].*field.member;
          };
          all = all && column.holds(out, told.at, told.values[i], told.lanes, of);
        });
    return all;
  }
  bool same(Out& out, const Told& told, const LanesView& lanes) const {
    bool all = true;
    FieldOut<ev::Row>::each(columns_.columns, [&]<class R>(const auto& column,
                                                           const Field<ev::Row, R>& field,
                                                           std::size_t) {
      if constexpr (Cell<R>) {
        const auto* const values = lanes.column(field.member);
        all = all &&
              (values != nullptr
                   ? column.holds(out, told.at, 0, told.lanes,
                                  [values](std::size_t k) { return values[k]; })
                   : column.holds(out, told.at, 0, told.lanes, [](std::size_t) { return R(); }));
      } else {
        all = all && column.counts.holds(told.at, told.lanes, [](std::size_t) { return 0; });
      }
    });
    return all;
  }

  FieldOut<ev::Row> columns_;
  std::array<Told, kToldLanes> lists_;  // The last ones, in turn.
  std::size_t told_ = 0;                // Lists in all.
  std::size_t at_ = 0;                  // Lanes in them.
};

// Lists and options of structures: how many, then their fields one after another.
template <StructureList M>
struct FieldOut<M> {
  static constexpr bool kLanes = std::is_same_v<Element<M>, ev::Row>;

  ColumnOut counts;
  std::conditional_t<kLanes, LanesOut, FieldOut<Element<M>>> of;

  void put(Out&, Absent) { counts.push(0); }
  void put(Out& out, const LanesView& lanes, std::int64_t bias = 0) {
    out.bytes += 4;
    counts.push(of.put(out, lanes, lanes.n, bias));
  }
  void put(Out& out, const std::optional<LanesView>& lanes) {
    lanes ? put(out, *lanes, 1) : put(out, Absent());
  }
  void put(Out& out, const std::optional<BoundView>& bound) {
    counts.push(bound.has_value());
    out.elements += bound.has_value();
    if (bound)
      of.put_fields(out, bound->pool, bound->pages, bound->ptr, bound->shape, bound->stride);
  }

  template <class E>
  void put(Out& out, std::span<const E> list, std::int64_t bias = 0) {
    out.bytes += 4;
    if constexpr (kLanes) {
      counts.push(of.put(out, list, list.size(), bias));
    } else {
      counts.push(static_cast<std::int64_t>(list.size()) + bias);
      out.elements += list.size();
      for (const E& element : list) of.put(out, element);
    }
  }
  template <class E>
  void put(Out& out, const std::vector<E>& list) {
    put(out, std::span<const E>(list));
  }
  template <class E>
  void put(Out& out, const std::optional<std::vector<E>>& list) {
    if (list) return put(out, std::span<const E>(*list), 1);
    counts.push(0);
  }
  void put(Out& out, const ev::Rows& rows) { put(out, rows.list()); }
  void put(Out& out, const std::optional<ev::Rows>& rows) {
    if (rows) return put(out, std::span<const ev::Row>(rows->list()), 1);
    counts.push(0);
  }
  template <class E>
  void put(Out& out, const std::optional<E>& element) {
    counts.push(element.has_value());
    out.elements += element.has_value();
    if (element) of.put(out, *element);
  }
  void write(capnp::AnyPointer::Builder p, capnp::StructSchema schema) const {
    const auto size = schema.getProto().getStruct();
    auto any = p.initAsAnyStruct(size.getDataWordCount(), size.getPointerCount());
    counts.write(any.getPointerSection()[slot_of(schema, "counts").index]);
    of.write_fields(any, schema);
  }
  void clear() { counts.clear(), of.clear(); }
};

// The launches of a graph: the columns of each of the three.
template <>
struct FieldOut<ev::Launch> {
  ColumnOut kinds;
  FieldOut<ev::Attention> attention;
  FieldOut<ev::Store> store;
  FieldOut<ev::Copy> copy;

  void put(Out& out, const ev::Launch& launch) {
    kinds.push(static_cast<std::int64_t>(launch.index()));
    std::visit([&](const auto& l) { put_launch(out, l); }, launch);
  }
  void put_launch(Out& out, const ev::Attention& l) { attention.put(out, l); }
  void put_launch(Out& out, const ev::Store& l) { store.put(out, l); }
  void put_launch(Out& out, const ev::Copy& l) { copy.put(out, l); }

  void write_fields(capnp::AnyStruct::Builder any, capnp::StructSchema schema) const {
    auto pointers = any.getPointerSection();
    const auto part = [&](const auto& columns, const char* name) {
      const Slot slot = slot_of(schema, name);
      columns.write(pointers[slot.index], slot.schema);
    };
    part(attention, "attention");
    part(store, "store");
    part(copy, "copy");
    kinds.write(pointers[slot_of(schema, "kinds").index]);
  }
  void clear() { kinds.clear(), attention.clear(), store.clear(), copy.clear(); }
};

}  // namespace pagetape
