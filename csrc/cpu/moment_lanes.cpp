// Inner loops over co-moments. Compiled once per instruction set with SDFAST_ISA_NAME set to a namespace.
#include "cpu/moment_lanes.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace sdfast::cpu::SDFAST_ISA_NAME {
namespace {

#include "cpu/simd.h"

constexpr std::int64_t kLanes = kVectorBytes / 8;
constexpr std::int64_t kTogether = 4;  // vectors: rows of groups are pages apart, and a piece of each is read at once

struct Moments {
    vdouble count, mean_a, mean_b, m2_a, m2_b, c_ab;
};

// Chan's formula, as Comoments::operator+= has it, without its branches: where a side is empty the other one is left.
inline Moments merged(const Moments& one, const Moments& other) {
    const vdouble total = one.count + other.count;
    const vdouble share = other.count / (total > 0 ? total : vdouble{} + 1);
    const vdouble gap_a = other.mean_a - one.mean_a, gap_b = other.mean_b - one.mean_b;
    const vdouble weight = one.count * share, weighted_a = gap_a * weight, weighted_b = gap_b * weight;
    return {total,
            one.mean_a + gap_a * share,
            one.mean_b + gap_b * share,
            one.m2_a + other.m2_a + gap_a * weighted_a,
            one.m2_b + other.m2_b + gap_b * weighted_b,
            one.c_ab + other.c_ab + gap_a * weighted_b};
}

inline vdouble load_lanes(const double* from, std::int64_t count) {
    if (count >= kLanes) return load_unaligned<vdouble>(from);
    vdouble v{};
    std::memcpy(&v, from, static_cast<std::size_t>(count) * sizeof(double));
    return v;
}

inline void store_lanes(double* to, vdouble v, std::int64_t count) {
    if (count >= kLanes) return store_unaligned(to, v);
    std::memcpy(to, &v, static_cast<std::size_t>(count) * sizeof(double));
}

inline Moments load_moments(const double* from, std::int64_t gap, std::int64_t count) {
    const auto row = [=](std::int64_t k) { return load_lanes(from + k * gap, count); };
    return {row(0), row(1), row(2), row(3), row(4), row(5)};
}

inline void store_moments(double* to, std::int64_t gap, const Moments& m, std::int64_t count) {
    const vdouble rows[6] = {m.count, m.mean_a, m.mean_b, m.m2_a, m.m2_b, m.c_ab};
    for (std::int64_t k = 0; k < 6; ++k) store_lanes(to + k * gap, rows[k], count);
}

struct Centred {
    vdouble shift_a, shift_b, m2_a, m2_b, c_ab;  // the shifts are the means
};

inline Centred centred_at(const SumRows& from, std::int64_t c, std::int64_t count) {
    const auto sum = [&](std::int64_t k) { return load_lanes(from.sums + k * from.pitch + c, count); };
    const vdouble a = sum(0), b = sum(1), gap_a = a / from.count, gap_b = b / from.count;
    const vdouble m2_a = sum(2) - a * gap_a, m2_b = sum(3) - b * gap_b;
    // A sum of squares below zero is rounding; the comparison lets NaN through.
    return {load_lanes(from.shift_a + c, count) + gap_a, load_lanes(from.shift_b + c, count) + gap_b,
            m2_a < 0 ? vdouble{} : m2_a, m2_b < 0 ? vdouble{} : m2_b, sum(4) - a * gap_b};
}

void centred(const SumRows& from, std::int64_t channels, MomentRows<double> out) {
    for (std::int64_t c = 0; c < channels; c += kLanes) {
        const Centred m = centred_at(from, c, channels - c);
        store_moments(out.data + c, out.gap, {vdouble{} + from.count, m.shift_a, m.shift_b, m.m2_a, m.m2_b, m.c_ab},
                      channels - c);
    }
}

inline vdouble as_float(vdouble v) { return widen(__builtin_convertvector(v, vfloat_half)); }

void recentre(const SumRows& sums, std::int64_t channels, bool to_float) {
    for (std::int64_t c = 0; c < channels; c += kLanes) {
        const std::int64_t own = channels - c;
        const Centred m = centred_at(sums, c, own);
        const vdouble shift_a = to_float ? as_float(m.shift_a) : m.shift_a;
        const vdouble shift_b = to_float ? as_float(m.shift_b) : m.shift_b;
        const vdouble gap_a = m.shift_a - shift_a, gap_b = m.shift_b - shift_b;
        const vdouble a = sums.count * gap_a, b = sums.count * gap_b;
        const vdouble now[] = {a, b, m.m2_a + a * gap_a, m.m2_b + b * gap_b, m.c_ab + a * gap_b};
        store_lanes(sums.shift_a + c, shift_a, own);
        store_lanes(sums.shift_b + c, shift_b, own);
        for (std::int64_t k = 0; k < 5; ++k) store_lanes(sums.sums + k * sums.pitch + c, now[k], own);
    }
}

void merge(MomentRows<double> to, MomentRows<const double> from, std::int64_t channels) {
    for (std::int64_t c = 0; c < channels; c += kLanes) {
        const Moments one = load_moments(to.data + c, to.gap, channels - c);
        const Moments other = load_moments(from.data + c, from.gap, channels - c);
        store_moments(to.data + c, to.gap, merged(one, other), channels - c);
    }
}

bool are_finite_from(const double* values, std::int64_t count, double low) {
    constexpr double kMost = std::numeric_limits<double>::max();
    vint64 good = vint64{} - 1;
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        const vdouble v = load_unaligned<vdouble>(values + i);
        good &= (vint64)(v >= low) & (vint64)(v <= kMost);
    }
    bool all = true;
    for (int l = 0; l < kLanes; ++l) all = all && good[l] != 0;
    for (; i < count; ++i) all = all && values[i] >= low && values[i] <= kMost;
    return all;
}

