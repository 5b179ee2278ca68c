// StaticDropout: drops what a static mask and channel weights mark, from counter-based random draws.
#pragma once
#include <cstdint>
#include <vector>

#include "core/dtype.h"
#include "core/static_dropout.h"
#include "cpu/layout.h"

namespace sdfast::cpu {

// Static masks (N, *grid), one grid dimension per position dimension of the features.
struct Mask {
    const char* data = nullptr;
    MaskType type = MaskType::f32;
    std::int64_t batch_stride = 0;           // bytes
    std::vector<std::int64_t> size, stride;  // of the grid; strides in bytes

    explicit operator bool() const { return data != nullptr; }
};

struct StaticDropoutTask {
    char* x;  // never written, unless it is out
    char* out;
    DType dtype;
    Dim batch, channel;  // stride_a of x, stride_b of out
    std::vector<Dim> positions;
    std::uint64_t seed;
    float p;
    Mask mask;
    const float* channel_weight = nullptr;  // [C]
    Granularity granularity = Granularity::element;
    bool rescale = false;
};

void static_dropout(const StaticDropoutTask& task, int max_threads);

}  // namespace sdfast::cpu
