// A static mask brought to the grid of the features, one batch entry at a time.
#pragma once
#include <cstdint>
#include <vector>

#include "core/tasks.h"

namespace sdfast::cpu {

struct Span {
    std::int64_t begin, end;
    bool ones = false;  // all its values are 1
    std::int64_t length() const { return end - begin; }
};

// Nearest sampling: position i of size S reads mask index ((2i + 1) G) / (2S) of size G.
class MaskRows {
  public:
    MaskRows(const Mask& mask, const Dims& positions);

    // Samples batch entry n. Without a mask every position is 1.
    void load(std::int64_t n);

    // Values at all positions in logical order, or null without a mask.
    const float* values() const { return current_; }
    // The values as bits, which stay in the first-level cache, or null where some are neither 0 nor 1.
    const std::uint8_t* marks() const { return binary_ ? marks_.data() : nullptr; }
    // Where values are not zero; short gaps are bridged.
    const std::vector<Span>& spans() const { return spans_; }

  private:
    bool is_on_the_grid(const Dims& positions) const;
    void sample(std::size_t dim, const char* from, float* to);
    void find_spans();
    void mark(std::int64_t begin, std::int64_t end, bool ones);

    const Mask& mask_;
    std::vector<std::vector<std::int64_t>> offsets_;  // of each index of each position dimension, in bytes
    std::int64_t inner_[kMaxDims - 1];                // positions below one step of a dimension
    std::vector<float> sampled_;                      // empty where the mask can be read as it lies
    const float* current_ = nullptr;
    std::vector<std::uint8_t> marks_;
    std::int64_t total_ = 1;
    std::vector<Span> spans_;
    bool binary_ = true;
};

}  // namespace sdfast::cpu
