// How features lie in memory, in a form that a kernel takes as its parameter.
#pragma once
#include <cstdint>

#include "core/division.h"
#include "core/dtype.h"
#include "core/host_device.h"

namespace sdfast::cuda {

constexpr int kMaxDims = 15;  // of the positions: all but the channels, where the batch is one of them

// One dimension of two tensors; strides in bytes.
struct Dim {
    std::int64_t size = 1, stride_a = 0, stride_b = 0;
};

struct Offsets {
    std::int64_t a, b;
};

// Position dimensions; an index counts through them, the last one fastest.
struct Places {
    int count = 0;
    std::int64_t size = 1;
    Dim dims[kMaxDims];
    Divisor sizes[kMaxDims];

    void push_back(const Dim& dim) {
        dims[count] = dim;
        sizes[count++] = Divisor(dim.size);
        size *= dim.size;
    }
    // Takes the innermost dimension away.
    Dim pop_back() {
        const Dim last = dims[--count];
        size /= last.size;
        return last;
    }

    SDFAST_HOST_DEVICE Offsets offsets(std::int64_t index) const {
        Offsets at{0, 0};
        for (int d = count - 1; d > 0; --d) {
            const std::int64_t outer = sizes[d].quotient(index), i = index - outer * dims[d].size;
            at.a += i * dims[d].stride_a;
            at.b += i * dims[d].stride_b;
            index = outer;
        }
        if (count > 0) {
            at.a += index * dims[0].stride_a;
            at.b += index * dims[0].stride_b;
        }
        return at;
    }
};

struct FeaturePair {
    const char* a;
    const char* b;
    DType dtype;
    Dim batch, channel;
    Places positions;
};

// One factor label a batch entry, or none: then all are of factor 0. Labels of no factor are passed over.
struct Labels {
    const std::int64_t* values = nullptr;
    std::int64_t stride = 1;

    SDFAST_HOST_DEVICE explicit operator bool() const { return values != nullptr; }
    SDFAST_HOST_DEVICE bool has(std::int64_t n, std::int64_t factor) const {
        return values == nullptr || values[n * stride] == factor;
    }
};

}  // namespace sdfast::cuda
