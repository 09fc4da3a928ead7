// SPDX-License-Identifier: Apache-2.0
// Columns to events: one FieldIn for each field, by its type, as columns_out.h wrote it. The shape
// of all columns is checked when a segment is opened (how many cells each has), so that no cell is
// read that is not there; their values are checked as they are read, those of a list of structures
// field by field.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "traces/column.h"
#include "traces/columns.h"
#include "traces/limits.h"
#include "traces/names.h"
#include "traces/table_history.h"

namespace pagetape {

// What the columns of a segment share while they are read.
struct In {
  explicit In(const Names& table) : names(&table) {}

  const Names* names;
  std::vector<Name> strings{kNone};  // The reader's name of each string of the segment, from 1.
  std::int64_t rank = kAbsentCell;   // Of the event at hand.
  TableHistory history;
  std::uint64_t elements = 0;        // Of the segment.
  std::uint64_t event_elements = 0;  // Of the event at hand.
  std::uint64_t table_cells = 0;     // Of the segment.
  std::uint64_t slots = 0;           // Of the segment.
  const char* error = nullptr;       // The first.
  bool doubtful = false;  // Of the event at hand: a value is not within its limits, or may not be.

  bool fail(const char* what) {
    if (error == nullptr) error = what;
    return false;
  }
  bool need(bool good, const char* what) { return good || fail(what); }
  Name name(std::int64_t cell) {
    if (static_cast<std::uint64_t>(cell) < strings.size()) [[likely]]
      return strings.data()[cell];
    return no_name();
  }
  Name no_name();
};

inline constexpr char kNot32Bits[] = "a page or layer does not fit 32 bits, or is absent (M12)";
inline constexpr char kManySlots[] = "a segment has too many slots (M20)";
inline constexpr char kManyCells[] = "a segment has too many table cells (M15)";
inline constexpr char kManyElements[] = "an event has too many elements (M13)";
inline constexpr char kBadSize[] = "a column has not one cell for each value (M9)";
inline constexpr char kBadCount[] = "counts are out of range, or are not those of the values (M10)";

inline void from_cell(In&, std::int64_t cell, std::int64_t& v) { v = cell; }
inline void from_cell(In&, std::int64_t cell, OptInt& v) { v = OptInt(cell); }
inline void from_cell(In& in, std::int64_t cell, Name& v) { v = in.name(cell); }
inline void from_cell(In& in, std::int64_t cell, PageId& v) {
  in.need(static_cast<std::int32_t>(cell) == cell, kNot32Bits);
  v = PageId(static_cast<std::int32_t>(cell));
}
inline void from_cell(In&, std::int64_t cell, SlotId& v) { v = SlotId(cell); }
inline void from_cell(In& in, std::int64_t cell, Layer& v) {
  in.need(static_cast<std::int32_t>(cell) == cell, kNot32Bits);
  v = cell < 0 ? Layer::named(in.name(~cell)) : Layer::number(static_cast<std::int32_t>(cell));
}
inline void from_cell(In& in, std::int64_t cell, bool& v) {
  in.need(cell == 0 || cell == 1, "a flag is not 0 or 1 (M12)");
  v = cell != 0;
}
inline void from_cell(In& in, std::int64_t cell, ScalarValue& v) { v.json = in.name(cell); }
template <class T>
void from_cell(In& in, std::int64_t cell, std::optional<T>& v) {
  if (cell == kAbsentCell) return v.reset();
  from_cell(in, cell, v.emplace());
}

// Takes the value of a cell. False where the field may not allow it: the event is then doubtful.
template <Cell M>
[[gnu::always_inline]] inline bool take_cell(In& in, std::int64_t cell, const Limits& limits,
                                             M& value) {
  from_cell(in, cell, value);
  if constexpr (std::is_same_v<M, ScalarValue>) return false;  // It is a JSON text.
  if constexpr (!std::is_same_v<M, ScalarValue>) return allows(limits, *in.names, value);
}

// Takes the next n cells of a column; of(i) is where the i-th goes.
template <class F>
void take_cells(In& in, ColumnIn& column, std::size_t n, const Limits& limits, F of) {
  bool good = true;
  constexpr std::size_t kFew = 8;
  if (n == 1) {  // Most lists.
    good = take_cell(in, column.next(), limits, of(0));
  } else if (n <= kFew) {
    column.each(
        n, [&](std::size_t i, std::int64_t cell) { good &= take_cell(in, cell, limits, of(i)); });
  } else {
    // Copies are no memory that a cell could be written to.
    column.each(n, [&in, &good, field = limits, of](std::size_t i, std::int64_t cell) {
      good &= take_cell(in, cell, field, of(i));
    });
  }
  in.doubtful |= !good;
}

// The same of many names any of which will do: whether none will is asked once.
template <class F>
void take_names(In& in, ColumnIn& column, std::size_t n, const Limits& limits, F of) {
  bool all = true;
  const std::span<const Name> strings(in.strings);
  column.each(n, [&in, &all, strings, of](std::size_t i, std::int64_t cell) {
    const bool there = static_cast<std::uint64_t>(cell) < strings.size();
    const Name name = there ? strings.data()[cell] : in.no_name();
    of(i) = name;
    all &= name != kNone;
  });
  in.doubtful |= !all && !limits.may_be_none;
}

// A list made ready in the storage it has.
template <class E>
std::vector<E>& resized(std::vector<E>& list, std::size_t n) {
  list.resize(n);
  return list;
}
template <class E>
std::vector<E>& resized(std::optional<std::vector<E>>& list, std::size_t n) {
  if (!list) list.emplace();
  return resized(*list, n);
}

// Each has open(in, pointer, schema, limits, cells), which is false where the column is malformed,
// and get(in, value), which may be called `cells` times and sets in.error. The limits are those of
// the field. get_each(in, n, of) is n times get(in, of(i)); of cells, `cleared` says that they are
// M() before.
template <class M>
struct FieldIn;

template <Cell M>
struct FieldIn<M> {
  ColumnIn column;
  const Limits* limits = nullptr;
  bool may_be_elided = false;  // M() is what an elided cell is.

