// Inner loops of StaticDropout. Compiled once per instruction set with SDFAST_ISA_NAME set to a namespace, and without
// fused multiply-add: every instruction set must draw the same elements.
#include "cpu/static_dropout_lanes.h"

#include <cstring>
#include <type_traits>
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

#include "cpu/draw_lanes.h"

typedef std::int32_t vint32_half __attribute__((vector_size(kVectorBytes / 2)));

constexpr int kFloats = kVectorBytes / 4;

#define SDFAST_INLINE __attribute__((always_inline))

// GCC 12 takes a function that only prefetches for one without effect, unless it is inlined from the start.
SDFAST_INLINE inline void fetch_line(const Fetch& fetch, std::int64_t offset) {
    if (offset >= fetch.bytes) return;
    __builtin_prefetch(fetch.x + offset, 0, 2);
    if (fetch.out) __builtin_prefetch(fetch.out + offset, 1, 2);
}

// What happens to kFloats elements: bits to keep, and the factor of what is kept.
struct Verdict {
    vint32 keep;
    vfloat scale;
};

// Round half to even, for 0 <= x <= 65536: the sum has no bits left below one.
inline vint32 rounded(vfloat x) { return (vint32)(x + 0x1p23f) - 0x4b000000; }

inline vfloat scale_of(vint32 threshold) { return 65536.0f / __builtin_convertvector(65536 - threshold, vfloat); }

// Marks of kFloats elements, all bits of an element alike.
inline vint32 marks_at(const std::uint8_t* marks, std::int64_t first) {
    std::uint32_t bits;
    std::memcpy(&bits, marks + first / 8, sizeof bits);
    bits >>= first % 8;
#if defined(__AVX512F__)
    return (vint32)_mm512_movm_epi32(static_cast<__mmask16>(bits));
#else
    vint32 own{};
    for (int i = 0; i < kFloats; ++i) own[i] = 1 << i;
    return (own & static_cast<std::int32_t>(bits)) != 0;
#endif
}

// kShared: one draw for all.
template <bool kShared, Rates kRates>
inline Verdict judge(const Decision& d, std::int64_t i, vint32 shared_draw, Verdict full) {
    const vint32 draw = kShared ? shared_draw : (vint32)widen_words(d.draws + i);
    if (kRates == Rates::none) return {draw >= full.keep, full.scale};
    if (kRates == Rates::binary) {
        const vint32 marked = marks_at(d.marks, d.first_mark + i);
        return {draw >= (full.keep & marked), marked ? full.scale : vfloat{} + 1.0f};
    }
    if (kRates == Rates::given)
        return {draw >= load_unaligned<vint32>(d.thresholds + i), load_unaligned<vfloat>(d.scales + i)};
    const vint32 threshold = rounded(d.rate * load_unaligned<vfloat>(d.factors + i));
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

// Its upper halves are x as bfloat16, to the nearest, ties to even. A NaN that came from a bfloat16 has no low bits
// that could carry into its exponent.
inline vuint32 rounded_to_upper_half(vfloat x) {
    const vuint32 bits = (vuint32)x;
    return bits + 0x7fff + (bits >> 16 & 1);
}

inline vuint16_half narrowed(const BFloat16&, vfloat x) {
    return narrow_words((vint32)(rounded_to_upper_half(x) >> 16));
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
    void store_past_caches(T* to) const { store(to); }  // half a vector at a time gains nothing
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
    void store_past_caches(float* to) const { SDFAST_ISA_NAME::store_past_caches(to, values); }
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
    void store_past_caches(double* to) const {
        SDFAST_ISA_NAME::store_past_caches(to, values[0]);
        SDFAST_ISA_NAME::store_past_caches(to + kCounters, values[1]);
    }
};

inline bool is_aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % kVectorBytes == 0; }

// Writes outcome(i), of `step` elements from i on, to a whole run. The last vector ends with the run: it is read
// before, and written after, those that it overlaps.
template <std::int64_t step, class T, class Outcome>
SDFAST_INLINE inline void write_run(T* out, std::int64_t length, const Decision& d, Outcome outcome) {
    constexpr std::int64_t item = sizeof(T);
    const bool past_caches = d.past_caches && is_aligned(out);
    const auto write = [&](const auto& elements, std::int64_t i, bool aligned) SDFAST_INLINE {
        if (past_caches && aligned)
            elements.store_past_caches(out + i);
        else
            elements.store(out + i);
    };
    const std::int64_t last = length - step;
    fetch_line(d.fetch, last * item);
    const auto end = outcome(last);
    for (std::int64_t i = 0; i < last; i += step) {
        fetch_line(d.fetch, i * item);
        write(outcome(i), i, true);
    }
    write(end, last, is_aligned(out + last));
}

