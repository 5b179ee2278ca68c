// Inner loops of Kraskov's estimator, compiled once per instruction set (kraskov_lanes.cpp).
#pragma once
#include <cstdint>

namespace sdfast::cpu {

// Points of the plane in ascending order of one of their coordinates. Before and behind the points lie kMargin more:
// their own coordinate is infinite.
struct Axis {
    const double *own, *other;
};
constexpr std::int64_t kMargin = 8;

struct Plane {
    std::int64_t count;
    Axis axes[2];
    const std::int64_t* place;  // along axes[1], of each point along axes[0]
};

struct KraskovKernels {
    // Sums worth[n] over points [first, last) along axes[0] and both axes. n is how many other points are, along that
    // axis, strictly within the distance to the point's neighbour number `neighbors` in the plane; the distance is the
    // greater one of both coordinates. scratch: kScratch doubles a neighbour, aligned to 64 bytes.
    double (*sum)(const Plane& plane, std::int64_t first, std::int64_t last, std::int64_t neighbors,
                  const double* worth, double* scratch);
};
constexpr std::int64_t kScratch = 16;

}  // namespace sdfast::cpu
