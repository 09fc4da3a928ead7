// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/draft_runner.h"

#include <algorithm>

namespace pagetape::sim {

DraftRunner::DraftRunner(Tape& tape, const Config& config, Tables& tables)
    : tape_(tape), config_(config), tables_(tables), own_pool_(tape.name("D")) {
  for (std::int64_t size = 1; size < config.concurrency; size *= 2) sizes_.push_back(size);
  sizes_.push_back(config.concurrency);
  for (const std::int64_t size : sizes_) {
    graphs_.push_back(tape.name(format("draft.bs%lld", static_cast<long long>(size))));
  }
}

void DraftRunner::enter_view() {
  const std::int32_t window = config_.model->draft_swa_layer,
                     full = config_.model->draft_full_layer;
  tape_.keep(
      ptape_pool_swap(tape_.recorder(), tape_.at(), tape_.draft, &window, 1, tape_.swa, tape_.set));
  tape_.keep(
      ptape_pool_swap(tape_.recorder(), tape_.at(), tape_.draft, &full, 1, tape_.full, tape_.set));
  if (draft_is_stale(config_.bug)) return;  // The defect: what follows from the pool stays.
  tape_.keep(ptape_swa_state(tape_.recorder(), tape_.at(), tape_.draft, 1, tape_.swa, tape_.set));
}

void DraftRunner::leave_view() {
  tape_.keep(ptape_pool_swap(tape_.recorder(), tape_.at(), tape_.draft, nullptr, 0, own_pool_, 0));
  if (draft_is_stale(config_.bug)) return;
  tape_.keep(ptape_swa_state(tape_.recorder(), tape_.at(), tape_.draft, 0, 0, own_pool_));
}

std::string DraftRunner::attention(bool window, const std::string& rows) const {
  const Model& model = *config_.model;
  const Bug bug = config_.bug;
  const char* table = !window || bug == Bug::kStaleSwa ? "draft.page_table"
                      : bug == Bug::kClamp             ? "draft.clamped_page_table"
                                                       : "draft.swa_page_table";
  return format(
      R"({"ev":"attention","backend":"draft",%s,"mode":"draft",%s"space":"%s","table":"%s",)"
      R"("lens":"draft.cache_seqlens","table_rows":%lld,"table_cols":%d,)"
      R"("bound":{"pool":"%s","pages":%d},"rows":[%s]})",
      window ? R"("layers":["a0","a1","a2"])" : R"("layer":"a3")",
      window ? format(R"("window":%d,)", model.window).c_str() : "",
      window && !draft_is_stale(bug) ? "S" : "F", table,
      static_cast<long long>(config_.concurrency), model.context_pages, window ? "S" : "F",
      window ? model.swa_pages : model.full_pages, rows.c_str());
}

void DraftRunner::capture() {
  std::string buffers = R"("draft.page_table","draft.cache_seqlens")";
  if (!draft_is_stale(config_.bug)) buffers += R"(,"draft.swa_page_table")";
  if (config_.bug == Bug::kClamp) buffers += R"(,"draft.clamped_page_table")";
  lens_.assign(static_cast<std::size_t>(config_.concurrency), 1);
  tables_.start();
  tape_.lens(tape_.draft_lens, 0, lens_);
  enter_view();
  for (const std::int64_t size : sizes_) {
    std::string rows;
    for (std::int64_t row = 0; row < size; ++row) {
      rows +=
          format(R"(%s{"req":null,"row":%lld})", row == 0 ? "" : ",", static_cast<long long>(row));
    }
    tape_.json(format(R"({"ev":"graph_capture","graph":"draft.bs%lld","buffers":[%s],)"
                      R"("inputs":[%s],"launches":[%s,%s]})",
                      static_cast<long long>(size), buffers.c_str(), buffers.c_str(),
                      attention(true, rows).c_str(), attention(false, rows).c_str()));
  }
  leave_view();
}

void DraftRunner::seed(const Request& request) {
  const std::int64_t len = request.len;
  tape_.lens(tape_.draft_lens, request.lane, {&len, 1});
  const std::string name = format("r%lld", static_cast<long long>(request.id));
  enter_view();
  for (const bool window : {true, false}) {
    tape_.json(attention(window, format(R"({"req":"%s","row":%d})", name.c_str(), request.lane)));
  }
  leave_view();
}

void DraftRunner::launch(const Running& running, bool stale_lens) {
  const std::int64_t lanes = running.back()->lane + 1;
  const auto size = std::lower_bound(sizes_.begin(), sizes_.end(), lanes);
  // Lanes without a request have the fill value.
  lens_.assign(static_cast<std::size_t>(*size), 1);
  ptape_row row;
  ptape_row_init(&row);
  rows_.assign(running.size(), row);
  for (std::size_t i = 0; i < running.size(); ++i) {
    lens_[static_cast<std::size_t>(running[i]->lane)] = running[i]->len;
    rows_[i].req = running[i]->name;
    rows_[i].row = running[i]->lane;
  }
  tables_.refresh_draft();
  if (!stale_lens) tape_.lens(tape_.draft_lens, 0, lens_);
  tape_.keep(ptape_graph_launch(tape_.recorder(), tape_.at(),
                                graphs_[static_cast<std::size_t>(size - sizes_.begin())],
                                rows_.data(), rows_.size()));
}

bool DraftRunner::reads_right(const Request& request) const {
  const std::int64_t begin = std::max<std::int64_t>(request.len - config_.model->window, 0);
  return !draft_is_stale(config_.bug) || request.same_ids(begin / config_.model->page_size);
}

}  // namespace pagetape::sim