// The decision comes by value: what is stored could change one behind a reference.
template <class T, bool kShared, Rates kRates>
SDFAST_INLINE inline void apply_run(const T* x, T* out, std::int64_t length, Decision d) {
    const vint32 shared_draw = vint32{} + d.draw;
    const vint32 threshold = rounded(vfloat{} + d.rate);
    const Verdict full = {threshold, scale_of(threshold)};
    write_run<kFloats>(out, length, d, [&](std::int64_t i) SDFAST_INLINE {
        Elements<T> elements(x + i);
        elements.drop(judge<kShared, kRates>(d, i, shared_draw, full), d.rescale);
        return elements;
    });
}

// A vector of 16-bit elements.
struct Halves {
    vuint16 words;

    template <class T>
    void store(T* to) const {
        store_unaligned(to, words);
    }
    template <class T>
    void store_past_caches(T* to) const {
        SDFAST_ISA_NAME::store_past_caches(to, words);
    }
};

// A scale that is a power of two, as that of p = 0.5 is, leaves nothing to round.
template <bool kRounds>
inline vuint16 scaled(vuint16 bfloat16s, vfloat scale) {
    const auto bits = [](vfloat v) { return kRounds ? rounded_to_upper_half(v) : (vuint32)v; };
    const vuint32 pairs = (vuint32)bfloat16s;
    const vuint32 low = bits((vfloat)(pairs << 16) * scale);
    const vuint32 high = bits((vfloat)(pairs & 0xffff0000u) * scale);
    return (vuint16)(low >> 16 | (high & 0xffff0000u));
}

// The same of 16-bit elements at one rate: a draw is compared as it lies. Only bfloat16 is scaled here.
template <class T, bool kShared>
SDFAST_INLINE inline void apply_halves(const T* x, T* out, std::int64_t length, Decision d) {
    const std::int32_t threshold = rounded(vfloat{} + d.rate)[0];
    if (threshold == 0) {
        if (x != out) std::memcpy(out, x, static_cast<std::size_t>(length) * sizeof(T));
        return;
    }
    const vuint16 last_dropped = vuint16{} + static_cast<std::uint16_t>(threshold - 1);
    const vuint16 shared_draw = vuint16{} + d.draw;
    const vfloat scale = scale_of(vint32{} + threshold);
    const auto write = [&](auto change) SDFAST_INLINE {
        write_run<kVectorBytes / 2>(out, length, d, [&](std::int64_t i) SDFAST_INLINE {
            const vuint16 draws = kShared ? shared_draw : load_unaligned<vuint16>(d.draws + i);
            return Halves{change(load_unaligned<vuint16>(x + i)) & (vuint16)(draws > last_dropped)};
        });
    };
    if (!d.rescale)
        write([](vuint16 words) SDFAST_INLINE { return words; });
    else if (((vuint32)scale)[0] << 9 == 0)
        write([=](vuint16 words) SDFAST_INLINE { return scaled<false>(words, scale); });
    else
        write([=](vuint16 words) SDFAST_INLINE { return scaled<true>(words, scale); });
}

// Runs shorter than a vector, through padded copies.
template <class T, bool kShared, Rates kRates>
inline void apply_short(const T* x, T* out, std::int64_t length, const Decision& d) {
    T values[kFloats] = {};
    std::uint16_t draws[kFloats] = {};
    float factors[kFloats] = {};
    std::int32_t thresholds[kFloats] = {};
    const auto count = static_cast<std::size_t>(length);
    std::memcpy(values, x, count * sizeof(T));
    if (!kShared) std::memcpy(draws, d.draws, count * sizeof(std::uint16_t));
    if (kRates == Rates::varied) std::memcpy(factors, d.factors, count * sizeof(float));
    if (kRates == Rates::given) {
        std::memcpy(thresholds, d.thresholds, count * sizeof(std::int32_t));
        std::memcpy(factors, d.scales, count * sizeof(float));
    }
    Decision padded = d;
    padded.draws = draws;
    padded.factors = padded.scales = factors;
    padded.thresholds = thresholds;
    padded.past_caches = false;
    padded.fetch = {};
    apply_run<T, kShared, kRates>(values, values, kFloats, padded);
    std::memcpy(out, values, count * sizeof(T));
}

