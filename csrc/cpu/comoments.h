// Co-moments of two feature tensors in one pass over memory.
#pragma once
#include <cstdint>

#include "cpu/layout.h"

namespace sdfast::cpu {

// Writes (6, num_factors, C) doubles: count, mean_a, mean_b, m2_a, m2_b, c_ab.
// Labels are in [0, num_factors).
// With pool, positions are averaged first and a batch entry is one sample; else each position is one.
void comoments(FeaturePair pair, Labels factor, std::int64_t num_factors, bool pool, int max_threads, double* out);

}  // namespace sdfast::cpu
