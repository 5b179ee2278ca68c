// Inner loops of Kraskov's estimator. Compiled once per instruction set with SDFAST_ISA_NAME set to a namespace.
#include "cpu/kraskov_lanes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace sdfast::cpu::SDFAST_ISA_NAME {
namespace {

#include "cpu/simd.h"

constexpr int kLanes = kVectorBytes / 8;
static_assert(kLanes <= kMargin);
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kPatience = 8;  // windows as wide as usual, before the other axis is tried

inline vdouble smaller(vdouble x, vdouble y) { return x < y ? x : y; }
inline vdouble larger(vdouble x, vdouble y) { return x > y ? x : y; }

template <int kBy, int... I>
inline vdouble rotated(vdouble v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, ((I + kBy) % kLanes)...);
}

// The smallest distances seen: `k` a lane, in ascending order. kK is k where it is known in advance, else 0.
template <int kK>
class Nearest {
  public:
    Nearest(std::int64_t k, double* scratch)
        : k_(kK ? kK : k), best_(kK ? own_ : reinterpret_cast<vdouble*>(scratch)) {}

    void fill(double bound) {
        for (std::int64_t j = 0; j < k(); ++j) best_[j] = vdouble{} + bound;
    }

    void insert(vdouble distance) {
        for (std::int64_t j = 0; j < k(); ++j) {
            const vdouble next = larger(best_[j], distance);
            best_[j] = smaller(best_[j], distance);
            distance = next;
        }
    }

    // The k-th smallest of all lanes.
    double last() const {
        if constexpr (kK == 0) {
            double* const values = reinterpret_cast<double*>(best_ + k());
            std::memcpy(values, best_, static_cast<std::size_t>(k()) * sizeof(vdouble));
            std::nth_element(values, values + k() - 1, values + k() * kLanes);
            return values[k() - 1];
        } else {
            vdouble merged[kK];
            std::copy(best_, best_ + kK, merged);
            merge<kLanes / 2>(merged);
            return merged[kK - 1][0];
        }
    }

  private:
    std::int64_t k() const { return kK ? kK : k_; }

    // Joins each lane's list with that of the lane kBy further, until all have seen all.
    template <int kBy>
    static void merge(vdouble* list) {
        vdouble joined[kK];
        for (int j = 0; j < kK; ++j)
            joined[j] = smaller(list[j], rotated<kBy>(list[kK - 1 - j], std::make_integer_sequence<int, kLanes>{}));
        for (int i = 0; i < kK; ++i) {
            for (int j = i + 1; j < kK; ++j) {
                const vdouble low = smaller(joined[i], joined[j]);
                joined[j] = larger(joined[i], joined[j]);
                joined[i] = low;
            }
            list[i] = joined[i];
        }
        if constexpr (kBy > 1) merge<kBy / 2>(list);
    }

    vdouble own_[kK ? kK : 1];
    std::int64_t k_;
    vdouble* best_;
};

// Looks along an axis, to both sides of a point, for its neighbours, those further than `bound` left out. Returns
// whether all that lies within the new bound has been seen; gives up after `patience` points.
template <int kK>
inline bool look(const Axis& axis, std::int64_t point, std::int64_t reach, std::int64_t patience, Nearest<kK>& nearest,
                 double& bound) {
    const double own = axis.own[point], other = axis.other[point];
    const auto see = [&](std::int64_t i) {
        const vdouble x = load_unaligned<vdouble>(axis.own + i) - own;
        const vdouble y = load_unaligned<vdouble>(axis.other + i) - other;
        nearest.insert(larger(larger(x, -x), larger(y, -y)));
    };
    nearest.fill(bound);
    std::int64_t low = point, high = point + 1;  // seen so far
    for (;;) {
        for (const std::int64_t end = high + reach; high < end && axis.own[high] - own < bound; high += kLanes)
            see(high);
        for (const std::int64_t end = low - reach; low > end && own - axis.own[low - 1] < bound;) see(low -= kLanes);
        bound = nearest.last();
        if (!(axis.own[high] - own < bound) && !(own - axis.own[low - 1] < bound)) return true;
        if (high - low > patience) return false;
    }
}

// The distance from a point to its neighbour number k.
template <int kK>
inline double distance(const Plane& plane, const std::int64_t* place, std::int64_t reach, Nearest<kK>& nearest) {
    // The axis along which fewer points are as near: on the other, thousands may share a value but for their jitter.
    double width[2];
    for (int a = 0; a < 2; ++a)
        width[a] = plane.axes[a].own[std::min(place[a] + reach, plane.count - 1)] -
                   plane.axes[a].own[std::max<std::int64_t>(place[a] - reach, 0)];
    int a = width[1] > width[0];
    double bound = kInfinity;
    // That was a guess; taking turns with ever more patience costs a few times the better axis, whichever it is.
    for (std::int64_t patience = kPatience * reach; !look<kK>(plane.axes[a], place[a], reach, patience, nearest, bound);
         patience *= 2)
        a = 1 - a;
    return bound;
}

