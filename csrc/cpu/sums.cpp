#include "cpu/sums.h"

#include <algorithm>

#include "cpu/isa.h"

namespace sdfast::cpu {

RunningSums::RunningSums(DType dtype, std::int64_t channels, std::int64_t size, int lanes)
    : dtype_(dtype),
      channels_(channels),
      lanes_(lanes),
      shift_a_(static_cast<std::size_t>(channels)),
      shift_b_(static_cast<std::size_t>(channels)),
      acc_(static_cast<std::size_t>(size)) {}

RunningSums RunningSums::of_rows(const Kernels& kernels, DType dtype, std::int64_t channels) {
    return {dtype, channels, channels * kSums * kernels.lanes, kernels.lanes};
}

RunningSums RunningSums::of_columns(const Kernels& kernels, DType dtype, std::int64_t columns) {
    const std::int64_t slots = kernels.slots(columns);
    return {dtype, slots, slots * kSums, 1};
}

void RunningSums::divide_shifts(double count) {
    for (std::vector<double>* shifts : {&shift_a_, &shift_b_})
        for (double& shift : *shifts) shift /= count;
}

void RunningSums::count(std::int64_t samples, std::int64_t rows) {
    count_ += samples;
    rows_ += rows;
    if (rows_ < next_recentring_) return;
    recentre();
    next_recentring_ *= 16;
}

void RunningSums::comoments(MomentRows<double> out) {
    if (!empty()) return moment_kernels().centred(side_by_side(), channels_, out);
    for (int k = 0; k < 6; ++k) std::fill_n(out.data + k * out.gap, channels_, 0.0);
}

// The sums as columns have them; those of runs are added up over their lanes.
SumRows RunningSums::side_by_side() {
    double* sums = acc_.data();
    if (lanes_ > 1) {
        folded_.resize(static_cast<std::size_t>(kSums * channels_));
        for (std::int64_t c = 0; c < channels_; ++c)
            for (int k = 0; k < kSums; ++k) {
                double total = 0;
                for (int l = 0; l < lanes_; ++l) total += *sums++;
                folded_[static_cast<std::size_t>(k * channels_ + c)] = total;
            }
        sums = folded_.data();
    }
    return {static_cast<double>(count_), shift_a_.data(), shift_b_.data(), sums, channels_};
}

void RunningSums::recentre() {
    moment_kernels().recentre(side_by_side(), channels_, dtype_ != DType::f64);
    if (lanes_ == 1) return;
    std::fill(acc_.begin(), acc_.end(), 0.0);
    for (std::int64_t c = 0; c < channels_; ++c)
        for (int k = 0; k < kSums; ++k)
            acc_[static_cast<std::size_t>((c * kSums + k) * lanes_)] =
                folded_[static_cast<std::size_t>(k * channels_ + c)];
}

}  // namespace sdfast::cpu
