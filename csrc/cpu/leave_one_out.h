// The jackknife's co-moments: of all groups but one, for each of them.
#pragma once
#include "cpu/moment_lanes.h"

namespace sdfast::cpu {

// Writes the co-moments [6][groups][channels] of all groups but one.
void leave_one_out(GroupedRows<const double> from, std::int64_t channels, int max_threads, double* out);

// Writes the co-moments of all groups to total [6][channels], and the correlations of all groups but one to out
// [groups][channels].
void correlations_without(GroupedRows<const double> from, std::int64_t channels, Kind kind, int max_threads,
                          double* total, double* out);

}  // namespace sdfast::cpu
