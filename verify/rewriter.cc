// SPDX-License-Identifier: Apache-2.0
#include "verify/rewriter.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "traces/text.h"

namespace pagetape {
namespace {

using Json = nlohmann::ordered_json;

// Columns that a table without recorded width is taken to have.
constexpr std::int64_t kColumns = 4096;

std::uint32_t space_named(const World& world, Name name) {
  const Pool* pool = world.pools.find(name);
  return pool != nullptr ? pool->space : world.spaces.index(name);
}

// What the launch's layers dereference; false where these are several pools, or none is known.
bool pool_of(const World& world, const ev::Attention& e, Binding& out) {
  const BackendState* backend = world.backends.find(e.backend);
  if (backend == nullptr) return false;
  const std::uint32_t bound = e.bound ? world.pools.index(e.bound->pool) : kNoPool;
  const std::span<const Layer> layers =
      e.layer ? std::span<const Layer>(&*e.layer, 1) : std::span<const Layer>(*e.layers);
  out.pool = kNoPool;
  for (const Layer& logical : layers) {
    const auto remap = backend->remap.find(logical);
    const auto at =
        backend->layers.find(remap == backend->remap.end() ? logical : remap->second.to);
    Binding binding = at == backend->layers.end() ? backend->all : at->second;
    if (bound != kNoPool) binding.pool = bound;
    if (binding.pool == kNoPool || (out.pool != kNoPool && out.pool != binding.pool)) return false;
    out = binding;
  }
  return out.pool != kNoPool;
}

// A lane's length where it is known; else as many columns as a table may have.
std::int64_t len_of(const World& world, const ev::Row& row, Name lens) {
  if (row.len.has_value()) return *row.len;
  const BufferState* buffer = world.buffers.find(lens);
  const Value* value = buffer == nullptr || !row.row.has_value()
                           ? nullptr
                           : buffer->lens.find(static_cast<std::uint64_t>(*row.row));
  return value != nullptr && value->known() ? value->value : INT64_MAX / 2;
}

}  // namespace

Status Rewriter::edit(EventIndex at, Event& event) {
  for (const Edit& edit : variant_.edits) {
    if (edit.at != at) continue;
    const auto error = [&](const Status& s) {
      return usage(variant_.name + ": the edit at event " + std::to_string(at) + ": " +
                   s.message());
    };
    if (!edit.insert.empty()) {
      Status status = parse_event(edit.insert, names_, before_.emplace_back());
      if (status.ok()) status = check_event(before_.back(), names_);
      if (!status.ok()) return error(status);
    }
    if (!edit.set.empty()) {
      Json json = Json::parse(print_event(event, names_));
      json.merge_patch(Json::parse(edit.set));
      Event changed;
      Status status = parse_event(json.dump(), names_, changed);
      if (status.ok()) status = check_event(changed, names_);
      if (!status.ok()) return error(status);
      event = std::move(changed);
    }
    dropped_ = dropped_ || edit.drop;
  }
  return {};
}

void Rewriter::imply(std::vector<Event>& list, EventBody body) const {
  Event& event = list.emplace_back();
  event.body = std::move(body);
  if (rank_ != State::kNoRank) event.rank = rank_;
}

// The space whose ids the launch's table says it holds.
bool Rewriter::source_space(const World& world, const ev::Attention& e,
                            std::uint32_t& space) const {
  space = kNoSpace;
  if (e.space != kNone) {
    space = space_named(world, e.space);
    return space != kNoSpace;
  }
  const BufferState* buffer = world.buffers.find(e.table);
  if (buffer == nullptr) return false;
  for (const ev::Row& row : e.rows) {
    if (!row.row.has_value()) continue;
    const TableRow* cells = buffer->table.find(static_cast<std::uint64_t>(*row.row));
    if (cells == nullptr || cells->cells.empty()) continue;
    const Tag& tag = world.tags[cells->cells.front().tag];
    if (tag.space != kNone) space = space_named(world, tag.space);
    if (space != kNoSpace) return true;
  }
  return false;
}

bool Rewriter::find_route(const World& world, const ev::Attention& e, Route& route) {
  std::uint32_t space = kNoSpace;
  if (!pool_of(world, e, route.binding) || !source_space(world, e, space)) return false;
  route.pool = route.binding.pool;
  const Pool& pool = world.pool(route.pool);
  if (space == pool.space) return false;
  for (route.map = 0; route.map < world.maps.size(); ++route.map) {
    const MapState& map = world.maps[route.map];
    if (world.maps.key(route.map) == kNone || map.to != route.pool) continue;
    if (world.pool(map.from).space == space) break;
  }
  if (route.map == world.maps.size()) return false;
  route.entry_tokens = e.page_size.value_or(pool.page_size);
  route.table = e.table;
  if (e.table != kNone) {
    route.twin = names_.intern(std::string(names_.text(e.table)) + " in " +
                               std::string(names_.text(pool.name)));
  }
  return true;
}

// Around a launch or a capture: the backend's SWA state follows from the pool bound.
void Rewriter::swap_state(const BackendState& backend, const World& world, const Route& route) {
  if (variant_.per_call) return;  // There is none.
  const Name pool = world.pool(route.pool).name;
  const Name from = route.binding.set != kNone ? route.binding.set : pool;
  const auto old = std::ranges::find(backend.facts, kNone, &Fact::attr);
  if (old != backend.facts.end() && old->object == from && old->uses_swa) return;
  imply(before_, ev::SwaState{backend.name, true, pool, from});
  if (old == backend.facts.end()) return;
  imply(after_, ev::SwaState{backend.name, old->uses_swa, old->swa_pool, old->object});
}

void Rewriter::declare_twin(const World& world, const Route& route) {
  if (route.twin == kNone || !declared_.insert({rank_, route.twin}).second) return;
  const BufferState* buffer = world.buffers.find(route.table);
  ev::Buffer twin;
  twin.buffer = route.twin;
  if (buffer != nullptr && buffer->rows >= 0) twin.rows = buffer->rows;
  if (buffer != nullptr && buffer->cols >= 0) twin.cols = buffer->cols;
  imply(before_, twin);
}

// Each id through the map; what is not mapped becomes 0, as the engines' maps give.
void Rewriter::translate(const World& world, const Route& route, Pages& pages) const {
  const MapState& map = world.maps[route.map];
  const std::int64_t size = world.pool(route.pool).page_size;
  for (PageId& id : pages) {
    if (id == kUnknownPage) continue;
    const std::int64_t slot = raw(id) * route.entry_tokens;
    const std::int64_t key = map.by_slot ? slot : slot / size;
    const MapEntry* entry = key < 0 ? nullptr : map.entries.find(static_cast<std::uint64_t>(key));
    std::int64_t to = entry == nullptr ? 0 : entry->to;
    if (!map.by_slot && to != 0) to = to * size + slot % size;
    id = PageId{static_cast<std::int32_t>(to / route.entry_tokens)};
  }
}

// The row's live entries, mapped, into the table that the variant has instead.
void Rewriter::fill_row(const World& world, const Route& route, const ev::Row& row, Name lens) {
  const BufferState* buffer = world.buffers.find(route.table);
  if (buffer == nullptr || !row.row.has_value() || row.req == kNone) return;
  const TableRow* cells = buffer->table.find(static_cast<std::uint64_t>(*row.row));
  if (cells == nullptr || cells->cells.empty()) return;
  const std::int64_t live = (len_of(world, row, lens) - 1) / route.entry_tokens + 1;
  const auto count =
      static_cast<std::size_t>(std::clamp<std::int64_t>(live, 0, std::ssize(cells->cells)));
  ev::Table table;
  table.buffer = route.twin;
  table.row = *row.row;
  table.req = row.req;
  table.space = world.pool(route.pool).name;
  table.unit = world.tags[cells->cells.front().tag].unit;
  for (std::size_t i = 0; i < count; ++i) table.pages.push_back(cells->cells[i].page);
  translate(world, route, table.pages);
  // A page never written is not known, and says nothing; what lies before it does.
  const auto unknown = std::ranges::find(table.pages, kUnknownPage);
  table.pages.erase(unknown, table.pages.end());
  if (!table.pages.empty()) imply(before_, std::move(table));
}

// A buffer that is made and never written holds zeros.
void Rewriter::blank_rows(const World& world, const Route& route, const ev::Rows& rows) {
  const BufferState* buffer = world.buffers.find(route.table);
  const std::int64_t cols = buffer != nullptr && buffer->cols >= 0 ? buffer->cols : kColumns;
  for (const ev::Row& row : rows) {
    if (!row.row.has_value()) continue;
    ev::Table table;
    table.buffer = route.twin;
    table.row = *row.row;
    table.space = world.pool(route.pool).name;
    table.pages.assign(static_cast<std::size_t>(std::min(cols, kColumns)), PageId{0});
    imply(before_, std::move(table));
  }
}

void Rewriter::apply_route(const World& world, const Route& route, ev::Attention& e) const {
  if (route.twin != kNone) e.table = route.twin;
  for (ev::Row& row : e.rows.edit()) {
    if (row.pages) translate(world, route, *row.pages);
  }
  e.space = world.pool(route.pool).name;
}

void Rewriter::on_attention(const World& world, ev::Attention& e) {
  Route route;
  if (!variant_.repair.flags || !find_route(world, e, route)) return;
  swap_state(*world.backends.find(e.backend), world, route);
  declare_twin(world, route);
  for (const ev::Row& row : e.rows) fill_row(world, route, row, e.lens);
  apply_route(world, route, e);
}

void Rewriter::on_capture(const World& world, ev::GraphCapture& e) {
  graphs_.erase({rank_, e.graph});
  if (!e.launches || !variant_.repair.graph) return;
  for (ev::Launch& launch : *e.launches) {
    auto* attention = std::get_if<ev::Attention>(&launch);
    Route route;
    if (attention == nullptr || !find_route(world, *attention, route)) continue;
    if (before_.empty()) swap_state(*world.backends.find(attention->backend), world, route);
    if (!variant_.repair.buffer) continue;  // The table is not there: the full one is taken.
    declare_twin(world, route);
    if (!variant_.repair.flags) blank_rows(world, route, attention->rows);
    std::vector<Captured>& kept = graphs_[{rank_, e.graph}];
    const bool filled =
        std::ranges::any_of(kept, [&](const Captured& c) { return c.route.twin == route.twin; });
    if (!filled && route.twin != kNone) kept.push_back({route, attention->lens});
    apply_route(world, route, *attention);
    for (auto* list : {&e.buffers, &e.inputs}) {
      if (!*list || route.twin == kNone) continue;
      const auto has = [&](Name name) { return std::ranges::find(**list, name) != (*list)->end(); };
      if (has(route.table) && !has(route.twin)) (*list)->push_back(route.twin);
    }
  }
}

// What the graph reads is written anew before each launch, where the flags say that it is needed.
void Rewriter::on_launch(const World& world, const ev::GraphLaunch& e) {
  const auto at = graphs_.find({rank_, e.graph});
  const GraphState* graph = world.graphs.find(e.graph);
  if (at == graphs_.end() || graph == nullptr || !variant_.repair.flags) return;
  for (const Captured& captured : at->second) {
    if (!e.rows) continue;
    for (const ev::Row& row : *e.rows) fill_row(world, captured.route, row, captured.lens);
  }
}

Status Rewriter::rewrite(const State& state, EventIndex at, Event& event) {
  before_.clear();
  after_.clear();
  dropped_ = false;
  if (Status status = edit(at, event); !status.ok()) return status;
  rank_ = event.rank.value_or(State::kNoRank);
  const World* world = state.world(rank_);
  if (world == nullptr || dropped_ || !variant_.repair.any()) return {};
  if (variant_.per_call && std::holds_alternative<ev::SwaState>(event.body)) {
    dropped_ = true;
  } else if (auto* attention = std::get_if<ev::Attention>(&event.body)) {
    on_attention(*world, *attention);
  } else if (auto* capture = std::get_if<ev::GraphCapture>(&event.body)) {
    on_capture(*world, *capture);
  } else if (const auto* launch = std::get_if<ev::GraphLaunch>(&event.body)) {
    on_launch(*world, *launch);
  }
  return {};
}

}  // namespace pagetape
