#include "cpu/mask_rows.h"

#include <algorithm>
#include <bitset>
#include <cstring>
#include <type_traits>

namespace sdfast::cpu {
namespace {

// Gaps that cost less to process than to leave out: all that are short, and longer ones after runs of twice their
// length, as memory that is left out interrupts the stream.
constexpr std::int64_t kShortGap = 128, kLongGap = 1024;
constexpr std::int64_t kScanned = 32;  // positions looked at together

template <class T>
void convert(const char* from, const std::int64_t* offsets, std::int64_t count, float* to) {
    for (std::int64_t i = 0; i < count; ++i) {
        T value;
        std::memcpy(&value, from + offsets[i], sizeof value);
        if constexpr (std::is_arithmetic_v<T>)
            to[i] = static_cast<float>(value);
        else
            to[i] = to_float(value);
    }
}

void convert(MaskType type, const char* from, const std::int64_t* offsets, std::int64_t count, float* to) {
    switch (type) {
        case MaskType::f64:
            return convert<double>(from, offsets, count, to);
        case MaskType::f32:
            return convert<float>(from, offsets, count, to);
        case MaskType::f16:
            return convert<Half>(from, offsets, count, to);
        case MaskType::bf16:
            return convert<BFloat16>(from, offsets, count, to);
        case MaskType::byte:
            for (std::int64_t i = 0; i < count; ++i) to[i] = from[offsets[i]] != 0;  // a bool may be any byte
            return;
    }
}

}  // namespace

MaskRows::MaskRows(const Mask& mask, const Dims& positions) : mask_(mask) {
    for (int d = positions.count; d-- > 0;) {
        inner_[d] = total_;
        total_ *= positions.dims[d].size;
    }
    spans_.push_back({0, total_, true});
    if (!mask || is_on_the_grid(positions)) return;
    sampled_.resize(static_cast<std::size_t>(total_));
    for (int d = 0; d < positions.count; ++d) {
        const std::int64_t size = positions.dims[d].size;
        offsets_.emplace_back();
        for (std::int64_t i = 0; i < size; ++i)
            offsets_.back().push_back((2 * i + 1) * mask.grid[d] / (2 * size) * mask.stride[d]);
    }
}

// Float32 values side by side, one a position.
bool MaskRows::is_on_the_grid(const Dims& positions) const {
    if (mask_.type != MaskType::f32 || reinterpret_cast<std::uintptr_t>(mask_.data) % alignof(float) != 0) return false;
    for (int d = 0; d < positions.count; ++d) {
        const std::int64_t size = positions.dims[d].size;
        const bool follows = size == 1 || mask_.stride[d] == inner_[d] * 4;
        if (mask_.grid[d] != size || !follows) return false;
    }
    return true;
}

void MaskRows::load(std::int64_t n) {
    if (!mask_) return;
    const char* data = mask_.data + n * mask_.batch_stride;
    if (sampled_.empty()) {
        current_ = reinterpret_cast<const float*>(data);
    } else {
        sample(0, data, sampled_.data());
        current_ = sampled_.data();
    }
    find_spans();
}

void MaskRows::sample(std::size_t dim, const char* from, float* to) {
    static constexpr std::int64_t kHere = 0;
    if (offsets_.empty()) return convert(mask_.type, from, &kHere, 1, to);
    const std::vector<std::int64_t>& offsets = offsets_[dim];
    if (dim + 1 == offsets_.size())
        return convert(mask_.type, from, offsets.data(), static_cast<std::int64_t>(offsets.size()), to);
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
    marks_.assign(static_cast<std::size_t>((total_ + 2 * kScanned) / 8), 0);
    for (std::int64_t begin = 0; begin < total_; begin += kScanned) {
        const std::int64_t end = std::min(begin + kScanned, total_);
        std::int32_t zeros = 0;
        std::uint32_t ones = 0;
        for (std::int64_t i = begin; i < end; ++i) {
            zeros += current_[i] == 0.0f;
            ones |= static_cast<std::uint32_t>(current_[i] == 1.0f) << (i - begin);
        }
        std::memcpy(marks_.data() + begin / 8, &ones, sizeof ones);
        const auto count = static_cast<std::int64_t>(std::bitset<kScanned>(ones).count());
        binary_ = binary_ && zeros + count == end - begin;
        if (zeros < end - begin) mark(begin, end, count == end - begin);
    }
}

void MaskRows::mark(std::int64_t begin, std::int64_t end, bool ones) {
    const auto is_bridged = [&](const Span& last) {
        return begin - last.end < std::clamp(last.length() / 2, kShortGap, kLongGap);
    };
    if (spans_.empty() || !is_bridged(spans_.back())) spans_.push_back({begin, begin, true});
    Span& span = spans_.back();
    span.ones = span.ones && ones && span.end == begin;
    span.end = end;
}

}  // namespace sdfast::cpu
