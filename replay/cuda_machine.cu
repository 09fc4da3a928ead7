// SPDX-License-Identifier: Apache-2.0
// The runtime is linked statically and opens the driver itself: a program with this in it starts on
// a machine that has neither driver nor GPU.
#include <cuda_runtime.h>

#include <cstring>
#include <set>

#include "replay/attend_kernel.cuh"
#include "replay/machine.h"

namespace pagetape {
namespace {

template <class T>
__device__ void write_eight(T* to, std::uint64_t bytes, T (*as)(std::uint32_t)) {
#pragma unroll
  for (int i = 0; i < 8; ++i) to[i] = as(static_cast<std::uint32_t>(bytes >> 8 * i & 0xff));
}

// A piece is eight dimensions of a head: a thread each, of K and of V.
struct Piece {
  std::uint64_t token;
  std::uint32_t head, chunk;
  bool there;

  __device__ Piece(const KvShape& kv, std::uint32_t tokens) {
    const std::uint32_t chunks = kv.head_dim / 8, each = chunks * kv.heads;
    const std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    token = i / each;
    head = static_cast<std::uint32_t>(i % each) / chunks;
    chunk = static_cast<std::uint32_t>(i % each) % chunks;
    there = token < tokens;
  }
  __device__ std::uint8_t* in(const KvShape& kv, void* base, std::int64_t place) const {
    return static_cast<std::uint8_t*>(base) +
           (place + head * kv.head_stride + 8 * chunk) * bytes_of(kv.dtype);
  }
};

__global__ void store_tokens(const __grid_constant__ StoreArgs a) {
  const Piece piece(a.kv, a.token_count);
  if (!piece.there) return;
  const StoreToken token = a.tokens[piece.token];
  const StoreLayer layer = a.layers[blockIdx.y];
  const auto write = [&](void* base, std::uint64_t part) {
    const std::uint64_t key = vector_key(part, token.request, token.position, piece.head);
    const std::uint64_t bytes = contents_of(key, piece.chunk);
    std::uint8_t* to = piece.in(a.kv, base, token.place);
    if (a.kv.dtype == Dtype::kE4m3) return write_eight<std::uint8_t>(to, bytes, as_e4m3);
    auto* words = reinterpret_cast<std::uint16_t*>(to);
    write_eight<std::uint16_t>(words, bytes, a.kv.dtype == Dtype::kBf16 ? as_bf16 : as_fp16);
  };
  write(layer.k, layer.keys);
  write(layer.v, layer.values);
}

__global__ void copy_tokens(const __grid_constant__ CopyArgs a) {
  const Piece piece(a.kv, a.copy_count);
  if (!piece.there) return;
  const TokenCopy copy = a.copies[piece.token];
  const StoreLayer source = a.from_layers[blockIdx.y], target = a.layers[blockIdx.y];
  const auto move = [&](void* from_base, void* to_base) {
    const std::uint8_t* from = piece.in(a.from_kv, from_base, copy.from);
    std::uint8_t* to = piece.in(a.kv, to_base, copy.to);
    for (int b = 0; b < 8 * bytes_of(a.kv.dtype); ++b) to[b] = from[b];
  };
  move(source.k, target.k);
  move(source.v, target.v);
}

template <class T>
cudaError_t launch(const AttentionArgs& a) {
  switch (padded_dim(a.kv.head_dim)) {
    case 64:
      return cuda::launch<T, 64>(a);
    case 128:
      return cuda::launch<T, 128>(a);
    case 256:
      return cuda::launch<T, 256>(a);
    default:
      return cuda::launch<T, 512>(a);
  }
}
cudaError_t launch(const AttentionArgs& a) {
  switch (a.kv.dtype) {
    case Dtype::kBf16:
      return launch<cuda::Bf16>(a);
    case Dtype::kFp16:
      return launch<cuda::Fp16>(a);
    default:
      return launch<cuda::E4m3>(a);
  }
}

class CudaMachine final : public Machine {
 public:
  explicit CudaMachine(std::string name) : name_(std::move(name)) {}

