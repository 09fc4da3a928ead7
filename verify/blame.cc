// SPDX-License-Identifier: Apache-2.0
#include "verify/blame.h"

#include <algorithm>
#include <tuple>

#include "verify/finding.h"
#include "verify/judge.h"

namespace pagetape {
namespace {

const Binding& binding_of(const BackendState& backend, Layer physical) {
  const auto it = backend.layers.find(physical);
  return it == backend.layers.end() ? backend.all : it->second;
}

// The objects of a state in words.
class Words {
 public:
  Words(const World& world, const Names& names) : world_(world), names_(names) {}

  std::string s(Name name) const { return std::string(names_.text(name)); }

  std::string pool(Name name) const {
    const Pool* pool = world_.pools.find(name);
    if (pool == nullptr) return "not declared";
    return std::to_string(pool->pages) + " pages of " + std::to_string(pool->page_size) + " tokens";
  }
  std::string buffer(Name name) const {
    const BufferState* buffer = world_.buffers.find(name);
    if (buffer == nullptr) return "not allocated";
    if (buffer->rows < 0 && buffer->cols < 0) return "of a size not recorded";
    const auto side = [](std::int64_t n) { return n < 0 ? "?" : std::to_string(n); };
    return side(buffer->rows) + " rows of " + (buffer->cols < 0 ? "?" : side(buffer->cols)) +
           " columns";
  }
  std::string binding(const Binding& binding) const {
    if (binding.pool == kNoPool) return "not bound";
    return "pool " + s(world_.pool(binding.pool).name) +
           (binding.set == kNone ? "" : " through " + s(binding.set));
  }
  std::string fact(const Fact& fact) const {
    const std::string from = ", derived from " + s(fact.object);
    if (fact.attr != kNone) return "cached" + from;
    return (fact.uses_swa ? "sliding-window pool " + s(fact.swa_pool)
                          : std::string("no sliding-window pool")) +
           from;
  }
  std::string owners(Name name, std::int64_t page) const {
    const Pool* pool = world_.pools.find(name);
    if (pool == nullptr) return "";
    const PageId id{static_cast<std::int32_t>(page)};
    if (!pool->in_bounds(id)) return "outside the pool";
    if (pool->reserved_page(id) != nullptr) return "reserved";
    const Space& space = world_.space_of(*pool);
    const PageInfo info = space.info(id);
    if (info.unknown) return "owner not known";
    if (info.owner == kNone) return "free";
    std::string out = "of " + s(info.owner);
    if (info.column >= 0) out += ", logical page " + std::to_string(info.column);
    const std::size_t others = space.owners(id).size() - 1;
    if (others > 0) out += ", shared by " + std::to_string(others) + " more";
    return out;
  }
  std::string entry(const Cell& cell) const {
    const Tag& tag = world_.tags[cell.tag];
    return "id " + std::to_string(raw(cell.page)) +
           (tag.space == kNone ? "" : " of space " + s(tag.space));
  }
  static std::string number(const char* word, const Value* value) {
    return value == nullptr || !value->known() ? "never written"
                                               : word + std::to_string(value->value);
  }

 private:
  const World& world_;
  const Names& names_;
};

class Chain {
 public:
  Chain(const World& world, const Names& names) : world_(world), names_(names) {}

  void add(const Spot& spot, EventIndex event, std::string value) {
    if (event == kNever) return;
    links_.push_back({.spot = spot, .event = event, .value = std::move(value)});
  }
  void add(const Spot& spot, EventIndex event) { add(spot, event, value_of(world_, spot, names_)); }

