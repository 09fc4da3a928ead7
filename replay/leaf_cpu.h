// SPDX-License-Identifier: Apache-2.0
// One leaf of attention on a CPU, as arithmetic.h defines it: included once for each instruction
// set, within a namespace and a target of its own (leaf.cc), so that one text serves all. The
// namespace has `Wide`, a vector of kWide floats, before.
// Vectors run over the positions of a block for scores, and over dimensions for values: what a GPU
// adds across lanes is here added across vectors, in the same tree.

// The types of K and V: words in memory, two at a time as the two numbers of a pair: a vector reads
// pairs of neighbours and gives the even numbers and the odd ones.
struct Bf16Words {
  using Word = std::uint16_t;
  static inline Wide even(Pairs pairs) { return as_wide(pairs << 16); }
  static inline Wide odd(Pairs pairs) { return as_wide(pairs & 0xffff0000u); }
};
// The fields of a small float moved into a float's have the wrong bias: a product with a power of
// two, exact, puts it right, for subnormal numbers too.
struct Fp16Words {
  using Word = std::uint16_t;
  static inline Wide even(Pairs pairs) { return rebiased(pairs & 0xffffu, 0x8000, 13, 0x1p112f); }
  static inline Wide odd(Pairs pairs) { return rebiased(pairs >> 16, 0x8000, 13, 0x1p112f); }
};
struct E4m3Words {
  using Word = std::uint8_t;
  static inline Wide even(Pairs pairs) { return rebiased(pairs & 0xffu, 0x80, 20, 0x1p120f); }
  static inline Wide odd(Pairs pairs) { return rebiased(pairs >> 8, 0x80, 20, 0x1p120f); }
};

// A block's K, a vector a position, to a row a dimension: [D][T].
template <class Words, int D, int T>
static inline void turn(const typename Words::Word* const* from, float* __restrict to) {
  for (int t = 0; t < T; t += 8) {
    for (int d = 0; d < D; d += 8) {
      Pairs rows[4];
      transpose(from + t, d, rows);
      for (int i = 0; i < 4; ++i) {
        Words::even(rows[i]).store(to + (d + 2 * i) * T + t);
        Words::odd(rows[i]).store(to + (d + 2 * i + 1) * T + t);
      }
    }
  }
}

// exp2_of() of each; NaN gives 0, as what is not above kExpLeast does.
static inline Wide exp2_each(Wide x) {
  const Wide t = x + Wide(kRound);
  const Wide f = x - (t - Wide(kRound));
  Wide p(kExp6);
  p = fma_of(p, f, Wide(kExp5));
  p = fma_of(p, f, Wide(kExp4));
  p = fma_of(p, f, Wide(kExp3));
  p = fma_of(p, f, Wide(kExp2));
  p = fma_of(p, f, Wide(kExp1));
  p = fma_of(p, f, Wide(1.0f));
  return zero_unless_above(p * power_of(t), x, Wide(kExpLeast));
}

// The chains of M lanes, from lane x on in steps of `step`: `k` is [D][T], `q` [R][D].
template <int D, int T, int R, int M>
static inline void chains_of(const float* __restrict q, const float* __restrict k, int x, int step,
                             Wide (&s)[M][R][T / kWide]) {
  constexpr int N = T / kWide;
  for (auto& lane : s) {
    for (auto& row : lane) {
      for (Wide& sum : row) sum = Wide(0.0f);
    }
  }
  for (int c = 0; c < D; c += 256) {
    for (int i = 0; i < 8; ++i) {
      for (int m = 0; m < M; ++m) {
        const int d = c + 8 * (x + m * step) + i;
        Wide at[N];
        for (int n = 0; n < N; ++n) at[n] = Wide::load(k + d * T + n * kWide);
        for (int r = 0; r < R; ++r) {
          const Wide by(q[r * D + d]);
          for (int n = 0; n < N; ++n) s[m][r][n] = fma_of(by, at[n], s[m][r][n]);
        }
      }
    }
  }
}

