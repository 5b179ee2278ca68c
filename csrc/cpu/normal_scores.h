// Normal scores: what the ranks of samples would be worth if they were normal.
#pragma once
#include <cstdint>

#include "cpu/samples.h"

namespace sdfast::cpu {

// Writes the scores (N, C): the normal quantile of rank / (N + 1). Equal samples share the mean of their ranks; a
// channel with a sample that is not finite is NaN.
void normal_scores(const Samples& samples, int max_threads, double* out);

}  // namespace sdfast::cpu
