// SPDX-License-Identifier: Apache-2.0
#include "capture/process.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "capture/handle_map.h"

namespace pagetape {
namespace {

constexpr std::size_t kStreams = 4096;
constexpr std::int32_t kFirstStream = 2;  // 0 is one that was not said, 1 async_begin's default.

// Its lists change under the mutex. It is never destroyed: threads run on while a process ends.
struct Process {
  std::mutex mutex;
  std::vector<ptape_recorder*> recorders;
  std::vector<TableRange> tables;

  std::atomic<ptape_recorder*> current{nullptr};
  std::atomic<std::uint32_t> borrowers{0};
  // No table lies outside.
  std::atomic<std::uint64_t> tables_begin{UINT64_MAX}, tables_end{0};

  std::atomic<std::int32_t> next_stream{kFirstStream};
  HandleMap<std::atomic<std::int32_t>, kStreams> streams;

  Process() {
    pthread_atfork([] { process().mutex.lock(); }, [] { process().mutex.unlock(); },
                   [] {
                     process().recorders.clear();
                     process().tables.clear();
                     process().bound_tables();
                     process().current = nullptr;
                     process().borrowers = 0;  // They are threads of the parent.
                     process().mutex.unlock();
                   });
  }

  void bound_tables() {
    std::uint64_t begin = UINT64_MAX, end = 0;
    for (const TableRange& table : tables) {
      begin = std::min(begin, table.begin);
      end = std::max(end, table.end);
    }
    tables_begin = begin;
    tables_end = end;
  }

  static Process& process() {
    static Process& one = *new Process;
    return one;
  }
};

Process& process() { return Process::process(); }

}  // namespace

void announce(ptape_recorder* recorder) {
  const std::lock_guard lock(process().mutex);
  process().recorders.push_back(recorder);
  process().current = recorder;
}

void withdraw(ptape_recorder* recorder) {
  Process& p = process();
  {
    const std::lock_guard lock(p.mutex);
    if (std::erase(p.recorders, recorder) == 0) return;
    p.current = p.recorders.empty() ? nullptr : p.recorders.back();
  }
  // Who borrowed it did so before `current` changed, and holds it for one event.
  while (p.borrowers.load() != 0) sched_yield();
}

ptape_recorder* borrow() {
  Process& p = process();
  p.borrowers.fetch_add(1);
  ptape_recorder* recorder = p.current.load();
  if (recorder == nullptr) p.borrowers.fetch_sub(1);
  return recorder;
}

void give_back() { process().borrowers.fetch_sub(1); }

std::int32_t stream_number(const void* cuda_stream) {
  auto handle = reinterpret_cast<std::uint64_t>(cuda_stream);
  if (handle == 0) handle = 1;               // CU_STREAM_LEGACY
  if (handle == 2) handle = pthread_self();  // CU_STREAM_PER_THREAD
  std::atomic<std::int32_t>* number = process().streams.find_or_add(handle);
  if (number == nullptr) return 0;
  std::int32_t known = number->load();
  if (known != 0) return known;
  const std::int32_t next = process().next_stream.fetch_add(1);
  return number->compare_exchange_strong(known, next) ? next : known;
}

void add_table_range(const TableRange& range) {
  const std::lock_guard lock(process().mutex);
  process().tables.push_back(range);
  process().bound_tables();
}

void remove_table_range(const void* owner) {
  const std::lock_guard lock(process().mutex);
  std::erase_if(process().tables, [&](const TableRange& range) { return range.owner == owner; });
  process().bound_tables();
}

void for_each_table(const ptape_recorder* recorder, std::uint64_t begin, std::uint64_t end,
                    void (*found)(void* context, ptape_name buffer), void* context) {
  Process& p = process();
  if (begin >= p.tables_end.load() || end <= p.tables_begin.load()) return;
  const std::lock_guard lock(p.mutex);
  for (const TableRange& table : p.tables) {
    if (table.recorder == recorder && begin < table.end && table.begin < end) {
      found(context, table.buffer);
    }
  }
}

}  // namespace pagetape
