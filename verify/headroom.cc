// SPDX-License-Identifier: Apache-2.0
#include "verify/headroom.h"

#include <algorithm>
#include <tuple>

#include "replay/refusal.h"
#include "traces/source.h"

namespace pagetape {
namespace {

std::int64_t floor_div(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

std::uint32_t space_named(const World& world, Name name) {
  const Pool* pool = world.pools.find(name);
  return pool != nullptr ? pool->space : world.spaces.index(name);
}

// The pool with the most tokens of a space: every id of the space is one of its.
const Pool* largest_pool(const World& world, const Space& space) {
  const Pool* largest = nullptr;
  for (std::uint32_t p : space.pools) {
    const Pool& pool = world.pool(p);
    if (largest == nullptr || pool.pages * pool.page_size > largest->pages * largest->page_size) {
      largest = &pool;
    }
  }
  return largest;
}

std::int64_t free_at_most(const Pool& pool, std::int64_t below) {
  const auto reserved = std::ranges::count_if(
      pool.reserved, [&](const ReservedPage& r) { return raw(r.page) < below; });
  return std::max<std::int64_t>(std::min(below, pool.pages) - reserved, 0);
}

// Is the page the one that belongs at the request's column: what a map gives for the request's page
// in the space of the table, or else a page that the request has there?
bool is_right(const World& world, std::uint32_t pool, const Lane& lane, PageId page,
              std::int64_t logical) {
  if (!world.pool(pool).in_bounds(page)) return false;
  const std::int64_t size = world.pool(pool).page_size;
  for (std::uint32_t m = 0; m < world.maps.size(); ++m) {
    const MapState& map = world.maps[m];
    if (map.to != pool || world.pool(map.from).page_size != size) continue;
    const Holder* holder = world.space_of(world.pool(map.from)).holder(lane.req);
    const Column* column =
        holder == nullptr ? nullptr : holder->columns.find(static_cast<std::uint64_t>(logical));
    if (column == nullptr || raw(column->page) < 0) continue;
    const std::int64_t from = map.by_slot ? raw(column->page) * size : raw(column->page);
    const MapEntry* entry = map.entries.find(static_cast<std::uint64_t>(from));
    if (entry != nullptr && entry->to != 0) {
      return (map.by_slot ? entry->to / size : entry->to) == raw(page);
    }
  }
  const Space& space = world.space_of(world.pool(pool));
  const PageInfo info = space.info(page);
  const bool here = info.owner != lane.req || info.column < 0 || info.column == logical;
  return space.owns(info, lane.req) && here;
}

}  // namespace

std::int64_t TableUse::distance() const {
  return std::min(bound - greatest, least < 0 ? least : INT64_MAX);
}

std::int64_t TableUse::margin() const {
  const std::int64_t seen = distance() - 1;
  const std::int64_t ids = possible < 0 ? seen : std::min(seen, bound - possible);
  return floor_div(ids * tokens, page_size);
}

void Headroom::on_event(const World&, const Event& event, EventIndex) {
  rank_ = event.rank.value_or(INT64_MIN);
  const bool rows_begin_anew = std::holds_alternative<ev::Gap>(event.body) ||
                               std::holds_alternative<ev::Dropped>(event.body) ||
                               std::holds_alternative<ev::Buffer>(event.body);
  if (!rows_begin_anew) return;
  for (auto& [key, table] : tables_) table.rows.clear();
}

void Headroom::on_page(World& world, const PageAct& act) {
  if (act.act != Act::kAlloc || act.fate == Fate::kOutside) return;
  const Space& space = world.space_of(world.pool(act.pool));
  SpaceFill& fill = spaces_[{rank_, space.name}];
  if (fill.space == kNone) {
    const Pool& pool = *largest_pool(world, space);
    fill = {.rank = rank_, .space = space.name, .capacity = free_at_most(pool, pool.pages)};
  }
  fill.greatest = std::max<std::int64_t>(fill.greatest, raw(act.page));
  fill.peak = std::max(
      fill.peak, static_cast<std::int64_t>(space.owned_pages()) + (space.owned(act.page) ? 0 : 1));
}

void Headroom::on_launch(World& world, const LaunchView& view) {
  if (view.targets == nullptr) return;
  for (std::uint32_t g = 0; g < view.targets->groups.size(); ++g) {
    if (view.attention != nullptr) use_attention(world, view, g);
    if (view.store != nullptr) use_store(world, view, g);
  }
}

// Which ids the table may come to hold, and from which fill on one of them is outside the pool.
void Headroom::say_possible(const Ground& ground, std::uint32_t claim, TableUse& use) const {
  const World& world = ground.world;
  if (claim == kNoSpace || claim >= world.spaces.size()) return;
  const Pool* pool = largest_pool(world, world.spaces[claim]);
  if (pool == nullptr) return;
  const std::string_view unit = names_.text(ground.unit);
  const bool slots = unit == "slot";
  const bool wrong_unit = slots && ground.tokens != 1;
  const std::int64_t tokens = slots ? 1 : ground.tokens;
  const bool other = ground.pool != kNoPool && claim != world.pool(ground.pool).space;
  use.wrong = other || wrong_unit;
  use.possible = pool->pages * pool->page_size / tokens;
  use.space_capacity = free_at_most(*pool, pool->pages);
  if (use.possible <= use.bound) return;
  use.first_oob_fill = free_at_most(*pool, use.bound * tokens / pool->page_size);
}

Headroom::Table& Headroom::table_of(const Ground& ground, std::uint32_t claim) {
  const Name pool = ground.pool == kNoPool ? kNone : ground.world.pool(ground.pool).name;
  const Name space = claim == kNoSpace ? kNone : ground.world.spaces[claim].name;
  const Key key{static_cast<std::uint64_t>(rank_),
                raw(pool),
                raw(ground.table),
                raw(ground.backend),
                raw(space),
                static_cast<std::uint64_t>(ground.tokens),
                static_cast<std::uint64_t>(ground.bound)};
  const auto [at, fresh] = tables_.try_emplace(key);
  if (!fresh) return at->second;
  TableUse& use = at->second.use;
  use.rank = rank_;
  use.pool = pool;
  use.table = ground.table;
  use.backend = ground.backend;
  use.space = space;
  use.bound = ground.bound;
  use.tokens = ground.tokens;
  use.page_size = ground.pool == kNoPool ? ground.tokens : ground.world.pool(ground.pool).page_size;
  say_possible(ground, claim, use);
  return at->second;
}

void Headroom::use_attention(const World& world, const LaunchView& view, std::uint32_t group) {
  const ev::Attention& e = *view.attention;
  const Targets::Group& targets = view.targets->groups[group];
  const bool known = targets.pool != kNoPool;
  const bool sized = e.bound && e.bound->pages.has_value();
  if (!known && (!sized || !e.page_size.has_value())) return;
  const std::int64_t tokens = e.page_size.value_or(known ? world.pool(targets.pool).page_size : 1);
  Ground ground{.world = world,
                .view = view,
                .pool = targets.pool,
                .table = e.table,
                .backend = view.backend->name,
                .unit = e.unit,
                .tokens = tokens,
                .bound = 0,
                .layers = targets.members.size()};
  ground.bound = sized
                     ? *e.bound->pages
                     : world.pool(targets.pool).pages * world.pool(targets.pool).page_size / tokens;
  Table* table = view.claim == kNoSpace ? nullptr : &table_of(ground, view.claim);
  if (table != nullptr) table->use.launches += ground.layers;
  for (const Lane& lane : view.lanes) {
    if (lane.len >= 0) use_lane(ground, lane, table);
  }
}

// The rows of a table of the right space change little: just new cells are looked at.
bool Headroom::use_known_row(const Ground& ground, const Lane& lane, Table& table, std::int64_t lo,
                             std::int64_t hi) {
  constexpr std::int64_t kMostRows = 1 << 16;
  if (lane.table == nullptr || lane.logical != nullptr || lane.spaces != nullptr ||
      table.use.wrong || lane.row >= kMostRows || !lane.table->far.empty()) {
    return false;
  }
  const std::int64_t begin = std::max<std::int64_t>(lo - lane.first, 0);
  const std::int64_t end = std::min(hi - lane.first, lane.held());
  if (begin >= end) return true;
  const auto row = static_cast<std::size_t>(lane.row);
  if (row >= table.rows.size()) table.rows.resize(row + 1);
  Seen& seen = table.rows[row];
  std::int64_t from = begin;
  if (seen.begin <= begin && seen.end > begin) {
    from = std::min(seen.end, lane.table->changes.low_since(seen.version));
    from = std::clamp(from, begin, end);
  }
  for (std::int64_t j = from; j < end; ++j) {
    const std::int64_t id = raw(lane.table->cells[static_cast<std::size_t>(j)].page);
    if (id == raw(kUnknownPage)) continue;
    table.use.least = std::min(table.use.least, id);
    table.use.greatest = std::max(table.use.greatest, id);
  }
  seen = {lane.table->changes.version(), begin, end};
  table.use.entries += static_cast<std::uint64_t>(end - begin) * ground.layers;
  return true;
}

void Headroom::use_lane(const Ground& ground, const Lane& lane, Table* table) {
  const ev::Attention& e = *ground.view.attention;
  const std::int64_t window = e.window.value_or(0);
  const std::int64_t live = window > 0 ? std::max<std::int64_t>(0, lane.q_pos + 1 - window) : 0;
  const std::int64_t lo = live / ground.tokens;
  const std::int64_t hi = (lane.len + ground.tokens - 1) / ground.tokens;
  if (table != nullptr && use_known_row(ground, lane, *table, lo, hi)) return;
  std::int64_t begin = std::max<std::int64_t>(lo - lane.first, 0);
  std::int64_t end = std::min(hi - lane.first, lane.held());
  if (lane.logical != nullptr) {
    begin = 0;
    end = std::min(static_cast<std::int64_t>(lane.logical->size()), lane.held());
  }
  for (std::int64_t j = begin; j < end; j = lane.next(j + 1)) {
    Cell cell;
    if (!lane.entry(j, cell)) continue;
    std::int64_t logical = j + lane.first;
    if (lane.logical != nullptr) logical = (*lane.logical)[static_cast<std::size_t>(j)];
    if (logical < lo || logical >= hi) continue;
    std::uint32_t claim = ground.view.claim;
    const Tag& tag = ground.world.tags[cell.tag];
    if (claim == kNoSpace && tag.space != kNone) claim = space_named(ground.world, tag.space);
    if (lane.spaces != nullptr && static_cast<std::size_t>(j) < lane.spaces->size()) {
      claim = space_named(ground.world, (*lane.spaces)[static_cast<std::size_t>(j)]);
    }
    Table& of = table != nullptr && claim == ground.view.claim ? *table : table_of(ground, claim);
    if (of.use.launches == 0) of.use.launches = ground.layers;
    use_entry(ground, lane, of, logical, raw(cell.page));
  }
}

void Headroom::use_entry(const Ground& ground, const Lane& lane, Table& table, std::int64_t logical,
                         std::int64_t id) {
  TableUse& use = table.use;
  use.least = std::min(use.least, id);
  use.greatest = std::max(use.greatest, id);
  use.entries += ground.layers;
  if (!use.wrong) return;
  if (use.first_wrong == kNever) use.first_wrong = ground.view.event;
  if (lane.req == kNone || ground.pool == kNoPool) return;
  const std::int64_t page = floor_div(id * use.tokens, use.page_size);
  const PageId as_page{static_cast<std::int32_t>(std::clamp<std::int64_t>(page, -1, INT32_MAX))};
  const bool right =
      is_right(ground.world, ground.pool, lane, as_page, logical * use.tokens / use.page_size);
  (right ? use.camouflaged : use.misplaced) += ground.layers;
}

void Headroom::use_store(const World& world, const LaunchView& view, std::uint32_t group) {
  const Targets::Group& targets = view.targets->groups[group];
  if (targets.pool == kNoPool) return;
  const Pool& pool = world.pool(targets.pool);
  const Ground ground{.world = world,
                      .view = view,
                      .pool = targets.pool,
                      .table = view.store->slots,
                      .backend = view.backend->name,
                      .unit = kNone,
                      .tokens = 1,
                      .bound = pool.pages * pool.page_size,
                      .layers = targets.members.size()};
  Table& table = table_of(ground, view.claim);
  table.use.launches += ground.layers;
  const bool wraps = names_.text(view.store->negative) == "wrap";
  for (const Lane& lane : view.lanes) {
    for (std::uint32_t k = 0; k < lane.slots_count; ++k) {
      const std::int64_t slot = raw(view.slots[lane.slots_begin + k]);
      if (slot == INT64_MIN || (slot < 0 && !wraps)) continue;
      table.use.least = std::min(table.use.least, slot);
      table.use.greatest = std::max(table.use.greatest, slot);
      table.use.entries += ground.layers;
      if (table.use.wrong && table.use.first_wrong == kNever) table.use.first_wrong = view.event;
    }
  }
}

std::vector<TableUse> Headroom::tables() const {
  std::vector<TableUse> out;
  for (const auto& [key, table] : tables_) {
    if (table.use.used()) out.push_back(table.use);
  }
  const auto text = [this](Name name) { return names_.text(name); };
  std::ranges::sort(out, {}, [&](const TableUse& t) {
    return std::tuple(t.rank, text(t.pool), text(t.table), text(t.backend), text(t.space), t.tokens,
                      t.bound);
  });
  return out;
}

std::vector<SpaceFill> Headroom::spaces() const {
  std::vector<SpaceFill> out;
  for (const auto& [key, fill] : spaces_) out.push_back(fill);
  std::ranges::sort(
      out, {}, [this](const SpaceFill& f) { return std::tuple(f.rank, names_.text(f.space)); });
  return out;
}

const SpaceFill* HeadroomReport::fill_of(const TableUse& table) const {
  for (const SpaceFill& fill : spaces) {
    if (fill.rank == table.rank && fill.space == table.space) return &fill;
  }
  return nullptr;
}

int HeadroomReport::exit_code() const {
  if (!failed.empty()) return 1;
  if (status.code() == Code::kDamaged) return 3;
  if (!status.ok()) return 2;
  return nothing_measured ? 1 : 0;
}

HeadroomReport headroom_trace(const std::string& path, const HeadroomOptions& options) {
  HeadroomReport report;
  report.trace = path;
  report.names = std::make_shared<Names>();
  const std::unique_ptr<Source> source = open_trace(path, *report.names, report.status);
  if (source == nullptr) return report;
  State state(*report.names);
  Headroom headroom(*report.names);
  Event event;
  while (source->next(event)) {
    state.skip_to(source->position() - 1);  // Events of a newer format are skipped.
    const Outcome outcome = state.apply(event, &headroom);
    if (!outcome.applied()) {
      report.status = refusal(*source, outcome, event, *report.names);
      break;
    }
    ++report.events;
  }
  if (report.status.ok()) report.status = source->status();
  report.warnings = source->warnings();
  report.tables = headroom.tables();
  report.spaces = headroom.spaces();
  if (!options.judged) return report;
  report.nothing_measured = report.tables.empty();
  for (std::size_t i = 0; i < report.tables.size(); ++i) {
    const TableUse& table = report.tables[i];
    const auto margin = static_cast<double>(table.margin());
    const auto whole = table.bound * table.tokens / table.page_size;
    const auto pages = static_cast<double>(whole);
    const double have = options.per_cent ? margin * 100 / std::max(pages, 1.0) : margin;
    if (!table.safe() && have < options.min) report.failed.push_back(i);
  }
  return report;
}

}  // namespace pagetape
