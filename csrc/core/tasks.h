// What kernels are asked to do. The memory they point to is on the device that does it.
#pragma once
#include <cstdint>

#include "core/layout.h"
#include "core/static_dropout.h"

namespace sdfast {

struct FeaturePair : PairLayout {
    const char *a = nullptr, *b = nullptr;
};

// One factor label a batch entry; all entries are of factor 0 where there are no labels. Given sources, a label of a
// row says which group and then which factor an entry is of.
struct Labels {
    const std::int64_t* values = nullptr;
    std::int64_t stride = 1;
    const std::int64_t* sources = nullptr;
    std::int64_t source_stride = 1, groups = 1, factors = 1;  // factors of a group

    SDFAST_HOST_DEVICE explicit operator bool() const { return values != nullptr || sources != nullptr; }
    SDFAST_HOST_DEVICE std::int64_t operator[](std::int64_t n) const {
        return values != nullptr ? values[n * stride] : 0;
    }
    SDFAST_HOST_DEVICE bool has(std::int64_t n, std::int64_t row) const {
        if (sources == nullptr) return values == nullptr || values[n * stride] == row;
        const std::int64_t label = (*this)[n];
        return label >= 0 && label < factors && sources[n * source_stride] % groups * factors + label == row;
    }
};

struct ComomentsTask : FeaturePair {
    Labels labels;
    std::int64_t factors = 1;
    bool pool = false;  // positions are averaged first and a batch entry is one sample; else each position is one
};

// Static masks (N, *grid), one grid dimension a position dimension, sampled at the nearest position. Strides in bytes.
struct Mask {
    const char* data = nullptr;
    MaskType type = MaskType::f32;
    std::int64_t batch_stride = 0;
    std::int64_t grid[kMaxDims - 1] = {}, stride[kMaxDims - 1] = {};

    SDFAST_HOST_DEVICE explicit operator bool() const { return data != nullptr; }
};

// Forward, backward and in place are one operation. Stride a is of x, stride b of out.
struct StaticDropoutTask : PairLayout {
    const char* x = nullptr;
    char* out = nullptr;  // may be x
    const std::uint64_t* seed = nullptr;
    float p = 0;
    Mask mask;
    const float* channel_weight = nullptr;  // [C]
    Granularity granularity = Granularity::element;
    bool rescale = false;

    SDFAST_HOST_DEVICE bool in_place() const { return x == out; }
};

}  // namespace sdfast
