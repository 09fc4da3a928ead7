// SPDX-License-Identifier: Apache-2.0
// Vectors of eight floats for leaf_cpu.h: one in plain C++, one for AVX2 and what contains it.
// Included within a namespace, under the target that its functions are compiled for.

static constexpr int kWide = 8;  // NOLINT(misc-definitions-in-headers)
// Vectors of pairs that a core's registers hold the sums of.
static constexpr int kPairsAtOnce = PAGETAPE_PAIRS;     // NOLINT(misc-definitions-in-headers)
static constexpr int kRegisters = 16 * PAGETAPE_PAIRS;  // NOLINT(misc-definitions-in-headers)

#ifdef PAGETAPE_WIDE_AVX2

struct Wide {
  __m256 x;
  Wide() = default;
  explicit Wide(float all) : x(_mm256_set1_ps(all)) {}
  explicit Wide(__m256 given) : x(given) {}
  static Wide load(const float* from) { return Wide(_mm256_loadu_ps(from)); }
  void store(float* to) const { _mm256_storeu_ps(to, x); }
};
static inline Wide operator+(Wide a, Wide b) { return Wide(_mm256_add_ps(a.x, b.x)); }
static inline Wide operator-(Wide a, Wide b) { return Wide(_mm256_sub_ps(a.x, b.x)); }
static inline Wide operator*(Wide a, Wide b) { return Wide(_mm256_mul_ps(a.x, b.x)); }
static inline Wide fma_of(Wide a, Wide b, Wide c) { return Wide(_mm256_fmadd_ps(a.x, b.x, c.x)); }

// 2^n, where kRound was added to n.
static inline Wide power_of(Wide t) {
  const __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(t.x), 23);
  return Wide(_mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(0x3f800000))));
}
// `value` where x >= least, else 0 (also where x is no number).
static inline Wide zero_unless_above(Wide value, Wide x, Wide least) {
  return Wide(_mm256_and_ps(value.x, _mm256_cmp_ps(x.x, least.x, _CMP_GE_OQ)));
}

static inline Wide greater(Wide a, Wide b) { return Wide(_mm256_max_ps(a.x, b.x)); }
static inline float greatest_of(Wide a) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.x), _mm256_extractf128_ps(a.x, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// Eight times two words, the first one low.
struct Pairs {
  __m256i x;
};
static inline Pairs operator<<(Pairs a, int by) { return {_mm256_slli_epi32(a.x, by)}; }
static inline Pairs operator>>(Pairs a, int by) { return {_mm256_srli_epi32(a.x, by)}; }
static inline Pairs operator&(Pairs a, std::uint32_t mask) {
  return {_mm256_and_si256(a.x, _mm256_set1_epi32(static_cast<int>(mask)))};
}
static inline Pairs pairs_of(const std::uint16_t* from) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))};
}
static inline Pairs pairs_of(const std::uint8_t* from) {
  return {_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
}
static inline Wide as_wide(Pairs a) { return Wide(_mm256_castsi256_ps(a.x)); }
// Words of a sign bit and what lies below it, whose exponents lack a bias.
static inline Wide rebiased(Pairs words, std::uint32_t sign, int by, float bias) {
  const int to_top = __builtin_clz(sign);
  const Wide x = as_wide(words << by & ~(sign << by)) * Wide(bias);
  return Wide(_mm256_or_ps(x.x, as_wide((words & sign) << to_top).x));
}

// Four pairs of each of two vectors.
static inline __m256i two_of(const std::uint16_t* a, const std::uint16_t* b) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a));
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}
static inline __m256i two_of(const std::uint8_t* a, const std::uint8_t* b) {
  const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(a));
  const __m128i high = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b));
  return _mm256_cvtepu16_epi32(_mm_unpacklo_epi64(low, high));
}
// Pair i of eight vectors' four that begin at `d` goes to row i.
template <class Word>
static inline void transpose(const Word* const* from, int d, Pairs (&rows)[4]) {
  __m256i x[4], y[4];
  for (int i = 0; i < 4; ++i) x[i] = two_of(from[i] + d, from[i + 4] + d);
  for (int i = 0; i < 4; i += 2) {
    y[i] = _mm256_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_epi32(x[i], x[i + 1]);
  }
  rows[0].x = _mm256_unpacklo_epi64(y[0], y[2]);
  rows[1].x = _mm256_unpackhi_epi64(y[0], y[2]);
  rows[2].x = _mm256_unpacklo_epi64(y[1], y[3]);
  rows[3].x = _mm256_unpackhi_epi64(y[1], y[3]);
}

