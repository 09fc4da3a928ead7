// SPDX-License-Identifier: Apache-2.0
#include "verify/address_map.h"

#include <gmock/gmock.h>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Mapped {
  Names names;
  AddressMap map{names};
  explicit Mapped(const std::string& lines) {
    const ScratchFolder folder;
    Status status;
    const auto source = open_trace(folder.write("trace.jsonl", lines), names, status);
    EXPECT_NE(source, nullptr) << status.message();
    Event event;
    while (source->next(event)) map.see(event);
    EXPECT_TRUE(source->status().ok()) << source->status().message();
  }
  std::vector<std::string> at(std::uint64_t address) const { return map.places(address, {}); }
};

constexpr char kPools[] =
    R"({"ev": "pool", "pool": "P", "pages": 2, "page_size": 4, "page_bytes": 256}
{"ev": "pool", "pool": "Q", "pages": 2, "page_size": 4, "dtype": "bfloat16"}
{"ev": "pool_layer", "pool": "P", "layer": 0, "k_ptr": 4096, "v_ptr": 8192}
{"ev": "pool_layer", "pool": "Q", "layer": 1, "k_ptr": 16384, "shape": [8, 16], "stride": [16, 1]}
{"ev": "buffer", "buffer": "t", "rows": 2, "cols": 4, "ptr": 65536}
)";

TEST(AddressMap, NamesLayerSideAndPage) {
  const Mapped m(kPools);
  EXPECT_THAT(m.at(4096 + 300),
              ElementsAre("at byte 300 of 512 of K of pool P, layer 0: page 1, where it has 2"));
  EXPECT_THAT(m.at(8192 + 512 + 7),
              ElementsAre("7 bytes past the end of V of pool P, layer 0: page 2, where it has 2"));
}

TEST(AddressMap, TakesThePageStrideOfATensorOfSlots) {
  const Mapped m(kPools);  // 8 slots of 16 numbers of 2 bytes: pages of 128 bytes.
  EXPECT_THAT(m.at(16384 + 130),
              ElementsAre("at byte 130 of 256 of K of pool Q, layer 1: page 1, where it has 2"));
}

TEST(AddressMap, KnowsBuffers) {
  const Mapped m(kPools);
  EXPECT_THAT(m.at(65536 + 8), testing::Contains(HasSubstr("at byte 8 of buffer t")));
}

TEST(AddressMap, BeforeAllOfThemIsSaid) {
  EXPECT_THAT(Mapped(kPools).at(16), ElementsAre(HasSubstr("before every pool layer")));
}

TEST(AddressMap, SaysWhatIsMissing) {
  EXPECT_THAT(Mapped(R"({"ev": "pool", "pool": "P", "pages": 2, "page_size": 4})").map.missing(),
              testing::Contains(HasSubstr("no `pool_layer` event")));
  EXPECT_THAT(Mapped(R"({"ev": "note", "text": "n"})").at(4096), IsEmpty());
}

TEST(AddressMap, AnAllocationAsLargeAsAnArenaIsThatArena) {
  const Mapped m(R"({"ev": "arena", "arena": "kv", "bytes": 4096}
{"ev": "extent", "arena": "kv", "owner": "P", "begin": 0, "end": 1024}
)");
  EXPECT_THAT(m.map.places(0x10000 + 5000, Allocation{0x10000, 4096}),
              ElementsAre(HasSubstr("904 bytes past the end of arena kv")));
}

}  // namespace
}  // namespace pagetape
