// SPDX-License-Identifier: Apache-2.0
// The events of a trace as plain values. What each means is in trace.capnp, field by field; what
// it does to the caches is in replay/state.h.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <variant>

#include "traces/event_launch.h"
#include "traces/event_pages.h"
#include "traces/event_setup.h"
#include "traces/fields.h"

namespace pagetape {

// What an event says: one of the kinds. To copy, to destroy and to compare so many takes a compiler
// seconds in each file that does: here but once, in event.cc.
class EventBody
    : public std::variant<
          ev::Header, ev::Pool, ev::PoolLayer, ev::Arena, ev::Extent, ev::View, ev::Buffer, ev::Map,
          ev::PoolSet, ev::Backend, ev::PoolSwap, ev::SwaState, ev::Cached, ev::LayerRemap,
          ev::Version, ev::Alloc, ev::Share, ev::Free, ev::Evict, ev::Fill, ev::PrefixKey,
          ev::PrefixHit, ev::PrefixDrop, ev::MapSet, ev::MapClear, ev::MapFree, ev::FreeCount,
          ev::Access, ev::Request, ev::Accept, ev::Rewind, ev::Table, ev::Lens, ev::SlotList,
          ev::Attention, ev::Store, ev::Copy, ev::LaunchDone, ev::AsyncBegin, ev::AsyncEnd,
          ev::StreamWait, ev::GraphCapture, ev::Scalar, ev::Refresh, ev::GraphLaunch, ev::GraphStep,
          ev::Step, ev::Kernel, ev::CudaError, ev::Note, ev::Dropped, ev::Gap, ev::End> {
 public:
  using variant::operator=;
  using variant::variant;
  EventBody();
  EventBody(const EventBody&);
  EventBody(EventBody&&) noexcept;
  EventBody& operator=(const EventBody&);
  EventBody& operator=(EventBody&&) noexcept;
  ~EventBody();

  bool operator==(const EventBody&) const;
};

}  // namespace pagetape

template <std::size_t I>
struct std::variant_alternative<I, pagetape::EventBody>
    : std::variant_alternative<I, pagetape::EventBody::variant> {};

namespace pagetape {

inline constexpr std::size_t kKinds = std::variant_size_v<EventBody::variant>;

// One event. A copyable value; its names belong to the Names table it was read or made with.
struct Event {
  EventBody body;
  OptInt t;     // ns, of the recorder's monotonic clock.
  OptInt rank;  // Scopes every name and all state; absent is a scope of its own.
  std::int32_t stream = 0;
  Name src = kNone;   // Call site.
  std::string extra;  // Fields this version does not know, as a JSON overlay; mostly empty.

  std::size_t kind() const { return body.index(); }
  bool operator==(const Event&) const = default;
};

namespace internal {
template <std::size_t... I>
constexpr auto kind_names(std::index_sequence<I...>) {
  return std::array<std::string_view, sizeof...(I)>{
      std::variant_alternative_t<I, EventBody>::kName...};
}
}  // namespace internal

// Names of the kinds ("pool", "alloc", …), by variant index.
inline constexpr auto kKindNames = internal::kind_names(std::make_index_sequence<kKinds>());

// The variant index of a body type, or of a kind's name (kKinds where there is none).
template <class T>
inline constexpr std::size_t kKindOf = [] {
  std::size_t index = 0, found = kKinds;
  for (std::string_view name : kKindNames) {
    if (name == T::kName) found = index;
    ++index;
  }
  return found;
}();

constexpr std::size_t kind_named(std::string_view name) {
  for (std::size_t i = 0; i < kKinds; ++i) {
    if (kKindNames[i] == name) return i;
  }
  return kKinds;
}

// Sets `body` to an empty event of the kind and calls f with a reference to it.
template <class F>
bool emplace_kind(EventBody& body, std::size_t kind, F&& f) {
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return ((I == kind && (f(body.template emplace<I>()), true)) || ...);
  }
  (std::make_index_sequence<kKinds>());
}

}  // namespace pagetape
