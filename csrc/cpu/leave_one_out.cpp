#include "cpu/leave_one_out.h"

#include <algorithm>
#include <memory>

#include "cpu/isa.h"
#include "cpu/parallel.h"

namespace sdfast::cpu {
namespace {

// Calls work(first channel, channels, scratch) for blocks of channels that threads share.
template <class Work>
void each_block(std::int64_t groups, std::int64_t channels, int max_threads, Work work) {
    const MomentKernels& kernels = moment_kernels();
    const std::int64_t blocks = (channels + kernels.block - 1) / kernels.block;
    const std::int64_t bytes = 6 * groups * channels * static_cast<std::int64_t>(sizeof(double));
    const std::int64_t useful = std::min(blocks, std::max<std::int64_t>(1, bytes / kBytesPerThread));
    const std::int64_t threads = std::min<std::int64_t>(max_threads, useful);
    in_parallel(static_cast<int>(threads), [&](int thread) {
        const std::unique_ptr<double[]> scratch(new double[static_cast<std::size_t>(groups * kernels.scratch)]);
        for (std::int64_t b = blocks * thread / threads; b < blocks * (thread + 1) / threads; ++b) {
            const std::int64_t first = b * kernels.block;
            work(first, std::min(kernels.block, channels - first), scratch.get());
        }
    });
}

GroupedRows<const double> from_channel(GroupedRows<const double> from, std::int64_t channel) {
    from.data += channel;
    return from;
}

}  // namespace

void leave_one_out(GroupedRows<const double> from, std::int64_t channels, int max_threads, double* out) {
    each_block(from.groups, channels, max_threads, [&](std::int64_t first, std::int64_t own, double* scratch) {
        moment_kernels().leave_one_out(from_channel(from, first), own, scratch,
                                       {out + first, from.groups * channels, channels, from.groups});
    });
}

void correlations_without(GroupedRows<const double> from, std::int64_t channels, Kind kind, int max_threads,
                          double* total, double* out) {
    each_block(from.groups, channels, max_threads, [&](std::int64_t first, std::int64_t own, double* scratch) {
        moment_kernels().correlations_without(from_channel(from, first), own, scratch, kind, {total + first, channels},
                                              out + first, channels);
    });
}

}  // namespace sdfast::cpu
