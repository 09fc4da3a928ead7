// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/target_runner.h"

#include <algorithm>

namespace pagetape::sim {

TargetRunner::TargetRunner(Tape& tape, const Config& config) : tape_(tape), config_(config) {
  for (int layer = 0; layer < config.model->layers; ++layer) {
    (config.model->is_full(layer) ? full_layers_ : swa_layers_).push_back(layer);
  }
}

ptape_launch TargetRunner::launch(bool swa) const {
  const std::vector<std::int32_t>& layers = swa ? swa_layers_ : full_layers_;
  ptape_launch to;
  ptape_launch_init(&to);
  to.backend = tape_.target;
  to.layers = layers.data();
  to.n_layers = layers.size();
  to.space = swa ? tape_.swa : tape_.full;
  to.bound_pool = to.space;
  to.bound_pages = swa ? config_.model->swa_pages : config_.model->full_pages;
  to.rows = rows_.data();
  to.n_rows = rows_.size();
  return to;
}

void TargetRunner::read(bool swa, const Tweaks& tweaks, const Running& running) {
  ptape_launch to = launch(swa);
  to.mode = running.empty() ? tape_.extend : tape_.verify;
  to.table = swa ? tape_.target_swa_table : tape_.target_table;
  to.lens = tape_.target_lens;
  if (swa) to.window = config_.model->window;
  to.table_rows = config_.concurrency;
  to.table_cols = config_.model->context_pages;
  if (swa && tweaks.full_table_for_swa) {
    to.table = tape_.target_table;
    to.space = tape_.full;
  }
  if (!swa && tweaks.narrow_table) {
    std::size_t pages = 0;
    for (const auto& request : running) pages = std::max(pages, request->full.size());
    to.table_cols = static_cast<std::int64_t>(pages) - 1;
  }
  tape_.keep(ptape_attention(tape_.recorder(), tape_.at(), &to));
}

void TargetRunner::extend(const Request& request, std::int64_t begin, std::int64_t end) {
  tape_.lens(tape_.target_lens, request.lane, {&end, 1});
  rows_.resize(1);
  ptape_row_init(rows_.data());
  rows_[0].req = request.name;
  rows_[0].row = request.lane;
  rows_[0].q_len = end - begin;
  for (const bool swa : {true, false}) read(swa, {}, {});
}

void TargetRunner::store(const Running& running, bool swa, const Tweaks& tweaks) {
  ptape_row row;
  ptape_row_init(&row);
  rows_.assign(running.size(), row);
  slots_.resize(running.size() + 1);
  for (std::size_t i = 0; i < running.size(); ++i) {
    const Request& request = *running[i];
    const bool late = !swa && &request == tweaks.stored_too_late;
    slots_[i] = extend_slots(swa ? request.swa : request.full, request.len + (late ? 1 : 0),
                             request.len + kDraftTokens, config_.model->page_size);
    rows_[i].req = request.name;
    rows_[i].slots = slots_[i].data();
    rows_[i].n_slots = slots_[i].size();
  }
  if (!swa && tweaks.pad_lane_writes) {
    slots_.back() = {std::int64_t{config_.model->full_pages - 1} * config_.model->page_size};
    row.slots = slots_.back().data();
    row.n_slots = 1;
    rows_.push_back(row);
  }
  const ptape_launch to = launch(swa);
  tape_.keep(ptape_store(tape_.recorder(), tape_.at(), &to));
}

void TargetRunner::verify(const Running& running, const Tweaks& tweaks) {
  lens_.assign(static_cast<std::size_t>(running.back()->lane) + 1, 0);
  for (const auto& request : running) {
    lens_[static_cast<std::size_t>(request->lane)] = request->len + kDraftTokens;
  }
  tape_.lens(tape_.target_lens, 0, lens_);
  for (const bool swa : {true, false}) {
    store(running, swa, tweaks);
    ptape_row row;
    ptape_row_init(&row);
    row.q_len = kDraftTokens;
    rows_.assign(running.size(), row);
    for (std::size_t i = 0; i < running.size(); ++i) {
      rows_[i].req = running[i]->name;
      rows_[i].row = running[i]->lane;
    }
    read(swa, tweaks, running);
  }
}

void TargetRunner::store_full(const Request& request, std::int64_t token) {
  const SlotNumbers slots = extend_slots(request.full, token, token + 1, config_.model->page_size);
  rows_.resize(1);
  ptape_row_init(rows_.data());
  rows_[0].req = request.name;
  rows_[0].slots = slots.data();
  rows_[0].n_slots = slots.size();
  const ptape_launch to = launch(false);
  tape_.keep(ptape_store(tape_.recorder(), tape_.at(), &to));
}

}  // namespace pagetape::sim