#else

struct Wide {
  float x[kWide];
  Wide() = default;
  explicit Wide(float all) {
    for (float& each : x) each = all;
  }
  static Wide load(const float* from) {
    Wide out;
    std::memcpy(out.x, from, sizeof out.x);
    return out;
  }
  void store(float* to) const { std::memcpy(to, x, sizeof x); }
};
static inline Wide operator+(Wide a, Wide b) {
  for (int i = 0; i < kWide; ++i) a.x[i] += b.x[i];
  return a;
}
static inline Wide operator-(Wide a, Wide b) {
  for (int i = 0; i < kWide; ++i) a.x[i] -= b.x[i];
  return a;
}
static inline Wide operator*(Wide a, Wide b) {
  for (int i = 0; i < kWide; ++i) a.x[i] *= b.x[i];
  return a;
}
static inline Wide fma_of(Wide a, Wide b, Wide c) {
  for (int i = 0; i < kWide; ++i) c.x[i] = __builtin_fmaf(a.x[i], b.x[i], c.x[i]);
  return c;
}
static inline Wide power_of(Wide t) {
  for (float& each : t.x) each = float_of((bits_of(each) << 23) + 0x3f800000u);
  return t;
}
static inline Wide zero_unless_above(Wide value, Wide x, Wide least) {
  for (int i = 0; i < kWide; ++i) value.x[i] = x.x[i] >= least.x[i] ? value.x[i] : 0.0f;
  return value;
}
static inline Wide greater(Wide a, Wide b) {
  for (int i = 0; i < kWide; ++i) a.x[i] = std::max(a.x[i], b.x[i]);
  return a;
}
static inline float greatest_of(Wide a) { return *std::max_element(a.x, a.x + kWide); }
struct Pairs {
  std::uint32_t x[kWide];
};
static inline Pairs operator<<(Pairs a, int by) {
  for (std::uint32_t& each : a.x) each <<= by;
  return a;
}
static inline Pairs operator>>(Pairs a, int by) {
  for (std::uint32_t& each : a.x) each >>= by;
  return a;
}
static inline Pairs operator&(Pairs a, std::uint32_t mask) {
  for (std::uint32_t& each : a.x) each &= mask;
  return a;
}
template <class Word>
static inline std::uint32_t pair_of(const Word* from) {
  return std::uint32_t{from[0]} | std::uint32_t{from[1]} << 8 * sizeof(Word);
}
template <class Word>
static inline Pairs pairs_of(const Word* from) {
  Pairs out;
  for (int i = 0; i < kWide; ++i) out.x[i] = pair_of(from + 2 * i);
  return out;
}
static inline Wide as_wide(Pairs a) {
  Wide out;
  std::memcpy(out.x, a.x, sizeof out.x);
  return out;
}
static inline Wide rebiased(Pairs words, std::uint32_t sign, int by, float bias) {
  const Wide x = as_wide(words << by & ~(sign << by)) * Wide(bias);
  const Pairs tops = (words & sign) << __builtin_clz(sign);
  Wide out;
  for (int i = 0; i < kWide; ++i) out.x[i] = float_of(bits_of(x.x[i]) | tops.x[i]);
  return out;
}
template <class Word>
static inline void transpose(const Word* const* from, int d, Pairs (&rows)[4]) {
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 8; ++j) rows[i].x[j] = pair_of(from[j] + d + 2 * i);
  }
}

#endif
