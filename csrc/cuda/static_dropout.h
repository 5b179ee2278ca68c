// StaticDropout on a GPU.
#pragma once
#include "core/tasks.h"
#include "cuda/layout.h"
#include "cuda/runtime.h"

namespace sdfast::cuda {

// Thresholds are the product of a number that goes with the row, a batch entry and channel, and one of the position.
enum class Rates { row, position, product };

// A task, its dimensions joined, and how blocks share it out.
struct StaticDropoutPlan : StaticDropoutTask {
    Divisors sizes, twice_the_sizes;     // of the positions
    bool channels_as_positions = false;  // without positions, channels take their place in the draws
    Rates rates = Rates::row;
    bool columns = false;           // channels lie side by side
    bool vectors = false;           // 16 bytes at a time
    int lanes = 1, lanes_log2 = 0;  // threads side by side: of groups of eight positions, or of vectors of channels
    std::int64_t groups = 0;        // of eight positions, whose draws come from one counter
    std::int64_t tiles = 0;         // of groups, a block has one of them
    std::int64_t rounds = 0, chunks = 0;  // times that a block goes on to further channels, blocks that share them out

    SDFAST_HOST_DEVICE Offsets offsets(std::int64_t position) const {
        return cuda::offsets(positions, sizes, position);
    }
    // Of the mask's value, in bytes from the batch entry's first one.
    SDFAST_HOST_DEVICE std::int64_t mask_offset(std::int64_t position) const {
        std::int64_t at = 0;
        for (int d = positions.count - 1; d >= 0; --d) {
            const std::int64_t outer = d > 0 ? sizes.by[d].quotient(position) : 0;
            const std::int64_t i = position - outer * positions.dims[d].size;
            at += nearest(i, mask.grid[d], twice_the_sizes.by[d]) * mask.stride[d];
            position = outer;
        }
        return at;
    }
};

StaticDropoutPlan plan_static_dropout(const StaticDropoutTask& task, int processors);

void static_dropout(const StaticDropoutPlan& plan, Stream stream);

// The kernels.
void static_dropout_rows(const StaticDropoutPlan& plan, Stream stream);
void static_dropout_columns(const StaticDropoutPlan& plan, Stream stream);

}  // namespace sdfast::cuda
