// SPDX-License-Identifier: Apache-2.0
#include "capture/example/example_engine.h"

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "capture/pagetape_capture.h"

namespace {

constexpr int kLanes = 4, kColumns = 8, kPages = 40, kPageSize = 16, kBadId = 4000;

class ExampleEngine {
 public:
  explicit ExampleEngine(const ExampleOptions& options) : options_(options) {
    ptape_options open{};
    open.size = sizeof(open);
    open.path = options.trace.c_str();
    open.rank = -1;
    open.timestamps = 1;
    recorder_ = ptape_open(&open);
    if (recorder_ == nullptr) fail();
  }

  ExampleResult run() {
    if (recorder_ == nullptr) return result_;
    declare();
    open_tables();
    for (step_ = 0; step_ < options_.steps && result_.error.empty(); ++step_) run_step();
    close();
    return result_;
  }

 private:
  struct Lane {
    ptape_name req = 0;  // 0: the lane is free.
    std::vector<std::int32_t> pages;
    std::int64_t len = 0, until = 0;
  };

  void keep(int error) {
    if (error < 0) fail();
  }
  void fail() {
    if (result_.error.empty()) result_.error = ptape_last_error(recorder_);
  }
  void line(std::string_view text) { keep(ptape_json(recorder_, text.data(), text.size())); }

  // 1. Once: what there is. Anything of the trace model can be said as a line.
  void declare() {
    line(R"({"ev": "header", "format": 1, "engine": "example"})");
    line(R"({"ev": "pool", "pool": "kv", "pages": 40, "page_size": 16, )"
         R"("reserved": [{"page": 0, "role": "pad"}]})");
    line(R"({"ev": "buffer", "buffer": "table", "rows": 4, "cols": 8})");
    line(R"({"ev": "buffer", "buffer": "lens"})");
    line(R"({"ev": "backend", "backend": "attention"})");
    line(R"({"ev": "pool_swap", "backend": "attention", "layers": "*", "pool": "kv"})");
    pool_ = ptape_intern(recorder_, "kv");
    table_ = ptape_intern(recorder_, "table");
    lens_ = ptape_intern(recorder_, "lens");
    backend_ = ptape_intern(recorder_, "attention");
    for (std::int32_t page = kPages - 1; page > 0; --page) free_.push_back(page);
  }

  // 2. Once: the tables that are compared at each step, and the guard of the one launches read.
  void open_tables() {
    ptape_table_view cells{};
    cells.size = sizeof(cells);
    cells.cell_bytes = sizeof(cells_[0]);
    cells.cells = cells_.data();
    cells.rows = kLanes;
    cells.cols = cells.row_stride = kColumns;
    cells.col_stride = 1;
    cells.on_host = 1;
    ptape_table_view lengths = cells;
    lengths.cells = lengths_.data();
    lengths.rows = 1;
    lengths.cols = lengths.row_stride = kLanes;
    device_table_ = ptape_table_open(recorder_, &cells, PTAPE_PAGES, table_, 0, pool_, 0);
    device_lens_ = ptape_table_open(recorder_, &lengths, PTAPE_LENS, lens_, 0, 0, 0);
    guard_ = ptape_guard_open(recorder_, options_.guarded ? PTAPE_GUARD_CLAMP : PTAPE_GUARD_LOG, 1);
    guarded_ = ptape_guard_table(guard_, &cells, 0);
    if (device_table_ == nullptr || device_lens_ == nullptr || guarded_ == nullptr) fail();
  }

  void run_step() {
    keep(ptape_step(recorder_, nullptr, step_, 0, kLanes));
    for (int lane = 0; lane < kLanes; ++lane) schedule(lane);
    if (options_.bad_id && step_ == 20) cells_[0] = kBadId;
    launch();
    poll();
  }

  // 3. The scheduler: who gets which page, and gives it back.
  void schedule(int index) {
    Lane& lane = lanes_[static_cast<std::size_t>(index)];
    if (lane.req != 0 && lane.len == lane.until) finish(lane);
    if (lane.req == 0) {
      lane.req = ptape_intern(recorder_, ("request " + std::to_string(++requests_)).c_str());
      lane.until = 20 + 7 * (requests_ % 9);
      keep(ptape_request(recorder_, nullptr, lane.req, ptape_intern(recorder_, "run")));
    }
    const auto logical = static_cast<std::size_t>(lane.len / kPageSize);
    if (logical == lane.pages.size()) {
      lane.pages.push_back(free_.back());
      free_.pop_back();
      keep(ptape_alloc(recorder_, nullptr, pool_, lane.req, &lane.pages.back(), 1,
                       static_cast<std::int64_t>(logical)));
    }
    ++lane.len;
    const auto row = static_cast<std::size_t>(index);
    cells_[row * kColumns + logical] = lane.pages.back();
    lengths_[row] = static_cast<std::int32_t>(lane.len);
  }