  bool open(In& in, capnp::AnyPointer::Reader p, capnp::StructSchema, const Limits& field,
            std::size_t cells) {
    limits = &field;
    if constexpr (!std::is_same_v<M, ScalarValue>) may_be_elided = allows(field, *in.names, M());
    return in.need(column.open(p.getAs<schema::Column>(), cells, kFallback<M>), kBadSize);
  }
  void get(In& in, M& value) { in.doubtful |= !take_cell(in, column.next(), *limits, value); }
  template <class F>
  void get_each(In& in, std::size_t n, F&& of, bool cleared) {
    if (!column.elided()) {
      if constexpr (std::is_same_v<M, Name>) {
        if (limits->words.empty()) return take_names(in, column, n, *limits, of);
      }
      return take_cells(in, column, n, *limits, of);
    }
    if (n > 0) in.doubtful |= !may_be_elided;
    for (std::size_t i = 0; i < n && !cleared; ++i) of(i) = M();
  }
};

// The values of lists of slots: one after another, or told by runs.
class SlotsIn {
 public:
  // As many slots in so many lists that are not empty.
  bool open(In& in, schema::SlotLists::Reader lists, std::uint64_t slots, std::uint64_t some);
  // Takes the next list, of n slots: calls f(run) for each of its runs.
  template <class F>
  [[gnu::always_inline]] void take(In& in, std::uint64_t n, F&& f) {
    if (n == 0) return;
    const std::uint64_t end = at_ + n;
    if (split_ < end) [[unlikely]]
      return by_runs_ ? take_split(in, end, f) : take_each(in, n, f);
    at_ = end;
    f(run(in, next_first(in), n));
  }

 private:
  static constexpr char kBadRun[] = "a run of slots is empty, or in no list (M19)";

