// SPDX-License-Identifier: Apache-2.0
#include "capture/pagetape_capture.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "capture/lanes_memory.h"
#include "capture/process.h"
#include "capture/recorder_handle.h"

using pagetape::kKindOf;
using pagetape::kMostElements;
using pagetape::Record;
using pagetape::Recorder;
namespace ev = pagetape::ev;

using pagetape::argument_error;

namespace {

constexpr std::uint64_t kLeastBuffer = 1u << 13, kMostBuffer = std::uint64_t{4} << 30;

// What ptape_last_error gives: of this thread, so that it stays valid until its next call.
thread_local std::string last_error;

// What ptape_last_launch gives, and of which recorder.
struct LastLaunch {
  const ptape_recorder* recorder = nullptr;
  std::uint64_t ticket = 0;
};
thread_local LastLaunch last_launch;
thread_local pagetape::LanesMemory lately;

// More are copied for less than they are looked for.
constexpr std::size_t kMostReferred = 1u << 12;

template <class Body>
Record make(const ptape_recorder* recorder, const ptape_at* at) {
  Record record;
  record.kind = kKindOf<Body>;
  recorder->recorder->stamp(record, at);
  return record;
}

// Copies n elements behind the record. Inlined, so that what a kind does not use costs nothing.
template <class T>
[[gnu::always_inline]] inline int append(ptape_recorder* recorder, Record& record,
                                         const T* elements, std::size_t n,
                                         std::size_t per_element = 1) {
  if (n > kMostElements || (elements == nullptr && n > 0)) {
    return argument_error("an array is null or too long");
  }
  const std::size_t bytes = n * per_element * sizeof(T);
  record.n = static_cast<std::uint32_t>(n);
  return recorder->recorder->append(record, bytes, [&](char* to) {
    // One element, as most small events have, is a store and no call.
    if (bytes == sizeof(T)) {
      std::memcpy(to, elements, sizeof(T));
    } else if (bytes > 0) {
      std::memcpy(to, elements, bytes);
    }
  });
}

// As Recorder::append, of a record that may be a launch. A ticket is the place in the ring, and
// one.
template <class F>
[[gnu::always_inline]] inline int append_ticketed(ptape_recorder* recorder, Record& record,
                                                  std::size_t bytes, F&& fill) {
  std::uint64_t position = ~std::uint64_t{0};
  const int error = recorder->recorder->append(record, bytes, fill, &position);
  last_launch = {recorder, position + 1};
  return error;
}

// Whether a line of the text form, `ev` first, is an event of one of these kinds.
bool names_one(std::string_view line, std::initializer_list<std::string_view> kinds) {
  line = line.substr(0, 32);
  return std::ranges::any_of(kinds,
                             [&](std::string_view kind) { return line.find(kind) != line.npos; });
}
bool names_launch(std::string_view line) {
  return names_one(
      line, {"\"attention\"", "\"store\"", "\"copy\"", "\"graph_launch\"", "\"graph_step\""});
}

// Callers of ABI 1.5 and before have no lanes by column.
constexpr std::size_t kLeastLaunch = offsetof(ptape_launch, lanes);

// A launch whose lanes this thread recorded just before, as those of another layer. False: it is to
// be recorded with its lanes.
[[gnu::always_inline]] inline bool refer(ptape_recorder* recorder, Record record,
                                         const ptape_launch& launch, const ptape_lanes& lanes,
                                         std::size_t head_bytes) {
  const std::uint64_t earlier = lately.find(recorder->number, lanes);
  if (earlier == pagetape::kNoPlace) return false;
  record.flag = pagetape::kLanesEarlier;
  record.n = static_cast<std::uint32_t>(lanes.n_lanes);
  record.set_ints(static_cast<std::int64_t>(earlier));
  std::uint64_t position;
  if (!recorder->recorder->append_behind(
          earlier, record, head_bytes, [&](char* to) { pagetape::write_launch_head(to, launch); },
          position)) {
    return false;
  }
  last_launch = {recorder, position + 1};
  return true;
}

// The record is a copy of the caller's, and nobody has its address: so it stands in registers. From
// memory it is gathered by wider loads than what stored it, which wait for the stores.
[[gnu::always_inline]] inline int append_launch(ptape_recorder* recorder, Record record,
                                                const ptape_launch& launch) {
  const ptape_lanes* lanes = pagetape::lanes_of(launch);
  const auto head = pagetape::launch_head_bytes(launch);
  if (lanes == nullptr) {
    const auto rows = pagetape::rows_bytes(launch.rows, launch.n_rows);
    if (!rows || !head) return argument_error("a launch with a null or too long array");
    record.flag = pagetape::kNoLanes;
    record.n = static_cast<std::uint32_t>(launch.n_rows);
    return append_ticketed(recorder, record, *head + *rows, [&](char* to) {
      to = pagetape::write_launch_head(to, launch);
      pagetape::write_rows(to, launch.rows, launch.n_rows, *rows);
    });
  }
  if (!head || lanes->size < sizeof(ptape_lanes)) {
    return argument_error("a launch with a null or too long array, or lanes of another version");
  }
  const std::size_t n = lanes->n_lanes;
  const bool referred =
      n >= pagetape::kLeastReferred && n <= kMostReferred && recorder->recorder->keeps_earlier();
  if (referred && refer(recorder, record, launch, *lanes, *head)) return PTAPE_OK;
  const auto plan = pagetape::plan_lanes(*lanes);
  if (!plan) return argument_error("a launch with too many lanes");
  record.flag = plan->flag;
  record.n = static_cast<std::uint32_t>(n);
  const int error = append_ticketed(recorder, record, *head + plan->bytes, [&](char* to) {
    pagetape::write_lanes(pagetape::write_launch_head(to, launch), *lanes, plan->flag);
  });
  if (referred && last_launch.ticket != 0) {
    lately.keep(*lanes, last_launch.ticket - 1);
  }
  return error;
}

bool valid(const ptape_launch* launch) { return launch != nullptr && launch->size >= kLeastLaunch; }

template <class Body>
int append_one(ptape_recorder* recorder, const ptape_at* at, const ptape_launch* launch) {
  if (!valid(launch)) return argument_error("a launch is null or of another version");
  Record record = make<Body>(recorder, at);
  return append_launch(recorder, record, *launch);
}

// A launch of a layer: by its number, or by its name where that is not 0. `like` has its time.
int append_layer(ptape_recorder* recorder, const Record& like, const ptape_layer_launch& one,
                 const ptape_layer_part& part) {
  if (!valid(one.launch)) return argument_error("a launch is null or of another version");
  ptape_launch launch{};
  std::memcpy(&launch, one.launch, std::min<std::size_t>(one.launch->size, sizeof(launch)));
  launch.layers = part.name == 0 ? &part.layer : nullptr;
  launch.n_layers = part.name == 0;
  launch.bound_ptr = part.bound_ptr;
  Record record = like;
  if (part.name != 0) record.set_names(part.name);
  record.kind = one.store != 0 ? kKindOf<ev::Store> : kKindOf<ev::Attention>;
  return append_launch(recorder, record, launch);
}

int append_layer(ptape_recorder* recorder, const ptape_at* at, const ptape_layer_part& part,
                 const ptape_layer_launch* launches, std::size_t n) {
  PTAPE_NEEDS(recorder);
  if (launches == nullptr && n > 0) return argument_error("the launches are null");
  const Record record = make<ev::Attention>(recorder, at);
  int first_error = PTAPE_OK;
  for (const ptape_layer_launch& one : std::span(launches, n)) {
    const int error = append_layer(recorder, record, one, part);
    if (first_error == PTAPE_OK) first_error = error;
  }
  return first_error;
}

pagetape::RecorderOptions recorder_options(const ptape_options& from) {
  pagetape::RecorderOptions to;
  to.path = from.path;
  if (from.zstd_level != 0) to.zstd_level = std::max(from.zstd_level, 0);
  to.rank = from.rank < 0 ? -1 : from.rank;
  if (from.buffer_bytes != 0) {
    to.buffer_bytes = std::clamp(from.buffer_bytes, kLeastBuffer, kMostBuffer);
  }
  to.block = from.block != 0;
  to.timestamps = from.timestamps != 0;
  return to;
}

}  // namespace

