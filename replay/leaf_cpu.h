// SPDX-License-Identifier: Apache-2.0
// One leaf of attention on a CPU, as arithmetic.h defines it: included once for each instruction
// set, within a namespace and a target of its own (leaf_cpu.cc), so that one text serves all.
// Vectors run over the positions of a block for scores, and over dimensions for values: what a GPU
// adds across lanes is here added across vectors, in the same tree.

// The types of K and V, as words and as numbers.
struct Bf16Words {
  using Word = std::uint16_t;
  static inline float number(Word w) { return float_of(static_cast<std::uint32_t>(w) << 16); }
};
// The fields of a small float moved into a float's have the wrong bias: a product with a power of
// two, exact, puts it right, for subnormal numbers too.
struct Fp16Words {
  using Word = std::uint16_t;
  static inline float number(Word w) {
    const std::uint32_t bits = w;
    const float x = float_of((bits & 0x7fff) << 13) * 0x1p112f;
    return float_of(bits_of(x) | (bits & 0x8000) << 16);
  }
};
struct E4m3Words {
  using Word = std::uint8_t;
  static inline float number(Word w) {
    const std::uint32_t bits = w;
    const float x = float_of((bits & 0x7f) << 20) * 0x1p120f;
    return float_of(bits_of(x) | (bits & 0x80) << 24);
  }
};

template <class Words, int D>
static inline void widen(const void* from, float* __restrict to) {
  if (from == nullptr) {
    for (int d = 0; d < D; ++d) to[d] = 0.0f;
    return;
  }
  const auto* words = static_cast<const typename Words::Word*>(from);
  for (int d = 0; d < D; ++d) to[d] = Words::number(words[d]);
}

// Scores of the positions of a block: `k` is [D][T].
template <int D, int T>
static inline void scores_of(const float* __restrict q, const float* __restrict k,
                             float* __restrict scores) {
  constexpr int kLanes = dot_lanes(D);
  float sums[kLanes][T];
  for (int x = 0; x < kLanes; ++x) {
    float s[T] = {};
    for (int c = 0; c < D; c += 256) {
      for (int i = 0; i < 8; ++i) {
        const int d = c + 8 * x + i;
        for (int t = 0; t < T; ++t) s[t] = __builtin_fmaf(q[d], k[d * T + t], s[t]);
      }
    }
    for (int t = 0; t < T; ++t) sums[x][t] = s[t];
  }
  for (int o = kLanes / 2; o > 0; o /= 2) {
    for (int x = 0; x < o; ++x) {
      for (int t = 0; t < T; ++t) sums[x][t] += sums[x + o][t];
    }
  }
  for (int t = 0; t < T; ++t) scores[t] = sums[0][t];
}

// One block of one row: scores to weights, then to sums.
template <int D, int T>
static inline void add_block(const LeafIn& in, int r, int position, const bool* skipped,
                             const float* __restrict v, float* __restrict scores, LeafRow<D>& row) {
  constexpr int kSubs = dot_tokens(D);
  float greatest = row.m;
  for (int t = 0; t < T; ++t) {
    const int at = position + t;
    const bool live = in.begin[r] <= at && at < in.end[r] && !skipped[t];
    scores[t] = live ? in.logits.of(scores[t]) : -INFINITY;
    greatest = scores[t] > greatest ? scores[t] : greatest;
  }
  if (greatest > row.m) {
    const float scale = exp2_of(row.m - greatest);
    row.m = greatest;
    for (int t = 0; t < T; ++t) row.weights[t] *= scale;
    for (int s = 0; s < kSubs; ++s) {
      for (int d = 0; d < D; ++d) row.acc[s][d] *= scale;
    }
  }
  for (int t = 0; t < T; ++t) {
    if (scores[t] == -INFINITY) continue;
    const float p = exp2_of(scores[t] - row.m);
    row.weights[t] += p;
    float* __restrict acc = row.acc[t % kSubs];
    for (int d = 0; d < D; ++d) acc[d] = __builtin_fmaf(p, v[t * D + d], acc[d]);
  }
}

template <class Words, int D>
static void leaf_of(const LeafIn& in, LeafOut& out) {
  constexpr int T = block_tokens(D), kSubs = dot_tokens(D);
  alignas(64) LeafRow<D> rows[kTileRows];
  alignas(64) float k[D * T], v[T * D], scores[T];
  for (int r = 0; r < in.rows; ++r) rows[r].clear();
  for (int block = in.first_block; block < in.last_block; ++block) {
    const int first = block * T;
    bool skipped[T];
    for (int t = 0; t < T; ++t) {
      skipped[t] = in.k[first + t] == nullptr;
      alignas(64) float one[D];
      widen<Words, D>(in.k[first + t], one);
      for (int d = 0; d < D; ++d) k[d * T + t] = one[d];
      widen<Words, D>(in.v[first + t], v + t * D);
    }
    for (int r = 0; r < in.rows; ++r) {
      scores_of<D, T>(in.q + r * D, k, scores);
      add_block<D, T>(in, r, in.position + first, skipped, v, scores, rows[r]);
    }
  }
  for (int r = 0; r < in.rows; ++r) {
    LeafRow<D>& row = rows[r];
    for (int o = T / 2; o > 0; o /= 2) {
      for (int t = 0; t < o; ++t) row.weights[t] += row.weights[t + o];
    }
    for (int o = kSubs / 2; o > 0; o /= 2) {
      for (int s = 0; s < o; ++s) {
        for (int d = 0; d < D; ++d) row.acc[s][d] += row.acc[s + o][d];
      }
    }
    out.m[r] = row.m;
    out.l[r] = row.weights[0];
    for (int d = 0; d < D; ++d) out.acc[r * D + d] = row.acc[0][d];
  }
}

template <class Words>
static LeafFunction leaf_for(int head_dim) {
  switch (head_dim) {
    case 64:
      return leaf_of<Words, 64>;
    case 128:
      return leaf_of<Words, 128>;
    case 256:
      return leaf_of<Words, 256>;
    case 512:
      return leaf_of<Words, 512>;
    default:
      return nullptr;
  }
}

static LeafFunction leaf_for(Dtype type, int head_dim) {
  switch (type) {
    case Dtype::kBf16:
      return leaf_for<Bf16Words>(head_dim);
    case Dtype::kFp16:
      return leaf_for<Fp16Words>(head_dim);
    case Dtype::kE4m3:
      return leaf_for<E4m3Words>(head_dim);
  }
  return nullptr;
}
