// How a pair of feature tensors lies in memory, and walks over its samples.
#pragma once
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace sdfast::cpu {

constexpr int kMaxDims = 16;

// One dimension of both tensors; strides in bytes.
struct Dim {
    std::int64_t size, stride_a, stride_b;
};

struct FeaturePair {
    const char* a;
    const char* b;
    DType dtype;
    Dim batch, channel;
    std::vector<Dim> positions;
};

// One factor label a batch entry; all entries are of factor 0 where there are no labels.
struct Labels {
    const std::int64_t* values = nullptr;
    std::int64_t stride = 1;

    explicit operator bool() const { return values != nullptr; }
    std::int64_t operator[](std::int64_t n) const { return values ? values[n * stride] : 0; }
};

// Orders positions by stride and joins those that lie end to end: the last dimension becomes the longest run.
void coalesce(std::vector<Dim>& positions);

// Byte offsets of the positions in memory order.
class Walk {
  public:
    explicit Walk(const std::vector<Dim>& dims);

    std::int64_t size() const { return size_; }
    void seek(std::int64_t index);
    void next();
    std::int64_t a() const { return a_; }
    std::int64_t b() const { return b_; }

  private:
    const std::vector<Dim>& dims_;
    std::int64_t size_ = 1, a_ = 0, b_ = 0;
    std::int64_t index_[kMaxDims] = {};
};

}  // namespace sdfast::cpu
