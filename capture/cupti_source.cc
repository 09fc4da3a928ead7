// SPDX-License-Identifier: Apache-2.0
#include "capture/cupti_source.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>

namespace pagetape {
namespace {

constexpr int kSuccess = 0, kDeinitialized = 4, kNotReady = 600;
// Numbers of streams that are none of CUDA's: recorded CUDA events.
constexpr std::int32_t kFirstSnapshot = 1 << 30;
constexpr std::size_t kLineMost = 640;

std::int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

ptape_at at_stream(std::int32_t stream) { return {now(), stream, -1, 0}; }

// Errors after which every call returns the same one: CUDA ends the context.
bool is_sticky(int code) {
  constexpr int kSticky[] = {214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719};
  return std::ranges::find(kSticky, code) != std::end(kSticky);
}

std::uint64_t pack(std::uint32_t high, std::uint32_t low) {
  return std::uint64_t{high} << 32 | low;
}
std::uint32_t high(std::uint64_t both) { return static_cast<std::uint32_t>(both >> 32); }
std::uint32_t low(std::uint64_t both) { return static_cast<std::uint32_t>(both); }

std::uint64_t handle_of(const void* pointer) { return reinterpret_cast<std::uint64_t>(pointer); }

// `from` as it may stand in a JSON string, in `to`.
template <std::size_t kBytes>
const char* plain(const char* from, char (&to)[kBytes]) {
  std::size_t n = 0;
  for (; from != nullptr && from[n] != 0 && n + 1 < kBytes; ++n) {
    const auto c = static_cast<unsigned char>(from[n]);
    to[n] = c < 0x20 || c >= 0x7f || c == '"' || c == '\\' ? '\'' : from[n];
  }
  to[n] = 0;
  return to;
}

}  // namespace

// The process's recorder for one event; the source's own where nobody else has one.
class CuptiSource::Borrowed {
 public:
  explicit Borrowed(CuptiSource& source) : capture_(source.capture_) {
    recorder_ = capture_.borrow(&number_);
    if (recorder_ == nullptr) {
      if (!source.may_open_.load(std::memory_order_acquire)) return;
      if (source.open_own() == nullptr) return;
      recorder_ = capture_.borrow(&number_);
    } else if (source.may_open_.load(std::memory_order_relaxed)) {
      source.may_open_.store(false, std::memory_order_release);
    }
    own_ = recorder_ == source.own_.load(std::memory_order_acquire);
  }
  ~Borrowed() { capture_.give_back(recorder_); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;

  explicit operator bool() const { return recorder_ != nullptr; }
  ptape_recorder* get() const { return recorder_; }
  std::uint32_t number() const { return number_; }
  // Nobody else records in this process.
  bool own() const { return own_; }
  void line(const char* text, int bytes) const {
    if (bytes <= 0 || static_cast<std::size_t>(bytes) >= kLineMost) return;
    (void)capture_.json(recorder_, text, static_cast<std::size_t>(bytes));
  }

 private:
  const CaptureApi& capture_;
  ptape_recorder* recorder_ = nullptr;
  std::uint32_t number_ = 0;
  bool own_ = false;
};

ptape_recorder* CuptiSource::open_own() noexcept {
  const std::lock_guard lock(opening_);
  if (!may_open_.load()) return own_.load();
  ptape_options options{};
  options.size = sizeof(options);
  options.path = "cuda.ptape";  // Not used: the collector names it.
  options.rank = -1;
  ptape_recorder* recorder = capture_.open(&options);
  if (recorder == nullptr) {
    std::fprintf(stderr, "pagetape: CUDA's calls are not recorded: %s\n",
                 capture_.last_error(nullptr));
  } else {
    constexpr char kHeader[] = R"({"ev": "header", "format": 1, "clock": "monotonic"})";
    (void)capture_.json(recorder, kHeader, sizeof(kHeader) - 1);
  }
  own_.store(recorder);
  may_open_.store(false, std::memory_order_release);
  return recorder;
}

void CuptiSource::close() noexcept {
  const std::lock_guard lock(opening_);
  may_open_.store(false);
  if (ptape_recorder* own = own_.exchange(nullptr); own != nullptr) (void)capture_.close(own);
}

// By its text, not by its address: a module that is unloaded leaves that to another one.
ptape_name CuptiSource::name(const Borrowed& to, const char* text) noexcept {
  if (text == nullptr) text = "?";
  const std::uint64_t hash = XXH3_64bits(text, std::strlen(text)) | 1;
  std::atomic<std::uint64_t>* known = names_.find_or_add(hash);
  if (known != nullptr) {
    const std::uint64_t entry = known->load(std::memory_order_acquire);
    if (entry != 0 && high(entry) == to.number()) return low(entry);
  }
  const ptape_name name = capture_.intern(to.get(), text);
  if (known != nullptr) known->store(pack(to.number(), name), std::memory_order_release);
  return name;
}

bool CuptiSource::captured(const void* stream) const noexcept {
  if (captures_.load(std::memory_order_acquire) <= 0) return false;
  if (driver_.cuStreamIsCapturing == nullptr) return true;
  int status = 0;
  return driver_.cuStreamIsCapturing(stream, &status) == kSuccess && status != 0;
}

void CuptiSource::capture_ended() noexcept {
  int going = captures_.load();
  while (going > 0 && !captures_.compare_exchange_weak(going, going - 1)) {
  }
}

void CuptiSource::kernel(const KernelCall& call) noexcept {
  if (captured(call.stream)) return;
  const Borrowed to(*this);
  if (!to) return;
  const ptape_at at = at_stream(capture_.stream(call.stream));
  (void)capture_.kernel(to.get(), &at, name(to, call.name), call.grid, call.block,
                        call.correlation);
}

// Where hooks record, graph_capture and graph_launch are theirs: what GRAPH_STALE judges, and which
// launches a graph has, is not to be seen from here.
void CuptiSource::tell_graph(const Borrowed& to, Graph& graph, std::int32_t stream) noexcept {
  const std::uint32_t number = graph.number.load();
  const std::uint64_t now_told = pack(to.number(), number);
  if (graph.told.exchange(now_told) == now_told) return;
  char line[kLineMost];
  const char* form =
      to.own() ? R"({"ev": "graph_capture", "t": %lld, "stream": %d, "graph": "cuda_graph:%u"})"
               : R"({"ev": "note", "t": %lld, "stream": %d, "text": "cuda_graph:%u was made"})";
  to.line(line,
          std::snprintf(line, sizeof(line), form, static_cast<long long>(now()), stream, number));
}

void CuptiSource::graph_made(const void* executable, bool is_new) noexcept {
  Graph* graph = executable != nullptr ? executables_.find_or_add(handle_of(executable)) : nullptr;
  if (graph == nullptr) return;
  if (is_new || graph->number.load() == 0) graph->number.store(graphs_.fetch_add(1) + 1);
  graph->told.store(0);
  if (const Borrowed to(*this); to) tell_graph(to, *graph, 0);
}

void CuptiSource::graph_launch(const void* executable, const void* stream) noexcept {
  if (captured(stream)) return;  // It becomes a part of another graph.
  Graph* graph = executable != nullptr ? executables_.find_or_add(handle_of(executable)) : nullptr;
  const Borrowed to(*this);
  if (graph == nullptr || !to) return;
  std::uint32_t none = 0;
  if (graph->number.load() == 0) {
    graph->number.compare_exchange_strong(none, graphs_.fetch_add(1) + 1);
  }
  const ptape_at at = at_stream(capture_.stream(stream));
  tell_graph(to, *graph, at.stream);
  char text[kLineMost];
  const std::uint32_t number = graph->number.load();
  if (to.own()) {
    std::snprintf(text, sizeof(text), "cuda_graph:%u", number);
    (void)capture_.graph_launch(to.get(), &at, name(to, text), nullptr, 0);
    return;
  }
  to.line(text,
          std::snprintf(
              text, sizeof(text),
              R"({"ev": "note", "t": %lld, "stream": %d, "text": "cuda_graph:%u is launched"})",
              static_cast<long long>(at.t), at.stream, number));
}

void CuptiSource::copied(std::uint64_t address, std::uint64_t bytes, const void* stream) noexcept {
  if (captured(stream)) return;
  const Borrowed to(*this);
  if (!to) return;
  const ptape_at at = at_stream(capture_.stream(stream));
  (void)capture_.copied(to.get(), &at, address, bytes);
}

void CuptiSource::event_recorded(const void* event, const void* stream) noexcept {
  if (captured(stream)) return;
  Event* entry = event != nullptr ? events_.find_or_add(handle_of(event)) : nullptr;
  const auto on = static_cast<std::uint32_t>(capture_.stream(stream));
  if (entry == nullptr || on == 0) {
    if (!said_full_.exchange(true)) {
      std::fprintf(stderr, "pagetape: too many CUDA events or streams: waits are missing\n");
    }
    return;
  }
  const Borrowed to(*this);
  if (!to) return;
  // Of the same stream it waits for all it did, and for more; of another it begins anew.
  std::uint64_t was = entry->at.load();
  if (was == 0 || high(was) != on) {
    was = pack(on, kFirstSnapshot + snapshots_.fetch_add(1));
    entry->at.store(was);
  }
  const ptape_at at = at_stream(static_cast<std::int32_t>(low(was)));
  (void)capture_.stream_wait(to.get(), &at, on);
}

void CuptiSource::stream_waited(const void* stream, const void* event) noexcept {
  // Behind the call, a stream that it brought into a capture is captured.
  if (captured(stream)) return;
  const Event* entry = event != nullptr ? events_.find(handle_of(event)) : nullptr;
  if (entry == nullptr || entry->at.load() == 0) return;  // Never recorded: CUDA waits for nothing.
  const Borrowed to(*this);
  if (!to) return;
  const ptape_at at = at_stream(capture_.stream(stream));
  (void)capture_.stream_wait(to.get(), &at, low(entry->at.load()));
}

void CuptiSource::returned(int code, const char* function) noexcept {
  if (code == kSuccess || code == kNotReady || code == kDeinitialized) return;
  const bool sticky = is_sticky(code);
  if (sticky && lost_.exchange(code) == code) return;
  const Borrowed to(*this);
  if (!to) return;
  const char *name = nullptr, *text = nullptr;
  if (driver_.cuGetErrorName != nullptr) (void)driver_.cuGetErrorName(code, &name);
  if (driver_.cuGetErrorString != nullptr) (void)driver_.cuGetErrorString(code, &text);
  char function_buffer[64], name_buffer[64], text_buffer[256], line[kLineMost];
  to.line(line, std::snprintf(line, sizeof(line),
                              R"({"ev": "cuda_error", "t": %lld, "code": %d, "name": "%s", )"
                              R"("message": "%s: %s", "sticky": %s})",
                              static_cast<long long>(now()), code,
                              plain(name != nullptr ? name : "unknown", name_buffer),
                              plain(function, function_buffer), plain(text, text_buffer),
                              sticky ? "true" : "false"));
}

}  // namespace pagetape