  void page(std::uint32_t pool, std::int64_t page) {
    const Pool& p = world_.pool(pool);
    const PageId id{static_cast<std::int32_t>(std::clamp<std::int64_t>(page, -1, INT32_MAX))};
    if (!p.in_bounds(id)) {
      add({.kind = LinkKind::kPool, .object = p.name}, p.by);
      return;
    }
    add({.kind = LinkKind::kAllocation, .object = p.name, .a = page},
        world_.space_of(p).info(id).by);
  }
  // The map entry that leads from this page of the `from` pool.
  void map_entry(const MapState& map, Name name, std::int64_t page) {
    const std::int64_t from = map.by_slot ? page * world_.pool(map.from).page_size : page;
    const MapEntry* entry = map.entries.find(static_cast<std::uint64_t>(from));
    if (entry != nullptr) add({.kind = LinkKind::kMapEntry, .object = name, .a = from}, entry->by);
  }
  // Where maps lead from the request's page at that column, and who gave it that page.
  void maps_into(std::uint32_t pool, Name req, std::int64_t logical) {
    for (std::uint32_t m = 0; m < world_.maps.size(); ++m) {
      const MapState& map = world_.maps[m];
      if (map.to != pool) continue;
      const Holder* holder = world_.space_of(world_.pool(map.from)).holder(req);
      const Column* column = holder == nullptr || logical < 0
                                 ? nullptr
                                 : holder->columns.find(static_cast<std::uint64_t>(logical));
      if (column == nullptr || raw(column->page) < 0) continue;
      page(map.from, raw(column->page));
      map_entry(map, world_.maps.key(m), raw(column->page));
    }
  }
  void cell(Name buffer, std::int64_t row, std::int64_t column) {
    const BufferState* b = world_.buffers.find(buffer);
    const TableRow* r =
        b == nullptr || row < 0 ? nullptr : b->table.find(static_cast<std::uint64_t>(row));
    const Cell* cell = r == nullptr ? nullptr : r->find(column);
    if (cell == nullptr) return;
    add({.kind = LinkKind::kTableCell, .object = buffer, .a = row, .b = column}, cell->by);
  }
  void value(LinkKind kind, Name buffer, std::int64_t row) {
    const BufferState* b = world_.buffers.find(buffer);
    if (b == nullptr || row < 0) return;
    const auto& values = kind == LinkKind::kLength ? b->lens : b->slots;
    const Value* value = values.find(static_cast<std::uint64_t>(row));
    if (value != nullptr) add({.kind = kind, .object = buffer, .a = row}, value->by);
  }
  void fact(Name backend, const Fact& fact) {
    add({.kind = LinkKind::kFact, .object = backend, .attribute = fact.attr}, fact.by,
        Words(world_, names_).fact(fact));
  }
  void target(const LaunchView& view, const Target& target) {
    const Name backend = view.backend->name;
    add({.kind = LinkKind::kRemap, .object = backend, .layer = target.logical}, target.remapped_by,
        "layer " + names_.layer(target.physical));
    add({.kind = LinkKind::kBinding, .object = backend, .layer = target.physical},
        target.binding.by, Words(world_, names_).binding(target.binding));
    // What the backend believes of sliding windows decides which table it passes.
    for (const Fact& f : *view.facts) {
      if (f.attr == kNone || Judge::fact_stale(world_, f, target.binding)) fact(backend, f);
    }
    if (view.graph != nullptr) graph(view.graph_name);
  }
  void graph(Name name) {
    const GraphState* graph = world_.graphs.find(name);
    if (graph != nullptr) add({.kind = LinkKind::kGraph, .object = name}, graph->by);
  }
  void scalar(Name name) {
    const ScalarState* scalar = world_.scalars.find(name);
    if (scalar != nullptr) add({.kind = LinkKind::kScalar, .object = name}, scalar->by);
  }
  void cause(EventIndex event) {
    const bool known = std::ranges::any_of(links_, [&](const Link& l) { return l.event == event; });
    if (!known) add({}, event);
  }

  // Oldest first, each once.
  std::vector<Link> take() {
    const auto key = [](const Link& l) {
      return std::tuple(l.event, l.spot.kind, raw(l.spot.object), l.spot.a, l.spot.b, l.spot.layer);
    };
    std::ranges::stable_sort(links_, {}, key);
    const auto same = [](const Link& a, const Link& b) {
      return a.event == b.event && a.spot == b.spot;
    };
    links_.erase(std::unique(links_.begin(), links_.end(), same), links_.end());
    return std::move(links_);
  }

