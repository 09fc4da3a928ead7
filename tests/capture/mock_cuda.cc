// SPDX-License-Identifier: Apache-2.0
// An engine on a driver and a CUPTI that are played here: it loads what CUDA_INJECTION64_PATH names
// as cuInit does, and makes the calls of the scenarios that its arguments name.
#include <cuda.h>
#include <cupti.h>
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <string_view>

#include "capture/pagetape_capture.h"

namespace {

CUpti_CallbackFunc subscriber = nullptr;
void* user_data = nullptr;
std::set<CUpti_CallbackId> enabled;
CUstream capturing = nullptr;
bool is_capturing = false;
std::uint32_t correlation = 0;

template <class T>
T made_up(std::uintptr_t address) {
  return reinterpret_cast<T>(address);
}

const auto kMain = made_up<CUstream>(0x7f0000001000), kSide = made_up<CUstream>(0x7f0000002000);
const auto kEvent = made_up<CUevent>(0x7f0000003000);
const auto kExecutable = made_up<CUgraphExec>(0x7f0000004000);
const auto kGraph = made_up<CUgraph>(0x7f0000005000);

// One call of the driver's, which returns `result`.
template <class T>
void call(CUpti_CallbackId id, const char* name, T parameters, CUresult result = CUDA_SUCCESS,
          const char* symbol = nullptr) {
  ++correlation;
  if (subscriber == nullptr || !enabled.contains(id)) return;
  CUpti_CallbackData data{};
  data.functionName = name;
  data.functionParams = &parameters;
  data.functionReturnValue = &result;
  data.symbolName = symbol;
  data.correlationId = correlation;
  for (const CUpti_ApiCallbackSite site : {CUPTI_API_ENTER, CUPTI_API_EXIT}) {
    data.callbackSite = site;
    subscriber(user_data, CUPTI_CB_DOMAIN_DRIVER_API, id, &data);
  }
}

#define CALL(function, ...) \
  call(CUPTI_DRIVER_TRACE_CBID_##function, #function, function##_params __VA_ARGS__)
#define RETURNS(result, function, ...) \
  call(CUPTI_DRIVER_TRACE_CBID_##function, #function, function##_params __VA_ARGS__, result)

void launch(const char* kernel, CUstream stream) {
  call(CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel, "cuLaunchKernel",
       cuLaunchKernel_params{nullptr, 4, 2, 1, 128, 1, 1, 0, stream, nullptr, nullptr},
       CUDA_SUCCESS, kernel);
}

void load_injection() {
  const char* path = std::getenv("CUDA_INJECTION64_PATH");
  if (path == nullptr || std::getenv("MOCK_NO_INJECTION") != nullptr) return;
  void* library = dlopen(path, RTLD_NOW);
  void* entry = library != nullptr ? dlsym(library, "InitializeInjection") : nullptr;
  if (entry == nullptr) {
    std::fprintf(stderr, "mock_cuda: %s\n", dlerror());
    std::exit(1);
  }
  reinterpret_cast<int (*)()>(entry)();
}

void scenario(std::string_view name) {
  if (name == "init") load_injection();
  if (name == "launch") {
    launch("decode", kMain);
    CUlaunchConfig config{};
    config.gridDimX = config.gridDimY = config.gridDimZ = 1;
    config.blockDimX = 32;
    config.blockDimY = config.blockDimZ = 1;
    call(CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx_ptsz, "cuLaunchKernelEx",
         cuLaunchKernelEx_params{&config, nullptr, nullptr, nullptr}, CUDA_SUCCESS, "prefill");
    CALL(cuMemAlloc_v2, {nullptr, 64});  // One that nobody watches.
  }
  if (name == "graph") {
    CUgraphExec executable = kExecutable;
    CALL(cuStreamBeginCapture_v2, {kSide, CU_STREAM_CAPTURE_MODE_GLOBAL});
    capturing = kSide;
    is_capturing = true;
    launch("captured", kSide);
    CALL(cuEventRecord, {kEvent, kSide});
    CALL(cuStreamEndCapture, {kSide, nullptr});
    is_capturing = false;
    CALL(cuGraphInstantiateWithFlags, {&executable, kGraph, 0});
    CALL(cuGraphLaunch, {kExecutable, kMain});
    CALL(cuGraphLaunch, {kExecutable, kMain});
  }
  if (name == "order") {
    CALL(cuEventRecord, {kEvent, kMain});
    CALL(cuStreamWaitEvent, {kSide, kEvent, 0});
    RETURNS(CUDA_ERROR_NOT_READY, cuEventQuery, {kEvent});
  }
  if (name == "error") {
    RETURNS(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize, {kMain});
    RETURNS(CUDA_ERROR_ILLEGAL_ADDRESS, cuEventSynchronize, {kEvent});
  }
  // What the driver says in a child that was forked after cuInit.
  if (name == "refused") RETURNS(CUDA_ERROR_NOT_INITIALIZED, cuStreamSynchronize, {kMain});
  if (name == "kill") std::abort();
}

// --- an engine that records itself, with a table that is copied to ---

#define PTAPE(function) reinterpret_cast<decltype(&function)>(dlsym(library, #function))

std::int32_t cells[64];

void record_as_hooks_do() {
  void* library = dlopen(std::getenv("PAGETAPE_LIBRARY"), RTLD_NOW);
  if (library == nullptr) {
    std::fprintf(stderr, "mock_cuda: %s\n", dlerror());
    std::exit(1);
  }
  ptape_options options{};
  options.size = sizeof(options);
  options.path = "unused.ptape";
  options.rank = -1;
  static ptape_recorder* recorder = nullptr;
  static const auto close = PTAPE(ptape_close);
  if (recorder == nullptr) std::atexit([] { close(recorder); });
  recorder = PTAPE(ptape_open)(&options);
  const char buffer[] = R"({"ev": "buffer", "buffer": "block_tables"})";
  PTAPE(ptape_json)(recorder, buffer, sizeof(buffer) - 1);
  ptape_table_view view{};
  view.size = sizeof(view);
  view.cells = cells;
  view.cell_bytes = 4;
  view.rows = 1;
  view.cols = 64;
  view.row_stride = 64;
  view.col_stride = 1;
  view.on_host = 1;
  const ptape_name name = PTAPE(ptape_intern)(recorder, "block_tables");
  PTAPE(ptape_table_open)(recorder, &view, PTAPE_PAGES, name, 0, 0, 0);
}

// As benchmarks do.
void set_level(int level) {
  void* library = dlopen(std::getenv("CUDA_INJECTION64_PATH"), RTLD_NOW | RTLD_NOLOAD);
  void* entry = library != nullptr ? dlsym(library, "pagetape_cupti_level") : nullptr;
  const bool set = entry != nullptr && reinterpret_cast<int (*)(int)>(entry)(level) == 0;
  std::printf("level %d: %s, %zu callbacks\n", level, set ? "set" : "refused", enabled.size());
}

void copy_onto_the_table() {
  CALL(cuMemcpyHtoDAsync_v2, {reinterpret_cast<CUdeviceptr>(cells), nullptr, 64, kMain});
  CALL(cuMemcpyHtoDAsync_v2, {reinterpret_cast<CUdeviceptr>(cells + 64), nullptr, 64, kMain});
}

}  // namespace

extern "C" {

CUptiResult cuptiSubscribe(CUpti_SubscriberHandle*, CUpti_CallbackFunc callback, void* data) {
  if (std::getenv("MOCK_PROFILER") != nullptr) {
    return CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED;
  }
  subscriber = callback;
  user_data = data;
  return CUPTI_SUCCESS;
}

CUptiResult cuptiUnsubscribe(CUpti_SubscriberHandle) {
  subscriber = nullptr;
  enabled.clear();
  return CUPTI_SUCCESS;
}

CUptiResult cuptiEnableCallback(uint32_t on, CUpti_SubscriberHandle, CUpti_CallbackDomain domain,
                                CUpti_CallbackId id) {
  if (domain == CUPTI_CB_DOMAIN_DRIVER_API && on != 0) enabled.insert(id);
  if (domain == CUPTI_CB_DOMAIN_DRIVER_API && on == 0) enabled.erase(id);
  return std::getenv("MOCK_SANDBOX") != nullptr ? CUPTI_ERROR_INSUFFICIENT_PRIVILEGES
                                                : CUPTI_SUCCESS;
}

CUptiResult cuptiGetResultString(CUptiResult, const char** text) {
  *text = "CUPTI_ERROR_INSUFFICIENT_PRIVILEGES";
  return CUPTI_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus* status) {
  *status = is_capturing && stream == capturing ? CU_STREAM_CAPTURE_STATUS_ACTIVE
                                                : CU_STREAM_CAPTURE_STATUS_NONE;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult, const char** name) {
  *name = "CUDA_ERROR_ILLEGAL_ADDRESS";
  return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult, const char** text) {
  *text = "an illegal memory access was encountered";
  return CUDA_SUCCESS;
}

}  // extern "C"

// The calls between `fork` and `join` are those of a child, which then ends as programs do.
int main(int argc, char** argv) {
  pid_t child = -1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "fork") {
      child = fork();
      while (child != 0 && argv[i + 1] != std::string_view("join")) ++i;
    } else if (name == "join") {
      if (child == 0) return 0;
      int status = 0;
      if (waitpid(child, &status, 0) != child || status != 0) return 1;
    } else if (name == "hooks") {
      record_as_hooks_do();
    } else if (name.starts_with("level")) {
      set_level(name.back() - '0');
    } else if (name == "copy") {
      copy_onto_the_table();
    } else {
      scenario(name);
    }
  }
}
