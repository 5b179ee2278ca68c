// Where an index of dimensions is in memory, worked out by multiplications.
#pragma once
#include "core/division.h"
#include "core/layout.h"

namespace sdfast::cuda {

struct Offsets {
    std::int64_t a, b;
};

// The sizes of dimensions, as divisors.
struct Divisors {
    Divisor by[kMaxDims - 1];

    Divisors() = default;
    explicit Divisors(const Dims& dims) {
        for (int d = 0; d < dims.count; ++d) by[d] = Divisor(dims.dims[d].size);
    }
};

SDFAST_HOST_DEVICE inline Offsets offsets(const Dims& dims, const Divisors& sizes, std::int64_t index) {
    Offsets at{0, 0};
    for (int d = dims.count - 1; d > 0; --d) {
        const std::int64_t outer = sizes.by[d].quotient(index), i = index - outer * dims.dims[d].size;
        at.a += i * dims.dims[d].stride_a;
        at.b += i * dims.dims[d].stride_b;
        index = outer;
    }
    if (dims.count > 0) {
        at.a += index * dims.dims[0].stride_a;
        at.b += index * dims.dims[0].stride_b;
    }
    return at;
}

}  // namespace sdfast::cuda