  // Of the next run.
  std::int64_t next_first(In& in) {
    const std::int64_t low = lows_.next(), high = values_.next();
    const auto first = static_cast<std::int64_t>(static_cast<std::uint64_t>(high) << kLowSlotBits |
                                                 static_cast<std::uint64_t>(low));
    in.need(low >> kLowSlotBits == 0 && first >> kLowSlotBits == high,
            "the parts of a slot are no 58 and 6 bits (M19)");
    return first;
  }
  static ev::SlotRun run(In& in, std::int64_t first, std::uint64_t n) {
    const auto last = static_cast<std::int64_t>(static_cast<std::uint64_t>(first) + n - 1);
    const Limits any;
    in.doubtful |= !allows(any, *in.names, SlotId{first}) || !allows(any, *in.names, SlotId{last});
    return {SlotId{first}, static_cast<std::uint32_t>(n)};
  }
  template <class F>
  [[gnu::noinline]] void take_split(In& in, std::uint64_t end, F&& f) {
    while (at_ < end) {
      if (!in.need(split_ > at_, kBadRun)) return;
      const std::uint64_t stop = std::min(split_, end);
      f(run(in, next_first(in), stop - at_));
      at_ = stop;
      if (split_ < end) next_split();
    }
  }
  template <class F>
  [[gnu::noinline]] void take_each(In& in, std::uint64_t n, F&& f) {
    std::int64_t first = 0;
    std::uint64_t count = 0;
    values_.each(n, [&](std::size_t, std::int64_t slot) {
      if (count > 0) {
        if (static_cast<std::uint64_t>(slot) - static_cast<std::uint64_t>(first) == count++) return;
        f(run(in, first, count - 1));
      }
      first = slot;
      count = 1;
    });
    f(run(in, first, count));
  }
  void next_split() {
    split_ = splits_left_ > 0 ? static_cast<std::uint64_t>(splits_.next()) : UINT64_MAX;
    splits_left_ -= splits_left_ > 0;
  }

  ColumnIn values_, lows_, splits_;
  bool by_runs_ = false;
  std::uint64_t at_ = 0;     // Slots taken, if by runs.
  std::uint64_t split_ = 0;  // The next one; 0 if not by runs.
  std::size_t splits_left_ = 0;
};

template <CellList M>
struct FieldIn<M> {
  static constexpr bool kSlots = std::is_same_v<Element<M>, SlotId>;

  ColumnIn counts;
  std::conditional_t<kSlots, SlotsIn, ColumnIn> values;
  const Limits* limits = nullptr;

  bool open(In& in, capnp::AnyPointer::Reader p, capnp::StructSchema, const Limits& field,
            std::size_t cells) {
    const auto lists = p.getAs<std::conditional_t<kSlots, schema::SlotLists, schema::Lists>>();
    std::uint64_t total = 0, some = 0;
    limits = &field;
    if (!in.need(counts.open(lists.getCounts(), cells, 0), kBadSize) ||
        !in.need(counts.sum(cells, Optional<M>, total, &some), kBadCount)) {
      return false;
    }
    if constexpr (kSlots) {
      return values.open(in, lists, total, some);
    } else {
      return in.need(values.open_values(lists.getValues(), total), kBadCount);
    }
  }
  void get(In& in, M& value) { take(in, counts.next(), value); }
  template <class F>
  void get_each(In& in, std::size_t n, F&& of) {
    if constexpr (Optional<M>) {
      if (counts.elided()) {
        for (std::size_t i = 0; i < n; ++i) of(i).reset();
        return;
      }
    }
    counts.each(n, [&](std::size_t i, std::int64_t count) { take(in, count, of(i)); });
  }

 private:
  void take(In& in, std::int64_t count, M& value) {
    auto n = static_cast<std::size_t>(count);
    if constexpr (Optional<M>) {
      if (n-- == 0) return value.reset();
    }
    auto* to = resized(value, n).data();
    if constexpr (kSlots) {
      values.take(in, n, [&to](const ev::SlotRun& run) { to = ev::list_run(run, to); });
    } else {
      take_cells(
          in, values, n, *limits, [to](std::size_t i) -> auto& { return to[i]; });
    }
  }
};

template <>
struct FieldIn<OptNumber> {
  ColumnIn present;
  const unsigned char* values = nullptr;

