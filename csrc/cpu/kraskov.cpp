#include "cpu/kraskov.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/division.h"
#include "core/philox.h"
#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "cpu/sorting.h"

namespace sdfast::cpu {
namespace {

constexpr std::int64_t kBlock = 256;  // points summed up at a time: the sum depends on no number of threads
constexpr double kJitter = 1e-10;     // standard deviations from the least to the most

std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

// Digamma of n at [n - 1].
std::vector<double> digammas(std::int64_t count) {
    constexpr double kEuler = 0.57721566490153286061;
    std::vector<double> psi(size(count), -kEuler);
    for (std::int64_t n = 1; n < count; ++n) psi[size(n)] = psi[size(n - 1)] + 1 / static_cast<double>(n);
    return psi;
}

double jitter(std::uint32_t word) { return (static_cast<double>(word) - 2147483647.5) * (kJitter * 0x1p-32); }

// Samples from their least on, which keeps the jitter of the zeros that ReLU leaves, in standard deviations.
struct Scale {
    double low, deviation;  // of population; not finite where a sample is not

    Scale(const double* row, std::int64_t count) : low(*std::min_element(row, row + count)) {
        const double n = static_cast<double>(count);
        double sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t i = 0; i < count; ++i) sum += row[i] - low;
        const double mean = sum / n;
#pragma omp simd reduction(+ : squares)
        for (std::int64_t i = 0; i < count; ++i) squares += (row[i] - low - mean) * (row[i] - low - mean);
        deviation = std::sqrt(squares / n);
    }

    double operator()(double sample) const { return (sample - low) / deviation; }
};

// The samples of one channel at a time as points of a plane.
class Points {
  public:
    explicit Points(std::int64_t count) : count_(count), items_(size(count)), sort_(count), place_(size(count)) {
        constexpr double kInfinity = std::numeric_limits<double>::infinity();
        for (int a = 0; a < 2; ++a) {
            own_[a].assign(size(count + 2 * kMargin), kInfinity);
            std::fill_n(own_[a].begin(), kMargin, -kInfinity);
            other_[a].resize(own_[a].size());
        }
    }

    // Takes samples x and y to scale, equal ones parted by a jitter. Overwrites y.
    Plane plane(const double* x, const Scale& of_x, double* y, const Scale& of_y, std::uint64_t seed,
                std::uint64_t counter) {
        for (std::int64_t n = 0; n < count_; ++n) {
            const philox::Words words = philox::words(seed, counter + static_cast<std::uint64_t>(n));
            items_[size(n)] = {of_x(x[n]) + jitter(words.w0), n};
            y[n] = of_y(y[n]) + jitter(words.w1);
        }
        order(0, y);
        const double* const other = other_[0].data() + kMargin;
        for (std::int64_t r = 0; r < count_; ++r) items_[size(r)] = {other[r], r};
        order(1, own_[0].data() + kMargin);
        for (std::int64_t q = 0; q < count_; ++q) place_[size(items_[size(q)].index)] = q;
        return {count_, {axis(0), axis(1)}, place_.data()};
    }

  private:
    Axis axis(int a) const { return {own_[a].data() + kMargin, other_[a].data() + kMargin}; }

    // Sorts the items along an axis; other has their other coordinates.
    void order(int a, const double* other) {
        sort_(items_.data(), count_);
        for (std::int64_t r = 0; r < count_; ++r) {
            const Placed& item = items_[size(r)];
            own_[a][size(r + kMargin)] = item.value;
            other_[a][size(r + kMargin)] = other[item.index];
        }
    }

    std::int64_t count_;
    std::vector<Placed> items_;
    Sorter sort_;
    std::vector<std::int64_t> place_;
    std::vector<double> own_[2], other_[2];
};

// What a neighbour needs of the scratch memory of the kernels.
struct alignas(64) Scratch {
    double values[kScratch];
};

struct Task {
    const Samples &a, &b;
    std::int64_t neighbors;
    std::uint64_t seed;
    std::vector<double> psi;
    int threads;  // that share the points of a channel
    double* out;
};

// What a thread does with the channels that it takes.
class Estimation {
  public:
    Estimation(const Task& task, std::int64_t together)
        : task_(task),
          a_(size(task.a.count * together)),
          b_(a_.size()),
          points_(task.a.count),
          sums_(size(ceil_div(task.a.count, kBlock))),
          scratch_(size(task.threads * task.neighbors)) {}

    void operator()(std::int64_t first, std::int64_t last) {
        task_.a.gather(first, last, a_.data());
        task_.b.gather(first, last, b_.data());
        for (std::int64_t c = first; c < last; ++c) task_.out[c] = information(c, (c - first) * task_.a.count);
    }

  private:
    // Of a channel whose samples start at a_[start] and b_[start].
    double information(std::int64_t channel, std::int64_t start) {
        const std::int64_t count = task_.a.count, blocks = static_cast<std::int64_t>(sums_.size());
        const double* const x = a_.data() + start;
        double* const y = b_.data() + start;
        const Scale of_x(x, count), of_y(y, count);
        if (!std::isfinite(of_x.deviation) || !std::isfinite(of_y.deviation)) return NAN;
        if (of_x.deviation == 0 || of_y.deviation == 0) return 0;
        const Plane plane = points_.plane(x, of_x, y, of_y, task_.seed, static_cast<std::uint64_t>(channel * count));
        in_parallel(task_.threads, [&](int thread) {
            double* const scratch = scratch_[size(thread * task_.neighbors)].values;
            for (std::int64_t i = thread; i < blocks; i += task_.threads)
                sums_[size(i)] = kernels_.sum(plane, i * kBlock, std::min((i + 1) * kBlock, count), task_.neighbors,
                                              task_.psi.data(), scratch);
        });
        double sum = 0;
        for (const double part : sums_) sum += part;
        return task_.psi.back() + task_.psi[size(task_.neighbors - 1)] - sum / static_cast<double>(count);
    }

    const Task& task_;
    const KraskovKernels& kernels_ = kraskov_kernels();
    std::vector<double> a_, b_;
    Points points_;
    std::vector<double> sums_;
    std::vector<Scratch> scratch_;
};

}  // namespace

void kraskov(const Samples& a, const Samples& b, std::int64_t neighbors, std::uint64_t seed, int max_threads,
             double* out) {
    const int threads = a.threads(max_threads);
    // Threads share the channels or, where these are few, the points of one after another.
    const bool by_channels = a.channels >= threads;
    const Task task{a, b, neighbors, seed, digammas(a.count), by_channels ? 1 : threads, out};
    share_channels(a.channels, by_channels ? threads : 1,
                   [&](std::int64_t together) { return Estimation(task, together); });
}

}  // namespace sdfast::cpu
