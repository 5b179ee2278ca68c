// Random draws in vector lanes. Include inside a namespace of its own per instruction set, as simd.h.

#include "cpu/simd.h"

typedef std::uint64_t vuint64 __attribute__((vector_size(kVectorBytes)));
typedef std::uint16_t vuint16_quarter __attribute__((vector_size(kVectorBytes / 4)));

constexpr int kCounters = kVectorBytes / 8;  // counters a vector holds, one in the low half of each 64-bit lane
constexpr int kInFlight = 6;                 // vectors of counters at a time: the rounds wait for their multiplies

// The product of the low halves of all 64-bit lanes.
inline vuint64 multiply_low_halves(vuint64 x, vuint64 y) {
#if defined(__AVX512F__)
    return (vuint64)_mm512_mul_epu32((__m512i)x, (__m512i)y);
#elif defined(__AVX2__)
    return (vuint64)_mm256_mul_epu32((__m256i)x, (__m256i)y);
#elif defined(__SSE2__)
    return (vuint64)_mm_mul_epu32((__m128i)x, (__m128i)y);
#elif defined(__aarch64__)
    return (vuint64)vmull_u32(vmovn_u64((uint64x2_t)x), vmovn_u64((uint64x2_t)y));
#else
    return (x & 0xffffffffu) * (y & 0xffffffffu);
#endif
}

// Four words of each counter; only the low halves of the lanes count.
struct Words {
    vuint64 w0, w1, w2, w3;
};

// counters(v) is the vector of counters number v.
template <int kVectors, class Counters>
inline void philox_words(std::uint64_t seed, Counters counters, Words (&out)[kVectors]) {
    const vuint64 m0 = vuint64{} + philox::kMultiplier0, m1 = vuint64{} + philox::kMultiplier1;
    std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
    for (int v = 0; v < kVectors; ++v) {
        const vuint64 counter = counters(v);
        out[v] = {counter, counter >> 32, vuint64{}, vuint64{}};
    }
#pragma GCC unroll 10
    for (int round = 0; round < philox::kRounds; ++round) {
        for (int v = 0; v < kVectors; ++v) {
            Words& w = out[v];
            const vuint64 p0 = multiply_low_halves(w.w0, m0), p1 = multiply_low_halves(w.w2, m1);
            w = {(p1 >> 32) ^ w.w1 ^ k0, p1, (p0 >> 32) ^ w.w3 ^ k1, p0};
        }
        k0 += philox::kWeyl0;
        k1 += philox::kWeyl1;
    }
}

// Calls batch(integral constant of vectors, first counter) over `count` counters, with fewer vectors for the rest.
template <class Batch>
inline void for_each_batch(std::int64_t count, Batch batch) {
    std::int64_t i = 0;
    for (; count - i > (kInFlight - 1) * kCounters; i += kInFlight * kCounters)
        batch(std::integral_constant<int, kInFlight>{}, i);
    switch ((count - i + kCounters - 1) / kCounters) {
        case 5:
            return batch(std::integral_constant<int, 5>{}, i);
        case 4:
            return batch(std::integral_constant<int, 4>{}, i);
        case 3:
            return batch(std::integral_constant<int, 3>{}, i);
        case 2:
            return batch(std::integral_constant<int, 2>{}, i);
        case 1:
            return batch(std::integral_constant<int, 1>{}, i);
    }
}

// Lane l of a vector holds the counter that the interleaving in draws() moves to its place.
inline vuint64 counter_order() {
    vuint64 order{};
    for (int l = 0; l < kCounters; ++l) order[l] = static_cast<std::uint64_t>(l % 2 * (kCounters / 2) + l / 2);
    return order;
}

template <int... I>
inline vuint64 interleave_low(vuint64 x, vuint64 y, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(x, y, (I % 2 * kCounters + I / 2 * 2)...);
}
template <int... I>
inline vuint64 interleave_high(vuint64 x, vuint64 y, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(x, y, (I % 2 * kCounters + I / 2 * 2 + 1)...);
}

void draws(std::uint64_t seed, std::uint64_t first, std::int64_t count, std::uint16_t* out) {
    const vuint64 order = counter_order();
    constexpr auto lanes = std::make_integer_sequence<int, kCounters>{};
    for_each_batch(count, [&](auto vectors, std::int64_t i) {
        Words words[vectors];
        const std::uint64_t base = first + static_cast<std::uint64_t>(i);
        philox_words(seed, [&](int v) { return order + (base + static_cast<std::uint64_t>(v * kCounters)); }, words);
        for (int v = 0; v < vectors; ++v) {
            const Words& w = words[v];
            const vuint64 w01 = (w.w0 & 0xffffffffu) | w.w1 << 32, w23 = (w.w2 & 0xffffffffu) | w.w3 << 32;
            std::uint16_t* to = out + (i + v * kCounters) * philox::kDraws;
            store_unaligned(to, interleave_low(w01, w23, lanes));
            store_unaligned(to + kVectorBytes / 2, interleave_high(w01, w23, lanes));
        }
    });
}

// The draws of word w of kVectors vectors of counters: the low halves to `low`, the others to `high`.
template <int kVectors>
inline void store_halves(const vuint64* w, std::uint16_t* low, std::uint16_t* high) {
#if defined(__AVX512F__)
    if constexpr (kVectors == 2) {
        static constexpr std::uint16_t kOrder[32] = {0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60,
                                                     1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45, 49, 53, 57, 61};
        const __m512i halves = _mm512_permutex2var_epi16((__m512i)w[0], _mm512_loadu_si512(kOrder), (__m512i)w[1]);
        store_unaligned(low, _mm512_castsi512_si256(halves));
        store_unaligned(high, _mm512_extracti64x4_epi64(halves, 1));
        return;
    }
#endif
    for (int v = 0; v < kVectors; ++v) {
        store_unaligned(low + v * kCounters, __builtin_convertvector(w[v], vuint16_quarter));
        store_unaligned(high + v * kCounters, __builtin_convertvector(w[v] >> 16, vuint16_quarter));
    }
}

void draws_across(std::uint64_t seed, std::uint64_t first, std::uint64_t stride, std::int64_t count, std::uint16_t* out,
                  std::int64_t pitch) {
    vuint64 steps{};
    for (int l = 0; l < kCounters; ++l) steps[l] = static_cast<std::uint64_t>(l) * stride;
    for_each_batch(count, [&](auto vectors, std::int64_t i) {
        Words words[vectors];
        const auto counters = [&](int v) {
            return steps + (first + static_cast<std::uint64_t>(i + v * kCounters) * stride);
        };
        philox_words(seed, counters, words);
        for (int v = 0; v < vectors; v += 2) {
            std::uint16_t* to = out + i + v * kCounters;
            const Words &x = words[v], &y = words[v + 1 < vectors ? v + 1 : v];
            const vuint64 pairs[4][2] = {{x.w0, y.w0}, {x.w1, y.w1}, {x.w2, y.w2}, {x.w3, y.w3}};
            for (int j = 0; j < 4; ++j) {
                if (v + 1 < vectors)
                    store_halves<2>(pairs[j], to + 2 * j * pitch, to + (2 * j + 1) * pitch);
                else
                    store_halves<1>(pairs[j], to + 2 * j * pitch, to + (2 * j + 1) * pitch);
            }
        }
    });
}
