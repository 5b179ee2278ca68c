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

inline void store_low_words(std::uint16_t* to, vuint64 v) {
#if defined(__AVX512F__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi64_epi16((__m512i)v));
#else
    store_unaligned(to, __builtin_convertvector(v, vuint16_quarter));
#endif
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
        for (int v = 0; v < vectors; ++v) {
            const vuint64 all[4] = {words[v].w0, words[v].w1, words[v].w2, words[v].w3};
            std::uint16_t* to = out + i + v * kCounters;
            for (int j = 0; j < 4; ++j) {
                store_low_words(to + 2 * j * pitch, all[j]);
                store_low_words(to + (2 * j + 1) * pitch, all[j] >> 16);
            }
        }
    });
}
