// Inner loops of the co-moments, compiled once per instruction set (lanes.cpp) and called through these tables.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/dtype.h"

namespace sdfast::cpu {

// Sums are kept as five doubles (a, b, aa, bb, ab) a lane, of samples with a shift subtracted.
constexpr int kSums = 5;

// Runs of two tensors, one a channel, `stride` bytes apart; at next_a and next_b the stream of memory goes on.
struct RowPair {
    const void *a, *b, *next_a, *next_b;
    std::int64_t stride_a, stride_b;
};

struct TypedKernels {
    // Adds a run of samples to each of `channels` channels.
    // acc is [channels][kSums][Kernels::lanes], shifts [channels]; length >= 16.
    void (*rows)(const RowPair& pair, std::int64_t channels, std::int64_t length, const double* shift_a,
                 const double* shift_b, double* acc);

    // Adds the sum of a run to sum [channels].
    void (*row_sums)(const void* x, std::int64_t stride, std::int64_t channels, std::int64_t length, double* sum);

    // Adds `rows` samples of each of `columns` channels that lie side by side. acc is [kSums][slots], shifts [slots].
    void (*columns)(const void* const* a, const void* const* b, std::int64_t rows, std::int64_t columns,
                    const double* shift_a, const double* shift_b, double* acc);

    // Adds `rows` rows to sum [slots].
    void (*column_sums)(const void* const* x, std::int64_t rows, std::int64_t columns, double* sum);

    // Column kernels keep the even columns of a block before the odd ones.
    bool evens_first;
};

// bfloat16 that is summed in float64 lanes, after the types of features: right over the whole range, and slower.
constexpr DType kWideBFloat16{4};

struct Kernels {
    int lanes;                                                    // doubles in each sum of a run's accumulator
    int block;                                                    // columns that a column kernel takes at a time
    TypedKernels typed[5];                                        // by DType, and kWideBFloat16
    std::uint64_t (*read)(const void* data, std::int64_t bytes);  // touches every byte, for the bandwidth probe

    // Column kernels work on whole blocks. The last block is moved back so that it ends with the last column; the
    // columns that it shares with the block before have a slot of their own there, which nobody reads.
    std::int64_t slots(std::int64_t columns) const { return (columns + block - 1) / block * block; }
    // Copies `rows` rows of slots, `from_gap` doubles apart, to the first `count` of their columns in order.
    void in_order(const double* from, std::int64_t from_gap, std::int64_t columns, DType dtype, int rows, double* to,
                  std::int64_t to_gap, std::int64_t count) const {
        const std::int64_t whole = std::min(columns / block * block, count), moved = slots(columns) - columns;
        for (int k = 0; k < rows; ++k, from += from_gap, to += to_gap) {
            if (!typed[static_cast<int>(dtype)].evens_first) {
                std::copy(from, from + whole, to);
                std::copy(from + whole + moved, from + count + moved, to + whole);
                continue;
            }
            for (std::int64_t c = 0; c < count; ++c) {
                const std::int64_t slot = c < whole ? c : c + moved, within = slot % block;
                to[c] = from[slot - within + within % 2 * (block / 2) + within / 2];
            }
        }
    }
};

}  // namespace sdfast::cpu
