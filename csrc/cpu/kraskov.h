// Kraskov's estimator of mutual information from nearest neighbours.
#pragma once
#include <cstdint>

#include "cpu/samples.h"

namespace sdfast::cpu {

// Writes the information (C,) in nats of paired samples (N, C), N > neighbors >= 1. NaN for a channel with a sample
// that is not finite, 0 for one that never varies. Kraskov, Stoegbauer and Grassberger 2004, equation 8.
void kraskov(const Samples& a, const Samples& b, std::int64_t neighbors, std::uint64_t seed, int max_threads,
             double* out);

}  // namespace sdfast::cpu
