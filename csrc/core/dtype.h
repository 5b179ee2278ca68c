// Element types of feature tensors.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/host_device.h"

namespace sdfast {

enum class DType { f64, f32, f16, bf16 };

struct Half {
    std::uint16_t bits;
};
struct BFloat16 {
    std::uint16_t bits;
};

constexpr std::size_t size_of(DType dtype) { return dtype == DType::f64 ? 8 : dtype == DType::f32 ? 4 : 2; }

SDFAST_HOST_DEVICE inline float to_float(BFloat16 x) {
    const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

SDFAST_HOST_DEVICE inline float to_float(Half x) {
    const std::uint32_t sign = (x.bits & 0x8000u) << 16, magnitude = x.bits & 0x7fffu;
    std::uint32_t bits =
        sign | (magnitude >= 0x7c00u ? 0x7f800000u | magnitude << 13 : (magnitude << 13) + (112u << 23));
    float value;
    std::memcpy(&value, &bits, sizeof value);
    if (magnitude >= 0x0400u) return value;
    value = static_cast<float>(magnitude) * 0x1p-24f;  // denormal
    return sign ? -value : value;
}

}  // namespace sdfast
