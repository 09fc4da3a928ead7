// SPDX-License-Identifier: Apache-2.0
// Vectors of eight floats for leaf_cpu.h: one in plain C++, one for AVX2 and what contains it.
// Included within a namespace, under the target that its functions are compiled for.

static constexpr int kWide = 8;  // NOLINT(misc-definitions-in-headers)

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

static inline __m256i words_of(const std::uint16_t* from) {
  return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
static inline __m256i words_of(const std::uint8_t* from) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}
// Words as the upper bits of floats.
template <class Word>
static inline Wide shifted(const Word* from, int by) {
  return Wide(_mm256_castsi256_ps(_mm256_slli_epi32(words_of(from), by)));
}
// Words of a sign bit and what lies below it, whose exponents lack a bias.
template <class Word>
static inline Wide rebiased(const Word* from, int sign, int by, float bias) {
  const __m256i words = words_of(from), signs = _mm256_set1_epi32(sign);
  const __m256i magnitudes = _mm256_slli_epi32(_mm256_andnot_si256(signs, words), by);
  const __m256 x = _mm256_mul_ps(_mm256_castsi256_ps(magnitudes), _mm256_set1_ps(bias));
  const int to_top = 31 - __builtin_ctz(static_cast<unsigned>(sign));
  const __m256i tops = _mm256_slli_epi32(_mm256_and_si256(words, signs), to_top);
  return Wide(_mm256_or_ps(x, _mm256_castsi256_ps(tops)));
}

// Row i of eight goes to element i of rows that are `stride` apart.
static inline void transpose(Wide (&rows)[8], float* to, int stride) {
  __m256 s[8], r[8];
  for (int i = 0; i < 8; i += 2) {
    s[i] = _mm256_unpacklo_ps(rows[i].x, rows[i + 1].x);
    s[i + 1] = _mm256_unpackhi_ps(rows[i].x, rows[i + 1].x);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(to + i * stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(to + (i + 4) * stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
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
template <class Word>
static inline Wide shifted(const Word* from, int by) {
  Wide out;
  for (int i = 0; i < kWide; ++i) out.x[i] = float_of(std::uint32_t{from[i]} << by);
  return out;
}
template <class Word>
static inline Wide rebiased(const Word* from, int sign, int by, float bias) {
  const int to_top = 31 - __builtin_ctz(static_cast<unsigned>(sign));
  Wide out;
  for (int i = 0; i < kWide; ++i) {
    const std::uint32_t word = from[i], top = word & static_cast<std::uint32_t>(sign);
    const float x = float_of((word ^ top) << by) * bias;
    out.x[i] = float_of(bits_of(x) | top << to_top);
  }
  return out;
}
static inline void transpose(Wide (&rows)[8], float* to, int stride) {
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < 8; ++j) to[j * stride + i] = rows[i].x[j];
  }
}

#endif
