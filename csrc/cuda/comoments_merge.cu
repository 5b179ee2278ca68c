// Merges the co-moments of all chunks, always in the same order, and finishes them.
#include "cuda/comoments_block.h"

namespace sdfast::cuda {
namespace {

struct MergeScratch {
    Comoments parts[kMergeThreads];
};

__global__ void __launch_bounds__(kMergeThreads) merge_kernel(const __grid_constant__ Samples s) {
    MergeScratch& scratch = shared<MergeScratch>();
    const int t = thread_index(), lane = t % kMergeColumns;
    const std::int64_t row = s.factors * s.channel.size, i = block_index() * kMergeColumns + lane;
    Comoments merged;
    if (i < row) {
        for (std::int64_t chunk = t / kMergeColumns; chunk < s.chunks; chunk += kMergeRows) {
            const double* part = s.partials + chunk * 6 * row + i;
            merged += {part[0], part[row], part[2 * row], part[3 * row], part[4 * row], part[5 * row]};
        }
    }
    scratch.parts[t] = merged;
    for (int half = kMergeThreads / 2; half >= kMergeColumns; half /= 2) {
        barrier();
        if (t < half) scratch.parts[t] += scratch.parts[t + half];
    }
    if (t < kMergeColumns && i < row)
        write_results(s.results, s.factors, s.channel.size, i / s.channel.size, i % s.channel.size, scratch.parts[t]);
}

}  // namespace

void merge_comoments(const Samples& s, Stream stream) {
    launch(merge_kernel, ceil_div(s.factors * s.channel.size, kMergeColumns), kMergeThreads, sizeof(MergeScratch),
           stream, s);
}

}  // namespace sdfast::cuda
