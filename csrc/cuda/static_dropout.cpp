#include "cuda/static_dropout.h"

#include <algorithm>
#include <utility>

#include "core/philox.h"
#include "cuda/geometry.h"

namespace sdfast::cuda {
namespace {

constexpr std::int64_t kMaxRounds = 16;     // channels that share a sampled mask; more are no use
constexpr std::int64_t kBlocksWanted = 16;  // a processor, before blocks take several rounds

// Whether an outer dimension and the next inner one are as good as one, for the features and for the mask.
bool continues(const Dim& outer, const Dim& inner) {
    return outer.stride_a == inner.stride_a * inner.size && outer.stride_b == inner.stride_b * inner.size;
}

void join_positions(StaticDropoutPlan& t) {
    const Dims old = t.positions;
    const Mask mask = t.mask;
    t.positions = {};
    int last = -1;  // of the joined dimensions
    for (int d = 0; d < old.count; ++d) {
        Dim dim = old.dims[d];
        std::int64_t grid = mask.grid[d];
        const std::int64_t stride = mask.stride[d];
        if (dim.size == 1) {  // at the middle of its mask
            if (mask.data != nullptr) t.mask.data += grid / 2 * stride;
            continue;
        }
        if (last >= 0 && continues(t.positions.dims[last], dim)) {
            const Dim& outer = t.positions.dims[last];
            const bool one = grid == 1 && t.mask.grid[last] == 1;
            const bool each =
                grid == dim.size && t.mask.grid[last] == outer.size && t.mask.stride[last] == stride * grid;
            if (mask.data == nullptr || one || each) {
                dim.size *= outer.size;
                grid *= t.mask.grid[last];
                t.positions.pop_back();
                --last;
            }
        }
        t.positions.push_back(dim);
        t.mask.grid[++last] = grid;
        t.mask.stride[last] = stride;
    }
}

// Rows that follow each other in memory and in the draws, at one rate, are one long row.
void join_rows(StaticDropoutPlan& t) {
    const Dim run = t.positions.count == 1 ? t.positions.dims[0] : Dim{1, 0, 0};
    const auto follows = [](const Dim& d, std::int64_t stride) {
        return d.size == 1 || (d.stride_a == stride && d.stride_b == stride);
    };
    const std::int64_t item = t.item(), bytes = run.size * item;
    const bool one_rate = t.rates == Rates::row && t.channel_weight == nullptr && t.mask.data == nullptr;
    if (!one_rate || t.granularity != Granularity::element || run.size % philox::kDraws != 0 || !follows(run, item) ||
        !follows(t.channel, bytes) || !follows(t.batch, bytes * t.channel.size))
        return;
    t.positions = {};
    t.positions.push_back({run.size * t.channel.size * t.batch.size, item, item});
    t.channel = t.batch = {1, 0, 0};
}

bool aligned(const Dim& d) { return d.size == 1 || (d.stride_a % 16 == 0 && d.stride_b % 16 == 0); }

bool starts_aligned(const StaticDropoutPlan& t) {
    return (reinterpret_cast<std::uintptr_t>(t.x) | reinterpret_cast<std::uintptr_t>(t.out)) % 16 == 0;
}

bool row_vectors(const StaticDropoutPlan& t) {
    const std::int64_t item = t.item();
    const Dim run = t.positions.count > 0 ? t.positions.dims[0] : Dim{1, item, item};
    return t.positions.count <= 1 && run.stride_a == item && run.stride_b == item && run.size * item % 16 == 0 &&
           aligned(t.batch) && aligned(t.channel) && starts_aligned(t);
}

bool column_vectors(const StaticDropoutPlan& t) {
    const std::int64_t item = t.item();
    bool fit = t.channel.stride_a == item && t.channel.stride_b == item && t.channel.size * item % 16 == 0 &&
               aligned(t.batch) && starts_aligned(t);
    for (int d = 0; d < t.positions.count; ++d) fit = fit && aligned(t.positions.dims[d]);
    return fit;
}

}  // namespace

StaticDropoutPlan plan_static_dropout(const StaticDropoutTask& task, int processors) {
    StaticDropoutPlan t;
    static_cast<StaticDropoutTask&>(t) = task;
    join_positions(t);
    if (t.positions.count == 0 && t.granularity == Granularity::element) {
        t.channels_as_positions = true;
        t.positions.push_back(t.channel);
        t.channel = {1, 0, 0};
        if (t.mask.data == nullptr) std::swap(t.channel, t.batch);  // entries at one rate share blocks, as channels do
    }
    if (t.channels_as_positions)
        t.rates = t.channel_weight != nullptr ? Rates::position : Rates::row;
    else if (t.mask.data != nullptr)
        t.rates = t.channel_weight != nullptr ? Rates::product : Rates::position;
    join_rows(t);
    t.sizes = Divisors(t.positions);
    for (int d = 0; d < t.positions.count; ++d) t.twice_the_sizes.by[d] = Divisor(2 * t.positions.dims[d].size);

    t.columns = !row_vectors(t) && column_vectors(t);
    t.vectors = t.columns || row_vectors(t);
    t.groups = ceil_div(t.positions.size, philox::kDraws);
    const std::int64_t vectors = t.channel.size * t.item() / 16;
    const std::int64_t lanes = t.columns ? std::min<std::int64_t>(power_of_two_from(vectors), kWarp)
                                         : std::min<std::int64_t>(power_of_two_from(t.groups), kDropoutThreads);
    t.lanes = static_cast<int>(lanes);
    while ((1 << t.lanes_log2) < t.lanes) ++t.lanes_log2;
    // The other threads of a block have other groups, or other rows.
    const std::int64_t others = kDropoutThreads / lanes;
    t.tiles = ceil_div(t.groups, t.columns ? others : lanes);
    const std::int64_t steps = t.columns ? ceil_div(vectors, lanes) : ceil_div(t.channel.size, others);
    const std::int64_t wanted = std::int64_t{processors} * kBlocksWanted;
    t.rounds = std::clamp<std::int64_t>(t.batch.size * t.tiles * steps / wanted, 1, std::min(steps, kMaxRounds));
    t.chunks = ceil_div(steps, t.rounds);
    return t;
}

void static_dropout(const StaticDropoutPlan& plan, Stream stream) {
    (plan.columns ? static_dropout_columns : static_dropout_rows)(plan, stream);
}

}  // namespace sdfast::cuda
