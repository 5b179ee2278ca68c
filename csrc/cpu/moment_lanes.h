// Inner loops over co-moments that lie channel beside channel, compiled once per instruction set (moment_lanes.cpp).
#pragma once
#include <cstdint>

#include "core/comoments.h"

namespace sdfast::cpu {

// Co-moments [6][channels], the rows `gap` doubles apart.
template <class T>
struct MomentRows {
    T* data;
    std::int64_t gap;

    MomentRows operator+(std::int64_t channels) const { return {data + channels, gap}; }
};

// Sums [kSums][channels] of `count` samples with shifts [channels] subtracted, the rows `pitch` doubles apart.
struct SumRows {
    double count;
    double *shift_a, *shift_b, *sums;
    std::int64_t pitch;
};

// Co-moments [6][groups][channels], the six `gap` and the groups `stride` doubles apart.
template <class T>
struct GroupedRows {
    T* data;
    std::int64_t gap, stride, groups;
};

// What makes scores of samples: (x - centre) scale + rest, a number each a channel.
template <class T>
struct Scaling {
    const T *centre, *scale, *rest;
};

struct MomentKernels {
    // Sums of at least one sample as co-moments.
    void (*centred)(const SumRows& sums, std::int64_t channels, MomentRows<double> out);

    // Moves the shifts to the means, or to the floats next to them, and the sums with them.
    void (*recentre)(const SumRows& sums, std::int64_t channels, bool to_float);

    // Adds the samples of `from` to those of `to`.
    void (*merge)(MomentRows<double> to, MomentRows<const double> from, std::int64_t channels);

    // Whether all values are finite and at least `low`.
    bool (*are_finite_from)(const double* values, std::int64_t count, double low);

    std::int64_t block;    // channels that the next two take at once, at most
    std::int64_t scratch;  // doubles that they need for each group

    // Writes the co-moments of all groups but one, for each of them.
    void (*leave_one_out)(GroupedRows<const double> from, std::int64_t channels, double* scratch,
                          GroupedRows<double> out);

    // Writes the co-moments of all groups, and to out [groups + 1], `stride` doubles apart, the correlations of all but
    // one and last of all.
    void (*correlations_without)(GroupedRows<const double> from, std::int64_t channels, double* scratch, Kind kind,
                                 MomentRows<double> total, double* out, std::int64_t stride);

    // Writes to out [4], `stride` doubles apart like the rows of values, the mean of each column, and of the deviations
    // from it the sums of squares and of fourth powers and the largest square.
    void (*deviations)(const double* values, std::int64_t rows, std::int64_t columns, std::int64_t stride, double* out);

    // Writes the scores of a row of samples.
    void (*float_scores)(const float* samples, std::int64_t channels, Scaling<float> scaling, float* out);
    void (*double_scores)(const double* samples, std::int64_t channels, Scaling<double> scaling, double* out);

    // Writes to out [draws][channels] the correlations of resamples whose sums [draws][6][channels], about the means
    // `origin` [2][channels] of all, are of `groups` groups.
    void (*resampled_correlations)(const double* sums, std::int64_t draws, std::int64_t channels, const double* origin,
                                   std::int64_t groups, Kind kind, double* out);
};

}  // namespace sdfast::cpu