// Points whose neighbours along the axes are counted together: searches in step hide how long each waits for memory.
class Within {
  public:
    Within(const Plane& plane, std::int64_t reach) : plane_(plane), window_(std::min(4 * reach, plane.count)) {}

    void add(const std::int64_t* place, double distance) {
        for (int a = 0; a < 2; ++a) place_[a][size_] = place[a];
        distance_[size_++] = distance;
    }

    bool full() const { return size_ == kTogether; }

    // Adds worth[n] of both axes, n the number of other points strictly within the distance, and forgets the points.
    void sum(const double* worth, double& total) {
        for (int l = size_; l < kTogether; ++l) {  // as if the last one came again
            for (auto& place : place_) place[l] = place[size_ - 1];
            distance_[l] = distance_[size_ - 1];
        }
        count(plane_.axes[0].own, place_[0], found_[0]);
        count(plane_.axes[1].own, place_[1], found_[1]);
        for (int l = 0; l < size_; ++l) total += worth[found_[0][l]] + worth[found_[1][l]];
        size_ = 0;
    }

  private:
    static constexpr int kTogether = 8;

    void count(const double* own, const std::int64_t* place, std::int64_t* found) const {
        double at[kTogether];
        std::int64_t low[kTogether], high[kTogether];
        bool in_window = true;
        for (int l = 0; l < kTogether; ++l) {
            at[l] = own[place[l]];
            low[l] = std::clamp<std::int64_t>(place[l] - window_ / 2, 0, plane_.count - window_);
            in_window &= low[l] == 0 || !(at[l] - own[low[l]] < distance_[l]);
            in_window &= low[l] + window_ == plane_.count || !(own[low[l] + window_ - 1] - at[l] < distance_[l]);
        }
        if (!in_window) std::fill_n(low, kTogether, 0);
        std::copy_n(low, kTogether, high);
        std::int64_t left = in_window ? window_ : plane_.count;
        for (; left > 1; left -= left / 2) {
            const std::int64_t half = left / 2;
            for (int l = 0; l < kTogether; ++l) {
                low[l] += at[l] - own[low[l] + half - 1] < distance_[l] ? 0 : half;
                high[l] += own[high[l] + half - 1] - at[l] < distance_[l] ? half : 0;
            }
        }
        for (int l = 0; l < kTogether; ++l) {
            low[l] += !(at[l] - own[low[l]] < distance_[l]);
            high[l] += own[high[l]] - at[l] < distance_[l];
            // Where more than k points coincide, the distance is 0 and even the point itself is not within it.
            found[l] = std::max<std::int64_t>(high[l] - low[l] - 1, 0);
        }
    }

    const Plane& plane_;
    std::int64_t window_;
    int size_ = 0;
    std::int64_t place_[2][kTogether], found_[2][kTogether];
    double distance_[kTogether];
};

template <int kK>
double sum_of(const Plane& plane, std::int64_t first, std::int64_t last, std::int64_t neighbors, const double* worth,
              double* scratch) {
    Nearest<kK> nearest(neighbors, scratch);
    // Of independent points, sqrt(k N) are as near along an axis as the k-th neighbour.
    const double usual = std::sqrt(static_cast<double>(neighbors) * static_cast<double>(plane.count));
    const auto reach = static_cast<std::int64_t>(0.5 * usual) / kLanes * kLanes + kLanes;
    Within within(plane, reach);
    double sum = 0;
    for (std::int64_t point = first; point < last; ++point) {
        const std::int64_t place[2] = {point, plane.place[point]};
        within.add(place, distance(plane, place, reach, nearest));
        if (within.full() || point == last - 1) within.sum(worth, sum);
    }
    return sum;
}

// By the number of neighbours, where they fit into registers.
constexpr decltype(&sum_of<0>) kSums[] = {sum_of<0>, sum_of<1>, sum_of<2>, sum_of<3>, sum_of<4>, sum_of<5>};

double sum(const Plane& plane, std::int64_t first, std::int64_t last, std::int64_t neighbors, const double* worth,
           double* scratch) {
    return kSums[neighbors <= 5 ? neighbors : 0](plane, first, last, neighbors, worth, scratch);
}

}  // namespace

extern const KraskovKernels kKraskovKernels;
const KraskovKernels kKraskovKernels = {sum};

}  // namespace sdfast::cpu::SDFAST_ISA_NAME
