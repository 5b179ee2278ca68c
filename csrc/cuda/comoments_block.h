// What the co-moments kernels have in common: shifts, sums around them, and what a block makes of its sums.
#pragma once
#include <cmath>

#include "cuda/comoments.h"
#include "cuda/geometry.h"
#include "cuda/vector.h"

namespace sdfast::cuda {

// Sums of one lane.
template <class L>
struct LaneSums {
    L a = 0, b = 0, aa = 0, bb = 0, ab = 0;

    __device__ void add(L da, L db) {
        a += da;
        b += db;
        aa += da * da;
        bb += db * db;
        ab += da * db;
    }
};

// Sums of each thread: five of each of its channels, and the number of samples. Shifts of all channels of the block.
template <int kChannels, int kThreads>
struct Scratch {
    double sums[5 * kChannels + 1][kThreads];
    double shift_a[kChannels * kWarp], shift_b[kChannels * kWarp];
    long long first, middle, last;

    __device__ void clear() {
        for (auto& row : sums) row[thread_index()] = 0;
    }
    // Takes the sums of a lane over.
    template <class L>
    __device__ void add(int channel, LaneSums<L>& lane) {
        double (*at)[kThreads] = sums + 5 * channel;
        const int t = thread_index();
        at[0][t] += lane.a;
        at[1][t] += lane.b;
        at[2][t] += lane.aa;
        at[3][t] += lane.bb;
        at[4][t] += lane.ab;
        lane = {};
    }

    // Adds up threads that are `lanes` apart, always in the same order; the first `lanes` hold the totals.
    __device__ void reduce(int lanes) {
        const int t = thread_index();
        for (int half = kThreads / 2; half >= lanes; half /= 2) {
            barrier();
            if (t < half)
                for (auto& row : sums) row[t] += row[t + half];
        }
        barrier();
    }
    // Of channel i of the block, which `kChannels` channels of each lane make up.
    __device__ Comoments centred(int i) const {
        const int lane = i / kChannels;
        const double (*at)[kThreads] = sums + 5 * (i % kChannels);
        const ShiftedSums total{sums[5 * kChannels][lane],
                                shift_a[i],
                                shift_b[i],
                                at[0][lane],
                                at[1][lane],
                                at[2][lane],
                                at[3][lane],
                                at[4][lane]};
        return total.centred();
    }
};

// No single outlier moves it far. 0 where it is not finite, so that it cannot spoil what is.
__device__ inline double median(double x, double y, double z) {
    const double low = x < y ? x : y, high = x < y ? y : x;
    const double middle = z < low ? low : z > high ? high : z;
    return middle - middle == 0 ? middle : 0;
}

// Three samples of a factor among those of a block: batch entries and positions.
struct Picks {
    std::int64_t n0, n1, n2, position0, position1, position2;
    bool any;

    // The median of what at(n, position) is there.
    template <class At>
    __device__ double shift(At at) const {
        return any ? median(at(n0, position0), at(n1, position1), at(n2, position2)) : 0;
    }
};

// As far apart as the samples [first, last) of a block have them. All threads of the block take part.
template <class Shared>
__device__ Picks pick_samples(Shared& scratch, const Samples& s, std::int64_t factor, std::int64_t first,
                              std::int64_t last, int threads) {
    const std::int64_t size = s.runs_an_entry.value * s.run;
    if (!s.labels) {
        const std::int64_t middle = first + (last - first) / 2;
        return {first / size, middle / size, (last - 1) / size, first % size, middle % size, (last - 1) % size, true};
    }
    const std::int64_t begin = first / size, end = (last - 1) / size + 1, half = begin + (end - begin) / 2;
    long long low = end, middle = end, high = -1;
    for (std::int64_t n = begin + thread_index(); n < end; n += threads) {
        if (!s.labels.has(n, factor)) continue;
        if (n < low) low = n;
        if (n >= half && n < middle) middle = n;
        high = n;
    }
    if (thread_index() == 0) {
        scratch.first = scratch.middle = end;
        scratch.last = -1;
    }
    barrier();
    lower(&scratch.first, low);
    lower(&scratch.middle, middle);
    raise(&scratch.last, high);
    barrier();
    middle = scratch.middle < scratch.last ? scratch.middle : scratch.last;
    return {scratch.first, middle, scratch.last, 0, size / 2, size - 1, scratch.last >= 0};
}

// Of one channel of one factor: into the results, or into this chunk's partial ones.
__device__ inline void write_results(const ComomentsResults& to, std::int64_t factors, std::int64_t channels,
                                     std::int64_t f, std::int64_t c, const Comoments& m) {
    const std::int64_t row = factors * channels, i = f * channels + c;
    if (to.moments != nullptr) {
        const double values[6] = {m.count, m.mean_a, m.mean_b, m.m2_a, m.m2_b, m.c_ab};
        for (int k = 0; k < 6; ++k) to.moments[k * row + i] = values[k];
    }
    if (to.state != nullptr && m.count > 0) {
        double* at = to.state + i;
        Comoments all{at[0], at[row], at[2 * row], at[3 * row], at[4 * row], at[5 * row]};
        all += m;
        const double values[6] = {all.count, all.mean_a, all.mean_b, all.m2_a, all.m2_b, all.c_ab};
        for (int k = 0; k < 6; ++k) at[k * row] = values[k];
    }
    if (to.corr != nullptr) {
        const double corr = correlation(m, to.kind);
        to.corr[i] = corr;
        to.mi[i] = mutual_information(corr);
        if (c == 0) to.count[f] = static_cast<std::int64_t>(m.count);
    }
}

__device__ inline void finish(const Samples& s, std::int64_t chunk, std::int64_t f, std::int64_t c,
                              const Comoments& m) {
    if (s.chunks == 1) return write_results(s.results, s.factors, s.channel.size, f, c, m);
    const ComomentsResults part{s.partials + chunk * 6 * s.factors * s.channel.size, nullptr, nullptr, nullptr,
                                Kind::pearson};
    write_results(part, s.factors, s.channel.size, f, c, m);
}

}  // namespace sdfast::cuda
