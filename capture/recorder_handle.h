// SPDX-License-Identifier: Apache-2.0
// What the functions of the C interface share.
#pragma once

#include <memory>
#include <string>

#include "capture/recorder.h"

struct ptape_recorder {
  std::unique_ptr<pagetape::Recorder> recorder;
};

namespace pagetape {

// Keeps the sentence for ptape_last_error of this thread; PTAPE_E_ARGUMENT.
int argument_error(std::string what);

// Whether a caller's view can be one at all.
inline bool valid_view(const ptape_table_view* view) {
  const auto width = [](std::uint32_t bytes) { return bytes == 4 || bytes == 8; };
  return view != nullptr && view->size >= sizeof(ptape_table_view) && view->cells != nullptr &&
         view->rows > 0 && view->cols > 0 &&
         std::uint64_t{view->rows} * view->cols + view->rows < kCellsMost &&
         width(view->cell_bytes) && (view->starts == nullptr || width(view->start_bytes));
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
  return to;
}

}  // namespace pagetape

#define PTAPE_NEEDS(recorder) \
  if ((recorder) == nullptr) return pagetape::argument_error("the recorder is null")
