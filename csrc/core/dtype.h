// Element types of feature tensors.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sdfast {

enum class DType { f64, f32, f16, bf16 };

struct Half {
    std::uint16_t bits;
};
struct BFloat16 {
    std::uint16_t bits;
};

constexpr std::size_t size_of(DType dtype) { return dtype == DType::f64 ? 8 : dtype == DType::f32 ? 4 : 2; }

}  // namespace sdfast
