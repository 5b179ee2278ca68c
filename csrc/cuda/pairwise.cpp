#include "cuda/pairwise.h"

#include <algorithm>

#include "cuda/geometry.h"

namespace sdfast::cuda {
namespace {

// Sums of more products in float32 would round visibly; of fewer than a few hundred, the splits cost more than they
// bring.
constexpr std::int64_t kMostSamples = 4096, kFewestSamples = 256;

bool has_vectors(const SampleMatrix& m, std::int64_t item) {
    return m.channel_stride == item && m.sample_stride % 16 == 0 && m.channels * item % 16 == 0 &&
           reinterpret_cast<std::uintptr_t>(m.data) % 16 == 0;
}

ComomentsPlan moments_of(const SampleMatrix& m, const PairwiseTask& task, int processors) {
    ComomentsTask of;
    of.pair = {m.data, m.data, task.dtype, {}, {m.channels, m.channel_stride, m.channel_stride}, {}};
    of.pair.positions.push_back({task.samples, m.sample_stride, m.sample_stride});
    of.pool = false;
    return plan_comoments(of, processors);
}

}  // namespace

std::int64_t PairwisePlan::workspace() const {
    return moments +
           std::max(moments_workspace, ceil_div(partials * static_cast<std::int64_t>(size_of(task.dtype)), 8));
}

PairwisePlan plan_pairwise(PairwiseTask task, int processors) {
    const auto item = static_cast<std::int64_t>(size_of(task.dtype));
    task.a.vectors = has_vectors(task.a, item);
    task.b.vectors = has_vectors(task.b, item);
    PairwisePlan plan;
    plan.of_a = moments_of(task.a, task, processors);
    plan.of_b = moments_of(task.b, task, processors);
    plan.moments = 6 * (task.a.channels + task.b.channels);
    plan.moments_workspace = std::max(plan.of_a.workspace(), plan.of_b.workspace());

    const std::int64_t tile = product_tile(task.dtype);
    const std::int64_t tiles = ceil_div(task.a.channels, tile) * ceil_div(task.b.channels, tile);
    const std::int64_t wanted = std::max<std::int64_t>(2 * processors / tiles, 1);
    const std::int64_t least = ceil_div(task.samples, kMostSamples), most = ceil_div(task.samples, kFewestSamples);
    task.samples_a_split = ceil_div(task.samples, std::clamp(wanted, least, most));
    task.samples_a_split = ceil_div(task.samples_a_split, kProductDepth) * kProductDepth;
    task.splits = ceil_div(task.samples, task.samples_a_split);
    if (task.splits > 1) plan.partials = task.splits * task.a.channels * task.b.channels;
    plan.task = task;
    return plan;
}

void pairwise_correlation(PairwisePlan plan, void* out, double* workspace, int processors, Stream stream) {
    double* rest = workspace + plan.moments;  // of the moments, then of the product
    ComomentsResults of_a, of_b;
    of_a.moments = workspace;
    of_b.moments = workspace + 6 * plan.task.a.channels;
    comoments(plan.of_a, of_a, rest, processors, stream);
    comoments(plan.of_b, of_b, rest, processors, stream);
    plan.task.a.moments = of_a.moments;
    plan.task.b.moments = of_b.moments;
    pairwise_product(plan.task, out, rest, stream);
    if (plan.task.splits > 1) pairwise_sum(plan.task, out, rest, stream);
}

}  // namespace sdfast::cuda
