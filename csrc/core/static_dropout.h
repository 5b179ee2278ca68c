// Which elements StaticDropout drops: thresholds of 16-bit draws. Compiled without fused multiply-add everywhere.
#pragma once
#include <cmath>
#include <cstdint>

#include "core/division.h"
#include "core/host_device.h"

namespace sdfast {

// Which elements share one draw: none, those of a channel, all of a batch entry.
enum class Granularity { element, channel, region };

// Values of a static mask. The first are those of features.
enum class MaskType { f64, f32, f16, bf16, byte };

// 65536 p w of a channel, in float32.
SDFAST_HOST_DEVICE inline float drop_rate(float p, float channel_weight) { return p * channel_weight * 65536.0f; }

// An element goes if its draw is below this, in [0, 65536]: half to even.
SDFAST_HOST_DEVICE inline std::int32_t drop_threshold(float rate, float mask) {
#ifdef __CUDA_ARCH__
    return __float2int_rn(rate * mask);
#else
    return static_cast<std::int32_t>(std::nearbyintf(rate * mask));
#endif
}

// What kept elements are multiplied by; infinite where none is kept.
SDFAST_HOST_DEVICE inline float keep_scale(std::int32_t threshold) {
    return 65536.0f / static_cast<float>(65536 - threshold);
}

// The index of a mask of size `grid` nearest to index i of features; centres are aligned. Where dimensions are joined
// the mask has as many values as there are features, and the product might not fit.
SDFAST_HOST_DEVICE inline std::int64_t nearest(std::int64_t i, std::int64_t grid, const Divisor& twice_the_size) {
    return 2 * grid == twice_the_size.value ? i : twice_the_size.quotient((2 * i + 1) * grid);
}

}  // namespace sdfast