inline vdouble square_root(vdouble v) {
#if defined(__AVX512F__)
    return (vdouble)_mm512_sqrt_pd((__m512d)v);
#elif defined(__AVX2__)
    return (vdouble)_mm256_sqrt_pd((__m256d)v);
#elif defined(__SSE2__)
    return (vdouble)_mm_sqrt_pd((__m128d)v);
#else
    for (int l = 0; l < kLanes; ++l) v[l] = std::sqrt(v[l]);
    return v;
#endif
}

// As sdfast::correlation, which says why.
inline vdouble correlation_of(const Moments& m, Kind kind) {
    const vdouble zero{}, one = zero + 1;
    vdouble covariance = m.c_ab, scale;
    if (kind == Kind::pearson) {
        const vdouble m2_b = m.m2_b == 0 ? one : m.m2_b;
        scale = m.m2_b == 0 ? zero : square_root(m.m2_a / m2_b) * m2_b;
    } else {
        const vdouble half = (m.mean_a - m.mean_b) / 2, count = m.count > 0 ? m.count : one;
        covariance = m.c_ab / count - half * half;
        scale = (m.m2_a + m.m2_b) / (2 * count) + half * half;
    }
    vdouble corr = covariance / (scale == 0 ? one : scale);
    corr = corr > 1 ? one : corr < -1 ? -one : corr;
    const vdouble unknown = zero + NAN;
    corr = scale == 0 ? (covariance == covariance ? zero : unknown) : corr;
    return m.count < 2 ? unknown : corr;
}

// Calls write(k, c, channels from c on, moments) for all groups but the k-th, and before that whole(c, channels from c
// on, moments) for all groups. What comes before a group and what comes after it is merged; nothing is subtracted.
template <class Write, class Whole>
inline void without_each(GroupedRows<const double> from, std::int64_t channels, double* scratch, Write write,
                         Whole whole) {
    constexpr std::int64_t kGroup = 12 * kLanes;  // of the scratch: its own moments, and of those before it
    const std::int64_t vectors = (channels + kLanes - 1) / kLanes;
    Moments before[kTogether] = {}, after[kTogether] = {};
    for (std::int64_t k = 0; k < from.groups; ++k)
        for (std::int64_t v = 0; v < vectors; ++v) {
            double* const kept = scratch + (k * kTogether + v) * kGroup;
            const std::int64_t c = v * kLanes;
            const Moments group = load_moments(from.data + k * from.stride + c, from.gap, channels - c);
            store_moments(kept, kLanes, group, kLanes);
            store_moments(kept + kGroup / 2, kLanes, before[v], kLanes);
            before[v] = merged(before[v], group);
        }
    for (std::int64_t v = 0; v < vectors; ++v) whole(v * kLanes, channels - v * kLanes, before[v]);
    for (std::int64_t k = from.groups; k-- > 0;)
        for (std::int64_t v = 0; v < vectors; ++v) {
            const double* const kept = scratch + (k * kTogether + v) * kGroup;
            const Moments earlier = load_moments(kept + kGroup / 2, kLanes, kLanes);
            write(k, v * kLanes, channels - v * kLanes, merged(earlier, after[v]));
            after[v] = merged(load_moments(kept, kLanes, kLanes), after[v]);
        }
}