int pagetape::argument_error(std::string what) {
  last_error = std::move(what);
  return PTAPE_E_ARGUMENT;
}

extern "C" {

std::uint32_t ptape_abi_version() { return PTAPE_ABI_MAJOR << 16 | PTAPE_ABI_MINOR; }

ptape_recorder* ptape_open(const ptape_options* options) {
  if (options == nullptr || options->size < sizeof(ptape_options) || options->path == nullptr ||
      options->zstd_level < -1 || options->zstd_level > 19) {
    last_error = "options: null, of another version, without a path, or a level not in -1 to 19";
    return nullptr;
  }
  try {
    pagetape::Status status;
    auto recorder = Recorder::open(recorder_options(*options), status);
    last_error = status.message();
    if (recorder == nullptr) return nullptr;
    static std::atomic<std::uint32_t> opened{0};
    auto handle = std::make_unique<ptape_recorder>(std::move(recorder), opened.fetch_add(1) + 1);
    pagetape::announce(handle.get());
    return handle.release();
  } catch (const std::exception& error) {  // No memory, no thread.
    last_error = error.what();
    return nullptr;
  }
}

int ptape_flush(ptape_recorder* recorder) {
  PTAPE_NEEDS(recorder);
  return recorder->recorder->flush().ok() ? PTAPE_OK : PTAPE_E_WRITE;
}

int ptape_close(ptape_recorder* recorder) {
  PTAPE_NEEDS(recorder);
  pagetape::withdraw(recorder);
  const pagetape::Status status = recorder->recorder->close();
  const bool malformed = recorder->recorder->counts().malformed > 0;
  last_error = recorder->recorder->last_error();
  delete recorder;
  return !status.ok() ? PTAPE_E_WRITE : malformed ? PTAPE_E_EVENT : PTAPE_OK;
}

const char* ptape_last_error(const ptape_recorder* recorder) {
  if (recorder != nullptr) {
    if (std::string error = recorder->recorder->last_error(); !error.empty()) last_error = error;
  }
  return last_error.c_str();
}

ptape_counts ptape_stats(const ptape_recorder* recorder) {
  return recorder == nullptr ? ptape_counts{} : recorder->recorder->counts();
}

ptape_name ptape_intern(ptape_recorder* recorder, const char* text) {
  if (recorder == nullptr || text == nullptr) return 0;
  return recorder->recorder->intern(text);
}

int ptape_forget(ptape_recorder* recorder, ptape_name name) {
  PTAPE_NEEDS(recorder);
  recorder->recorder->forget(name);
  return PTAPE_OK;
}

int ptape_json(ptape_recorder* recorder, const char* line, std::size_t bytes) {
  PTAPE_NEEDS(recorder);
  if (bytes > kMostElements || (line == nullptr && bytes > 0)) {
    return argument_error("a line is null or too long");
  }
  Record record;
  record.kind = pagetape::kJsonRecord;
  record.n = static_cast<std::uint32_t>(bytes);
  recorder->recorder->stamp(record, nullptr);
  const auto fill = [&](char* to) {
    if (bytes > 0) std::memcpy(to, line, bytes);
  };
  if (names_launch({line, bytes})) return append_ticketed(recorder, record, bytes, fill);
  const int error = recorder->recorder->append(record, bytes, fill);
  if (names_one({line, bytes}, {"\"gap\""})) recorder->recorder->note_gap();
  return error;
}

int ptape_alloc(ptape_recorder* recorder, const ptape_at* at, ptape_name pool, ptape_name req,
                const std::int32_t* pages, std::size_t n, std::int64_t first) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::Alloc>(recorder, at);
  record.set_names(pool, req);
  record.set_ints(first);
  return append(recorder, record, pages, n);
}

