// Rows of channels side by side, as the column kernels want them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cpu/lanes.h"

namespace sdfast::cpu {

constexpr std::int64_t kChunk = 256;  // rows whose addresses are worked out at a time
constexpr std::int64_t kPackedRows = 16;

// Copies elements that are not side by side, or too few for a vector, into padded rows.
class Packer {
  public:
    Packer(std::int64_t columns, std::int64_t padded, std::int64_t item)
        : columns_(columns),
          pitch_(padded * item),
          item_(item),
          buffer_(static_cast<std::size_t>(pitch_ * kPackedRows)) {
        for (std::int64_t r = 0; r < kPackedRows; ++r) rows_[r] = buffer_.data() + r * pitch_;
    }

    const void* const* pack(const void* const* from, std::int64_t rows, std::int64_t stride) {
        if (item_ == 2)
            copy<std::uint16_t>(from, rows, stride);
        else if (item_ == 4)
            copy<std::uint32_t>(from, rows, stride);
        else
            copy<std::uint64_t>(from, rows, stride);
        return rows_;
    }

  private:
    template <class T>
    void copy(const void* const* from, std::int64_t rows, std::int64_t stride) {
        for (std::int64_t c = 0; c < columns_; ++c)
            for (std::int64_t r = 0; r < rows; ++r)
                std::memcpy(buffer_.data() + r * pitch_ + c * item_, static_cast<const char*>(from[r]) + c * stride,
                            sizeof(T));
    }

    std::int64_t columns_, pitch_, item_;
    std::vector<char> buffer_;
    const void* rows_[kPackedRows];
};

// Rows of `columns` elements, side by side: the given ones where they are so already, else packed copies.
class Rows {
  public:
    Rows(std::int64_t columns, std::int64_t stride, std::int64_t item, const Kernels& kernels, bool must_pad)
        : stride_(stride),
          padded_(std::max<std::int64_t>(columns, kernels.block)),
          packs_(stride != item || must_pad),
          packer_(packs_ ? columns : 0, packs_ ? padded_ : 0, item) {}

    std::int64_t columns() const { return padded_; }
    std::int64_t at_most() const { return packs_ ? kPackedRows : kChunk; }
    const void* const* prepare(const void* const* rows, std::int64_t count) {
        return packs_ ? packer_.pack(rows, count, stride_) : rows;
    }

  private:
    std::int64_t stride_, padded_;
    bool packs_;
    Packer packer_;
};

}  // namespace sdfast::cpu
