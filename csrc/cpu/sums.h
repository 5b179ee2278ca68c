// Running sums of many channels in the vector layout of the kernels, re-centred as the mean becomes known.
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/lanes.h"
#include "cpu/moment_lanes.h"

namespace sdfast::cpu {

// Samples of one factor for `channels` channels. Sum k of lane l of channel c is at acc[c * stride + k * pitch + l].
// Float lanes see shifts that a float holds: of halves one, or the mean of a few that are alike. A first sample far
// from the mean inflates the squares, and with them the rounding, so the shift moves to the mean after 16, 256, 4096,
// ... rows.
class RunningSums {
  public:
    // One run of samples a channel (TypedKernels::rows).
    static RunningSums of_rows(const Kernels& kernels, DType dtype, std::int64_t channels);
    // Channels side by side (TypedKernels::columns).
    static RunningSums of_columns(const Kernels& kernels, DType dtype, std::int64_t columns);

    bool empty() const { return count_ == 0; }
    std::int64_t channels() const { return channels_; }
    double* shift_a() { return shift_a_.data(); }
    double* shift_b() { return shift_b_.data(); }
    double* acc() { return acc_.data(); }
    // Turns sums in place of the shifts into means.
    void divide_shifts(double count);

    // Counts `samples` new samples a channel, worth `rows` rows, and re-centres when it is time.
    void count(std::int64_t samples, std::int64_t rows);
    // Rows that may still be added before the next re-centring.
    std::int64_t rows_left() const { return next_recentring_ - rows_; }

    // Writes the co-moments of all channels, in the order of the slots where these are columns.
    void comoments(MomentRows<double> out);

  private:
    RunningSums(DType dtype, std::int64_t channels, std::int64_t size, int lanes);
    SumRows side_by_side();
    void recentre();

    DType dtype_;
    std::int64_t channels_;
    int lanes_;
    std::int64_t count_ = 0, rows_ = 0, next_recentring_ = 16;
    std::vector<double> shift_a_, shift_b_, acc_, folded_;
};

}  // namespace sdfast::cpu
