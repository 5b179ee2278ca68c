#include "cpu/normal_scores.h"

#include <cmath>
#include <vector>

#include "cpu/isa.h"

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

// The scores of twice the ranks, from 2 to 2 * count: of whole ranks and of those halfway between.
class Scores {
  public:
    Scores(std::int64_t count, int threads) : all_(static_cast<std::size_t>(2 * count + 1)) {
        const std::int64_t middle = count + 1;  // the scores beyond are those before, mirrored
        in_parallel(threads, [&](int thread) {
            for (std::int64_t twice = 2 + thread; twice <= middle; twice += threads) {
                const double p = static_cast<double>(twice) / static_cast<double>(2 * middle);
                all_[static_cast<std::size_t>(twice)] = normal_quantile(p);
                all_[static_cast<std::size_t>(2 * middle - twice)] = -all_[static_cast<std::size_t>(twice)];
            }
        });
    }

    double operator[](std::int32_t twice) const { return all_[static_cast<std::size_t>(twice)]; }

  private:
    std::vector<double> all_;
};

// What a thread does with the channels that it takes.
class Scoring {
  public:
    Scoring(const Samples& samples, const Scores& scores, std::int64_t together, double* out)
        : samples_(samples),
          scores_(scores),
          out_(out),
          rows_(static_cast<std::size_t>(samples.count * together)),
          ranks_(rows_.size()),
          scratch_(samples.count) {}

    void operator()(std::int64_t first, std::int64_t last) {
        const std::int64_t count = samples_.count, channels = samples_.channels, own = last - first;
        samples_.gather(first, last, rows_.data());
        bool finite[kChannelsTogether];
        for (std::int64_t c = 0; c < own; ++c)
            finite[c] = kernels_.twice_ranks(rows_.data() + c * count, count, scratch_, ranks_.data() + c * count);
        for (std::int64_t n = 0; n < count; ++n)
            for (std::int64_t c = 0; c < own; ++c)
                out_[n * channels + first + c] =
                    finite[c] ? scores_[ranks_[static_cast<std::size_t>(c * count + n)]] : NAN;
    }

  private:
    const Samples& samples_;
    const Scores& scores_;
    const RankKernels& kernels_ = rank_kernels();
    double* out_;
    std::vector<double> rows_;
    std::vector<std::int32_t> ranks_;
    RankScratch scratch_;
};

}  // namespace

void normal_scores(const Samples& samples, int max_threads, double* out) {
    const int threads = samples.threads(max_threads);
    const Scores scores(samples.count, threads);
    share_channels(samples.channels, threads,
                   [&](std::int64_t together) { return Scoring(samples, scores, together, out); });
}

}  // namespace sdfast::cpu
