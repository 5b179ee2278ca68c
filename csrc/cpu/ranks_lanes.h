// Inner loops of ranking, compiled once per instruction set (ranks_lanes.cpp).
#pragma once
#include <cstdint>
#include <vector>

namespace sdfast::cpu {

constexpr std::int64_t kRankWindow = 8;  // a bin of more samples is crowded
constexpr std::int64_t kRankBins = 2;    // for each sample

// What ranking up to `most` samples needs.
struct RankScratch {
    explicit RankScratch(std::int64_t most) : dealt(size(most)), bin(size(most)), ends(size(kRankBins * most)) {
        crowded.reserve(size(most / kRankWindow));
    }

    std::vector<double> dealt;            // the samples, bin by bin
    std::vector<std::int32_t> bin, ends;  // of each sample, and where in `dealt` each bin ends
    std::vector<std::int32_t> crowded;    // bins of so many samples that these are sorted

  private:
    static std::size_t size(std::int64_t most) { return static_cast<std::size_t>(most + 2 * kRankWindow); }
};

struct RankKernels {
    // Writes twice the ranks, from 1 on, of samples; equal ones share the mean of theirs. Returns false, and has
    // written nothing, where a sample is not finite.
    bool (*twice_ranks)(const double* samples, std::int64_t count, RankScratch& scratch, std::int32_t* out);
};

}  // namespace sdfast::cpu
