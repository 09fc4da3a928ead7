// SPDX-License-Identifier: Apache-2.0
// Geometry and binding: what exists, and who dereferences what.
#pragma once

#include <string_view>

#include "traces/fields.h"

namespace pagetape::ev {

struct Ranks {
  OptInt tp, pp, dp;
  static constexpr auto fields(auto...) {
    return std::tuple(optional("tp", &Ranks::tp), optional("pp", &Ranks::pp),
                      optional("dp", &Ranks::dp));
  }
  bool operator==(const Ranks&) const = default;
};

struct Header {
  static constexpr std::string_view kName = "header";
  std::int64_t format = 1;
  Name engine = kNone, engine_version = kNone, model = kNone, gpu = kNone;
  std::optional<Ranks> ranks;
  std::optional<NameList> records;
  Name clock = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("format", &Header::format), optional("engine", &Header::engine),
                      optional("engine_version", &Header::engine_version),
                      optional("model", &Header::model), optional("gpu", &Header::gpu),
                      optional("ranks", &Header::ranks), optional("records", &Header::records),
                      optional("clock", &Header::clock));
  }
  bool operator==(const Header&) const = default;
};

struct Reserved {
  PageId page{};
  Name role = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("page", &Reserved::page), required("role", &Reserved::role));
  }
  bool operator==(const Reserved&) const = default;
};

struct Pool {
  static constexpr std::string_view kName = "pool";
  Name pool = kNone;
  std::int64_t pages = 0, page_size = 0;
  Name kind = kNone, space = kNone, allocator = kNone;
  std::optional<std::vector<Reserved>> reserved;
  OptInt page_bytes, offset_bits, layers;
  Name layout = kNone;
  OptInt kv_heads, head_dim, v_head_dim;
  Name dtype = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &Pool::pool), required("pages", &Pool::pages),
                      required("page_size", &Pool::page_size), optional("kind", &Pool::kind),
                      optional("space", &Pool::space), optional("allocator", &Pool::allocator),
                      optional("reserved", &Pool::reserved),
                      optional("page_bytes", &Pool::page_bytes),
                      optional("offset_bits", &Pool::offset_bits),
                      optional("layers", &Pool::layers), optional("layout", &Pool::layout),
                      optional("kv_heads", &Pool::kv_heads), optional("head_dim", &Pool::head_dim),
                      optional("v_head_dim", &Pool::v_head_dim), optional("dtype", &Pool::dtype));
  }
  bool operator==(const Pool&) const = default;
};

struct PoolLayer {
  static constexpr std::string_view kName = "pool_layer";
  Name pool = kNone;
  Layer layer;
  OptInt k_ptr, v_ptr;
  std::optional<Ints> shape, stride;
  static constexpr auto fields(auto...) {
    return std::tuple(required("pool", &PoolLayer::pool), required("layer", &PoolLayer::layer),
                      optional("k_ptr", &PoolLayer::k_ptr), optional("v_ptr", &PoolLayer::v_ptr),
                      optional("shape", &PoolLayer::shape), optional("stride", &PoolLayer::stride));
  }
  bool operator==(const PoolLayer&) const = default;
};

struct Arena {
  static constexpr std::string_view kName = "arena";
  Name arena = kNone;
  std::int64_t bytes = 0;
  static constexpr auto fields(auto...) {
    return std::tuple(required("arena", &Arena::arena), required("bytes", &Arena::bytes));
  }
  bool operator==(const Arena&) const = default;
};

struct Extent {
  static constexpr std::string_view kName = "extent";
  Name arena = kNone, owner = kNone;
  std::int64_t begin = 0, end = 0;
  static constexpr auto fields(auto...) {
    return std::tuple(required("arena", &Extent::arena), required("owner", &Extent::owner),
                      required("begin", &Extent::begin), required("end", &Extent::end));
  }
  bool operator==(const Extent&) const = default;
};

struct View {
  static constexpr std::string_view kName = "view";
  Name object = kNone;
  std::int64_t allocator = 0, kernel = 0;
  static constexpr auto fields(auto...) {
    return std::tuple(required("object", &View::object), required("allocator", &View::allocator),
                      required("kernel", &View::kernel));
  }
  bool operator==(const View&) const = default;
};

struct Buffer {
  static constexpr std::string_view kName = "buffer";
  Name buffer = kNone;
  OptInt rows, cols, capacity, ptr;
  static constexpr auto fields(auto...) {
    return std::tuple(required("buffer", &Buffer::buffer), optional("rows", &Buffer::rows),
                      optional("cols", &Buffer::cols), optional("capacity", &Buffer::capacity),
                      optional("ptr", &Buffer::ptr));
  }
  bool operator==(const Buffer&) const = default;
};

struct Map {
  static constexpr std::string_view kName = "map";
  Name map = kNone, from = kNone, to = kNone, unit = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("map", &Map::map), required("from", &Map::from),
                      required("to", &Map::to), required("unit", &Map::unit));
  }
  bool operator==(const Map&) const = default;
};

struct PoolSet {
  static constexpr std::string_view kName = "pool_set";
  Name set = kNone;
  NameList pools;
  static constexpr auto fields(auto...) {
    return std::tuple(required("set", &PoolSet::set), required("pools", &PoolSet::pools));
  }
  bool operator==(const PoolSet&) const = default;
};

struct Backend {
  static constexpr std::string_view kName = "backend";
  Name backend = kNone, role = kNone, klass = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("backend", &Backend::backend), optional("role", &Backend::role),
                      optional("class", &Backend::klass));
  }
  bool operator==(const Backend&) const = default;
};

struct PoolSwap {
  static constexpr std::string_view kName = "pool_swap";
  Name backend = kNone;
  LayerChoice layers;
  Name pool = kNone, set = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("backend", &PoolSwap::backend),
                      required("layers", &PoolSwap::layers), required("pool", &PoolSwap::pool),
                      optional("set", &PoolSwap::set));
  }
  bool operator==(const PoolSwap&) const = default;
};

struct SwaState {
  static constexpr std::string_view kName = "swa_state";
  Name backend = kNone;
  bool uses_swa = false;
  Name swa_pool = kNone, derived_from = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("backend", &SwaState::backend),
                      required("uses_swa", &SwaState::uses_swa),
                      nullable("swa_pool", &SwaState::swa_pool),
                      required("derived_from", &SwaState::derived_from));
  }
  bool operator==(const SwaState&) const = default;
};

struct Cached {
  static constexpr std::string_view kName = "cached";
  Name backend = kNone, attr = kNone, derived_from = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("backend", &Cached::backend), required("attr", &Cached::attr),
                      required("derived_from", &Cached::derived_from));
  }
  bool operator==(const Cached&) const = default;
};

struct LayerRemap {
  static constexpr std::string_view kName = "layer_remap";
  Name backend = kNone;
  Layer layer, to;
  static constexpr auto fields(auto...) {
    return std::tuple(required("backend", &LayerRemap::backend),
                      required("layer", &LayerRemap::layer), required("to", &LayerRemap::to));
  }
  bool operator==(const LayerRemap&) const = default;
};

struct Version {
  static constexpr std::string_view kName = "version";
  Name object = kNone;
  static constexpr auto fields(auto...) { return std::tuple(required("object", &Version::object)); }
  bool operator==(const Version&) const = default;
};

}  // namespace pagetape::ev
