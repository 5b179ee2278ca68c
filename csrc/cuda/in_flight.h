// How threads read features: several loads of each tensor are under way before the first is used.
#pragma once
#include "cuda/comoments.h"
#include "cuda/geometry.h"
#include "cuda/vector.h"

namespace sdfast::cuda {

// Calls use(x, y) with each pair of vectors that fetch(u, x, y) loads for u < kLoads. It returns 1, or 0 where there is
// none: of a bool the compiler would make a byte.
template <class T, int V, int kLoads, class Fetch, class Use>
__device__ inline void in_flight(Fetch fetch, Use use) {
    Vector<T, V> x[kLoads], y[kLoads];
    int fetched[kLoads];
#pragma unroll
    for (int u = 0; u < kLoads; ++u) fetched[u] = fetch(u, x[u], y[u]);
#pragma unroll
    for (int u = 0; u < kLoads; ++u)
        if (fetched[u]) use(x[u], y[u]);
}

// Calls use(x, y) with what a lane has of one step of the runs that start at a and b.
template <class T, int V, class Use>
__device__ inline void use_step(const Samples& s, const char* a, const char* b, std::int64_t step, int lane, Use use) {
    constexpr int kItem = sizeof(T);
    const int apart = s.lanes * V;
    const std::int64_t from = (step * kInFlight * s.lanes + lane) * V, left = s.run - from;
    a += from * kItem;
    b += from * kItem;
    in_flight<T, V, kInFlight>(
        [&](int u, Vector<T, V>& x, Vector<T, V>& y) {
            if (u * apart >= left) return 0;
            x = load<T, V>(a + u * apart * kItem);
            y = load<T, V>(b + u * apart * kItem);
            return 1;
        },
        use);
}

}  // namespace sdfast::cuda
