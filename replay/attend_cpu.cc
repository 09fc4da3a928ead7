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
  if (a.on_oob == OnOob::kTrap) std::raise(SIGTRAP);
  const std::uint32_t at = std::atomic_ref(*a.finding_count).fetch_add(1);
  if (at < a.findings_max) a.findings[at] = finding;
}

// What a thread needs for one tile after another.
struct Bench {
  LeafIn in;
  std::vector<float> q;
  std::vector<std::byte> padded;  // K and V of a leaf, where heads have fewer dimensions than D.

  void aim(const AttentionArgs& a, const AttentionLayer& layer, const AttentionItem& item,
           const Span& tile) {
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

  // Where the positions of a leaf are, which several tiles read.
  void place(const AttentionArgs& a, const AttentionLayer& layer, const AttentionItem& item,
             const Span& span, int leaf) {
    in.position = leaf * kLeafTokens;
    const int bytes = bytes_of(a.kv.dtype), entry_tokens = 1 << a.entry_shift;
    const auto* k = static_cast<const std::byte*>(layer.k);
    const auto* v = static_cast<const std::byte*>(layer.v);
    for (int t = 0; t < kLeafTokens; t += entry_tokens) {
      const int logical = (in.position + t) >> a.entry_shift;
      const std::int32_t said = said_at(a, *span.lane, logical);
      const PageEntry page = page_of(a, usable<true>(a, said));
      const std::int64_t at =
          place_of<true>(a, item, span, logical, said, page, [&](const DeviceFinding& finding) {
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
  // The leaf's blocks with positions that the tile sees. False where there are none.
  bool narrow(const AttentionArgs& a, const Span& tile) {
    const int tokens = block_tokens(padded_dim(a.kv.head_dim));
    const int begin = std::max(tile.begin - in.position, 0);
    const int end = std::min(tile.end - in.position, kLeafTokens);
    in.first_block = begin / tokens;
    in.last_block = (end + tokens - 1) / tokens;
    return begin < end;
  }
};

void end_rows(const AttentionArgs& a, const AttentionLayer& layer, const AttentionItem& item,
              const Span& tile, const Node& node) {
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

// Results of the item's tiles, each over the item's chunk.
std::vector<Node> nodes_of(const AttentionArgs& a, const AttentionLayer& layer,
                           const AttentionItem& item, const Range& leaves, LeafFunction leaf_of,
                           Bench& bench) {
  const int dims = padded_dim(a.kv.head_dim);
  const Span span(a, item, 0, a.tiles);
  std::vector<Node> nodes;
  std::vector<Stack> stacks(static_cast<std::size_t>(a.tiles), Stack(a.chunk_shift));
  const int begin = std::max(item.chunk << a.chunk_shift, leaves.first);
  const int end = std::min((item.chunk + 1) << a.chunk_shift, leaves.end);
  for (int leaf = begin; leaf < end; ++leaf) {
    bench.place(a, layer, item, span, leaf);
    for (int t = 0; t < a.tiles; ++t) {
      const Span tile(a, item, t, 1);
      Node node(dims);
      if (bench.narrow(a, tile)) {
        if (a.tiles > 1 || leaf == begin) bench.aim(a, layer, item, tile);
        LeafOut out{.m = {}, .l = {}, .acc = node.acc.data()};
        leaf_of(bench.in, out);
        std::copy_n(out.m, tile.rows, node.m);
        std::copy_n(out.l, tile.rows, node.l);
      }
      stacks[static_cast<std::size_t>(t)].push(std::move(node), static_cast<std::uint32_t>(leaf));
    }
  }
  for (Stack& stack : stacks) nodes.push_back(std::move(stack.top()));
  return nodes;
}

// The place of a tile's chunk among the partial results.
float* partial_of(const AttentionArgs& a, const AttentionLayer& layer, const AttentionItem& item,
                  int tile, const Range& chunks, int chunk) {
  const auto number = static_cast<std::size_t>(&layer - a.layers);
  const auto slot =
      static_cast<std::size_t>(tile * (chunks.end - chunks.first) + chunk - chunks.first);
  return a.partials + (number * a.partial_count + item.partial + slot) * a.partial_floats();
}

void attend_item(const AttentionArgs& a, std::size_t at, LeafFunction leaf_of, Bench& bench) {
  const AttentionItem& item = a.items[at % a.item_count];
  const AttentionLayer& layer = a.layers[at / a.item_count];
  const Range leaves = leaves_of(Span(a, item, 0, a.tiles)), chunks = chunks_of(a, leaves);
  const std::vector<Node> nodes = nodes_of(a, layer, item, leaves, leaf_of, bench);
  for (int t = 0; t < a.tiles; ++t) {
    const Node& node = nodes[static_cast<std::size_t>(t)];
    if (chunks.end - chunks.first == 1) {
      end_rows(a, layer, item, Span(a, item, t, 1), node);
      continue;
    }
    float* out = partial_of(a, layer, item, t, chunks, item.chunk);
    out = std::copy_n(node.m, kTileRows, out);
    out = std::copy_n(node.l, kTileRows, out);
    std::ranges::copy(node.acc, out);
  }
}

// Ends the rows of tiles that were done in several chunks; once for all of them.
void combine_item(const AttentionArgs& a, std::size_t which) {
  const AttentionItem& item = a.items[which % a.item_count];
  const AttentionLayer& layer = a.layers[which / a.item_count];
  const Range chunks = chunks_of(a, leaves_of(Span(a, item, 0, a.tiles)));
  if (item.chunk != chunks.first || chunks.end - chunks.first == 1) return;
  for (int t = 0; t < a.tiles; ++t) {
    Stack stack(32);
    for (int chunk = chunks.first; chunk < chunks.end; ++chunk) {
      const float* in = partial_of(a, layer, item, t, chunks, chunk);
      Node node(padded_dim(a.kv.head_dim));
      std::copy_n(in, kTileRows, node.m);
      std::copy_n(in + kTileRows, kTileRows, node.l);
      std::copy_n(in + 2 * kTileRows, node.acc.size(), node.acc.data());
      stack.push(std::move(node), static_cast<std::uint32_t>(chunk));
    }
    end_rows(a, layer, item, Span(a, item, t, 1), stack.top());
  }
}

}  // namespace

void attend_cpu(const AttentionArgs& args, Isa isa, Team& team) {
  const LeafFunction leaf = leaf_function(isa, args.kv.dtype, padded_dim(args.kv.head_dim));
  std::vector<Bench> benches(team.size());
  const std::size_t items = std::size_t{args.item_count} * args.layer_count;
  team.run(items,
           [&](std::size_t at, unsigned member) { attend_item(args, at, leaf, benches[member]); });
  if (args.partial_count == 0) return;
  team.run(items, [&](std::size_t at, unsigned) { combine_item(args, at); });
}

}  // namespace pagetape
