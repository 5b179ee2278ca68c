#include "cpu/leave_one_out.h"

#include <algorithm>
#include <memory>

#include "cpu/isa.h"
#include "cpu/parallel.h"

namespace sdfast::cpu {
namespace {

// Calls work(first channel, channels, scratch) for blocks of channels that threads share; each is so many doubles long.
template <class Work>
void each_block(std::int64_t length, std::int64_t channels, std::int64_t scratch, int max_threads, Work work) {
    const std::int64_t block = moment_kernels().block, blocks = (channels + block - 1) / block;
    const std::int64_t bytes = length * channels * static_cast<std::int64_t>(sizeof(double));
    const std::int64_t useful = std::min(blocks, std::max<std::int64_t>(1, bytes / kBytesPerThread));
    const std::int64_t threads = std::min<std::int64_t>(max_threads, useful);
    in_parallel(static_cast<int>(threads), [&](int thread) {
        const std::unique_ptr<double[]> own(new double[static_cast<std::size_t>(scratch)]);
        for (std::int64_t b = blocks * thread / threads; b < blocks * (thread + 1) / threads; ++b)
            work(b * block, std::min(block, channels - b * block), own.get());
    });
}

GroupedRows<const double> from_channel(GroupedRows<const double> from, std::int64_t channel) {
    from.data += channel;
    return from;
}

}  // namespace

void leave_one_out(GroupedRows<const double> from, std::int64_t channels, int max_threads, double* out) {
    const auto work = [&](std::int64_t first, std::int64_t own, double* scratch) {
        moment_kernels().leave_one_out(from_channel(from, first), own, scratch,
                                       {out + first, from.groups * channels, channels, from.groups});
    };
    each_block(6 * from.groups, channels, from.groups * moment_kernels().scratch, max_threads, work);
}

void correlations_without(GroupedRows<const double> from, std::int64_t channels, Kind kind, int max_threads,
                          double* total, double* out) {
    const auto work = [&](std::int64_t first, std::int64_t own, double* scratch) {
        moment_kernels().correlations_without(from_channel(from, first), own, scratch, kind, {total + first, channels},
                                              out + first, channels);
    };
    each_block(6 * from.groups, channels, from.groups * moment_kernels().scratch, max_threads, work);
}

void deviations(const double* values, std::int64_t rows, std::int64_t columns, int max_threads, double* out) {
    each_block(rows, columns, 0, max_threads, [&](std::int64_t first, std::int64_t own, double*) {
        moment_kernels().deviations(values + first, rows, own, columns, out + first);
    });
}

}  // namespace sdfast::cpu
