// How many threads a block of each kernel has, and what blocks are given.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace sdfast::cuda {

constexpr int kWarp = 32;
constexpr int kRowThreads = 256;
constexpr int kPoolThreads = 256, kPoolBlocks = 8;  // blocks a processor
constexpr int kDropoutThreads = 256;
constexpr int kGroup = 8;  // positions whose draws come from one counter of Philox
constexpr int kMergeColumns = 16, kMergeRows = 16;
constexpr int kMergeThreads = kMergeColumns * kMergeRows;
constexpr int kInFlight = 4;     // vectors of each tensor that a thread loads before it uses the first
constexpr int kFlushEvery = 64;  // additions to a float32 lane before its sum goes on in float64

// A column thread of halves has eight channels, whose sums in float64 are in shared memory.
constexpr int column_threads(DType dtype) { return size_of(dtype) == 2 ? 128 : 256; }

constexpr int kBlocksAProcessor = 4;  // wanted of the co-moments kernels

// A block of the matrix product has a square of channels, 16 x 16 threads two vectors each way, and takes so many
// samples at a time. Sums of more than kProductSamples products in float32 would round visibly.
constexpr int kProductThreads = 256, kProductDepth = 8, kSumThreads = 256;
constexpr int kProductBlocks = 2;  // that a processor has at a time
constexpr std::int64_t kProductSamples = 4096;
constexpr int product_tile(DType dtype) { return 2 * 16 * 16 / static_cast<int>(size_of(dtype)); }

constexpr std::int64_t power_of_two_from(std::int64_t n) {
    std::int64_t power = 1;
    while (power < n) power *= 2;
    return power;
}

}  // namespace sdfast::cuda