// Scores of R rows at the positions of a block. Lanes x and x + half are done together where the
// registers hold the sums of both, so that there are chains enough to keep the core busy.
template <int D, int T, int R>
static inline void scores_of(const float* __restrict q, const float* __restrict k,
                             float (&scores)[kTileRows][T]) {
  constexpr int kHalf = dot_lanes(D) / 2, N = T / kWide;
  constexpr bool kTogether = 2 * R * N + N + 1 <= kRegisters;
  Wide sums[kHalf][R][N];
  for (int x = 0; x < kHalf; ++x) {
    Wide s[2][R][N];
    if constexpr (kTogether) {
      chains_of<D, T, R, 2>(q, k, x, kHalf, s);
    } else {
      for (int h = 0; h < 2; ++h) {
        Wide one[1][R][N];
        chains_of<D, T, R, 1>(q, k, x + h * kHalf, 0, one);
        for (int r = 0; r < R; ++r) {
          for (int n = 0; n < N; ++n) s[h][r][n] = one[0][r][n];
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) sums[x][r][n] = s[0][r][n] + s[1][r][n];
    }
  }
  for (int o = kHalf / 2; o > 0; o /= 2) {
    for (int x = 0; x < o; ++x) {
      for (int r = 0; r < R; ++r) {
        for (int n = 0; n < N; ++n) sums[x][r][n] = sums[x][r][n] + sums[x + o][r][n];
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) sums[0][r][n].store(scores[r] + n * kWide);
  }
}

// One row: scores to weights. What was summed before is scaled where one is greater than all
// before.
template <int D, int T>
static inline void soften(const LeafIn& in, int r, int position, const bool* skipped, bool skips,
                          float (&scores)[T], LeafRow<D>& row) {
  const bool whole = in.begin[r] <= position && position + T <= in.end[r] && in.logits.cap == 0.0f;
  if (!whole || skips) {
    for (int t = 0; t < T; ++t) {
      const int at = position + t;
      const bool live = in.begin[r] <= at && at < in.end[r] && !skipped[t];
      scores[t] = live ? in.logits.of(scores[t]) : -INFINITY;
    }
  }
  Wide most = Wide::load(scores);
  for (int t = kWide; t < T; t += kWide) most = greater(most, Wide::load(scores + t));
  const float greatest = std::max(row.m, greatest_of(most));
  if (greatest > row.m) {
    const float scale = exp2_of(row.m - greatest);
    row.m = greatest;
    for (int t = 0; t < T; ++t) row.weights[t] *= scale;
    float* acc = &row.acc[0][0];
    for (int d = 0; d < dot_tokens(D) * D; d += kWide) {
      (Wide::load(acc + d) * Wide(scale)).store(acc + d);
    }
  }
  // Where nothing is live yet, m and all scores are -inf: their difference is no number, weight 0.
  for (int t = 0; t < T; t += kWide) {
    const Wide p = exp2_each(Wide::load(scores + t) - Wide(row.m));
    p.store(scores + t);
    (Wide::load(row.weights + t) + p).store(row.weights + t);
  }
}

// Adds a block's values by weight, a vector a position. A row's sums lie as pairs are read: of each
// 2 * kWide dimensions the even ones, then the odd ones.
template <class Words, int D, int T, int R>
static inline void add_values(const float (&weights)[kTileRows][T],
                              const typename Words::Word* const* v, LeafRow<D>* rows) {
  constexpr int kSubs = dot_tokens(D), kStep = 2 * kWide * kPairsAtOnce;
  for (int sub = 0; sub < kSubs; ++sub) {
    for (int d = 0; d < D; d += kStep) {
      Wide acc[R][2 * kPairsAtOnce];
      for (int r = 0; r < R; ++r) {
        for (int i = 0; i < 2 * kPairsAtOnce; ++i) {
          acc[r][i] = Wide::load(rows[r].acc[sub] + d + i * kWide);
        }
      }
      for (int t = sub; t < T; t += kSubs) {
        Wide x[2 * kPairsAtOnce];
        for (int i = 0; i < kPairsAtOnce; ++i) {
          const Pairs pairs = pairs_of(v[t] + d + 2 * i * kWide);
          x[2 * i] = Words::even(pairs);
          x[2 * i + 1] = Words::odd(pairs);
        }
        for (int r = 0; r < R; ++r) {
          const Wide p(weights[r][t]);
          for (int i = 0; i < 2 * kPairsAtOnce; ++i) acc[r][i] = fma_of(p, x[i], acc[r][i]);
        }
      }
      for (int r = 0; r < R; ++r) {
        for (int i = 0; i < 2 * kPairsAtOnce; ++i) {
          acc[r][i].store(rows[r].acc[sub] + d + i * kWide);
        }
      }
    }
  }
}
// Where dimension d of a row's sums lies.
static inline int place_of_dim(int d) {
  const int within = d % (2 * kWide);
  return d - within + within % 2 * kWide + within / 2;
}

template <class Words, int D, int T>
struct Block {
  const typename Words::Word *k[T], *v[T];
  bool skipped[T], skips = false;  // Positions that may not be read, and whether there are any.
};

template <class Words, int D, int T, int R>
static void add_block(const LeafIn& in, int position, const Block<Words, D, T>& block,
                      LeafRow<D>* rows) {
  alignas(64) float k[D * T], scores[kTileRows][T];
  turn<Words, D, T>(block.k, k);
  scores_of<D, T, R>(in.q, k, scores);
  for (int r = 0; r < R; ++r) {
    soften<D, T>(in, r, position, block.skipped, block.skips, scores[r], rows[r]);
  }
  add_values<Words, D, T, R>(scores, block.v, rows);
}

template <class Words, int D>
static void leaf_of(const LeafIn& in, LeafOut& out) {
  constexpr int T = block_tokens(D), kSubs = dot_tokens(D);
  using Word = typename Words::Word;
  static constexpr Word kZeros[D] = {};
  using Add = void (*)(const LeafIn&, int, const Block<Words, D, T>&, LeafRow<D>*);
  static constexpr Add kAdd[kTileRows] = {add_block<Words, D, T, 1>, add_block<Words, D, T, 2>,
                                          add_block<Words, D, T, 3>, add_block<Words, D, T, 4>};
  alignas(64) LeafRow<D> rows[kTileRows];
  for (int r = 0; r < in.rows; ++r) rows[r].clear();
  for (int number = in.first_block; number < in.last_block; ++number) {
    Block<Words, D, T> block;
    for (int t = 0; t < T; ++t) {
      const int at = number * T + t;
      block.skipped[t] = in.k[at] == nullptr;
      block.skips = block.skips || block.skipped[t];
      block.k[t] = block.skipped[t] ? kZeros : static_cast<const Word*>(in.k[at]);
      block.v[t] = block.skipped[t] ? kZeros : static_cast<const Word*>(in.v[at]);
    }
    kAdd[in.rows - 1](in, in.position + number * T, block, rows);
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
    for (int d = 0; d < D; ++d) out.acc[r * D + d] = row.acc[0][place_of_dim(d)];
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

// NOLINTNEXTLINE(misc-definitions-in-headers): included once a target, within its namespace
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
