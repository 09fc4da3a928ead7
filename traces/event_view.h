// SPDX-License-Identifier: Apache-2.0
// An event of a frequent kind as who recorded it left it: its lists stand where they are, and its
// lanes by column. Checked and written from there; an Event of it is made where somebody wants one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "traces/event.h"
#include "traces/names.h"

namespace pagetape {

struct Absent {};  // In the place of a field of which nothing is said.

// Lanes by column; null: nothing is said of it. Their lists are absent.
struct LanesView {
  std::size_t n = 0;
  const Name* req = nullptr;
  const std::int64_t *len = nullptr, *row = nullptr, *q_len = nullptr, *q_pos = nullptr,
                     *first = nullptr, *size = nullptr;

  const Name* column(Name ev::Row::*) const { return req; }
  const std::int64_t* column(OptInt ev::Row::*field) const {
    if (field == &ev::Row::len) return len;
    if (field == &ev::Row::row) return row;
    if (field == &ev::Row::q_len) return q_len;
    if (field == &ev::Row::q_pos) return q_pos;
    return field == &ev::Row::first ? first : size;
  }
};

inline constexpr LanesView kNoLanesView;

struct BoundView {
  Name pool = kNone;
  OptInt pages, ptr;
  std::optional<std::span<const std::int64_t>> shape, stride;
};

// Of an attention or a store.
struct LaunchFields {
  Name backend = kNone, mode = kNone, table = kNone, lens = kNone, slots = kNone, space = kNone,
       unit = kNone, kernel = kNone;
  std::optional<Layer> layer;
  std::optional<std::span<const Layer>> layers;
  OptInt page_size, window, table_rows, table_cols;
  std::optional<BoundView> bound;
};

struct EventView {
  std::size_t kind = kKinds;
  OptInt t, rank;
  std::int32_t stream = 0;
  Name src = kNone;
  // What these hold is said for each kind in visit_fields.
  Name names[4] = {};
  const std::int64_t* ints = nullptr;  // Three.
  bool flag = false;
  const void* list = nullptr;
  std::size_t n = 0;
  std::optional<LanesView> lanes;
  LaunchFields launch;

  template <class T>
  std::span<const T> as() const {
    return {static_cast<const T*>(list), n};
  }
};

// Calls f.template operator()<T>(value...) with what stands for each field of the event's T, in
// declared order. False where there is no view of the kind, else what f returns.
template <class F>
bool visit_launch(const EventView& v, F&& f) {
  constexpr Absent kNo;
  const LaunchFields& l = v.launch;
  const LanesView& lanes = v.lanes ? *v.lanes : kNoLanesView;
  if (v.kind == kKindOf<ev::Store>) {
    return f.template operator()<ev::Store>(l.backend, l.layer, l.layers, lanes, l.slots, l.space,
                                            l.unit, kNo, l.bound);
  }
  return f.template operator()<ev::Attention>(
      l.backend, l.layer, l.layers, lanes, l.mode, l.table, l.lens, l.space, l.unit, l.page_size,
      l.window, l.table_rows, l.table_cols, l.bound, l.kernel, kNo, kNo, kNo, kNo, kNo, kNo, kNo);
}
template <class F>
bool visit_fields(const EventView& v, F&& f) {
  const Name *const names = v.names, name = names[0];
  const std::int64_t *const ints = v.ints, first = ints[0];
  switch (v.kind) {
    case kKindOf<ev::SwaState>:
      return f.template operator()<ev::SwaState>(name, v.flag, names[1], names[2]);
    case kKindOf<ev::Alloc>:
      return f.template operator()<ev::Alloc>(name, names[1], v.as<PageId>(), OptInt(first));
    case kKindOf<ev::Share>:
      return f.template operator()<ev::Share>(name, names[1], v.as<PageId>(), OptInt(first));
    case kKindOf<ev::Free>:
      return f.template operator()<ev::Free>(name, names[1], v.as<PageId>());
    case kKindOf<ev::Evict>:
      return f.template operator()<ev::Evict>(name, names[1], first,
                                              PageId{static_cast<std::int32_t>(ints[1])});
    case kKindOf<ev::MapSet>:
      return f.template operator()<ev::MapSet>(name, v.as<Pair>());
    case kKindOf<ev::MapClear>:
      return f.template operator()<ev::MapClear>(name, v.as<std::int64_t>());
    case kKindOf<ev::Request>:
      return f.template operator()<ev::Request>(name, names[1]);
    case kKindOf<ev::Accept>:
      return f.template operator()<ev::Accept>(name, first, ints[1]);
    case kKindOf<ev::Rewind>:
      return f.template operator()<ev::Rewind>(name, names[1], first);
    case kKindOf<ev::Table>:
      return f.template operator()<ev::Table>(name, first, ints[1], v.as<PageId>(), names[1],
                                              names[2], names[3]);
    case kKindOf<ev::Lens>:
      return f.template operator()<ev::Lens>(name, v.as<std::int64_t>(), OptInt(first));
    case kKindOf<ev::SlotList>:
      return f.template operator()<ev::SlotList>(name, v.as<SlotId>(), OptInt(first));
    case kKindOf<ev::Attention>:
    case kKindOf<ev::Store>:
      return visit_launch(v, f);
    case kKindOf<ev::LaunchDone>:
      return f.template operator()<ev::LaunchDone>(first);
    case kKindOf<ev::StreamWait>:
      return f.template operator()<ev::StreamWait>(first, Absent());
    case kKindOf<ev::Refresh>:
      return f.template operator()<ev::Refresh>(name);
    case kKindOf<ev::GraphLaunch>:
      return f.template operator()<ev::GraphLaunch>(name, v.lanes);
    case kKindOf<ev::Step>:
      return f.template operator()<ev::Step>(first, name, OptInt(ints[1]));
    case kKindOf<ev::Kernel>:
      return f.template operator()<ev::Kernel>(name, v.as<std::int64_t>().first(v.n / 2),
                                               v.as<std::int64_t>().subspan(v.n / 2), first);
    case kKindOf<ev::Dropped>:
      return f.template operator()<ev::Dropped>(first, OptInt(ints[1]), OptInt(ints[2]));
    default:
      return false;
  }
}

// Whether the event may stand in a trace, as check_event says it.
bool is_good(const EventView& view, const Names& names);

// Keeps the event's storage where the kind stays the same. False where there is no view of the
// kind.
bool make_event(const EventView& view, Event& event);

}  // namespace pagetape
