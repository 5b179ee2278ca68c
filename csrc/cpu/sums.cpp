#include "cpu/sums.h"

namespace sdfast::cpu {

RunningSums::RunningSums(DType dtype, std::int64_t channels, std::int64_t size, std::int64_t stride, std::int64_t pitch,
                         int lanes)
    : dtype_(dtype),
      channels_(channels),
      stride_(stride),
      pitch_(pitch),
      lanes_(lanes),
      shift_a_(static_cast<std::size_t>(channels)),
      shift_b_(static_cast<std::size_t>(channels)),
      acc_(static_cast<std::size_t>(size)) {}

RunningSums RunningSums::of_rows(const Kernels& kernels, DType dtype, std::int64_t channels) {
    const int lanes = kernels.lanes;
    return {dtype, channels, channels * kSums * lanes, kSums * lanes, lanes, lanes};
}

RunningSums RunningSums::of_columns(const Kernels& kernels, DType dtype, std::int64_t columns) {
    const std::int64_t slots = kernels.slots(columns);
    return {dtype, slots, slots * kSums, 1, slots, 1};
}

void RunningSums::round_shifts() {
    if (dtype_ == DType::f64) return;
    for (std::vector<double>* shifts : {&shift_a_, &shift_b_})
        for (double& shift : *shifts) shift = static_cast<float>(shift);
}

void RunningSums::divide_shifts(double count) {
    for (std::vector<double>* shifts : {&shift_a_, &shift_b_})
        for (double& shift : *shifts) shift /= count;
    round_shifts();
}

void RunningSums::count(std::int64_t samples, std::int64_t rows) {
    count_ += samples;
    rows_ += rows;
    if (rows_ < next_recentring_) return;
    recentre();
    next_recentring_ *= 16;
}

ShiftedSums RunningSums::sums(std::int64_t channel) const {
    const auto c = static_cast<std::size_t>(channel);
    double total[kSums] = {};
    for (int k = 0; k < kSums; ++k)
        for (int l = 0; l < lanes_; ++l) total[k] += acc_[static_cast<std::size_t>(channel * stride_ + k * pitch_ + l)];
    return {static_cast<double>(count_), shift_a_[c], shift_b_[c], total[0], total[1], total[2], total[3], total[4]};
}

void RunningSums::recentre() {
    std::vector<ShiftedSums> old(static_cast<std::size_t>(channels_));
    for (std::int64_t c = 0; c < channels_; ++c) {
        const auto i = static_cast<std::size_t>(c);
        old[i] = sums(c);
        shift_a_[i] += old[i].a / old[i].count;
        shift_b_[i] += old[i].b / old[i].count;
    }
    round_shifts();
    for (std::int64_t c = 0; c < channels_; ++c) {
        const auto i = static_cast<std::size_t>(c);
        const ShiftedSums now = old[i].around(shift_a_[i], shift_b_[i]);
        const double total[kSums] = {now.a, now.b, now.aa, now.bb, now.ab};
        for (int k = 0; k < kSums; ++k) {
            double* lanes = acc() + c * stride_ + k * pitch_;
            lanes[0] = total[k];
            for (int l = 1; l < lanes_; ++l) lanes[l] = 0;
        }
    }
}

}  // namespace sdfast::cpu
