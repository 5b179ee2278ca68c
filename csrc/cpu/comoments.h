// Co-moments of two feature tensors in one pass over memory.
#pragma once
#include <cstdint>

#include "core/tasks.h"

namespace sdfast::cpu {

// Writes (6, factors, C) doubles: count, mean_a, mean_b, m2_a, m2_b, c_ab. Labels are in [0, factors).
void comoments(const ComomentsTask& task, int max_threads, double* out);

// The same of features whose squares the lanes of their type hold: of bfloat16, float32.
void sum_pairs(const ComomentsTask& task, int max_threads, double* out);

}  // namespace sdfast::cpu
