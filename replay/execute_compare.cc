// SPDX-License-Identifier: Apache-2.0
// Attending twice: with the entries of the trace, and with those that would have been right.
#include <algorithm>
#include <cmath>

#include "replay/executor.h"

namespace pagetape {

// The lanes of both lists whose entries differ; the lists are alike but for these.
static void keep_different(LaneList& given, LaneList& right) {
  LaneList a, b;
  for (std::size_t i = 0; i < given.lanes.size(); ++i) {
    const AttentionLane& lane = given.lanes[i];
    if (std::equal(given.entries_of(i), given.entries_of(i) + lane.entries, right.entries_of(i))) {
      continue;
    }
    for (auto [from, to] : {std::pair{&given, &a}, {&right, &b}}) {
      to->lanes.push_back(lane);
      to->lanes.back().entries_begin = static_cast<std::uint32_t>(to->entries.size());
      to->entries.insert(to->entries.end(), from->entries_of(i),
                         from->entries_of(i) + lane.entries);
      to->reqs.push_back(from->reqs[i]);
      to->columns.push_back(from->columns[i]);
      to->listed.push_back(from->listed[i]);
    }
  }
  given = std::move(a);
  right = std::move(b);
}

void Executor::compare(const World& world, std::uint32_t pool, PoolRun& run, AttentionArgs& args,
                       std::vector<AttentionLayer>& layers, Launched&& launched) {
  LaneList& list = launched.list;
  if (args.on_oob == OnOob::kClamp) clamp_entries(list, args.bound);
  Launched right = launched;
  options_.reference->amend(world, pool, std::int64_t{1} << args.entry_shift, right.list);
  keep_different(list, right.list);
  if (list.lanes.empty()) return;

  std::vector<std::uint32_t> first_rows;
  std::size_t rows = 0;
  for (const AttentionLane& lane : list.lanes) {
    first_rows.push_back(static_cast<std::uint32_t>(rows));
    rows += static_cast<std::size_t>(lane.q_len);
  }
  Compared outputs;
  outputs.backend = launched.backend;
  outputs.row_floats = static_cast<std::size_t>(args.ratio * args.kv.heads) *
                       static_cast<std::size_t>(args.kv.head_dim);
  outputs.rows = rows * layers.size();
  for (const bool first : {true, false}) {
    const std::size_t bytes = outputs.rows * outputs.row_floats * sizeof(float);
    auto* out = static_cast<float*>(scratch(bytes));
    if (!status_.ok()) return;
    machine_.clear(out, bytes);
    (first ? outputs.given : outputs.right) = out;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      layers[i].out = out + i * rows * outputs.row_floats;
    }
    args.out_rows = send(first_rows);
    if (!run_lanes(world, pool, run, args, layers, std::move(first ? launched : right))) return;
  }
  compared_.push_back(outputs);
}

// After the machine has finished: how far the outputs are apart, query by query.
void Executor::tell_errors() {
  std::vector<float> given, right;
  for (const Compared& c : compared_) {
    given.resize(c.rows * c.row_floats);
    right.resize(given.size());
    machine_.download(given.data(), c.given, given.size() * sizeof(float));
    machine_.download(right.data(), c.right, right.size() * sizeof(float));
    status_ = machine_.finish();
    if (!status_.ok()) break;
    for (std::size_t row = 0; row < c.rows; ++row) {
      double off = 0, length = 0;
      for (std::size_t i = row * c.row_floats; i < (row + 1) * c.row_floats; ++i) {
        const double is = given[i], ought = right[i];
        off += (is - ought) * (is - ought);
        length += ought * ought;
      }
      if (length > 0) options_.reference->on_error(c.backend, std::sqrt(off / length));
    }
  }
  compared_.clear();
}

}  // namespace pagetape
