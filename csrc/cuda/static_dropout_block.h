// What the kernels of StaticDropout have in common: rates, draws and what becomes of an element.
#pragma once
#include "core/philox.h"
#include "cuda/geometry.h"
#include "cuda/static_dropout.h"
#include "cuda/vector.h"

namespace sdfast::cuda {

static_assert(kGroup == philox::kDraws);

constexpr int kTile = kDropoutThreads * kGroup;  // elements of a block at a time

// Below which draw an element is dropped, and what it is multiplied by if it is not.
struct Verdict {
    std::int32_t threshold;
    float scale;
};

// Of the positions of a block: thresholds and scales, or for Rates::product the mask's values in place of scales.
struct PositionRates {
    std::int32_t threshold[kTile];
    float scale[kTile];
};

__device__ inline float mask_value(const StaticDropoutPlan& t, std::int64_t n, std::int64_t position) {
    const char* at = t.mask.data + n * t.mask.batch_stride;
    if (!t.channels_as_positions) at += t.mask_offset(position);
    switch (t.mask.type) {
        case MaskType::f64:
            return static_cast<float>(*reinterpret_cast<const double*>(at));
        case MaskType::f32:
            return *reinterpret_cast<const float*>(at);
        case MaskType::f16:
            return widen(*reinterpret_cast<const Half*>(at));
        case MaskType::bf16:
            return widen(*reinterpret_cast<const BFloat16*>(at));
        default:
            return *reinterpret_cast<const std::uint8_t*>(at);
    }
}

__device__ inline Verdict verdict(const StaticDropoutPlan& t, float rate, float other) {
    const std::int32_t threshold = drop_threshold(rate, other);
    return {threshold, t.rescale ? keep_scale(threshold) : 1.0f};
}

// The rate of a row, with Rates::row or Rates::product.
__device__ inline float row_rate(const StaticDropoutPlan& t, std::int64_t c) {
    return drop_rate(t.p, t.channel_weight != nullptr ? t.channel_weight[c] : 1.0f);
}

__device__ inline Verdict row_verdict(const StaticDropoutPlan& t, std::int64_t n, std::int64_t c) {
    return verdict(t, row_rate(t, c), t.mask.data != nullptr ? mask_value(t, n, 0) : 1.0f);
}

// Of `count` positions from `first` of one batch entry; those beyond the last drop nothing.
__device__ inline void fill(PositionRates& rates, const StaticDropoutPlan& t, std::int64_t n, std::int64_t first,
                            int count) {
    for (int i = thread_index(); i < count; i += kDropoutThreads) {
        const std::int64_t position = first + i;
        Verdict v{0, 0};
        if (position < t.positions.size) {
            const float value = t.mask.data != nullptr ? mask_value(t, n, position) : 1.0f;
            if (t.rates == Rates::product)
                v = {value != 0, value};
            else
                v = verdict(t, drop_rate(t.p, t.channels_as_positions ? t.channel_weight[position] : 1.0f), value);
        }
        rates.threshold[i] = v.threshold;
        rates.scale[i] = v.scale;
    }
    barrier();
}

// Of position i of the block, in a row of this rate and verdict.
__device__ inline Verdict verdict_at(const StaticDropoutPlan& t, const PositionRates& rates, int i, float rate,
                                     const Verdict& row) {
    if (t.rates == Rates::row) return row;
    if (t.rates == Rates::product) return verdict(t, rate, rates.scale[i]);
    return {rates.threshold[i], rates.scale[i]};
}

// The eight draws of a group of positions of a row: of one counter, or one for all.
__device__ inline philox::Words group_draws(const StaticDropoutPlan& t, std::uint64_t seed, std::int64_t n,
                                            std::int64_t c, std::int64_t group) {
    const std::int64_t row = n * t.channel.size + c;
    if (t.granularity == Granularity::element)
        return philox::words(seed, static_cast<std::uint64_t>(row * t.groups + group));
    const std::int64_t flat = t.granularity == Granularity::channel ? row : n;
    const philox::Words words = philox::words(seed, static_cast<std::uint64_t>(flat / philox::kDraws));
    const std::uint32_t draw = philox::draw(words, static_cast<int>(flat % philox::kDraws));
    const std::uint32_t twice = draw | draw << 16;
    return {twice, twice, twice, twice};
}

template <class T>
__device__ inline T dropped(T x, std::uint32_t draw, const Verdict& v, bool rescale) {
    if (rescale) narrow(widen(x) * v.scale, x);
    return static_cast<std::int32_t>(draw) < v.threshold ? T{} : x;
}

}  // namespace sdfast::cuda
