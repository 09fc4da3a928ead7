// SPDX-License-Identifier: Apache-2.0
#include "capture/table_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <new>
#include <utility>

namespace pagetape {
namespace {

constexpr std::size_t kHeaderPage = 4096;
constexpr std::uint64_t kCellsLeast = 1u << 17;
constexpr char kMagic[] = "ptaptabl";
constexpr char kInfix[] = ".table";

constexpr std::size_t memory_bytes(std::uint64_t cells_held) {
  return kHeaderPage + (kStepsHeld + cells_held) * sizeof(std::uint64_t);
}

Status failure(const std::string& path, const char* what, int error) {
  return system_error(path + ": " + what + ": " + std::strerror(error));
}

// A mapping of the file's bytes, or of memory of this process for -1; null on failure.
void* map(int fd, std::size_t bytes, int sharing) {
  const int flags = sharing | MAP_POPULATE | (fd < 0 ? MAP_ANONYMOUS : 0);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

bool makes_sense(const TableHeader& header, std::size_t bytes) {
  // Who reads it takes memory for all cells: the file has room for twice as many.
  const std::uint64_t cells = std::uint64_t{header.rows} * header.cols + header.rows;
  const std::uint32_t rows = header.kind == TableKind::kOwners ? 2 : 1;
  return std::memcmp(header.magic, kMagic, sizeof(header.magic)) == 0 &&
         header.header_bytes == sizeof(TableHeader) && header.kind <= TableKind::kNames &&
         (header.kind == TableKind::kPages || header.rows == rows) && header.rows > 0 &&
         header.cols > 0 && cells < kCellsMost && std::has_single_bit(header.cells_held) &&
         header.cells_held >= 2 * cells && header.cells_held <= 4 * kCellsMost &&
         memory_bytes(header.cells_held) == bytes;
}

}  // namespace

std::string table_path(const std::string& ring, std::uint32_t n) {
  return ring + kInfix + std::to_string(n);
}

void remove_tables(const std::string& ring) {
  for (std::uint32_t n = 0; ::unlink(table_path(ring, n).c_str()) == 0; ++n) {
  }
}

std::unique_ptr<TableMemory> TableMemory::create(const std::string& path, TableKind kind,
                                                 const TableView& view, Status& status) {
  const std::uint64_t cells = std::uint64_t{view.rows} * view.cols + view.rows;
  if (view.rows == 0 || view.cols == 0 || cells >= kCellsMost) {
    status = usage("a table without rows or columns, or with a billion cells");
    return nullptr;
  }
  const std::uint64_t held = std::bit_ceil(std::max(2 * cells, kCellsLeast));
  const std::size_t bytes = memory_bytes(held);
  int fd = -1, error = 0;
  if (!path.empty()) {
    fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    // All of its memory now: a page that is missing later would be a fault of the device's.
    error = fd < 0 ? errno : posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  }
  void* memory = error == 0 ? map(fd, bytes, fd < 0 ? MAP_PRIVATE : MAP_SHARED) : nullptr;
  if (memory == nullptr) {
    status = failure(path, "no memory for a table's changes", error != 0 ? error : errno);
    if (fd >= 0) ::unlink(path.c_str());
  }
  if (fd >= 0) ::close(fd);
  if (memory == nullptr) return nullptr;
  auto* header = new (memory) TableHeader{};
  std::memcpy(header->magic, kMagic, sizeof(header->magic));
  header->header_bytes = sizeof(TableHeader);
  header->kind = kind;
  header->rows = view.rows;
  header->cols = view.cols;
  header->lists = view.starts != nullptr;
  header->cells_held = held;
  status = {};
  return std::unique_ptr<TableMemory>(new TableMemory(memory, bytes));
}

std::unique_ptr<TableMemory> TableMemory::open(const std::string& path, int sharing,
                                               Status& status) {
  status = {};
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  struct stat file {};
  if (fd < 0 || fstat(fd, &file) != 0) {
    status = failure(path, "cannot be opened", errno);
  } else if (!S_ISREG(file.st_mode) || file.st_uid != geteuid() || (file.st_mode & 077) != 0) {
    status = usage(path + ": not a file of this user's alone");
  } else if (static_cast<std::size_t>(file.st_size) < memory_bytes(kCellsLeast)) {
    status = damaged(path + ": no table's changes");
  }
  const auto bytes = static_cast<std::size_t>(file.st_size);
  void* memory = status.ok() ? map(fd, bytes, sharing) : nullptr;
  if (status.ok() && memory == nullptr) status = failure(path, "cannot be mapped", errno);
  if (fd >= 0) ::close(fd);
  if (memory == nullptr) return nullptr;
  std::unique_ptr<TableMemory> table(new TableMemory(memory, bytes));
  if (makes_sense(table->header(), bytes)) return table;
  status = damaged(path + ": no table's changes");
  return nullptr;
}

TableMemory::~TableMemory() { munmap(memory_, bytes_); }

std::uint64_t* TableMemory::steps() const {
  return reinterpret_cast<std::uint64_t*>(static_cast<char*>(memory_) + kHeaderPage);
}

CellWord* TableMemory::cells() const { return steps() + kStepsHeld; }

TableReader::TableReader(std::shared_ptr<TableMemory> memory)
    : memory_(std::move(memory)),
      kind_(memory_->header().kind),
      cols_(memory_->header().cols),
      table_cells_(memory_->header().cells()),
      indices_(memory_->header().indices()),
      cells_held_(memory_->header().cells_held),
      place_{memory_->header().steps_freed.load(), memory_->header().cells_freed.load()} {}

TableReader::Taken TableReader::take(std::uint64_t step, std::vector<CellWord>& cells) {
  Taken taken;
  while (place_.steps < step) {
    const std::uint64_t next = place_.steps + 1;
    // Read first: a step that it speaks of has no word any more to come.
    const std::uint64_t lost = memory_->header().lost.load(std::memory_order_acquire);
    const std::uint64_t word =
        std::atomic_ref(memory_->steps()[next % kStepsHeld]).load(std::memory_order_acquire);
    const std::uint64_t count = word & 0xffff'ffff;
    if (word >> 32 != (next & 0xffff'ffff)) {
      if (lost < next) {
        taken.all = false;
        break;
      }
      taken.lost = true;
      cells.clear();
    } else if (count > cells_held_) {
      taken.lost = true;  // Not what a comparer writes.
    } else if (!take_cells(count, cells)) {
      taken.all = false;
      break;
    }
    place_.steps = next;
  }
  return taken;
}

// All of them, or none where one has not come yet.
bool TableReader::take_cells(std::uint64_t count, std::vector<CellWord>& cells) {
  const std::size_t before = cells.size();
  for (std::uint64_t at = place_.cells; at < place_.cells + count; ++at) {
    const CellWord cell =
        std::atomic_ref(memory_->cells()[at & (cells_held_ - 1)]).load(std::memory_order_relaxed);
    if ((cell & kRoundBits) != round_of(at, cells_held_)) {
      cells.resize(before);
      return false;
    }
    if (index_of(cell) < indices_) cells.push_back(cell & ~kRoundBits);
  }
  place_.cells += count;
  return true;
}

bool TableReader::crowded() const {
  const TableHeader& header = memory_->header();
  const std::uint64_t cells = place_.cells - header.cells_freed.load(std::memory_order_relaxed);
  const std::uint64_t steps = place_.steps - header.steps_freed.load(std::memory_order_relaxed);
  return cells > cells_held_ / 4 || steps > kStepsHeld / 4;
}

void TableReader::release(const Place& place) {
  memory_->header().cells_freed.store(place.cells, std::memory_order_release);
  memory_->header().steps_freed.store(place.steps, std::memory_order_release);
}

HostCompare::HostCompare(const TableView& view, TableMemory& memory)
    : view_(view), memory_(memory), lengths_(view.starts != nullptr ? view.rows : 0) {
  const std::size_t bytes = std::size_t{view.rows} * view.cols * view.cell_bytes;
  shadow_.resize((bytes + kVectorBytes - 1) / kVectorBytes);
}

void HostCompare::compare(const TableView& view) {
  const TableHeader& header = memory_.header();
  state_.cells_limit = header.cells_freed.load(std::memory_order_acquire) + header.cells_held;
  state_.steps_limit = header.steps_freed.load(std::memory_order_acquire) + kStepsHeld;
  const bool vectors = compares_vectors(view);
  if (view.cell_bytes == 4) {
    vectors ? compare_as<std::int32_t, 4>(view) : compare_as<std::int32_t, 1>(view);
  } else {
    vectors ? compare_as<std::int64_t, 2>(view) : compare_as<std::int64_t, 1>(view);
  }
  const StepEnd end = end_step(state_);
  if (end.lost) {
    memory_.header().lost.store(state_.steps, std::memory_order_release);
  } else {
    std::atomic_ref(memory_.steps()[state_.steps % kStepsHeld])
        .store(end.word, std::memory_order_release);
  }
}

template <class Cell, std::uint32_t kCells>
void HostCompare::compare_as(const TableView& view) {
  auto* shadows = reinterpret_cast<Cell*>(shadow_.data());
  const bool full = state_.full != 0;
  for (std::uint32_t row = 0; row < rows_looked_at(view, full); ++row) {
    const RowSpan span = row_span(view, row);
    for (std::uint32_t i = 0; i < items_of_row(view, span, kCells, full); ++i) {
      CompareItem<Cell, kCells> item;
      item.load(view, shadows, span, row, i);
      const std::uint32_t changed = item.settle(shadows, full);
      for (std::uint32_t k = 0; k < kCells; ++k) {
        if ((changed >> k & 1) != 0) put(cell_word(item.index + k, item.now.cells[k]));
      }
    }
  }
  CellWord word;
  const std::uint32_t lists = view.starts != nullptr ? rows_looked_at(view, full) : 0;
  for (std::uint32_t row = 0; row < lists; ++row) {
    if (length_changed(view, lengths_.data(), row, full, word)) put(word);
  }
}

void HostCompare::put(CellWord word) {
  const std::uint64_t at = state_.cursor++;
  const std::uint64_t held = memory_.header().cells_held;
  if (at < state_.cells_limit) memory_.cells()[at & (held - 1)] = word | round_of(at, held);
}

}  // namespace pagetape
