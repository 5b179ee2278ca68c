#include "cpu/caches.h"

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include <algorithm>

namespace sdfast::cpu {
namespace {

struct Caches {
    std::int64_t second = 2 << 20, last = 32 << 20;  // bytes, of many machines
};

Caches caches() {
    Caches found;
#if defined(_SC_LEVEL3_CACHE_SIZE)
    if (const long size = sysconf(_SC_LEVEL2_CACHE_SIZE); size > 0) found.second = size;
    if (const long size = sysconf(_SC_LEVEL3_CACHE_SIZE); size > 0) found.last = size;
#endif
    return found;
}

}  // namespace

std::int64_t past_caches_from() {
    // Half of the last level, since what is read is as large. A virtual machine is told the last level of its host, of
    // which little is its own: with 2 MB at the second level and 480 MB said of the last, 12 MB took as long either
    // way, 24 MB a fifth less past the caches.
    static const Caches found = caches();
    return std::min(8 * found.second, found.last / 2);
}

}  // namespace sdfast::cpu