int ptape_share(ptape_recorder* recorder, const ptape_at* at, ptape_name pool, ptape_name req,
                const std::int32_t* pages, std::size_t n, std::int64_t first) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::Share>(recorder, at);
  record.set_names(pool, req);
  record.set_ints(first);
  return append(recorder, record, pages, n);
}

int ptape_free(ptape_recorder* recorder, const ptape_at* at, ptape_name pool, ptape_name req,
               const std::int32_t* pages, std::size_t n) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::Free>(recorder, at);
  record.set_names(pool, req);
  return append(recorder, record, pages, n);
}

int ptape_evict(ptape_recorder* recorder, const ptape_at* at, ptape_name pool, ptape_name req,
                std::int64_t logical, std::int32_t page) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::Evict>(recorder, at);
  record.set_names(pool, req);
  record.set_ints(logical, std::int64_t{page});
  return recorder->recorder->append(record);
}

int ptape_map_set(ptape_recorder* recorder, const ptape_at* at, ptape_name map,
                  const std::int64_t* pairs, std::size_t n) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::MapSet>(recorder, at);
  record.set_names(map);
  return append(recorder, record, pairs, n, 2);
}

int ptape_map_clear(ptape_recorder* recorder, const ptape_at* at, ptape_name map,
                    const std::int64_t* from, std::size_t n) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::MapClear>(recorder, at);
  record.set_names(map);
  return append(recorder, record, from, n);
}