 private:
  const World& world_;
  const Names& names_;
  std::vector<Link> links_;
};

// The space that an entry's id is said to be of; the bound pool's where nothing is said.
std::uint32_t space_said(const World& world, const LaunchView& view, const Lane& lane,
                         std::int64_t index, const Cell& cell, std::uint32_t bound) {
  const auto named = [&](Name name) {
    const Pool* pool = world.pools.find(name);
    return pool != nullptr ? pool->space : world.spaces.index(name);
  };
  std::uint32_t space = view.claim;
  const Name tag = world.tags[cell.tag].space;
  if (space == kNoSpace && tag != kNone) space = named(tag);
  if (lane.spaces != nullptr && index < static_cast<std::int64_t>(lane.spaces->size())) {
    space = named((*lane.spaces)[static_cast<std::size_t>(index)]);
  }
  return space == kNoSpace ? bound : space;
}

// The pool that the kernel really gets for this target.
std::uint32_t pool_of(const LaunchView& view, const Target& target) {
  for (const Targets::Group& group : view.targets->groups) {
    for (std::uint32_t member : group.members) {
      const Target& t = view.targets->list[member];
      if (t.logical == target.logical && t.physical == target.physical) return group.pool;
    }
  }
  return target.binding.pool;
}

void add_slot(Chain& chain, const World& world, const LaunchView& view, const Lane& lane,
              std::int64_t index, std::uint32_t pool) {
  if (index >= lane.slots_count) return;
  const SlotId slot = view.slots[lane.slots_begin + static_cast<std::size_t>(index)];
  if (lane.row >= 0) chain.value(LinkKind::kSlot, view.store->slots, lane.row + index);
  if (pool == kNoPool || raw(slot) < 0) return;
  const std::uint32_t claim = view.claim == kNoSpace ? world.pool(pool).space : view.claim;
  if (claim != world.pool(pool).space && !world.spaces[claim].pools.empty()) {
    const std::uint32_t said = world.spaces[claim].pools[0];
    chain.page(said, raw(slot) / world.pool(said).page_size);
  }
  chain.page(pool, raw(slot) / world.pool(pool).page_size);
}

void add_entry(Chain& chain, const World& world, const LaunchView& view, const Lane& lane,
               std::int64_t index, std::uint32_t pool) {
  const ev::Attention& e = *view.attention;
  Cell cell;
  const bool found = lane.entry(index, cell);
  if (lane.pages == nullptr) chain.cell(e.table, lane.row, index);
  if (!found || pool == kNoPool) {
    chain.value(LinkKind::kLength, e.lens, lane.row);
    if (const BufferState* table = world.buffers.find(e.table)) {
      chain.add({.kind = LinkKind::kBuffer, .object = e.table}, table->by);
    }
    return;
  }
  const Pool& bound = world.pool(pool);
  const std::int64_t tokens = e.page_size.value_or(bound.page_size);
  const std::int64_t token = raw(cell.page) * tokens;
  const std::uint32_t claim = space_said(world, view, lane, index, cell, bound.space);
  if (claim != bound.space && !world.spaces[claim].pools.empty() && token >= 0) {
    const std::uint32_t said = world.spaces[claim].pools[0];
    chain.page(said, token / world.pool(said).page_size);
  }
  chain.page(pool, token < 0 ? -1 : token / bound.page_size);
  std::int64_t logical = index + lane.first;
  if (lane.logical != nullptr) logical = (*lane.logical)[static_cast<std::size_t>(index)];
  chain.maps_into(pool, lane.req, logical * tokens / bound.page_size);
}

const Target* find_target(const LaunchView& view, Layer physical, Layer logical) {
  for (const Target& target : view.targets->list) {
    if (target.physical == physical && target.logical == logical) return &target;
  }
  return nullptr;
}

}  // namespace

std::string value_of(const World& world, const Spot& spot, const Names& names) {
  const Words words(world, names);
  const BufferState* buffer = world.buffers.find(spot.object);
  const BackendState* backend = world.backends.find(spot.object);
  const auto row = static_cast<std::uint64_t>(spot.a);
  switch (spot.kind) {
    case LinkKind::kPool:
      return words.pool(spot.object);
    case LinkKind::kBuffer:
      return words.buffer(spot.object);
    case LinkKind::kBackend:
      return backend == nullptr ? "not created" : "created";
    case LinkKind::kFact: {
      if (backend == nullptr) return "not said";
      const auto at = std::ranges::find(backend->facts, spot.attribute, &Fact::attr);
      return at == backend->facts.end() ? "not said" : words.fact(*at);
    }
    case LinkKind::kRemap: {
      if (backend == nullptr) return "no other layer";
      const auto at = backend->remap.find(spot.layer);
      return at == backend->remap.end() ? "no other layer" : "layer " + names.layer(at->second.to);
    }
    case LinkKind::kBinding:
      return backend == nullptr ? "not bound" : words.binding(binding_of(*backend, spot.layer));
    case LinkKind::kAllocation:
      return words.owners(spot.object, spot.a);
    case LinkKind::kWrite: {
      const Pool* pool = world.pools.find(spot.object);
      const EventIndex by = pool == nullptr ? kNever : pool->extents.written_by(row & UINT32_MAX);
      return by == kNever ? "nothing written" : "written by event " + std::to_string(by);
    }
    case LinkKind::kMapEntry: {
      const MapState* map = world.maps.find(spot.object);
      const MapEntry* entry = map == nullptr ? nullptr : map->entries.find(row);
      return entry == nullptr || entry->to == 0 ? "unmapped" : "to " + std::to_string(entry->to);
    }
    case LinkKind::kLength:
      return Words::number("length ", buffer == nullptr ? nullptr : buffer->lens.find(row));
    case LinkKind::kSlot:
      return Words::number("slot ", buffer == nullptr ? nullptr : buffer->slots.find(row));
    case LinkKind::kTableCell: {
      const TableRow* cells = buffer == nullptr ? nullptr : buffer->table.find(row);
      const Cell* cell = cells == nullptr ? nullptr : cells->find(spot.b);
      return cell == nullptr || cell->page == kUnknownPage ? "never written" : words.entry(*cell);
    }
    case LinkKind::kScalar: {
      const ScalarState* scalar = world.scalars.find(spot.object);
      return scalar == nullptr ? "no value" : words.s(scalar->json);
    }
    case LinkKind::kGraph: {
      const GraphState* graph = world.graphs.find(spot.object);
      return graph == nullptr ? "not captured" : "captured by event " + std::to_string(graph->by);
    }
    case LinkKind::kCause:
    case LinkKind::kLaunch:
      break;
  }
  return {};
}

std::vector<Link> blame_entry(const World& world, const LaunchView& view, const Target& target,
                              std::int64_t row, std::int64_t column, const Names& names) {
  Chain chain(world, names);
  chain.target(view, target);
  if (row < 0 || row >= static_cast<std::int64_t>(view.lanes.size()) || column < 0) {
    return chain.take();
  }
  const Lane& lane = view.lanes[static_cast<std::size_t>(row)];
  const std::uint32_t pool = pool_of(view, target);
  if (view.attention != nullptr) {
    add_entry(chain, world, view, lane, column, pool);
  } else if (view.store != nullptr) {
    add_slot(chain, world, view, lane, column, pool);
  }
  return chain.take();
}

std::vector<Link> blame_target(const World& world, const LaunchView& view, const Target& target,
                               const Names& names) {
  return blame_entry(world, view, target, -1, -1, names);
}

std::vector<Link> blame_binding(const World& world, Name backend, Layer layer, const Names& names) {
  Chain chain(world, names);
  const BackendState* state = world.backends.find(backend);
  if (state == nullptr) return {};
  chain.add({.kind = LinkKind::kBackend, .object = backend}, state->by);
  Layer physical = layer;
  if (const auto it = state->remap.find(layer); it != state->remap.end()) {
    physical = it->second.to;
    chain.add({.kind = LinkKind::kRemap, .object = backend, .layer = layer}, it->second.by);
  }
  const Binding& binding = binding_of(*state, physical);
  chain.add({.kind = LinkKind::kBinding, .object = backend, .layer = physical}, binding.by);
  if (binding.pool != kNoPool) {
    const Pool& pool = world.pool(binding.pool);
    chain.add({.kind = LinkKind::kPool, .object = pool.name}, pool.by);
  }
  for (const Fact& fact : state->facts) chain.fact(backend, fact);
  return chain.take();
}

std::vector<Link> blame_page(const World& world, std::uint32_t pool, PageId page,
                             const Names& names) {
  Chain chain(world, names);
  chain.page(pool, raw(page));
  const Pool& p = world.pool(pool);
  if (!p.in_bounds(page)) return chain.take();
  const auto id = static_cast<std::uint32_t>(page);
  chain.add({.kind = LinkKind::kWrite, .object = p.name, .a = raw(page)}, p.extents.written_by(id));
  for (std::uint32_t m = 0; m < world.maps.size(); ++m) {
    const MapState& map = world.maps[m];
    const Name name = world.maps.key(m);
    if (map.from == pool) chain.map_entry(map, name, raw(page));
    if (map.to != pool) continue;
    const std::int64_t* back = map.back.find(id);  // 1 + the page that leads here.
    if (back != nullptr && *back > 0) {
      chain.page(map.from, *back - 1);
      chain.map_entry(map, name, *back - 1);
    }
  }
  for (const Op& op : world.ops) {
    if (op.pool == pool && std::ranges::binary_search(op.pages, page)) chain.cause(op.event);
  }
  return chain.take();
}

std::vector<Link> blame_cell(const World& world, Name buffer, std::int64_t row, std::int64_t column,
                             const Names& names) {
  Chain chain(world, names);
  if (const BufferState* state = world.buffers.find(buffer)) {
    chain.add({.kind = LinkKind::kBuffer, .object = buffer}, state->by);
    chain.cell(buffer, row, column);
  }
  return chain.take();
}

std::vector<Link> blame_scalar(const World& world, Name scalar, Name graph, const Names& names) {
  Chain chain(world, names);
  if (const GraphState* state = world.graphs.find(graph)) {
    const auto at = std::ranges::find(state->scalars, scalar, &std::pair<Name, Name>::first);
    if (at != state->scalars.end()) {
      chain.add({.kind = LinkKind::kGraph, .object = graph}, state->by,
                "froze " + std::string(names.text(at->second)));
    }
  }
  chain.scalar(scalar);
  return chain.take();
}

std::vector<Link> blame_finding(const World& world, const Finding& f, const LaunchView* view,
                                const Names& names) {
  Chain chain(world, names);
  std::vector<Link> links;
  const Target* target = view == nullptr || view->targets == nullptr || !f.has_layer
                             ? nullptr
                             : find_target(*view, f.layer, f.logical_layer);
  if (target != nullptr) {
    links = blame_entry(world, *view, *target, f.row, f.column, names);
  } else if (world.pools.find(f.pool) != nullptr && f.page != INT64_MIN) {
    links = blame_page(world, world.pools.index(f.pool), PageId{static_cast<std::int32_t>(f.page)},
                       names);
  } else if (f.buffer != kNone) {
    links = blame_cell(world, f.buffer, f.row, f.column, names);
  } else if (world.scalars.find(f.object) != nullptr) {
    links = blame_scalar(world, f.object, f.graph, names);
  } else if (world.graphs.find(f.graph) != nullptr) {
    chain.graph(f.graph);
    if (const BufferState* buffer = world.buffers.find(f.object)) {
      chain.add({.kind = LinkKind::kBuffer, .object = f.object}, buffer->by);
    } else if (const Pool* pool = world.pools.find(f.object)) {
      chain.add({.kind = LinkKind::kPool, .object = f.object}, pool->by);
    }
  }
  for (Link& link : links) chain.add(link.spot, link.event, std::move(link.value));
  for (EventIndex event : f.cause) chain.cause(event);
  links = chain.take();
  std::erase_if(links, [&](const Link& link) { return link.event >= f.event; });
  return links;
}

}  // namespace pagetape
