// SPDX-License-Identifier: Apache-2.0
// libpagetape_cupti.so, which CUDA's driver loads where CUDA_INJECTION64_PATH names it and calls
// InitializeInjection of before cuInit returns. CUPTI is opened at run time, and the recorder's
// library is the one of the process's hooks. Whatever is missing is said once on stderr; the engine
// goes on, and so do its hooks. The only file that includes CUPTI's headers.
#include <cuda.h>
#include <cupti.h>
#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>

#include "capture/cupti_source.h"
#include "capture/injection.h"

namespace pagetape {
namespace {

// --- CUDA's calls, as the source has them ---

struct Call {
  const void* parameters;
  const CUpti_CallbackData& data;
  bool before;
  bool per_thread;  // Of those whose null stream is the thread's own.

  bool succeeded() const {
    return !before && *static_cast<const CUresult*>(data.functionReturnValue) == CUDA_SUCCESS;
  }
  const void* stream(CUstream stream) const {
    return stream == nullptr && per_thread ? CU_STREAM_PER_THREAD : stream;
  }
};

using Handler = void (*)(CuptiSource& source, const Call& call);

template <class T>
const T& parameters(const Call& call) {
  return *static_cast<const T*>(call.parameters);
}

void launch_kernel(CuptiSource& source, const Call& call) {
  if (!call.before) return;
  const auto& p = parameters<cuLaunchKernel_params>(call);
  source.kernel({call.data.symbolName,
                 {p.gridDimX, p.gridDimY, p.gridDimZ},
                 {p.blockDimX, p.blockDimY, p.blockDimZ},
                 call.stream(p.hStream),
                 call.data.correlationId});
}

void launch_cooperative(CuptiSource& source, const Call& call) {
  if (!call.before) return;
  const auto& p = parameters<cuLaunchCooperativeKernel_params>(call);
  source.kernel({call.data.symbolName,
                 {p.gridDimX, p.gridDimY, p.gridDimZ},
                 {p.blockDimX, p.blockDimY, p.blockDimZ},
                 call.stream(p.hStream),
                 call.data.correlationId});
}

void launch_kernel_ex(CuptiSource& source, const Call& call) {
  const CUlaunchConfig* p = parameters<cuLaunchKernelEx_params>(call).config;
  if (!call.before || p == nullptr) return;
  source.kernel({call.data.symbolName,
                 {p->gridDimX, p->gridDimY, p->gridDimZ},
                 {p->blockDimX, p->blockDimY, p->blockDimZ},
                 call.stream(p->hStream),
                 call.data.correlationId});
}

void launch_graph(CuptiSource& source, const Call& call) {
  if (!call.before) return;
  const auto& p = parameters<cuGraphLaunch_params>(call);
  source.graph_launch(p.hGraph, call.stream(p.hStream));
}

void begin_capture(CuptiSource& source, const Call& call) {
  if (call.succeeded()) source.capture_began();
}

void end_capture(CuptiSource& source, const Call& call) {
  if (call.before) return;
  const auto code = *static_cast<const CUresult*>(call.data.functionReturnValue);
  if (code == CUDA_SUCCESS || code == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED) source.capture_ended();
}

// The parameters of every kind of instantiation begin with these two.
void instantiate(CuptiSource& source, const Call& call) {
  if (!call.succeeded()) return;
  const auto& p = parameters<cuGraphInstantiateWithFlags_params>(call);
  if (p.phGraphExec != nullptr) source.graph_made(*p.phGraphExec, true);
}

void update(CuptiSource& source, const Call& call) {
  if (!call.succeeded()) return;
  source.graph_made(parameters<cuGraphExecUpdate_v2_params>(call).hGraphExec, false);
}

std::uint64_t address(CUdeviceptr pointer) { return pointer; }
std::uint64_t address(void* pointer) { return reinterpret_cast<std::uint64_t>(pointer); }

template <class T, auto kTo>
void copy(CuptiSource& source, const Call& call) {
  if (!call.succeeded()) return;
  const auto& p = parameters<T>(call);
  CUstream stream = nullptr;
  if constexpr (requires { p.hStream; }) stream = p.hStream;
  source.copied(address(p.*kTo), p.ByteCount, call.stream(stream));
}

template <class T>
void copy_2d(CuptiSource& source, const Call& call) {
  const auto& p = parameters<T>(call);
  if (!call.succeeded() || p.pCopy == nullptr) return;
  const CUDA_MEMCPY2D& copy = *p.pCopy;
  if (copy.dstMemoryType == CU_MEMORYTYPE_ARRAY || copy.Height == 0) return;
  const std::uint64_t base =
      copy.dstMemoryType == CU_MEMORYTYPE_HOST ? address(copy.dstHost) : address(copy.dstDevice);
  CUstream stream = nullptr;
  if constexpr (requires { p.hStream; }) stream = p.hStream;
  source.copied(base + copy.dstY * copy.dstPitch + copy.dstXInBytes,
                (copy.Height - 1) * copy.dstPitch + copy.WidthInBytes, call.stream(stream));
}

void record_event(CuptiSource& source, const Call& call) {
  if (!call.succeeded()) return;
  const auto& p = parameters<cuEventRecord_params>(call);
  source.event_recorded(p.hEvent, call.stream(p.hStream));
}

void wait_for_event(CuptiSource& source, const Call& call) {
  if (!call.succeeded()) return;
  const auto& p = parameters<cuStreamWaitEvent_params>(call);
  source.stream_waited(call.stream(p.hStream), p.hEvent);
}

// Just what it returned: here errors of kernels come to light.
void wait_on_host(CuptiSource&, const Call&) {}

// --- which of CUPTI's callbacks are used ---

struct Watched {
  CUpti_CallbackId id;
  Handler handler;
  bool per_thread = false;
};

#define ID(name) CUPTI_DRIVER_TRACE_CBID_##name
// A call and its namesake of per-thread default streams, whose parameters are the same.
#define BOTH(name, suffix, ...) \
  {ID(name), __VA_ARGS__}, { ID(name##suffix), __VA_ARGS__, true }
#define COPY(name, suffix, to) BOTH(name, suffix, copy<name##_params, &name##_params::to>)

constexpr Watched kWatched[] = {
    BOTH(cuLaunchKernel, _ptsz, launch_kernel),
    BOTH(cuLaunchKernelEx, _ptsz, launch_kernel_ex),
    BOTH(cuLaunchCooperativeKernel, _ptsz, launch_cooperative),
    BOTH(cuGraphLaunch, _ptsz, launch_graph),
    BOTH(cuStreamBeginCapture, _ptsz, begin_capture),
    BOTH(cuStreamBeginCapture_v2, _ptsz, begin_capture),
#if CUDA_VERSION >= 12030
    BOTH(cuStreamBeginCaptureToGraph, _ptsz, begin_capture),
#endif
    BOTH(cuStreamEndCapture, _ptsz, end_capture),
    {ID(cuGraphInstantiate), instantiate},
    {ID(cuGraphInstantiate_v2), instantiate},
    {ID(cuGraphInstantiateWithFlags), instantiate},
    BOTH(cuGraphInstantiateWithParams, _ptsz, instantiate),
    {ID(cuGraphExecUpdate), update},
    {ID(cuGraphExecUpdate_v2), update},
    COPY(cuMemcpy, _ptds, dst),
    COPY(cuMemcpyAsync, _ptsz, dst),
    COPY(cuMemcpyHtoD_v2, _ptds, dstDevice),
    COPY(cuMemcpyHtoDAsync_v2, _ptsz, dstDevice),
    COPY(cuMemcpyDtoD_v2, _ptds, dstDevice),
    COPY(cuMemcpyDtoDAsync_v2, _ptsz, dstDevice),
    COPY(cuMemcpyDtoH_v2, _ptds, dstHost),
    COPY(cuMemcpyDtoHAsync_v2, _ptsz, dstHost),
    BOTH(cuMemcpy2D_v2, _ptds, copy_2d<cuMemcpy2D_v2_params>),
    BOTH(cuMemcpy2DUnaligned_v2, _ptds, copy_2d<cuMemcpy2DUnaligned_v2_params>),
    BOTH(cuMemcpy2DAsync_v2, _ptsz, copy_2d<cuMemcpy2DAsync_v2_params>),
    BOTH(cuEventRecord, _ptsz, record_event),
    BOTH(cuEventRecordWithFlags, _ptsz, record_event),
    BOTH(cuStreamWaitEvent, _ptsz, wait_for_event),
    BOTH(cuStreamSynchronize, _ptsz, wait_on_host),
    BOTH(cuStreamQuery, _ptsz, wait_on_host),
    {ID(cuEventSynchronize), wait_on_host},
    {ID(cuEventQuery), wait_on_host},
    {ID(cuCtxSynchronize), wait_on_host},
#if CUDA_VERSION >= 13000
    {ID(cuCtxSynchronize_v2), wait_on_host},
#endif
};
#undef COPY
#undef BOTH
#undef ID

constexpr auto kByCallback = [] {
  std::array<Watched, CUPTI_DRIVER_TRACE_CBID_SIZE> all{};
  for (const Watched& one : kWatched) all[one.id] = one;
  return all;
}();

void CUPTIAPI on_call(void* source, CUpti_CallbackDomain domain, CUpti_CallbackId id,
                      const void* data) {
  if (domain != CUPTI_CB_DOMAIN_DRIVER_API || id >= kByCallback.size()) return;
  const Watched& watched = kByCallback[id];
  if (watched.handler == nullptr) return;
  auto& to = *static_cast<CuptiSource*>(source);
  const auto& callback = *static_cast<const CUpti_CallbackData*>(data);
  const Call call{callback.functionParams, callback, callback.callbackSite == CUPTI_API_ENTER,
                  watched.per_thread};
  watched.handler(to, call);
  if (call.before) return;
  to.returned(*static_cast<const CUresult*>(callback.functionReturnValue), callback.functionName);
}

// --- what is opened at run time ---

void refuse(const char* why) {
  std::fprintf(stderr,
               "pagetape: process %d: CUDA's calls are not recorded: %s. The engine's hooks are "
               "not concerned.\n",
               static_cast<int>(getpid()), why);
}

// Sets `function` to what the library calls so.
template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

const char* dl_error() {
  const char* said = dlerror();
  return said != nullptr ? said : "cannot be opened";
}

std::string beside_this_library(const char* name) {
  Dl_info here;
  if (dladdr(reinterpret_cast<const void*>(&on_call), &here) == 0) return name;
  const std::string path = here.dli_fname;
  const std::size_t slash = path.rfind('/');
  return slash == path.npos ? name : path.substr(0, slash + 1) + name;
}

// What the program has for all to see, else the library of PAGETAPE_LIBRARY, which the Python
// package takes, too, else the one beside this library.
bool open_capture(CaptureApi& api) {
  void* library = RTLD_DEFAULT;
  if (dlsym(RTLD_DEFAULT, "ptape_borrow") == nullptr) {
    const char* named = std::getenv("PAGETAPE_LIBRARY");
    const std::string path = named != nullptr && *named != 0
                                 ? std::string(named)
                                 : beside_this_library("libpagetape_capture.so");
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return refuse(dl_error()), false;
  }
  const bool whole =
      find(library, "ptape_abi_version", api.abi_version) &&
      find(library, "ptape_open", api.open) && find(library, "ptape_close", api.close) &&
      find(library, "ptape_last_error", api.last_error) &&
      find(library, "ptape_borrow", api.borrow) &&
      find(library, "ptape_give_back", api.give_back) &&
      find(library, "ptape_intern", api.intern) && find(library, "ptape_json", api.json) &&
      find(library, "ptape_kernel", api.kernel) &&
      find(library, "ptape_graph_launch", api.graph_launch) &&
      find(library, "ptape_stream", api.stream) &&
      find(library, "ptape_stream_wait", api.stream_wait) &&
      find(library, "ptape_copied", api.copied);
  if (whole && api.abi_version() >> 16 == PTAPE_ABI_MAJOR) return true;
  refuse("libpagetape_capture.so is of another version");
  return false;
}

DriverApi driver() {
  void* library = RTLD_DEFAULT;
  if (dlsym(RTLD_DEFAULT, "cuGetErrorName") == nullptr) {
    library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    if (library == nullptr) return {};
  }
  DriverApi api{};
  (void)find(library, "cuStreamIsCapturing", api.cuStreamIsCapturing);
  (void)find(library, "cuGetErrorName", api.cuGetErrorName);
  (void)find(library, "cuGetErrorString", api.cuGetErrorString);
  return api;
}

struct CuptiApi {
  decltype(&cuptiSubscribe) subscribe;
  decltype(&cuptiUnsubscribe) unsubscribe;
  decltype(&cuptiEnableCallback) enable;
  decltype(&cuptiGetResultString) result_string;
};

// The CUPTI that the process has loaded, as there can be only one; else an installed one. False
// where there is none. (RTLD_DEFAULT is a null pointer.)
bool open_cupti_library(void*& library) {
  if (const char* named = std::getenv("PAGETAPE_CUPTI_LIBRARY"); named != nullptr && *named != 0) {
    return (library = dlopen(named, RTLD_NOW | RTLD_LOCAL)) != nullptr;
  }
  library = RTLD_DEFAULT;
  if (dlsym(RTLD_DEFAULT, "cuptiSubscribe") != nullptr) return true;
  for (const int flags : {RTLD_NOLOAD, 0}) {
    for (const char* name : kCuptiLibraries) {
      library = dlopen(name, RTLD_NOW | RTLD_LOCAL | flags);
      if (library != nullptr) return true;
    }
  }
  return false;
}

bool open_cupti(CuptiApi& api) {
  void* library = nullptr;
  if (!open_cupti_library(library)) return refuse(dl_error()), false;
  if (find(library, "cuptiSubscribe", api.subscribe) &&
      find(library, "cuptiUnsubscribe", api.unsubscribe) &&
      find(library, "cuptiEnableCallback", api.enable) &&
      find(library, "cuptiGetResultString", api.result_string)) {
    return true;
  }
  refuse("libcupti.so lacks functions");
  return false;
}

void refuse(const CuptiApi& api, CUptiResult result) {
  if (result == CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED) {
    return refuse("a profiler holds CUPTI, which has one user a process");
  }
  const char* text = nullptr;
  (void)api.result_string(result, &text);
  refuse((std::string("CUPTI refuses: ") + (text != nullptr ? text : "?")).c_str());
}

// The process's one source and what it is called by. Never destroyed: calls come until the process
// has ended.
struct Injected {
  CuptiApi cupti;
  CuptiSource* source;
  CUpti_SubscriberHandle subscriber;
  int level;  // 0: not subscribed, 1: without callbacks, 2: with them.
};
Injected* injected = nullptr;

CUptiResult enable(const Injected& of, bool on) {
  for (const Watched& one : kWatched) {
    const CUptiResult result =
        of.cupti.enable(on ? 1 : 0, of.subscriber, CUPTI_CB_DOMAIN_DRIVER_API, one.id);
    // One that this CUPTI does not know is not called either.
    if (result != CUPTI_SUCCESS && result != CUPTI_ERROR_INVALID_PARAMETER) return result;
  }
  return CUPTI_SUCCESS;
}

CUptiResult set_level(Injected& of, int level) {
  CUptiResult result = CUPTI_SUCCESS;
  if (of.level == 0 && level > 0) {
    result = of.cupti.subscribe(&of.subscriber, on_call, of.source);
    if (result != CUPTI_SUCCESS) return result;
    of.level = 1;
  }
  if (level > 0 && level != of.level) result = enable(of, level == 2);
  if (result == CUPTI_SUCCESS && level > 0) {
    of.level = level;
  } else if (of.level > 0) {
    (void)of.cupti.unsubscribe(of.subscriber);
    of.level = 0;
  }
  return result;
}

void begin_source() {
  CaptureApi capture{};
  CuptiApi cupti{};
  if (!open_capture(capture) || !open_cupti(cupti)) return;
  const char* ring = std::getenv("PAGETAPE_RING_DIR");
  auto source = std::make_unique<CuptiSource>(capture, driver(), ring != nullptr && *ring != 0);
  auto all = std::make_unique<Injected>(Injected{cupti, source.release(), {}, 0});
  if (const CUptiResult result = set_level(*all, 2); result != CUPTI_SUCCESS) {
    return refuse(cupti, result);  // CUPTI may know of the source.
  }
  injected = all.release();
  std::atexit([] { injected->source->close(); });
}

}  // namespace
}  // namespace pagetape

extern "C" __attribute__((visibility("default"))) int InitializeInjection() {
  static bool once = false;
  if (std::exchange(once, true)) return 1;
  try {
    pagetape::begin_source();
  } catch (...) {
    std::fputs("pagetape: CUDA's calls are not recorded: no memory\n", stderr);
  }
  return 1;
}

// For benchmarks, which compare these within a process: 0: not subscribed to CUPTI, 1: subscribed,
// without callbacks, 2: as it begins. No call of CUDA's may be under way. 0, or -1 where there is
// no CUPTI, or it refuses.
extern "C" __attribute__((visibility("default"))) int pagetape_cupti_level(int level) {
  if (pagetape::injected == nullptr || level < 0 || level > 2) return -1;
  return pagetape::set_level(*pagetape::injected, level) == CUPTI_SUCCESS ? 0 : -1;
}
