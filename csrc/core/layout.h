// How a pair of tensors lies in memory, and walks over its positions.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace sdfast {

constexpr int kMaxDims = 16;  // of a tensor

// One dimension of both tensors; strides in bytes.
struct Dim {
    std::int64_t size, stride_a, stride_b;
};

// Dimensions that an index counts through, the last one fastest; all but the channels, where the batch is one of them.
// Kernels on a GPU take them by value.
struct Dims {
    int count = 0;
    std::int64_t size = 1;  // the product of theirs
    Dim dims[kMaxDims - 1];

    Dim* begin() { return dims; }
    Dim* end() { return dims + count; }
    const Dim* begin() const { return dims; }
    const Dim* end() const { return dims + count; }
    void push_back(const Dim& dim) {
        dims[count++] = dim;
        size *= dim.size;
    }
    // Takes the innermost dimension away.
    Dim pop_back() {
        const Dim last = dims[--count];
        size /= last.size;
        return last;
    }
};

// The dimensions of tensors (N, C, ...) of one shape and dtype.
struct PairLayout {
    DType dtype = DType::f32;
    Dim batch, channel;
    Dims positions;

    std::int64_t item() const { return static_cast<std::int64_t>(size_of(dtype)); }
};

// Orders positions by stride and joins those that lie end to end: the last dimension becomes the longest run.
void coalesce(Dims& positions);

// Byte offsets of the positions, in their order.
class Walk {
  public:
    explicit Walk(const Dims& dims) : dims_(dims) {}

    void seek(std::int64_t index);
    void next();
    std::int64_t a() const { return a_; }
    std::int64_t b() const { return b_; }

  private:
    const Dims& dims_;
    std::int64_t a_ = 0, b_ = 0;
    std::int64_t index_[kMaxDims - 1] = {};
};

}  // namespace sdfast