int ptape_table(ptape_recorder* recorder, const ptape_at* at, ptape_name buffer, std::int64_t row,
                std::int64_t col, const std::int32_t* pages, std::size_t n, ptape_name req,
                ptape_name space, ptape_name unit) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::Table>(recorder, at);
  record.set_names(buffer, req, space, unit);
  record.set_ints(row, col);
  return append(recorder, record, pages, n);
}

int ptape_table_rows(ptape_recorder* recorder, const ptape_at* at, ptape_name buffer,
                     const std::int32_t* pages, std::size_t stride, const std::size_t* counts,
                     const ptape_name* reqs, std::size_t rows, ptape_name space, ptape_name unit) {
  PTAPE_NEEDS(recorder);
  if (rows > kMostElements ||
      ((pages == nullptr || counts == nullptr || reqs == nullptr) && rows > 0)) {
    return argument_error("an array is null or too long");
  }
  int first_error = PTAPE_OK;
  for (std::size_t row = 0; row < rows; ++row) {
    const int error = ptape_table(recorder, at, buffer, static_cast<std::int64_t>(row), 0,
                                  pages + row * stride, counts[row], reqs[row], space, unit);
    if (first_error == PTAPE_OK) first_error = error;
  }
  return first_error;
}

int ptape_lens(ptape_recorder* recorder, const ptape_at* at, ptape_name buffer, std::int64_t row,
               const std::int64_t* values, std::size_t n) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::Lens>(recorder, at);
  record.set_names(buffer);
  record.set_ints(row);
  return append(recorder, record, values, n);
}

int ptape_slots(ptape_recorder* recorder, const ptape_at* at, ptape_name buffer, std::int64_t row,
                const std::int64_t* values, std::size_t n) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::SlotList>(recorder, at);
  record.set_names(buffer);
  record.set_ints(row);
  return append(recorder, record, values, n);
}

int ptape_refresh(ptape_recorder* recorder, const ptape_at* at, ptape_name buffer) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::Refresh>(recorder, at);
  record.set_names(buffer);
  return recorder->recorder->append(record);
}

int ptape_step(ptape_recorder* recorder, const ptape_at* at, std::int64_t step, ptape_name mode,
               std::int64_t batch) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::Step>(recorder, at);
  record.set_names(mode);
  record.set_ints(step, batch);
  return recorder->recorder->append(record);
}

int ptape_request(ptape_recorder* recorder, const ptape_at* at, ptape_name req, ptape_name state) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::Request>(recorder, at);
  record.set_names(req, state);
  return recorder->recorder->append(record);
}

