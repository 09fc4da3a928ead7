// SPDX-License-Identifier: Apache-2.0
// Buffers, graphs and order.
#include <algorithm>

#include "replay/applier.h"

namespace pagetape {

// Cells so far beyond a row's others are kept apart, so that a number costs no memory.
static constexpr std::int64_t kFarCells = 1 << 12;

static std::uint32_t tag_of(World& world, Name space, Name unit) {
  const Tag tag{space, unit};
  const auto at = std::ranges::find(world.tags, tag);
  if (at != world.tags.end()) return static_cast<std::uint32_t>(at - world.tags.begin());
  world.tags.push_back(tag);
  return static_cast<std::uint32_t>(world.tags.size() - 1);
}

// Cells that were far, and are not beyond the others any more.
static void take_near(TableRow& row) {
  const auto end = row.far.lower_bound(static_cast<std::int64_t>(row.cells.size()));
  for (auto it = row.far.begin(); it != end; it = row.far.erase(it)) {
    row.cells[static_cast<std::size_t>(it->first)] = it->second;
  }
}

Outcome Applier::on(const ev::Table& e) {
  BufferState* buffer = world_.buffers.find(e.buffer);
  if (buffer == nullptr) return undeclared(OutcomeCode::kUndeclaredBuffer, e.buffer);
  if (e.space != kNone && space_named(e.space) == kNoSpace) {
    return undeclared(OutcomeCode::kUndeclaredSpace, e.space);
  }
  const std::uint32_t tag = tag_of(world_, e.space, e.unit);
  TableRow& row = buffer->table.at(static_cast<std::uint64_t>(e.row));
  const std::int64_t end = e.col + static_cast<std::int64_t>(e.pages.size());
  const auto size = static_cast<std::int64_t>(row.cells.size());
  const bool is_far = e.col > size + kFarCells;
  std::int64_t changed = INT64_MAX, changed_end = 0;
  if (!is_far && end > size) {
    row.cells.resize(static_cast<std::size_t>(end));
    take_near(row);
  }
  for (std::size_t i = 0; i < e.pages.size(); ++i) {
    const std::int64_t col = e.col + static_cast<std::int64_t>(i);
    Cell& cell = is_far ? row.far[col] : row.cells[static_cast<std::size_t>(col)];
    const Cell fresh{e.pages[i], tag, index_};
    if (cell.page == fresh.page && cell.tag == tag) {
      continue;  // The same content: who wrote it first is who is to blame.
    }
    cell = fresh;
    changed = std::min(changed, col);
    changed_end = col + 1;
  }
  if (changed != INT64_MAX) {
    row.changes.touch(changed, changed_end);
    buffer->touched.touch(static_cast<std::uint32_t>(e.row));  // Rows have 31 bits.
  }
  buffer->rewritten = index_;
  return {};
}

// Puts what the event says of a buffer of numbers where it belongs, from a row on.
template <class T, class F>
static void put(SparseArray<Value>& numbers, std::uint64_t row, const std::vector<T>& values,
                EventIndex by, F&& number_of) {
  for (std::size_t i = 0; i < values.size();) {
    const std::span<Value> some = numbers.some_at(row + i, values.size() - i);
    for (Value& value : some) value = {number_of(values[i++]), by};
  }
}

Outcome Applier::on(const ev::Lens& e) {
  BufferState* buffer = world_.buffers.find(e.buffer);
  if (buffer == nullptr) return undeclared(OutcomeCode::kUndeclaredBuffer, e.buffer);
  const auto row = static_cast<std::uint64_t>(e.row.value_or(0));
  put(buffer->lens, row, e.values, index_, [](std::int64_t value) { return value; });
  buffer->rewritten = index_;
  return {};
}

Outcome Applier::on(const ev::SlotList& e) {
  BufferState* buffer = world_.buffers.find(e.buffer);
  if (buffer == nullptr) return undeclared(OutcomeCode::kUndeclaredBuffer, e.buffer);
  const auto row = static_cast<std::uint64_t>(e.row.value_or(0));
  put(buffer->slots, row, e.values, index_, [](SlotId value) { return raw(value); });
  buffer->rewritten = index_;
  return {};
}

Outcome Applier::on(const ev::Refresh& e) {
  BufferState* buffer = world_.buffers.find(e.buffer);
  if (buffer == nullptr) return undeclared(OutcomeCode::kUndeclaredBuffer, e.buffer);
  buffer->rewritten = index_;
  return {};
}

Outcome Applier::on(const ev::Scalar& e) {
  world_.scalars[world_.scalars.add(e.name)] = {e.value.json, index_};
  return {};
}

Outcome Applier::on(const ev::Step& e) {
  world_.step = e.step;
  world_.step_mode = e.mode;
  return {};
}

Outcome Applier::on(const ev::AsyncBegin& e) {
  const std::uint32_t p = world_.pools.index(e.pool);
  if (p == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  const bool writes = state_.names().text(e.kind) == "write";
  Op op;
  op.name = e.op;
  op.by = e.by;
  op.writes = writes;
  op.pool = p;
  op.stream = stream_;
  op.event = index_;
  op.layers = e.layers ? world_.layers.of(*e.layers) : kAllLayers;
  std::int64_t i = 0;
  for (PageId page : e.pages) {
    PageAct act{.act = writes ? Act::kTransferWrite : Act::kTransferRead,
                .pool = p,
                .page = page,
                .req = e.by,
                .column = i++,
                .layers = op.layers,
                .name = e.op};
    const Pool& pool = world_.pool(p);
    if (!pool.in_bounds(page)) {
      act.fate = Fate::kOutside;
    } else if (writes && world_.is_party(e.by)) {
      act.fate = write_fate(pool, page, e.by);
    }
    tell(act);
    if (act.fate != Fate::kOutside) op.pages.push_back(page);
  }
  std::ranges::sort(op.pages);
  std::erase_if(world_.ops, [&](const Op& old) { return old.name == e.op; });
  world_.ops.push_back(std::move(op));
  return {};
}

Outcome Applier::on(const ev::AsyncEnd& e) {
  const auto ended = std::erase_if(world_.ops, [&](const Op& op) { return op.name == e.op; });
  if (ended == 0 && !world_.ops_unknown) return undeclared(OutcomeCode::kUndeclaredOp, e.op);
  return {};
}

Outcome Applier::on(const ev::StreamWait& e) {
  const auto on_stream = static_cast<std::int32_t>(e.on);
  for (Op& op : world_.ops) {
    if (e.ops && std::ranges::find(*e.ops, op.name) == e.ops->end()) continue;
    const bool there =
        op.stream == on_stream || std::ranges::find(op.ordered, on_stream) != op.ordered.end();
    const bool known = std::ranges::find(op.ordered, stream_) != op.ordered.end();
    if (there && !known) op.ordered.push_back(stream_);
  }
  return {};
}

// Index of the first launch captured so far with the same rows as `launch`; else its own to be.
static std::uint32_t first_with_rows_of(const GraphState& graph, const ev::Launch& launch) {
  const auto own = static_cast<std::uint32_t>(graph.launches.size());
  const auto* attention = std::get_if<ev::Attention>(&launch);
  for (std::uint32_t i = 0; attention != nullptr && i < own; ++i) {
    const auto* other = std::get_if<ev::Attention>(&graph.launches[i].body);
    if (other != nullptr && graph.launches[i].rows_like == i && other->rows == attention->rows) {
      return i;
    }
  }
  return own;
}

Outcome Applier::on(const ev::GraphCapture& e) {
  GraphState graph;
  graph.by = index_;
  graph.stepped = e.stepped.value_or(false);
  for (const auto* list : {&e.buffers, &e.inputs}) {
    if (!*list) continue;
    for (Name name : **list) {
      if (world_.buffers.find(name) == nullptr) {
        return undeclared(OutcomeCode::kUndeclaredBuffer, name);
      }
    }
  }
  if (e.launches) {
    for (const ev::Launch& launch : *e.launches) {
      const Outcome o = std::visit([this](const auto& body) { return check_names(body); }, launch);
      if (!o.applied()) return o;
    }
  }
  if (e.buffers) {
    for (Name name : *e.buffers) {
      graph.buffers.push_back({name, world_.buffers.find(name)->version});
    }
  }
  if (e.inputs) graph.inputs = *e.inputs;
  if (e.scalars) {
    for (const auto& [name, value] : *e.scalars) {
      graph.scalars.emplace_back(name, value.json);
      // Its value at capture is its run-time value until a `scalar` event says otherwise.
      world_.scalars[world_.scalars.add(name)] = {value.json, index_};
    }
  }
  if (e.launches) {
    for (const ev::Launch& launch : *e.launches) {
      const std::uint32_t like = first_with_rows_of(graph, launch);
      CapturedLaunch& captured = graph.launches.emplace_back();
      captured.rows_like = like;
      captured.body = launch;
      std::visit(
          [&]<class L>(const L& body) {
            if constexpr (!std::is_same_v<L, ev::Copy>) {
              const std::uint32_t b = world_.backends.index(body.backend);
              captured.targets = resolve(b, body.layer, body.layers, body.bound);
              captured.facts = world_.backends[b].facts;
            }
          },
          launch);
      for (const Targets::Group& group : captured.targets.groups) {
        captured.pool_versions.push_back(group.pool == kNoPool ? 0
                                                               : world_.pool(group.pool).version);
      }
    }
  }
  world_.graphs[world_.graphs.add(e.graph)] = std::move(graph);
  return {};
}

Outcome Applier::on(const ev::GraphLaunch& e) {
  GraphState* graph = world_.graphs.find(e.graph);
  if (graph == nullptr) return undeclared(OutcomeCode::kUndeclaredGraph, e.graph);
  if (e.rows) {
    if (Outcome o = check_rows(*e.rows, true); !o.applied()) return o;
  }
  if (observer_ != nullptr) observer_->on_graph_launch(world_, e.graph, *graph);
  if (!graph->stepped) {
    for (std::size_t i = 0; i < graph->launches.size(); ++i) {
      run_captured(e.graph, *graph, i, e.rows ? &*e.rows : nullptr);
    }
  }
  graph->launched = index_;
  graph->rows = e.rows;
  return {};
}

Outcome Applier::on(const ev::GraphStep& e) {
  GraphState* graph = world_.graphs.find(e.graph);
  if (graph == nullptr) return undeclared(OutcomeCode::kUndeclaredGraph, e.graph);
  const auto index = static_cast<std::size_t>(e.index);
  if (!graph->stepped || e.index < 0 || index >= graph->launches.size()) {
    return {OutcomeCode::kNoSuchLaunch, e.graph};
  }
  run_captured(e.graph, *graph, index, graph->rows ? &*graph->rows : nullptr);
  return {};
}

}  // namespace pagetape