  bool open(In& in, capnp::AnyPointer::Reader p, capnp::StructSchema, const Limits& field,
            std::size_t cells);
  void get(In& in, OptNumber& value);
};

// The pages of `table` events, as changes.
class TableCellsIn {
 public:
  bool open(In& in, capnp::AnyPointer::Reader p, capnp::StructSchema, const Limits& field,
            std::size_t cells);
  // The table's buffer, row and column must have been read.
  void get(In& in, ev::Table& table);

 private:
  // Applies the runs of one event of n cells to the contents from `at` on.
  bool apply(In& in, TableContents& contents, std::size_t at, std::size_t n);

  ColumnIn cells_, runs_, skips_, lengths_, values_;
  const Limits* limits_ = nullptr;
};

// A structure: a FieldIn for each field.
template <Structure T>
struct FieldIn<T> {
  template <class M>
  using ColumnsFor = std::conditional_t<std::is_same_v<T, ev::Table> && std::is_same_v<M, Pages>,
                                        TableCellsIn, FieldIn<M>>;
  template <class... M>
  static std::tuple<ColumnsFor<M>...> columns_for(std::tuple<Field<T, M>...>);
  decltype(columns_for(FieldsOf<T>::fields())) columns;

  bool open(In& in, capnp::AnyPointer::Reader p, capnp::StructSchema schema, const Limits& field,
            std::size_t cells) {
    return open_fields(in, p.getAs<capnp::AnyStruct>(), schema, field, cells);
  }
  bool open_fields(In& in, capnp::AnyStruct::Reader any, capnp::StructSchema schema,
                   const Limits& field, std::size_t cells) {
    const std::vector<Slot>& slots = slots_of<T>(schema);
    const auto pointers = any.getPointerSection();
    return each_column([&](auto i, auto& column, auto) {
      return open_field(column, in, pointers, slots[i], limits_of(i, field), cells);
    });
  }
  void get(In& in, T& value) {
    each_column([&](auto, auto& column, auto member) {
      if constexpr (std::is_same_v<decltype(column), TableCellsIn&>) {
        column.get(in, value);
      } else {
        column.get(in, value.*member);
      }
      return true;
    });
  }
  // One field of all after another.
  template <class F>
  void get_each(In& in, std::size_t n, F&& of, bool cleared = false) {
    each_column([&](auto, auto& column, auto member) {
      const auto part = [ of, member ](std::size_t i) -> auto& { return of(i).*member; };
      if constexpr (requires { column.get_each(in, n, part, cleared); }) {
        column.get_each(in, n, part, cleared);
      } else if constexpr (requires { column.get_each(in, n, part); }) {
        column.get_each(in, n, part);
      } else {
        for (std::size_t i = 0; i < n; ++i) column.get(in, part(i));
      }
      return true;
    });
  }
  // Calls f(number, column, member) for each field, in declared order, until one is false.
  template <class F>
  bool each_column(F&& f) {
    constexpr auto fields = FieldsOf<T>::fields();
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return (f(I, std::get<I>(columns), std::get<I>(fields).member) && ...);
    }
    (std::make_index_sequence<std::tuple_size_v<decltype(columns)>>());
  }

 private:
  // A structure that is but the form of a field has its limits.
  static const Limits& limits_of(std::size_t i, const Limits& field) {
    if constexpr (requires { T::fields(); }) return limits_of_fields<T>()[i];
    return field;
  }
  template <class Column>
  static bool open_field(Column& column, In& in, capnp::List<capnp::AnyPointer>::Reader pointers,
                         const Slot& slot, const Limits& limits, std::size_t cells) {
    // A structure of an older schema is shorter: what it lacks is elided.
    const auto pointer =
        slot.index < pointers.size() ? pointers[slot.index] : capnp::AnyPointer::Reader();
    return column.open(in, pointer, slot.schema, limits, cells);
  }
};

