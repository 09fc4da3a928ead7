// SPDX-License-Identifier: Apache-2.0
#include "traces/event_view.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "traces/limits.h"

namespace pagetape {
namespace {

// Whether each value is within the limits of its field.
class Limited {
 public:
  explicit Limited(const Names& names) : names_(names), n_names_(names.size()) {}

  template <class T, class... V>
  bool fields(const V&... values) const {
    const Limits* limits = limits_of_fields<T>().data();
    return (value(*limits++, values) && ...);
  }

  bool value(const Limits&, Absent) const { return true; }
  bool value(const Limits& limits, std::int64_t v) const { return allows(limits, names_, v); }
  bool value(const Limits& limits, OptInt v) const { return allows(limits, names_, v); }
  bool value(const Limits& limits, PageId v) const { return allows(limits, names_, v); }
  bool value(const Limits& limits, SlotId v) const { return allows(limits, names_, v); }
  bool value(const Limits&, bool) const { return true; }
  bool value(const Limits& limits, Name v) const {
    return raw(v) < n_names_ && allows(limits, names_, v);
  }
  bool value(const Limits& limits, Layer v) const {
    return !v.is_named() || (raw(v.name()) < n_names_ && allows(limits, names_, v));
  }
  bool value(const Limits& limits, const Pair& pair) const {
    return value(limits, pair.first) && value(limits, pair.second);
  }
  template <class E>
  bool value(const Limits& limits, std::span<const E> list) const {
    // Without a branch: nearly always all are looked at.
    bool bad = false;
    for (const E& one : list) bad |= !value(limits, one);
    return !bad;
  }
  bool value(const Limits&, std::span<const PageId> list) const {
    std::int32_t bad = 0;
    // Compilers make the most of a constant length.
    constexpr std::size_t kBlock = 64;
    for (; list.size() >= kBlock; list = list.subspan(kBlock)) {
      const PageId* pages = list.data();
      for (std::size_t i = 0; i < kBlock; ++i) bad |= -std::int32_t{pages[i] == kUnknownPage};
    }
    for (const PageId page : list) bad |= -std::int32_t{page == kUnknownPage};
    return bad == 0;
  }
  bool value(const Limits& limits, std::span<const std::int64_t> list) const {
    std::int64_t least = limits.low, most = limits.low;
#pragma GCC unroll 4
    for (const std::int64_t v : list) {
      least = std::min(least, v);
      most = std::max(most, v);
    }
    return least == limits.low && most <= limits.high;
  }
  template <class E>
  bool value(const Limits& limits, const std::optional<E>& v) const {
    return !v || value(limits, *v);
  }
  bool value(const Limits&, const LanesView& lanes) const {
    const Limits* limits = limits_of_fields<ev::Row>().data();
    bool good = true;
    for_each_field<ev::Row>([&]<class M>(const Field<ev::Row, M>& field) {
      if constexpr (std::is_same_v<M, Name>) {
        if (lanes.req != nullptr) good &= value(*limits, std::span(lanes.req, lanes.n));
      } else if constexpr (std::is_same_v<M, OptInt>) {
        const std::int64_t* column = lanes.column(field.member);
        if (column != nullptr) good &= value_or_absent(*limits, std::span(column, lanes.n));
      }
      ++limits;
    });
    return good;
  }
  bool value(const Limits&, const BoundView& bound) const {
    return fields<ev::Bound>(bound.pool, bound.pages, bound.ptr, bound.shape, bound.stride);
  }

 private:
  bool value_or_absent(const Limits& limits, std::span<const std::int64_t> column) const {
    bool bad = false;
    for (const std::int64_t v : column)
      bad |= v != INT64_MIN && (v < limits.low || v > limits.high);
    return !bad;
  }

  const Names& names_;
  const std::size_t n_names_;
};

bool all_given(const std::int64_t* column, std::size_t n) {
  return column != nullptr &&
         std::ranges::find(std::span(column, n), INT64_MIN) == std::span(column, n).end();
}

// What the fields say together, as for an Event. Lanes have no pages and no slots of their own.
bool is_whole(const EventView& view) {
  if (view.kind == kKindOf<ev::Kernel>) return 2 <= view.n && view.n <= 6;
  const LaunchFields& launch = view.launch;
  const bool attends = view.kind == kKindOf<ev::Attention>;
  if (!attends && view.kind != kKindOf<ev::Store>) return true;
  if (launch.layer.has_value() == launch.layers.has_value()) return false;
  const LanesView& lanes = view.lanes ? *view.lanes : kNoLanesView;
  if (lanes.n == 0) return true;
  if (!all_given(lanes.row, lanes.n)) return false;
  if (!attends) return launch.slots != kNone && all_given(lanes.size, lanes.n);
  return launch.table != kNone && (launch.lens != kNone || all_given(lanes.len, lanes.n));
}

// ---- to an event's own fields ----

template <class M, class V>
void set(M& to, const V& value) {
  to = value;
}
template <class M>
void set(M& to, Absent) {
  to = M();
}
template <class E>
void set(std::vector<E>& to, std::span<const E> list) {
  to.assign(list.begin(), list.end());
}
template <class E>
void set(std::optional<std::vector<E>>& to, const std::optional<std::span<const E>>& list) {
  if (!list) return to.reset();
  if (!to) to.emplace();
  set(*to, *list);
}
void set(ev::Rows& rows, const LanesView& lanes) {
  std::vector<ev::Row>& to = rows.renew();
  to.assign(lanes.n, {});
  for_each_field<ev::Row>([&]<class M>(const Field<ev::Row, M>& field) {
    if constexpr (std::is_same_v<M, Name> || std::is_same_v<M, OptInt>) {
      const auto* column = lanes.column(field.member);
      for (std::size_t i = 0; column != nullptr && i < lanes.n; ++i)
        to[i].*field.member = column[i];
    }
  });
}
void set(std::optional<ev::Rows>& to, const std::optional<LanesView>& lanes) {
  if (!lanes) return to.reset();
  if (!to) to.emplace();
  set(*to, *lanes);
}
void set(std::optional<ev::Bound>& to, const std::optional<BoundView>& bound) {
  if (!bound) return to.reset();
  if (!to) to.emplace();
  to->pool = bound->pool;
  to->pages = bound->pages;
  to->ptr = bound->ptr;
  set(to->shape, bound->shape);
  set(to->stride, bound->stride);
}

template <class T, class Values, std::size_t... I>
void set_all(T& to, const Values& values, std::index_sequence<I...>) {
  constexpr auto fields = T::fields();
  (set(to.*std::get<I>(fields).member, std::get<I>(values)), ...);
}

}  // namespace

bool is_good(const EventView& view, const Names& names) {
  struct Common {
    Limits stream = limits_of("", "stream"), rank = limits_of("", "rank");
  };
  static const Common common;
  const Limited limited(names);
  return limited.value(common.stream, std::int64_t{view.stream}) &&
         limited.value(common.rank, view.rank) && raw(view.src) < names.size() &&
         visit_fields(view,
                      [&]<class T>(const auto&... values) {
                        return limited.template fields<T>(values...);
                      }) &&
         is_whole(view);
}

bool make_event(const EventView& view, Event& event) {
  event.t = view.t;
  event.rank = view.rank;
  event.stream = view.stream;
  event.src = view.src;
  event.extra.clear();
  return visit_fields(view, [&]<class T>(const auto&... values) {
    T* to = std::get_if<T>(&event.body);
    if (to == nullptr) to = &event.body.emplace<T>();
    set_all(*to, std::tie(values...), std::index_sequence_for<decltype(values)...>());
    return true;
  });
}

}  // namespace pagetape