void leave_one_out(GroupedRows<const double> from, std::int64_t channels, double* scratch, GroupedRows<double> out) {
    const auto write = [=](std::int64_t k, std::int64_t c, std::int64_t own, const Moments& m) {
        store_moments(out.data + k * out.stride + c, out.gap, m, own);
    };
    without_each(from, channels, scratch, write, [](std::int64_t, std::int64_t, const Moments&) {});
}

void correlations_without(GroupedRows<const double> from, std::int64_t channels, double* scratch, Kind kind,
                          MomentRows<double> total, double* out, std::int64_t stride) {
    const auto write = [=](std::int64_t k, std::int64_t c, std::int64_t own, const Moments& m) {
        store_lanes(out + k * stride + c, correlation_of(m, kind), own);
    };
    without_each(from, channels, scratch, write, [=](std::int64_t c, std::int64_t own, const Moments& m) {
        store_moments(total.data + c, total.gap, m, own);
        write(from.groups, c, own, m);
    });
}

void deviations(const double* values, std::int64_t rows, std::int64_t columns, std::int64_t stride, double* out) {
    for (std::int64_t c = 0; c < columns; c += kLanes) {
        const std::int64_t own = columns - c;
        const auto value = [=](std::int64_t r) { return load_lanes(values + r * stride + c, own); };
        vdouble sum{}, squares{}, fourths{}, largest{};
        for (std::int64_t r = 0; r < rows; ++r) sum += value(r);
        const vdouble mean = sum / static_cast<double>(rows);
        for (std::int64_t r = 0; r < rows; ++r) {
            const vdouble gap = value(r) - mean, square = gap * gap;
            squares += square;
            fourths += square * square;
            largest = square > largest ? square : largest;
        }
        const vdouble found[] = {mean, squares, fourths, largest};
        for (std::int64_t k = 0; k < 4; ++k) store_lanes(out + k * stride + c, found[k], own);
    }
}

template <class T>
void scores(const T* samples, std::int64_t channels, Scaling<T> by, T* __restrict out) {
    for (std::int64_t c = 0; c < channels; ++c) {
        T sample;  // may lie at any address
        std::memcpy(&sample, samples + c, sizeof sample);
        out[c] = (sample - by.centre[c]) * by.scale[c] + by.rest[c];
    }
}

inline vdouble magnitude(vdouble v) { return v < 0 ? -v : v; }

void resampled_correlations(const double* sums, std::int64_t draws, std::int64_t channels, const double* origin,
                            std::int64_t groups, Kind kind, double* out) {
    // Of sums of that many numbers, relative.
    const double noise = 8 * static_cast<double>(groups + 1) * std::numeric_limits<double>::epsilon();
    const auto centred_squares = [=](vdouble squares, vdouble total, vdouble shift) {
        const vdouble rest = squares - total * shift;
        return rest <= noise * squares ? vdouble{} : rest;
    };
    for (std::int64_t d = 0; d < draws; ++d, sums += 6 * channels, out += channels)
        for (std::int64_t c = 0; c < channels; c += kLanes) {
            const std::int64_t own = channels - c;
            const auto sum = [=](std::int64_t k) { return load_lanes(sums + k * channels + c, own); };
            const vdouble count = sum(0), a = sum(1), b = sum(2), pairs = count > 1 ? count : vdouble{} + 1;
            const vdouble shift_a = a / pairs, shift_b = b / pairs;
            const vdouble origin_a = load_lanes(origin + c, own), origin_b = load_lanes(origin + channels + c, own);
            const vdouble mean_a = origin_a + shift_a, mean_b = origin_b + shift_b;
            // Means that are equal but for rounding are equal: the intraclass correlation of constants asks for it.
            const vdouble size = magnitude(origin_a) + magnitude(origin_b) + magnitude(shift_a) + magnitude(shift_b);
            const Moments m{count,
                            mean_a,
                            magnitude(mean_a - mean_b) <= noise * size ? mean_a : mean_b,
                            centred_squares(sum(3), a, shift_a),
                            centred_squares(sum(4), b, shift_b),
                            sum(5) - a * shift_b};
            store_lanes(out + c, correlation_of(m, kind), own);
        }
}

}  // namespace

extern const MomentKernels kMomentKernels;
const MomentKernels kMomentKernels = {centred,
                                      recentre,
                                      merge,
                                      are_finite_from,
                                      kTogether * kLanes,
                                      12 * kTogether * kLanes,
                                      leave_one_out,
                                      correlations_without,
                                      deviations,
                                      scores<float>,
                                      scores<double>,
                                      resampled_correlations};

}  // namespace sdfast::cpu::SDFAST_ISA_NAME