// Structures of cells alone, of which some are read ahead: a field of all of them after another.
template <class T>
class Ahead {
 public:
  bool open(In& in, capnp::AnyPointer::Reader p, capnp::StructSchema schema, const Limits& field,
            std::size_t cells) {
    return open_fields(in, p.getAs<capnp::AnyStruct>(), schema, field, cells);
  }
  bool open_fields(In& in, capnp::AnyStruct::Reader any, capnp::StructSchema schema,
                   const Limits& field, std::size_t cells) {
    at_ = end_ = 0;
    left_ = cells_ = cells;
    block_.fill(T());
    const bool good = columns_.open_fields(in, any, schema, field, cells);
    opened_ = columns_;
    return good;
  }
  // There is none.
  void close() { at_ = end_ = left_ = cells_ = 0; }
  const T& next(In& in) {
    if (at_ == end_ && !read(in)) take(in, 1);  // Alone, so that those before a bad one are given.
    return block_.data()[at_++];
  }
  // The next ones, as many as are at hand: with none of them anything is wrong, or may be. None
  // says nothing.
  std::span<const T> ready(In& in) {
    if (at_ == end_ && left_ > 0) read(in);
    return {block_.data() + at_, end_ - at_};
  }
  void pass(std::size_t n) { at_ += n; }

 private:
  // Reads some more. False where something may be wrong with one of them: then none is read.
  bool read(In& in) {
    const bool doubtful = std::exchange(in.doubtful, false);
    const std::size_t left = left_;
    take(in, std::min(left_, block_.size()));
    const bool good = in.error == nullptr && !in.doubtful;
    if (!good) go_back(in, left);
    in.error = nullptr;
    in.doubtful = doubtful;
    return good;
  }
  // To where so many are left, which is where one goes back to from then on: whoever meets bad ones
  // again and again does not take all before them each time.
  void go_back(In& in, std::size_t left) {
    columns_ = opened_;
    for (left_ = cells_; left_ > left;) take(in, std::min(left_ - left, block_.size()));
    at_ = end_ = 0;
    opened_ = columns_;
    cells_ = left_;
  }
  void take(In& in, std::size_t n) {
    const auto of = [to = block_.data()](std::size_t i) -> auto& { return to[i]; };
    columns_.get_each(in, n, of, true);  // What is elided stays as it was when this was opened.
    at_ = 0;
    end_ = n;
    left_ -= n;
  }

  FieldIn<T> columns_;
  std::array<T, 64> block_;  // The next ones, from at_ to end_.
  std::size_t at_ = 0, end_ = 0;
  std::size_t left_ = 0;  // Not yet in the block.
  // To begin again.
  FieldIn<T> opened_;
  std::size_t cells_ = 0;
};

// The lanes of launches. One has mostly those of a launch before: then it gets the same list.
class RowsIn {
 public:
  // Adds up the lanes that stand there, and all: those told again, too. False where a count is none
  // (M10), or is of a list before that there is not (M21).
  static bool count(In& in, ColumnIn counts, std::size_t cells, bool may_be_absent,
                    std::uint64_t& there, std::uint64_t& all);

  bool open_fields(In& in, capnp::AnyStruct::Reader any, capnp::StructSchema schema,
                   const Limits& field, std::size_t cells);
  void get(In& in, std::size_t n, ev::Rows& rows);
  // Those of the list so many lists before.
  void again(In& in, std::size_t back, ev::Rows& rows);

 private:
  static constexpr std::size_t kFields = std::tuple_size_v<decltype(FieldIn<ev::Row>::columns)>;

  struct Kept {
    ev::Rows rows;
    std::uint64_t segment = 0;  // Of which it was read: there, what it lacks is lacking for good.
    std::uint64_t slots = 0, cells = 0;  // In the lists of its lanes: slots, and all others.
    bool good = false;                   // Its values are within their limits.
  };
  Kept& list_before(std::size_t back) { return kept_[(told_ - back) % kToldLanes]; }