  void finish(Lane& lane) {
    keep(ptape_free(recorder_, nullptr, pool_, lane.req, lane.pages.data(), lane.pages.size()));
    keep(ptape_request(recorder_, nullptr, lane.req, ptape_intern(recorder_, "finish")));
    keep(ptape_forget(recorder_, lane.req));  // Names come without end: what is kept does not.
    free_.insert(free_.end(), lane.pages.rbegin(), lane.pages.rend());
    lane = {};
  }

  // 4. Before a launch: the compares, the check, then what is launched. Behind it, that it is done.
  void launch() {
    keep(ptape_table_compare(device_table_, nullptr, nullptr));
    keep(ptape_table_compare(device_lens_, nullptr, nullptr));
    ptape_guard_launch checked{};
    checked.size = sizeof(checked);
    checked.bound = kPages;
    checked.page_size = kPageSize;
    checked.q_len = 1;
    checked.lens = lengths_.data();
    checked.len_bytes = sizeof(lengths_[0]);
    keep(ptape_guard_check(guarded_, &checked, nullptr));
    record_launch();
    attend(static_cast<const std::int32_t*>(ptape_guarded_cells(guarded_)));
    keep(ptape_launch_done(recorder_, nullptr, ptape_last_launch(recorder_)));
  }

  void record_launch() {
    std::array<ptape_row, kLanes> rows, stores;
    std::array<std::int64_t, kLanes> slots;
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::int64_t last = lanes_[i].len - 1;
      slots[i] = lanes_[i].pages.back() * kPageSize + last % kPageSize;
      ptape_row_init(&rows[i]);
      rows[i].req = lanes_[i].req;
      rows[i].row = static_cast<std::int64_t>(i);
      ptape_row_init(&stores[i]);
      stores[i].req = lanes_[i].req;
      stores[i].slots = &slots[i];
      stores[i].n_slots = 1;
    }
    const std::int32_t layer = 0;
    ptape_launch launch;
    ptape_launch_init(&launch);
    launch.backend = backend_;
    launch.layers = &layer;
    launch.n_layers = 1;
    launch.rows = stores.data();
    launch.n_rows = kLanes;
    keep(ptape_store(recorder_, nullptr, &launch));
    keep(ptape_launch_done(recorder_, nullptr, ptape_last_launch(recorder_)));
    launch.rows = rows.data();
    launch.table = table_;
    launch.lens = lens_;
    launch.bound_pool = pool_;
    launch.bound_pages = kPages;
    keep(ptape_attention(recorder_, nullptr, &launch));
  }

  // In the place of a kernel: which pages would it read?
  void attend(const std::int32_t* cells) {
    ++result_.launches;
    for (std::size_t i = 0; i < kLanes; ++i) {
      for (std::size_t col = 0; col < lanes_[i].pages.size(); ++col) {
        const std::int32_t page = cells[i * kColumns + col];
        result_.outside += page < 0 || page >= kPages;
      }
    }
  }

  // 5. At the end of the step, behind the stream: what the guard found.
  void poll() {
    ptape_guard_finding finding;
    while (ptape_guard_poll(guard_, &finding) == 1) {
      if (result_.findings++ > 0) continue;
      result_.first = "row " + std::to_string(finding.row) + ", column " +
                      std::to_string(finding.col) + ": page " + std::to_string(finding.id) +
                      " of " + std::to_string(finding.bound);
    }
  }

  // 6. Tables before the recorder.
  void close() {
    if (device_table_ != nullptr) keep(ptape_table_close(device_table_));
    if (device_lens_ != nullptr) keep(ptape_table_close(device_lens_));
    if (guarded_ != nullptr) keep(ptape_guarded_close(guarded_));
    if (guard_ != nullptr) keep(ptape_guard_close(guard_));
    const int error = ptape_close(recorder_);
    recorder_ = nullptr;
    keep(error);
  }

  const ExampleOptions& options_;
  ExampleResult result_;
  ptape_recorder* recorder_ = nullptr;
  ptape_device_table *device_table_ = nullptr, *device_lens_ = nullptr;
  ptape_guard* guard_ = nullptr;
  ptape_guarded* guarded_ = nullptr;
  ptape_name pool_ = 0, table_ = 0, lens_ = 0, backend_ = 0;
  alignas(16) std::array<std::int32_t, kLanes * kColumns> cells_{};
  alignas(16) std::array<std::int32_t, kLanes> lengths_{};
  std::array<Lane, kLanes> lanes_;
  std::vector<std::int32_t> free_;
  int step_ = 0, requests_ = 0;
};

}  // namespace

ExampleResult run_example(const ExampleOptions& options) { return ExampleEngine(options).run(); }
