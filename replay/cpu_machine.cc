// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <cstring>

#include "replay/attend_cpu.h"
#include "replay/machine.h"

namespace pagetape {
namespace {

void write_number(Dtype type, std::byte* at, std::uint32_t byte) {
  if (type == Dtype::kE4m3) {
    *at = static_cast<std::byte>(as_e4m3(byte));
    return;
  }
  const std::uint16_t bits = type == Dtype::kBf16 ? as_bf16(byte) : as_fp16(byte);
  std::memcpy(at, &bits, sizeof bits);
}

class CpuMachine final : public Machine {
 public:
  CpuMachine(unsigned threads, Isa isa) : team_(threads), isa_(isa) {}

  std::string_view name() const override { return "cpu"; }
  // Its memory is everybody's, and more of it makes no replay faster.
  std::size_t room() const override { return std::size_t{4} << 30; }
  void* allocate(std::size_t bytes) override { return std::calloc(bytes, 1); }
  void* allocate_visible(std::size_t bytes) override { return allocate(bytes); }
  void release(void* memory) override { std::free(memory); }
  void upload(void* to, const void* from, std::size_t bytes) override {
    if (bytes != 0) std::memcpy(to, from, bytes);
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    if (bytes != 0) std::memcpy(to, from, bytes);
  }
  void clear(void* memory, std::size_t bytes) override { std::memset(memory, 0, bytes); }

  void store(const StoreArgs& a) override {
    team_.run(std::size_t{a.token_count} * a.layer_count, [&](std::size_t i, unsigned) {
      const StoreToken& token = a.tokens[i % a.token_count];
      const StoreLayer& layer = a.layers[i / a.token_count];
      write(a.kv, layer.k, layer.keys, token);
      write(a.kv, layer.v, layer.values, token);
    });
  }
  void copy(const CopyArgs& a) override {
    const std::size_t bytes = static_cast<std::size_t>(a.kv.head_dim) * bytes_of(a.kv.dtype);
    for (std::size_t i = 0; i < std::size_t{a.copy_count} * a.layer_count; ++i) {
      const TokenCopy& copy = a.copies[i % a.copy_count];
      const StoreLayer& source = a.from_layers[i / a.copy_count];
      const StoreLayer& target = a.layers[i / a.copy_count];
      for (int head = 0; head < a.kv.heads; ++head) {
        std::memcpy(place(a.kv, target.k, copy.to, head),
                    place(a.from_kv, source.k, copy.from, head), bytes);
        std::memcpy(place(a.kv, target.v, copy.to, head),
                    place(a.from_kv, source.v, copy.from, head), bytes);
      }
    }
  }
  std::int32_t tile_rows(const AttentionArgs&, const std::vector<AttentionLane>&) const override {
    return kTileRows;
  }
  void attend(const AttentionArgs& args) override { attend_cpu(args, isa_, team_); }
  Status finish() override { return {}; }

 private:
  static std::byte* place(const KvShape& kv, void* base, std::int64_t at, int head) {
    return static_cast<std::byte*>(base) + (at + head * kv.head_stride) * bytes_of(kv.dtype);
  }
  static void write(const KvShape& kv, void* base, std::uint64_t part, const StoreToken& token) {
    for (int head = 0; head < kv.heads; ++head) {
      const std::uint64_t key =
          vector_key(part, token.request, token.position, static_cast<std::uint32_t>(head));
      std::byte* to = place(kv, base, token.place, head);
      for (int d = 0; d < kv.head_dim; ++d) {
        const std::uint64_t bytes = contents_of(key, static_cast<std::uint32_t>(d / 8));
        write_number(kv.dtype, to + d * bytes_of(kv.dtype),
                     static_cast<std::uint32_t>(bytes >> d % 8 * 8 & 0xff));
      }
    }
  }

  Team team_;
  Isa isa_;
};

}  // namespace

std::unique_ptr<Machine> make_cpu_machine(unsigned threads, Isa isa) {
  return std::make_unique<CpuMachine>(threads, isa);
}

}  // namespace pagetape
