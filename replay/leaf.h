// SPDX-License-Identifier: Apache-2.0
// One leaf of attention on a CPU: the widest instructions that the machine has, the same bits.
#pragma once

#include <string_view>

#include "replay/attention.h"

namespace pagetape {

// A tile's rows over one leaf. Pointers are into memory of the caller.
struct LeafIn {
  const float* q = nullptr;                        // [rows][head_dim]
  int rows = 0;                                    // At most kTileRows.
  int position = 0;                                // Of the leaf's first token.
  int first_block = 0, last_block = 0;             // Blocks with live positions: [first, last).
  int begin[kTileRows] = {}, end[kTileRows] = {};  // Live positions of each row.
  const void* k[kLeafTokens] = {};  // The head's vector at each position; null: not to be read.
  const void* v[kLeafTokens] = {};
  Logits logits;
};
struct LeafOut {
  float m[kTileRows], l[kTileRows];
  float* acc = nullptr;  // [rows][head_dim]
};
using LeafFunction = void (*)(const LeafIn&, LeafOut&);

enum class Isa : std::uint8_t { kScalar, kAvx2, kAvx512 };
inline constexpr std::string_view kIsaNames[] = {"scalar", "avx2", "avx512"};

// The widest that this machine runs.
Isa widest_isa();

// Null for a head dimension that there is no code for, and for an instruction set that this machine
// does not have.
LeafFunction leaf_function(Isa isa, Dtype type, int head_dim);

}  // namespace pagetape
