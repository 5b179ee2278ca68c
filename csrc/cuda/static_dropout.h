// StaticDropout on a GPU: forward, backward and in place are one operation.
#pragma once
#include "core/static_dropout.h"
#include "cuda/layout.h"
#include "cuda/runtime.h"

namespace sdfast::cuda {

// A static mask [N][*grid], sampled at the nearest position of each dimension of the features.
struct Mask {
    const char* data = nullptr;
    MaskType type = MaskType::f32;
    std::int64_t batch_stride = 0;  // bytes
    std::int64_t grid[kMaxDims] = {}, stride[kMaxDims] = {};
    Divisor twice_the_size[kMaxDims];  // of the features

    // In bytes, from the batch entry's first value.
    SDFAST_HOST_DEVICE std::int64_t offset(const Places& positions, std::int64_t position) const {
        std::int64_t at = 0;
        for (int d = positions.count - 1; d >= 0; --d) {
            const std::int64_t outer = d > 0 ? positions.sizes[d].quotient(position) : 0;
            at += nearest(position - outer * positions.dims[d].size, grid[d], twice_the_size[d]) * stride[d];
            position = outer;
        }
        return at;
    }
};

// Thresholds are the product of a number that goes with the row, a batch entry and channel, and one of the position.
enum class Rates { row, position, product };

struct StaticDropoutTask {
    const char* x = nullptr;
    char* out = nullptr;  // may be x
    DType dtype = DType::f32;
    Dim batch, channel;  // stride_a of x, stride_b of out
    Places positions;    // in their logical order, which the draws follow
    const std::uint64_t* seed = nullptr;
    float p = 0;
    Mask mask;
    const float* channel_weight = nullptr;  // [C]
    Granularity granularity = Granularity::element;
    bool rescale = false;

    // What plan_static_dropout decides.
    bool channels_as_positions = false;  // without positions, channels take their place in the draws
    Rates rates = Rates::row;
    bool columns = false;           // channels lie side by side
    bool vectors = false;           // 16 bytes at a time
    int lanes = 1, lanes_log2 = 0;  // threads side by side: of groups of eight positions, or of vectors of channels
    std::int64_t groups = 0;        // of eight positions, whose draws come from one counter
    std::int64_t tiles = 0;         // of groups, a block has one of them
    std::int64_t rounds = 0, chunks = 0;  // times that a block goes on to further channels, blocks that share them out

    SDFAST_HOST_DEVICE bool in_place() const { return x == out; }
};

// Completes a task: joins dimensions, chooses the kernel and its blocks.
StaticDropoutTask plan_static_dropout(StaticDropoutTask task, int processors);

void static_dropout(const StaticDropoutTask& plan, Stream stream);

// The kernels.
void static_dropout_rows(const StaticDropoutTask& plan, Stream stream);
void static_dropout_columns(const StaticDropoutTask& plan, Stream stream);

}  // namespace sdfast::cuda