  std::string_view name() const override { return name_; }
  std::size_t room() const override {
    std::size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
    return free / 4 * 3;
  }
  void* allocate(std::size_t bytes) override {
    void* memory = nullptr;
    if (cudaMalloc(&memory, bytes) != cudaSuccess) {
      cudaGetLastError();  // It is told by the null.
      return nullptr;
    }
    clear(memory, bytes);
    return memory;
  }
  void* allocate_visible(std::size_t bytes) override {
    void* memory = nullptr;
    if (cudaMallocHost(&memory, bytes) != cudaSuccess) {
      cudaGetLastError();
      return nullptr;
    }
    std::memset(memory, 0, bytes);
    visible_.insert(memory);
    return memory;
  }
  void release(void* memory) override {
    note(visible_.erase(memory) > 0 ? cudaFreeHost(memory) : cudaFree(memory),
         "giving memory back");
  }
  void upload(void* to, const void* from, std::size_t bytes) override {
    note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice), "a copy to the GPU");
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost), "a copy from the GPU");
  }
  void clear(void* memory, std::size_t bytes) override {
    note(cudaMemsetAsync(memory, 0, bytes), "clearing memory");
  }
  void store(const StoreArgs& args) override {
    launch_pieces(store_tokens, args, args.token_count);
  }
  void copy(const CopyArgs& args) override { launch_pieces(copy_tokens, args, args.copy_count); }
  std::int32_t tile_rows(const AttentionArgs& args,
                         const std::vector<AttentionLane>& lanes) const override {
    return cuda::tile_rows(args, lanes);
  }
  void attend(const AttentionArgs& args) override {
    if (args.item_count == 0 || args.layer_count == 0 || !good()) return;
    note(launch(args), "launching the attention kernel");
  }
  Status finish() override {
    note(cudaDeviceSynchronize(), "the kernels");
    return status_;
  }

 private:
  bool good() const { return status_.ok(); }
  void note(cudaError_t error, const char* what) {
    if (error == cudaSuccess || !good()) return;
    status_ = system_error(name_ + ": " + what + ": " + cudaGetErrorString(error));
  }
  template <class Kernel, class Args>
  void launch_pieces(Kernel kernel, const Args& args, std::uint32_t count) {
    if (count == 0 || args.layer_count == 0 || !good()) return;
    const std::uint64_t threads = std::uint64_t{count} * (args.kv.head_dim / 8) * args.kv.heads;
    const dim3 grid(static_cast<unsigned>((threads + 255) / 256), args.layer_count);
    kernel<<<grid, 256>>>(args);
    note(cudaGetLastError(), "launching a store");
  }

  std::string name_;
  std::set<void*> visible_;
  Status status_;
};

}  // namespace

// Makes the GPU the calling thread's and asks which code of ours the driver picked for it. The
// error says that there is none, or that the GPU's memory is full.
static cudaError_t find_code(int device, cudaFuncAttributes& code) {
  cudaError_t error = cudaSetDevice(device);
  if (error == cudaSuccess) {
    error = cudaFuncGetAttributes(&code, cuda::attend<cuda::Few<cuda::Bf16, 128>, true>);
  }
  cudaGetLastError();
  return error;
}

std::vector<GpuInfo> gpus(Status& status) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    cudaGetLastError();
    status = usage(std::string("no GPU can be used: ") + cudaGetErrorString(error));
    return {};
  }
  std::vector<GpuInfo> found;
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) continue;
    GpuInfo info{properties.name, properties.major, properties.minor, properties.totalGlobalMem, 0};
    cudaFuncAttributes code;
    if (find_code(device, code) == cudaSuccess) info.code = code.binaryVersion;
    found.push_back(info);
  }
  return found;
}

std::unique_ptr<Machine> make_cuda_machine(int device, Status& status) {
  const std::vector<GpuInfo> all = gpus(status);
  if (!status.ok()) return nullptr;
  if (device < 0 || device >= static_cast<int>(all.size())) {
    status =
        usage("there is no GPU " + std::to_string(device) + ", only " + std::to_string(all.size()));
    return nullptr;
  }
  const GpuInfo& info = all[static_cast<std::size_t>(device)];
  cudaFuncAttributes code;
  if (const cudaError_t error = find_code(device, code); error != cudaSuccess) {
    status = usage(info.name + " (compute capability " + std::to_string(info.major) + '.' +
                   std::to_string(info.minor) + ") cannot be used: " + cudaGetErrorString(error));
    return nullptr;
  }
  return std::make_unique<CudaMachine>(info.name);
}

}  // namespace pagetape
