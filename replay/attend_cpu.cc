// SPDX-License-Identifier: Apache-2.0
#include "replay/attend_cpu.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <csignal>
#include <cstring>
#include <mutex>
#include <vector>

#include "replay/tile.h"

namespace pagetape {
namespace {

// Rows over some leaves.
struct Node {
  float m[kTileRows], l[kTileRows];
  std::vector<float> acc;  // [kTileRows][head_dim]

  explicit Node(int head_dim = 0) : acc(static_cast<std::size_t>(kTileRows * head_dim), 0.0f) {
    std::fill(std::begin(m), std::end(m), -INFINITY);
    std::fill(std::begin(l), std::end(l), 0.0f);
  }
  // This, then `right`.
  void merge(const Node& right) {
    const std::size_t head_dim = acc.size() / kTileRows;
    for (int r = 0; r < kTileRows; ++r) {
      const Merge by = merge_of(m[r], right.m[r]);
      m[r] = by.m;
      l[r] = merged(by, l[r], right.l[r]);
      for (std::size_t d = 0; d < head_dim; ++d) {
        float& x = acc[r * head_dim + d];
        x = merged(by, x, right.acc[r * head_dim + d]);
      }
    }
  }
};

// Gathers nodes that come from left to right without a gap into their tree, up to height `most`.
class Stack {
 public:
  explicit Stack(int most) : most_(most) {}
  void push(Node node, std::uint32_t index) {
    int height = 0;
    // A right child is merged with the left one, or has none and stands for its parent.
    for (; height < most_ && (index >> height & 1) != 0; ++height) {
      if (nodes_.empty() || nodes_.back().first != height) continue;
      nodes_.back().second.merge(node);
      node = std::move(nodes_.back().second);
      nodes_.pop_back();
    }
    nodes_.emplace_back(height, std::move(node));
  }
  // All of them; one must have been pushed.
  Node& top() {
    while (nodes_.size() > 1) {
      nodes_[nodes_.size() - 2].second.merge(nodes_.back().second);
      nodes_.pop_back();
    }
    return nodes_.front().second;
  }

 private:
  int most_;
  std::vector<std::pair<int, Node>> nodes_;
};

void tell(const AttentionArgs& a, const DeviceFinding& finding) {
  if (a.on_oob == OnOob::kTrap) {
    std::signal(SIGTRAP, SIG_IGN);  // A debugger gets it all the same.
    std::raise(SIGTRAP);
  }
  const std::uint32_t at = std::atomic_ref(*a.finding_count).fetch_add(1);
  if (at < a.findings_max) a.findings[at] = finding;
}

// What a thread needs for one tile after another.
struct Bench {
  LeafIn in;
  std::vector<float> q;
  std::vector<std::byte> padded;  // K and V of a leaf, where heads have fewer dimensions than D.

  void aim(const AttentionArgs& a, const AttentionLayer& layer, const AttentionItem& item,
           const Tile& tile) {
    const int dims = padded_dim(a.kv.head_dim);
    in.rows = tile.rows;
    in.logits = a.logits;
    q.assign(static_cast<std::size_t>(tile.rows) * static_cast<std::size_t>(dims), 0.0f);
    in.q = q.data();
    for (int r = 0; r < tile.rows; ++r) {
      in.begin[r] = tile.begin_of(a, r);
      in.end[r] = tile.end_of(a, r);
      const std::uint64_t key = tile.query_key(a, layer, item, r);
      float* to = q.data() + r * dims;
      for (int d = 0; d < a.kv.head_dim; ++d) {
        const std::uint64_t bytes = contents_of(key, static_cast<std::uint32_t>(d / 8));
        to[d] = query_of(static_cast<std::uint32_t>(bytes >> d % 8 * 8 & 0xff), a.logits);
      }
    }
  }

