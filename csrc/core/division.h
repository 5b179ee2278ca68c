// Division by a number that stays the same, as a multiplication: GPUs have no instruction for integer division.
#pragma once
#include <cstdint>

#include "core/host_device.h"

namespace sdfast {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Granlund and Montgomery, "Division by invariant integers using multiplication", 1994; 64-bit numbers are divided.
struct Divisor {
    std::int64_t value = 1;
    std::uint32_t magic = 1, shift = 0;

    Divisor() = default;
    explicit Divisor(std::int64_t divisor) : value(divisor) {
        if (divisor >> 31 != 0) return;
        while ((std::int64_t{1} << shift) < divisor) ++shift;
        const auto rest = static_cast<std::uint64_t>((std::int64_t{1} << shift) - divisor);
        magic = static_cast<std::uint32_t>((rest << 32) / static_cast<std::uint64_t>(divisor) + 1);
    }

    // x / value for x >= 0.
    SDFAST_HOST_DEVICE std::int64_t quotient(std::int64_t x) const {
        if ((x | value) >> 31 != 0) return x / value;
        const auto n = static_cast<std::uint32_t>(x);
        const auto high = static_cast<std::uint32_t>((static_cast<std::uint64_t>(magic) * n) >> 32);
        return (high + n) >> shift;
    }
};

}  // namespace sdfast
