// The jackknife: co-moments of all groups but one, for each of them, and how far what follows from them is spread.
#pragma once
#include "cpu/moment_lanes.h"

namespace sdfast::cpu {

// Writes the co-moments [6][groups][channels] of all groups but one.
void leave_one_out(GroupedRows<const double> from, std::int64_t channels, int max_threads, double* out);

// Writes the co-moments of all groups to total [6][channels], and to out [groups + 1][channels] the correlations of all
// but one and last of all.
void correlations_without(GroupedRows<const double> from, std::int64_t channels, Kind kind, int max_threads,
                          double* total, double* out);

// Writes to out [4][columns] the mean of each column of values [rows][columns], and of the deviations from it the sums
// of squares and of fourth powers and the largest square.
void deviations(const double* values, std::int64_t rows, std::int64_t columns, int max_threads, double* out);

}  // namespace sdfast::cpu