  // Takes the cells of the next n lanes. True where they are those of the last list.
  bool refresh(std::size_t n);
  void read(In& in, std::size_t n, ev::Rows& rows);
  // The same where slots_alone_.
  void read_slots(In& in, std::size_t n, ev::Rows& rows);

  FieldIn<ev::Row> columns_;
  std::array<std::vector<std::int64_t>, kFields> cells_;  // Of the last list, by field.
  std::array<Kept, kToldLanes> kept_;                     // The last ones, in turn.
  std::size_t told_ = 0;                                  // Lists of the segment.
  std::uint64_t segment_ = 0;
  bool lists_ = false;        // Some lane has a list.
  bool slots_alone_ = false;  // Lanes say no more than a request and slots.
};

// Lists and options of structures: how many, then their fields one after another.
template <StructureList M>
struct FieldIn<M> {
  static constexpr bool kOne = std::is_same_v<M, std::optional<Element<M>>>;
  static constexpr bool kMayBeAbsent = Optional<M> && !kOne;

  static constexpr bool kLanes = std::is_same_v<Element<M>, ev::Row>;

  ColumnIn counts;
  std::conditional_t<kLanes, RowsIn, FieldIn<Element<M>>> of;

  bool open(In& in, capnp::AnyPointer::Reader p, capnp::StructSchema schema, const Limits& field,
            std::size_t cells) {
    const auto any = p.getAs<capnp::AnyStruct>();
    const auto pointers = any.getPointerSection();
    const std::uint16_t slot = slot_of(schema, "counts").index;
    const auto pointer = slot < pointers.size() ? pointers[slot] : capnp::AnyPointer::Reader();
    std::uint64_t total = 0, all = 0;
    if (!in.need(counts.open(pointer.getAs<schema::Column>(), cells, 0), kBadSize)) return false;
    if constexpr (kLanes) {
      if (!RowsIn::count(in, counts, cells, kMayBeAbsent, total, all)) return false;
    } else {
      if (!in.need(counts.sum(cells, kMayBeAbsent, total), kBadCount)) return false;
      all = total;
    }
    in.elements += all;
    return in.need(in.elements <= kMaxSegmentElements, "a segment has too many elements (M13)") &&
           of.open_fields(in, any, schema, field, total);
  }
  void get(In& in, M& value) {
    if (in.error != nullptr) return;
    const std::int64_t count = counts.next();
    if constexpr (kLanes) {
      if (count < 0) return of.again(in, static_cast<std::size_t>(-count), lanes_of(value));
    }
    auto n = static_cast<std::size_t>(count);
    if constexpr (kMayBeAbsent) {
      if (n-- == 0) return value.reset();
    }
    in.event_elements += n;
    if (in.event_elements > kMaxEventElements || (kOne && n > 1)) {
      in.fail(kManyElements);
      return;
    }
    if constexpr (kOne) {
      if (n == 0) return value.reset();
      if (!value) value.emplace();
      of.get(in, *value);
    } else if constexpr (kLanes) {
      of.get(in, n, lanes_of(value));
    } else {
      of.get_each(
          in, n, [to = resized(value, n).data()](std::size_t i) -> auto& { return to[i]; });
    }
  }

 private:
  static ev::Rows& lanes_of(ev::Rows& value) { return value; }
  static ev::Rows& lanes_of(std::optional<ev::Rows>& value) {
    return value ? *value : value.emplace();
  }
};

// The launches of a graph: the columns of each of the three.
template <>
struct FieldIn<ev::Launch> {
  ColumnIn kinds;
  FieldIn<ev::Attention> attention;
  FieldIn<ev::Store> store;
  FieldIn<ev::Copy> copy;

  bool open_fields(In& in, capnp::AnyStruct::Reader any, capnp::StructSchema schema,
                   const Limits& field, std::size_t cells);
  template <class F>
  void get_each(In& in, std::size_t n, F&& of) {
    for (std::size_t i = 0; i < n; ++i) get(in, of(i));
  }

 private:
  void get(In& in, ev::Launch& launch);
};

}  // namespace pagetape
