#include "cpu/normal_scores.h"

#include <cmath>
#include <vector>

#include "cpu/sorting.h"

namespace sdfast::cpu {
namespace {

// The x below which a normal variable lies with probability p <= 1/2, to about 1e-15.
double normal_quantile(double p) {
    constexpr double kSqrtHalf = 0.70710678118654752440, kSqrtTwoPi = 2.50662827463100050242;
    if (p == 0.5) return 0;
    // Abramowitz and Stegun 26.2.23 is within 4.5e-4, and each of Halley's steps cubes that.
    const double t = std::sqrt(-2 * std::log(p));
    const double top = 2.515517 + t * (0.802853 + t * 0.010328);
    double x = top / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
    for (int step = 0; step < 2; ++step) {
        // In the middle, the distance from one half keeps the digits that the probability has lost.
        const double excess =
            x > -0.5 ? 0.5 * std::erf(x * kSqrtHalf) - (p - 0.5) : 0.5 * std::erfc(-x * kSqrtHalf) - p;
        const double newton = excess * kSqrtTwoPi * std::exp(0.5 * x * x);
        x -= newton / (1 + 0.5 * x * newton);
    }
    return x;
}

// Scores of the ranks from 1 to `count` and of those halfway between.
class Scores {
  public:
    Scores(std::int64_t count, int threads) : count_(count), whole_(static_cast<std::size_t>(count + 1)) {
        in_parallel(threads, [&](int thread) {
            for (std::int64_t rank = 1 + thread * count / threads; rank <= (thread + 1) * count / threads; ++rank)
                whole_[static_cast<std::size_t>(rank)] = compute(2 * rank);
        });
    }

    double of_twice(std::int64_t rank) const {
        return rank % 2 == 0 ? whole_[static_cast<std::size_t>(rank / 2)] : compute(rank);
    }

  private:
    double compute(std::int64_t twice) const {
        const std::int64_t mirrored = 2 * (count_ + 1) - twice;
        if (twice > mirrored) return -compute(mirrored);
        return normal_quantile(0.5 * static_cast<double>(twice) / static_cast<double>(count_ + 1));
    }

    std::int64_t count_;
    std::vector<double> whole_;
};

// What a thread does with the channels that it takes.
class Scoring {
  public:
    Scoring(const Samples& samples, const Scores& scores, std::int64_t together, double* out)
        : samples_(samples),
          scores_(scores),
          out_(out),
          rows_(static_cast<std::size_t>(samples.count * together)),
          items_(static_cast<std::size_t>(samples.count)),
          sort_(samples.count) {}

    void operator()(std::int64_t first, std::int64_t last) {
        const std::int64_t count = samples_.count, channels = samples_.channels;
        samples_.gather(first, last, rows_.data());
        for (std::int64_t c = first; c < last; ++c) score(rows_.data() + (c - first) * count);
        for (std::int64_t n = 0; n < count; ++n)
            for (std::int64_t c = first; c < last; ++c)
                out_[n * channels + c] = rows_[static_cast<std::size_t>((c - first) * count + n)];
    }

  private:
    // Replaces the samples of a channel by their scores.
    void score(double* row) {
        const std::int64_t count = samples_.count;
        Placed* const items = items_.data();
        bool finite = true;
        for (std::int64_t n = 0; n < count; ++n) {
            items[n] = {row[n], n};
            finite &= std::isfinite(row[n]);
        }
        if (!finite) return std::fill(row, row + count, NAN);
        sort_(items, count);
        for (std::int64_t first = 0, last; first < count; first = last) {
            last = first + 1;
            while (last < count && items[last].value == items[first].value) ++last;
            const double shared = scores_.of_twice(first + 1 + last);  // ranks first + 1 to last
            for (std::int64_t i = first; i < last; ++i) row[items[i].index] = shared;
        }
    }

    const Samples& samples_;
    const Scores& scores_;
    double* out_;
    std::vector<double> rows_;
    std::vector<Placed> items_;
    Sorter sort_;
};

}  // namespace

void normal_scores(const Samples& samples, int max_threads, double* out) {
    const int threads = samples.threads(max_threads);
    const Scores scores(samples.count, threads);
    share_channels(samples.channels, threads,
                   [&](std::int64_t together) { return Scoring(samples, scores, together, out); });
}

}  // namespace sdfast::cpu
