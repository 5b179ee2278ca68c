// Inner loops of StaticDropout. Compiled once per instruction set with SDFAST_ISA_NAME set to a namespace, and without
// fused multiply-add: every instruction set must draw the same elements.
#include "cpu/dropout_lanes.h"

#include <cstring>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "core/dtype.h"
#include "core/philox.h"

namespace sdfast::cpu::SDFAST_ISA_NAME {
namespace {

#include "cpu/simd.h"

typedef std::uint64_t vuint64 __attribute__((vector_size(kVectorBytes)));
typedef std::uint16_t vuint16_quarter __attribute__((vector_size(kVectorBytes / 4)));
typedef std::int32_t vint32_half __attribute__((vector_size(kVectorBytes / 2)));

constexpr int kCounters = kVectorBytes / 8;  // counters a vector holds, one in the low half of each 64-bit lane
constexpr int kInFlight = 6;                 // vectors of counters at a time: the rounds wait for their multiplies
constexpr int kFloats = kVectorBytes / 4;

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
    for (int round = 0; round < philox::kRounds; ++round, k0 += philox::kWeyl0, k1 += philox::kWeyl1) {
        for (int v = 0; v < kVectors; ++v) {
            Words& w = out[v];
            const vuint64 p0 = multiply_low_halves(w.w0, m0), p1 = multiply_low_halves(w.w2, m1);
            w = {(p1 >> 32) ^ w.w1 ^ k0, p1, (p0 >> 32) ^ w.w3 ^ k1, p0};
        }
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

// What happens to kFloats elements: bits to keep, and the factor of what is kept.
struct Verdict {
    vint32 keep;
    vfloat scale;
};

// Round half to even, for 0 <= x <= 65536: the sum has no bits left below one.
inline vint32 rounded(vfloat x) { return (vint32)(x + 0x1p23f) - 0x4b000000; }

inline vfloat scale_of(vint32 threshold) { return 65536.0f / __builtin_convertvector(65536 - threshold, vfloat); }

// kShared: one draw for all.
template <bool kShared, Rates kRates>
inline Verdict judge(const Decision& d, std::int64_t i, vint32 shared_draw, Verdict full) {
    const vint32 draw = kShared ? shared_draw : (vint32)widen_words(d.draws + i);
    if (kRates == Rates::none) return {draw >= full.keep, full.scale};
    const vfloat rates = load_unaligned<vfloat>(d.factors + i);
    if (kRates == Rates::binary) {
        const vint32 marked = rates != 0;
        return {draw >= (full.keep & marked), marked ? full.scale : vfloat{} + 1.0f};
    }
    const vint32 threshold = rounded(d.rate * rates);
    return {draw >= threshold, d.rescale ? scale_of(threshold) : vfloat{} + 1.0f};
}

inline vuint16_half narrow_words(vint32 v) {
#if defined(__AVX512F__)
    return (vuint16_half)_mm512_cvtepi32_epi16((__m512i)v);
#else
    return __builtin_convertvector((vuint32)v, vuint16_half);
#endif
}

inline vfloat widen(const BFloat16&, vuint16_half words) { return widen_bfloat16(&words); }
inline vfloat widen(const Half&, vuint16_half words) { return widen_half(&words); }

// To the nearest, ties to even.
inline vuint16_half narrowed(const BFloat16&, vfloat x) {
    const vint32 bits = (vint32)x;
    const vint32 rounded = bits + 0x7fff + (bits >> 16 & 1);
#if defined(__AVX512F__)
    const __mmask16 nan = _mm512_cmpgt_epi32_mask((__m512i)(bits & 0x7fffffff), _mm512_set1_epi32(0x7f800000));
    const __m512i kept = _mm512_mask_or_epi32((__m512i)rounded, nan, (__m512i)bits, _mm512_set1_epi32(0x400000));
    return narrow_words((vint32)_mm512_srli_epi32(kept, 16));
#endif
    return narrow_words(((bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : rounded) >> 16 & 0xffff);
}

inline vuint16_half narrowed(const Half&, vfloat x) {
#if defined(__AVX512F__)
    return (vuint16_half)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__F16C__)
    return (vuint16_half)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__aarch64__)
    return (vuint16_half)vcvt_f16_f32((float32x4_t)x);
#else
    const vint32 bits = (vint32)x, magnitude = bits & 0x7fffffff;
    // Halves below 2^-14 have a fixed step of 2^-24: adding 1/2 leaves just those bits, rounded.
    const vint32 small = (vint32)((vfloat)magnitude + 0.5f) - 0x3f000000;
    const vint32 normal = (magnitude - (112 << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    const vint32 finite = magnitude < (113 << 23) ? small : normal;
    const vint32 large = 0x7c00 | ((magnitude > 0x7f800000) & 0x200);
    return narrow_words((bits >> 16 & 0x8000) | (magnitude >= (143 << 23) ? large : finite));
#endif
}

// kFloats elements in registers, so that what is stored early cannot spoil what is read late. Here of the halves,
// which stay as they are where nothing is scaled.
template <class T>
struct Elements {
    vuint16_half words;

    explicit Elements(const T* from) : words(load_unaligned<vuint16_half>(from)) {}
    void drop(const Verdict& verdict, bool rescale) {
        if (rescale)
            words = narrowed(T{}, (vfloat)((vint32)(widen(T{}, words) * verdict.scale) & verdict.keep));
        else
            words &= narrow_words(verdict.keep);
    }
    void store(T* to) const { store_unaligned(to, words); }
};

template <>
struct Elements<float> {
    vfloat values;

    explicit Elements(const float* from) : values(load_unaligned<vfloat>(from)) {}
    void drop(const Verdict& verdict, bool rescale) {
        if (rescale) values *= verdict.scale;
        values = (vfloat)((vint32)values & verdict.keep);
    }
    void store(float* to) const { store_unaligned(to, values); }
};

template <>
struct Elements<double> {
    vdouble values[2];

    explicit Elements(const double* from)
        : values{load_unaligned<vdouble>(from), load_unaligned<vdouble>(from + kCounters)} {}
    void drop(const Verdict& verdict, bool rescale) {
        const vdouble scales[2] = {low_half(verdict.scale), high_half(verdict.scale)};
        vint32_half keep[2];
        std::memcpy(keep, &verdict.keep, sizeof keep);
        for (int h = 0; h < 2; ++h) {
            if (rescale) values[h] *= scales[h];
            values[h] = (vdouble)((vint64)values[h] & __builtin_convertvector(keep[h], vint64));
        }
    }
    void store(double* to) const {
        store_unaligned(to, values[0]);
        store_unaligned(to + kCounters, values[1]);
    }
};

// The decision comes by value: what is stored could change one behind a reference.
template <class T, bool kShared, Rates kRates>
inline void apply_run(const T* x, T* out, std::int64_t length, Decision d) {
    const vint32 shared_draw = vint32{} + d.draw;
    const vint32 threshold = rounded(vfloat{} + d.rate);
    const Verdict full = {threshold, scale_of(threshold)};
    // The last vector ends with the run: it is read before, and written after, those that it overlaps.
    const std::int64_t last = length - kFloats;
    Elements<T> end(x + last);
    end.drop(judge<kShared, kRates>(d, last, shared_draw, full), d.rescale);
    const T* next = static_cast<const T*>(d.next);
    const T* next_out = static_cast<const T*>(d.next_out);
    for (std::int64_t i = 0; i < last; i += kFloats) {
        if (next) __builtin_prefetch(next + i, 0, 2);
        if (next_out) __builtin_prefetch(next_out + i, 1, 2);
        Elements<T> elements(x + i);
        elements.drop(judge<kShared, kRates>(d, i, shared_draw, full), d.rescale);
        elements.store(out + i);
    }
    end.store(out + last);
}

// Runs shorter than a vector, through padded copies.
template <class T, bool kShared, Rates kRates>
inline void apply_short(const T* x, T* out, std::int64_t length, const Decision& d) {
    T values[kFloats] = {};
    std::uint16_t draws[kFloats] = {};
    float factors[kFloats] = {};
    const auto count = static_cast<std::size_t>(length);
    std::memcpy(values, x, count * sizeof(T));
    if (!kShared) std::memcpy(draws, d.draws, count * sizeof(std::uint16_t));
    if (kRates != Rates::none) std::memcpy(factors, d.factors, count * sizeof(float));
    apply_run<T, kShared, kRates>(values, values, kFloats,
                                  {draws, d.draw, d.rate, d.rates, factors, d.rescale, nullptr, nullptr});
    std::memcpy(out, values, count * sizeof(T));
}

template <class T, bool kShared, Rates kRates>
void apply_any(const T* x, T* out, std::int64_t length, const Decision& d) {
    if (length >= kFloats)
        apply_run<T, kShared, kRates>(x, out, length, d);
    else
        apply_short<T, kShared, kRates>(x, out, length, d);
}

template <class T>
void apply(const void* from, void* to, std::int64_t length, const Decision& d) {
    using Run = decltype(&apply_any<T, true, Rates::none>);
    static constexpr Run kRuns[2][3] = {
        {apply_any<T, false, Rates::none>, apply_any<T, false, Rates::binary>, apply_any<T, false, Rates::varied>},
        {apply_any<T, true, Rates::none>, apply_any<T, true, Rates::binary>, apply_any<T, true, Rates::varied>}};
    kRuns[d.draws ? 0 : 1][static_cast<int>(d.rates)](static_cast<const T*>(from), static_cast<T*>(to), length, d);
}

}  // namespace

extern const DropoutKernels kDropoutKernels;
const DropoutKernels kDropoutKernels = {
    draws, draws_across, {apply<double>, apply<float>, apply<Half>, apply<BFloat16>}};

}  // namespace sdfast::cpu::SDFAST_ISA_NAME
