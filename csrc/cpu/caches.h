// What the machine says of its caches.
#pragma once
#include <cstdint>

namespace sdfast::cpu {

// Bytes from which on an output is worth writing past the caches: none would hold it until it is read.
std::int64_t past_caches_from();

}  // namespace sdfast::cpu
