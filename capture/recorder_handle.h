// SPDX-License-Identifier: Apache-2.0
// What the functions of the C interface share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "capture/recorder.h"

struct ptape_recorder {
  std::unique_ptr<pagetape::Recorder> recorder;
  std::uint32_t number;  // Of the process's recorders, from 1.
};

namespace pagetape {

// Keeps the sentence for ptape_last_error of this thread; PTAPE_E_ARGUMENT.
int argument_error(std::string what);

// A caller's field, where the version of its struct has it; else null.
inline const void* lens_of(const ptape_table_view& view) {
  return view.size >= sizeof(ptape_table_view) ? view.lens : nullptr;
}

// Whether a caller's view can be one at all. Lists' places are counted in entries side by side.
inline bool valid_view(const ptape_table_view* view) {
  const auto width = [](std::uint32_t bytes) { return bytes == 4 || bytes == 8; };
  return view != nullptr && view->size >= offsetof(ptape_table_view, lens) &&
         view->cells != nullptr && view->rows > 0 && view->cols > 0 &&
         std::uint64_t{view->rows} * view->cols + view->rows < kCellsMost &&
         width(view->cell_bytes) &&
         (view->starts == nullptr || (width(view->start_bytes) && view->col_stride == 1)) &&
         (lens_of(*view) == nullptr || (width(view->len_bytes) && view->len_unit > 0));
}

inline TableView view_of(const ptape_table_view& from) {
  TableView to;
  to.cells = from.cells;
  to.starts = from.starts;
  to.row_stride = from.row_stride;
  to.col_stride = from.col_stride;
  to.capacity = from.capacity;
  to.rows = from.rows;
  to.cols = from.cols;
  to.cell_bytes = from.cell_bytes;
  to.start_bytes = from.start_bytes;
  to.lens = lens_of(from);
  if (to.lens != nullptr) {
    to.len_bytes = from.len_bytes;
    to.len_unit = from.len_unit;
  }
  return to;
}

// Where a plain table or an index list lies, from its first byte to behind its last.
inline std::pair<std::uint64_t, std::uint64_t> bytes_of(const ptape_table_view& view) {
  std::int64_t first = 0, last = view.capacity - 1;  // Cells.
  if (view.starts == nullptr) {
    const std::int64_t row = (std::int64_t{view.rows} - 1) * view.row_stride;
    const std::int64_t col = (std::int64_t{view.cols} - 1) * view.col_stride;
    first = std::min<std::int64_t>(row, 0) + std::min<std::int64_t>(col, 0);
    last = std::max<std::int64_t>(row, 0) + std::max<std::int64_t>(col, 0);
  }
  const auto at = reinterpret_cast<std::uint64_t>(view.cells);
  const std::int64_t width = view.cell_bytes;
  return {at + static_cast<std::uint64_t>(first * width),
          at + static_cast<std::uint64_t>((last + 1) * width)};
}

}  // namespace pagetape

#define PTAPE_NEEDS(recorder) \
  if ((recorder) == nullptr) return pagetape::argument_error("the recorder is null")
