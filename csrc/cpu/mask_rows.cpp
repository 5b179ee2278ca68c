#include "cpu/mask_rows.h"

#include <algorithm>
#include <cstring>

namespace sdfast::cpu {
namespace {

constexpr std::int64_t kBridgedGap = 128;  // shorter gaps cost less to process than to leave out

template <class T>
T read(const char* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

}  // namespace

MaskRows::MaskRows(const Mask& mask, const std::vector<Dim>& positions) : mask_(mask), inner_(positions.size(), 1) {
    std::int64_t total = 1;
    for (std::size_t d = positions.size(); d-- > 0;) {
        inner_[d] = total;
        total *= positions[d].size;
    }
    spans_.push_back({0, total, true});
    if (!mask) return;
    values_.resize(static_cast<std::size_t>(total));
    for (std::size_t d = 0; d < positions.size(); ++d) {
        const std::int64_t size = positions[d].size;
        offsets_.emplace_back();
        for (std::int64_t i = 0; i < size; ++i)
            offsets_.back().push_back((2 * i + 1) * mask.size[d] / (2 * size) * mask.stride[d]);
    }
}

void MaskRows::load(std::int64_t n) {
    if (!mask_) return;
    sample(0, mask_.data + n * mask_.batch_stride, values_.data());
    find_spans();
}

float MaskRows::value(const char* at) const {
    switch (mask_.type) {
        case Mask::Type::f64:
            return static_cast<float>(read<double>(at));
        case Mask::Type::f32:
            return read<float>(at);
        case Mask::Type::f16:
            return to_float(read<Half>(at));
        case Mask::Type::bf16:
            return to_float(read<BFloat16>(at));
        default:
            return static_cast<float>(read<std::uint8_t>(at));
    }
}

void MaskRows::sample(std::size_t dim, const char* from, float* to) {
    if (dim == offsets_.size()) {
        *to = value(from);
        return;
    }
    const std::vector<std::int64_t>& offsets = offsets_[dim];
    const std::int64_t step = inner_[dim];
    for (std::size_t i = 0; i < offsets.size(); ++i, to += step) {
        if (i > 0 && offsets[i] == offsets[i - 1])
            std::copy(to - step, to, to);  // a coarser mask: the same again
        else
            sample(dim + 1, from + offsets[i], to);
    }
}

void MaskRows::find_spans() {
    spans_.clear();
    binary_ = true;
    const auto total = static_cast<std::int64_t>(values_.size());
    for (std::int64_t i = 0; i < total; ++i) {
        const float value = values_[static_cast<std::size_t>(i)];
        if (value == 0) continue;
        if (spans_.empty() || i - spans_.back().end >= kBridgedGap) spans_.push_back({i, i, true});
        Span& span = spans_.back();
        span.ones = span.ones && value == 1 && span.end == i;
        span.end = i + 1;
        binary_ = binary_ && value == 1;
    }
}

}  // namespace sdfast::cpu
