// StaticDropout: drops what a static mask and channel weights mark, from counter-based random draws.
#pragma once
#include "core/tasks.h"

namespace sdfast::cpu {

void static_dropout(const StaticDropoutTask& task, int max_threads);

}  // namespace sdfast::cpu