  // Where the positions of a leaf are.
  void place(const AttentionArgs& a, const AttentionLayer& layer, const AttentionItem& item,
             const Tile& tile, int leaf) {
    const int tokens = block_tokens(padded_dim(a.kv.head_dim));
    in.position = leaf * kLeafTokens;
    in.first_block = std::max(tile.begin - in.position, 0) / tokens;
    in.last_block = (std::min(tile.end - in.position, kLeafTokens) + tokens - 1) / tokens;
    const int bytes = bytes_of(a.kv.dtype), entry_tokens = 1 << a.entry_shift;
    const auto* k = static_cast<const std::byte*>(layer.k);
    const auto* v = static_cast<const std::byte*>(layer.v);
    for (int t = 0; t < kLeafTokens; t += entry_tokens) {
      const int logical = (in.position + t) >> a.entry_shift;
      const std::int64_t at =
          place_of<true>(a, item, tile, logical, [&](const DeviceFinding& finding) {
            if (&layer == a.layers) tell(a, finding);
          });
      for (int i = 0; i < entry_tokens; ++i) {
        const std::int64_t element = at + i * a.kv.token_stride + item.kv_head * a.kv.head_stride;
        in.k[t + i] = at == kSkip ? nullptr : k + element * bytes;
        in.v[t + i] = at == kSkip ? nullptr : v + element * bytes;
      }
    }
    if (padded_dim(a.kv.head_dim) != a.kv.head_dim) pad(a.kv);
  }
  void pad(const KvShape& kv) {
    const auto bytes = static_cast<std::size_t>(kv.head_dim * bytes_of(kv.dtype));
    const auto room = static_cast<std::size_t>(padded_dim(kv.head_dim) * bytes_of(kv.dtype));
    padded.assign(2 * kLeafTokens * room, std::byte{0});
    std::byte* to = padded.data();
    for (auto* list : {in.k, in.v}) {
      for (int t = 0; t < kLeafTokens; ++t, to += room) {
        if (list[t] != nullptr) list[t] = std::memcpy(to, list[t], bytes);
      }
    }
  }
};

void end_rows(const AttentionArgs& a, const AttentionLayer& layer, const AttentionItem& item,
              const Tile& tile, const Node& node) {
  const int dims = padded_dim(a.kv.head_dim);
  std::uint64_t digest = 0;
  for (int r = 0; r < tile.rows; ++r) {
    const auto query = static_cast<std::uint32_t>(tile.query_of_row(a, r));
    const auto head = static_cast<std::uint32_t>(tile.head_of_row(a, item, r));
    const float sink = a.sinks ? sink_of(layer.sinks, head) : 0.0f;
    const Mean mean = mean_of(node.m[r], node.l[r], a.sinks, sink);
    const std::uint64_t key = row_digest_key(layer.digest_key, item.lane, query, head);
    const std::size_t row = layer.out == nullptr ? 0 : a.out_rows[item.lane] + query;
    const int element = r * dims;
    for (int d = 0; d < a.kv.head_dim; ++d) {
      const float value = output_of(mean, node.acc[static_cast<std::size_t>(element + d)]);
      digest += element_digest(key, static_cast<std::uint32_t>(d), value);
      if (layer.out == nullptr) continue;
      const std::size_t heads = static_cast<std::size_t>(a.kv.heads) * a.ratio;
      layer.out[(row * heads + head) * a.kv.head_dim + d] = value;
    }
  }
  std::atomic_ref(layer.digests[item.lane]).fetch_add(digest);
}

// The place of a tile's chunk among the partial results, counted from the tile's first one.
float* partial_of(const AttentionArgs& a, const AttentionLayer& layer, const AttentionItem& item,
                  int chunk) {
  const auto number = static_cast<std::size_t>(&layer - a.layers);
  const std::size_t at = number * a.partial_count + item.partial + static_cast<std::size_t>(chunk);
  return a.partials + at * a.partial_floats();
}

void attend_item(const AttentionArgs& a, std::size_t at, LeafFunction leaf_function, Bench& bench) {
  const AttentionItem& item = a.items[at % a.item_count];
  const AttentionLayer& layer = a.layers[at / a.item_count];
  const Tile tile(a, item);
  const int leaves = 1 << a.chunk_shift, dims = padded_dim(a.kv.head_dim);
  const int begin = std::max(item.chunk * leaves, tile.begin / kLeafTokens);
  const int end = std::min((item.chunk + 1) * leaves, (tile.end + kLeafTokens - 1) / kLeafTokens);
  Node node(dims);
  if (begin < end) {
    bench.aim(a, layer, item, tile);
    Stack stack(a.chunk_shift);
    for (int leaf = begin; leaf < end; ++leaf) {
      bench.place(a, layer, item, tile, leaf);
      Node one(dims);
      LeafOut out{.m = {}, .l = {}, .acc = one.acc.data()};
      leaf_function(bench.in, out);
      std::copy_n(out.m, tile.rows, one.m);
      std::copy_n(out.l, tile.rows, one.l);
      stack.push(std::move(one), static_cast<std::uint32_t>(leaf));
    }
    node = std::move(stack.top());
  }
  const Range chunks = chunks_of(a, tile);
  if (chunks.end - chunks.first == 1) return end_rows(a, layer, item, tile, node);
  float* out = partial_of(a, layer, item, item.chunk - chunks.first);
  out = std::copy_n(node.m, kTileRows, out);
  out = std::copy_n(node.l, kTileRows, out);
  std::ranges::copy(node.acc, out);
}

// Ends the rows of a tile that was done in several chunks.
void combine_item(const AttentionArgs& a, std::size_t which) {
  const AttentionItem& item = a.items[which % a.tile_count];
  const AttentionLayer& layer = a.layers[which / a.tile_count];
  const Tile tile(a, item);
  const Range chunks = chunks_of(a, tile);
  if (chunks.end - chunks.first == 1) return;
  Stack stack(32);
  for (int chunk = chunks.first; chunk < chunks.end; ++chunk) {
    const float* in = partial_of(a, layer, item, chunk - chunks.first);
    Node node(padded_dim(a.kv.head_dim));
    std::copy_n(in, kTileRows, node.m);
    std::copy_n(in + kTileRows, kTileRows, node.l);
    std::copy_n(in + 2 * kTileRows, node.acc.size(), node.acc.data());
    stack.push(std::move(node), static_cast<std::uint32_t>(chunk));
  }
  end_rows(a, layer, item, tile, stack.top());
}

}  // namespace

void attend_cpu(const AttentionArgs& args, Isa isa, Team& team) {
  const LeafFunction leaf = leaf_function(isa, args.kv.dtype, padded_dim(args.kv.head_dim));
  std::vector<Bench> benches(team.size());
  const std::size_t items = std::size_t{args.item_count} * args.layer_count;
  team.run(items,
           [&](std::size_t at, unsigned member) { attend_item(args, at, leaf, benches[member]); });
  if (args.partial_count == 0) return;
  team.run(std::size_t{args.tile_count} * args.layer_count,
           [&](std::size_t at, unsigned) { combine_item(args, at); });
}

}  // namespace pagetape