int ptape_accept(ptape_recorder* recorder, const ptape_at* at, ptape_name req, std::int64_t drafted,
                 std::int64_t accepted) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::Accept>(recorder, at);
  record.set_names(req);
  record.set_ints(drafted, accepted);
  return recorder->recorder->append(record);
}

int ptape_rewind(ptape_recorder* recorder, const ptape_at* at, ptape_name pool, ptape_name req,
                 std::int64_t len) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::Rewind>(recorder, at);
  record.set_names(pool, req);
  record.set_ints(len);
  return recorder->recorder->append(record);
}

int ptape_pool_swap(ptape_recorder* recorder, const ptape_at* at, ptape_name backend,
                    const std::int32_t* layers, std::size_t n, ptape_name pool, ptape_name set) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::PoolSwap>(recorder, at);
  record.set_names(backend, pool, set);
  record.flag = layers == nullptr;
  return append(recorder, record, layers, n);
}

int ptape_swa_state(ptape_recorder* recorder, const ptape_at* at, ptape_name backend, int uses_swa,
                    ptape_name swa_pool, ptape_name derived_from) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::SwaState>(recorder, at);
  record.set_names(backend, swa_pool, derived_from);
  record.flag = uses_swa != 0;
  return recorder->recorder->append(record);
}

void ptape_launch_init(ptape_launch* launch) {
  std::memset(launch, 0, kLeastLaunch);  // Callers of ABI 1.5 have no more room.
  launch->size = kLeastLaunch;
  launch->bound_pages = launch->bound_ptr = launch->window = launch->page_size =
      launch->table_rows = launch->table_cols = PTAPE_ABSENT;
}

void ptape_row_init(ptape_row* row) {
  *row = {};
  row->len = row->row = row->q_len = row->q_pos = row->first = row->n = PTAPE_ABSENT;
}

int ptape_attention(ptape_recorder* recorder, const ptape_at* at, const ptape_launch* launch) {
  PTAPE_NEEDS(recorder);
  return append_one<ev::Attention>(recorder, at, launch);
}

int ptape_store(ptape_recorder* recorder, const ptape_at* at, const ptape_launch* launch) {
  PTAPE_NEEDS(recorder);
  return append_one<ev::Store>(recorder, at, launch);
}

int ptape_layer(ptape_recorder* recorder, const ptape_at* at, std::int32_t layer,
                std::int64_t bound_ptr, const ptape_layer_launch* launches, std::size_t n) {
  return append_layer(recorder, at, {bound_ptr, layer, 0, 0, 0}, launches, n);
}

int ptape_layer_named(ptape_recorder* recorder, const ptape_at* at, ptape_name layer,
                      std::int64_t bound_ptr, const ptape_layer_launch* launches, std::size_t n) {
  if (layer == 0) return argument_error("a layer without a name");
  return append_layer(recorder, at, {bound_ptr, 0, layer, 0, 0}, launches, n);
}

int ptape_layers(ptape_recorder* recorder, const ptape_at* at, const ptape_layer_launch* launches,
                 std::size_t n, const ptape_layer_part* parts, std::size_t n_parts) {
  PTAPE_NEEDS(recorder);
  if ((launches == nullptr && n > 0) || (parts == nullptr && n_parts > 0)) {
    return argument_error("the launches or the parts are null");
  }
  const Record record = make<ev::Attention>(recorder, at);
  int first_error = PTAPE_OK;
  for (const ptape_layer_part& part : std::span(parts, n_parts)) {
    if (part.launch >= n) return argument_error("a part is of no launch");
    if (launches[part.launch].launch == nullptr) continue;
    const int error = append_layer(recorder, record, launches[part.launch], part);
    if (first_error == PTAPE_OK) first_error = error;
  }
  return first_error;
}