template <class T, bool kShared, Rates kRates>
SDFAST_INLINE inline void apply_any(const T* x, T* out, std::int64_t length, const Decision& d) {
    constexpr bool kBFloat16 = std::is_same_v<T, BFloat16>;
    constexpr bool kHalves = kRates == Rates::none && (kBFloat16 || std::is_same_v<T, Half>);
    if (kHalves && length >= kVectorBytes / 2 && (kBFloat16 || !d.rescale))
        apply_halves<T, kShared>(x, out, length, d);
    else if (length >= kFloats)
        apply_run<T, kShared, kRates>(x, out, length, d);
    else
        apply_short<T, kShared, kRates>(x, out, length, d);
}

template <class T>
void apply(const void* from, void* to, std::int64_t length, const Decision& d) {
    using Run = decltype(&apply_any<T, true, Rates::none>);
    static constexpr Run kRuns[2][4] = {{apply_any<T, false, Rates::none>, apply_any<T, false, Rates::binary>,
                                         apply_any<T, false, Rates::varied>, apply_any<T, false, Rates::given>},
                                        {apply_any<T, true, Rates::none>, apply_any<T, true, Rates::binary>,
                                         apply_any<T, true, Rates::varied>, apply_any<T, true, Rates::given>}};
    kRuns[d.draws ? 0 : 1][static_cast<int>(d.rates)](static_cast<const T*>(from), static_cast<T*>(to), length, d);
}

// Draws that are made at a time: few, so that the core reaches the memory's next piece while it still computes.
template <class T>
constexpr std::int64_t kDrawn = (sizeof(T) == 2 ? 2 : 1) * kInFlight * kCounters * philox::kDraws;

template <class T, Rates kRates>
void drop_any(const T* x, T* out, std::int64_t length, Decision d) {
    alignas(kVectorBytes) std::uint16_t buffer[kDrawn<T> + kDrawSlack];
    std::int64_t skipped = static_cast<std::int64_t>(d.first % philox::kDraws);
    std::uint64_t counter = d.first / philox::kDraws;
    while (length > 0) {
        const std::int64_t count = length < kDrawn<T> - skipped ? length : kDrawn<T> - skipped;
        draws(d.seed, counter, (skipped + count + philox::kDraws - 1) / philox::kDraws, buffer);
        d.draws = buffer + skipped;
        apply_any<T, false, kRates>(x, out, count, d);
        x += count;
        out += count;
        length -= count;
        d.first_mark += count;
        if (kRates == Rates::varied) d.factors += count;
        if (kRates == Rates::given) d.thresholds += count, d.scales += count;
        const auto bytes = count * static_cast<std::int64_t>(sizeof(T));
        d.fetch.x += bytes;
        if (d.fetch.out) d.fetch.out += bytes;
        d.fetch.bytes -= bytes;
        counter += kDrawn<T> / philox::kDraws;
        skipped = 0;
    }
}

template <class T>
void drop(const void* from, void* to, std::int64_t length, const Decision& d) {
    using Run = decltype(&drop_any<T, Rates::none>);
    static constexpr Run kRuns[4] = {drop_any<T, Rates::none>, drop_any<T, Rates::binary>, drop_any<T, Rates::varied>,
                                     drop_any<T, Rates::given>};
    kRuns[static_cast<int>(d.rates)](static_cast<const T*>(from), static_cast<T*>(to), length, d);
}

}  // namespace

extern const StaticDropoutKernels kStaticDropoutKernels;
const StaticDropoutKernels kStaticDropoutKernels = {draws,
                                                    draws_across,
                                                    {apply<double>, apply<float>, apply<Half>, apply<BFloat16>},
                                                    {drop<double>, drop<float>, drop<Half>, drop<BFloat16>}};

}  // namespace sdfast::cpu::SDFAST_ISA_NAME
