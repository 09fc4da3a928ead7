// SPDX-License-Identifier: Apache-2.0
// Pages: who owns what, what was written, and the maps between pools.
#pragma once

#include <string_view>

#include "traces/fields.h"

namespace pagetape::ev {

// alloc and share have the same fields; `first` is the logical page of pages[0].
struct Alloc {
  static constexpr std::string_view kName = "alloc";
  Name pool = kNone, req = kNone;
  Pages pages;
  OptInt first;
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &Alloc::pool), required("req", &Alloc::req),
                      required("pages", &Alloc::pages), optional("first", &Alloc::first));
  }
  bool operator==(const Alloc&) const = default;
};

struct Share {
  static constexpr std::string_view kName = "share";
  Name pool = kNone, req = kNone;
  Pages pages;
  OptInt first;
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &Share::pool), required("req", &Share::req),
                      required("pages", &Share::pages), optional("first", &Share::first));
  }
  bool operator==(const Share&) const = default;
};

struct Free {
  static constexpr std::string_view kName = "free";
  Name pool = kNone, req = kNone;
  Pages pages;
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &Free::pool), required("req", &Free::req),
                      required("pages", &Free::pages));
  }
  bool operator==(const Free&) const = default;
};

struct Evict {
  static constexpr std::string_view kName = "evict";
  Name pool = kNone, req = kNone;
  std::int64_t logical = 0;
  PageId page{};
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &Evict::pool), required("req", &Evict::req),
                      required("logical", &Evict::logical), required("page", &Evict::page));
  }
  bool operator==(const Evict&) const = default;
};

struct Fill {
  static constexpr std::string_view kName = "fill";
  Name pool = kNone, req = kNone;
  Pages pages;
  std::optional<Ints> slots;  // The first n of each page: one for all pages, or one a page.
  std::optional<Layers> layers;
  std::optional<Digests> digest;
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &Fill::pool), required("req", &Fill::req),
                      required("pages", &Fill::pages), optional("slots", &Fill::slots),
                      optional("layers", &Fill::layers), optional("digest", &Fill::digest));
  }
  bool operator==(const Fill&) const = default;
};

struct PrefixKey {
  static constexpr std::string_view kName = "prefix_key";
  Name pool = kNone;
  PageId page{};
  Name key = kNone, when = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &PrefixKey::pool), required("page", &PrefixKey::page),
                      required("key", &PrefixKey::key), optional("when", &PrefixKey::when));
  }
  bool operator==(const PrefixKey&) const = default;
};

struct PrefixHit {
  static constexpr std::string_view kName = "prefix_hit";
  Name pool = kNone, req = kNone;
  PageId page{};
  Name key = kNone;
  OptInt first;
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &PrefixHit::pool), required("req", &PrefixHit::req),
                      required("page", &PrefixHit::page), required("key", &PrefixHit::key),
                      optional("first", &PrefixHit::first));
  }
  bool operator==(const PrefixHit&) const = default;
};

struct PrefixDrop {
  static constexpr std::string_view kName = "prefix_drop";
  Name pool = kNone;
  PageId page{};
  Name key = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &PrefixDrop::pool), required("page", &PrefixDrop::page),
                      required("key", &PrefixDrop::key));
  }
  bool operator==(const PrefixDrop&) const = default;
};

struct MapSet {
  static constexpr std::string_view kName = "map_set";
  Name map = kNone;
  Pairs pairs;
  static constexpr auto fields(auto...) {
    return std::tuple(required("map", &MapSet::map), required("pairs", &MapSet::pairs));
  }
  bool operator==(const MapSet&) const = default;
};

struct MapClear {
  static constexpr std::string_view kName = "map_clear";
  Name map = kNone;
  Ints from;
  static constexpr auto fields(auto...) {
    return std::tuple(required("map", &MapClear::map), required("from", &MapClear::from));
  }
  bool operator==(const MapClear&) const = default;
};

struct MapFree {
  static constexpr std::string_view kName = "map_free";
  Name map = kNone, req = kNone;
  Ints from;
  OptBool skip_unmapped;
  static constexpr auto fields(auto...) {
    return std::tuple(required("map", &MapFree::map), required("req", &MapFree::req),
                      required("from", &MapFree::from),
                      optional("skip_unmapped", &MapFree::skip_unmapped));
  }
  bool operator==(const MapFree&) const = default;
};

struct FreeCount {
  static constexpr std::string_view kName = "free_count";
  Name pool = kNone;
  std::int64_t free = 0;
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &FreeCount::pool), required("free", &FreeCount::free));
  }
  bool operator==(const FreeCount&) const = default;
};

struct Access {
  static constexpr std::string_view kName = "access";
  Name object = kNone;
  std::int64_t used = 0, capacity = 0;
  static constexpr auto fields(auto...) {
    return std::tuple(required("object", &Access::object), required("used", &Access::used),
                      required("capacity", &Access::capacity));
  }
  bool operator==(const Access&) const = default;
};

struct Request {
  static constexpr std::string_view kName = "request";
  Name req = kNone, state = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("req", &Request::req), required("state", &Request::state));
  }
  bool operator==(const Request&) const = default;
};

struct Accept {
  static constexpr std::string_view kName = "accept";
  Name req = kNone;
  std::int64_t drafted = 0, accepted = 0;
  static constexpr auto fields(auto...) {
    return std::tuple(required("req", &Accept::req), required("drafted", &Accept::drafted),
                      required("accepted", &Accept::accepted));
  }
  bool operator==(const Accept&) const = default;
};

struct Rewind {
  static constexpr std::string_view kName = "rewind";
  Name pool = kNone, req = kNone;
  std::int64_t len = 0;
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &Rewind::pool), required("req", &Rewind::req),
                      required("len", &Rewind::len));
  }
  bool operator==(const Rewind&) const = default;
};

}  // namespace pagetape::ev