int ptape_graph_launch(ptape_recorder* recorder, const ptape_at* at, ptape_name graph,
                       const ptape_row* rows, std::size_t n_rows) {
  PTAPE_NEEDS(recorder);
  const auto bytes = pagetape::rows_bytes(rows, n_rows);
  if (!bytes) return argument_error("rows null or too long");
  Record record = make<ev::GraphLaunch>(recorder, at);
  record.set_names(graph);
  record.flag = rows != nullptr ? pagetape::kLanesByRow : pagetape::kNoLanes;
  record.n = static_cast<std::uint32_t>(n_rows);
  return append_ticketed(recorder, record, *bytes,
                         [&](char* to) { pagetape::write_rows(to, rows, n_rows, *bytes); });
}

int ptape_graph_launch_lanes(ptape_recorder* recorder, const ptape_at* at, ptape_name graph,
                             const ptape_lanes* lanes) {
  PTAPE_NEEDS(recorder);
  if (lanes == nullptr || lanes->size < sizeof(ptape_lanes)) {
    return argument_error("lanes null or of another version");
  }
  const auto plan = pagetape::plan_lanes(*lanes);
  if (!plan) return argument_error("too many lanes");
  Record record = make<ev::GraphLaunch>(recorder, at);
  record.set_names(graph);
  record.flag = plan->flag;
  record.n = static_cast<std::uint32_t>(lanes->n_lanes);
  return append_ticketed(recorder, record, plan->bytes,
                         [&](char* to) { pagetape::write_lanes(to, *lanes, plan->flag); });
}

ptape_ticket ptape_last_launch(const ptape_recorder* recorder) {
  return last_launch.recorder == recorder ? last_launch.ticket : 0;
}

int ptape_launch_done(ptape_recorder* recorder, const ptape_at* at, ptape_ticket ticket) {
  PTAPE_NEEDS(recorder);
  if (ticket == 0) return PTAPE_OK;
  Record record = make<ev::LaunchDone>(recorder, at);
  record.set_ints(static_cast<std::int64_t>(ticket - 1));
  return recorder->recorder->append(record);
}

ptape_recorder* ptape_borrow(std::uint32_t* number) {
  ptape_recorder* recorder = pagetape::borrow();
  if (number != nullptr) *number = recorder != nullptr ? recorder->number : 0;
  return recorder;
}

void ptape_give_back(ptape_recorder* recorder) {
  if (recorder != nullptr) pagetape::give_back();
}

std::int32_t ptape_stream(const void* cuda_stream) { return pagetape::stream_number(cuda_stream); }

int ptape_kernel(ptape_recorder* recorder, const ptape_at* at, ptape_name name,
                 const std::uint32_t grid[3], const std::uint32_t block[3],
                 std::int64_t correlation) {
  PTAPE_NEEDS(recorder);
  if (name == 0 || grid == nullptr || block == nullptr) {
    return argument_error("a kernel without a name, a grid or a block");
  }
  Record record = make<ev::Kernel>(recorder, at);
  record.set_names(name);
  record.set_ints(correlation);
  const std::uint32_t sizes[] = {grid[0], grid[1], grid[2], block[0], block[1], block[2]};
  return append(recorder, record, sizes, std::size(sizes));
}

int ptape_stream_wait(ptape_recorder* recorder, const ptape_at* at, std::int64_t on) {
  PTAPE_NEEDS(recorder);
  Record record = make<ev::StreamWait>(recorder, at);
  record.set_ints(on);
  return recorder->recorder->append(record);
}

int ptape_copied(ptape_recorder* recorder, const ptape_at* at, std::uint64_t address,
                 std::uint64_t bytes) {
  PTAPE_NEEDS(recorder);
  struct Copy {
    ptape_recorder* recorder;
    const ptape_at* at;
    int error = PTAPE_OK;
  } copy{recorder, at};
  pagetape::for_each_table(
      recorder, address, address + bytes,
      [](void* context, ptape_name buffer) {
        Copy& to = *static_cast<Copy*>(context);
        const int error = ptape_refresh(to.recorder, to.at, buffer);
        if (error != PTAPE_OK) to.error = error;
      },
      &copy);
  return copy.error;
}

}  // extern "C"
