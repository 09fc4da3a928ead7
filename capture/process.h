// SPDX-License-Identifier: Apache-2.0
// What the sources of one process share, as there is one of each a process: the recorder, the
// numbers of CUDA's streams, and where tables lie. Any thread may call these.
#pragma once

#include <cstdint>

#include "capture/pagetape_capture.h"

namespace pagetape {

// A recorder is the process's from announce() to withdraw(), which waits until nobody has borrowed
// one. A forked child begins without any.
void announce(ptape_recorder* recorder);
void withdraw(ptape_recorder* recorder);
// The one announced last; null: there is none, and nothing to give back.
ptape_recorder* borrow();
void give_back();

// 2 and up; 0 where there are too many streams.
std::int32_t stream_number(const void* cuda_stream);

// Bytes [begin, end) hold the table that `buffer` names in the recorder's trace, until the same
// owner says that they do not.
struct TableRange {
  const void* owner;
  ptape_recorder* recorder;
  ptape_name buffer;
  std::uint64_t begin, end;
};
void add_table_range(const TableRange& range);
void remove_table_range(const void* owner);
// Calls found(buffer) for each table of the recorder's of which a byte is in [begin, end).
void for_each_table(const ptape_recorder* recorder, std::uint64_t begin, std::uint64_t end,
                    void (*found)(void* context, ptape_name buffer), void* context);

}  // namespace pagetape
