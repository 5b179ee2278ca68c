#include "cuda/pairwise_correlation.h"

#include <algorithm>

#include "cuda/geometry.h"

namespace sdfast::cuda {
namespace {

constexpr std::int64_t kFewestSamples = 256;  // of a split; those of fewer cost more than they bring

// So many that nearly all processors are busy to the end.
std::int64_t splits_of(std::int64_t tiles, std::int64_t samples, int processors) {
    const std::int64_t most = ceil_div(samples, kFewestSamples), at_a_time = std::int64_t{processors} * kProductBlocks;
    std::int64_t splits = 1;
    while (splits < most && 8 * splits * tiles < 7 * at_a_time * ceil_div(splits * tiles, at_a_time)) ++splits;
    return splits;
}

bool has_vectors(const SampleMatrix& m, std::int64_t item) {
    return m.channel_stride == item && m.sample_stride % 16 == 0 && m.channels * item % 16 == 0 &&
           reinterpret_cast<std::uintptr_t>(m.data) % 16 == 0;
}

ComomentsPlan moments_of(const SampleMatrix& m, const PairwiseCorrelationTask& task, int processors) {
    ComomentsTask of;
    of.a = of.b = m.data;
    of.dtype = task.dtype;
    of.batch = {task.samples, m.sample_stride, m.sample_stride};
    of.channel = {m.channels, m.channel_stride, m.channel_stride};
    return plan_comoments(of, processors);
}

}  // namespace

std::int64_t PairwiseCorrelationPlan::workspace() const {
    return moments +
           std::max(moments_workspace, ceil_div(partials * static_cast<std::int64_t>(size_of(task.dtype)), 8));
}

PairwiseCorrelationPlan plan_pairwise_correlation(PairwiseCorrelationTask task, int processors) {
    const auto item = static_cast<std::int64_t>(size_of(task.dtype));
    task.a.vectors = has_vectors(task.a, item);
    task.b.vectors = has_vectors(task.b, item);
    PairwiseCorrelationPlan plan;
    plan.of_a = moments_of(task.a, task, processors);
    plan.of_b = moments_of(task.b, task, processors);
    plan.moments = 6 * (task.a.channels + task.b.channels);
    plan.moments_workspace = std::max(plan.of_a.workspace(), plan.of_b.workspace());

    const std::int64_t tile = product_tile(task.dtype);
    const std::int64_t tiles = ceil_div(task.a.channels, tile) * ceil_div(task.b.channels, tile);
    const std::int64_t splits = splits_of(tiles, task.samples, processors);
    task.samples_a_split = std::min(ceil_div(task.samples, splits), kProductSamples);
    task.samples_a_split = ceil_div(task.samples_a_split, kProductDepth) * kProductDepth;
    task.splits = std::min(splits, ceil_div(task.samples, task.samples_a_split));
    if (task.splits > 1) plan.partials = task.splits * task.a.channels * task.b.channels;
    plan.task = task;
    return plan;
}

void pairwise_correlation(PairwiseCorrelationPlan plan, void* out, double* workspace, int processors, Stream stream) {
    double* rest = workspace + plan.moments;  // of the moments, then of the product
    ComomentsResults of_a, of_b;
    of_a.moments = workspace;
    of_b.moments = workspace + 6 * plan.task.a.channels;
    comoments(plan.of_a, of_a, rest, processors, stream);
    comoments(plan.of_b, of_b, rest, processors, stream);
    plan.task.a.moments = of_a.moments;
    plan.task.b.moments = of_b.moments;
    PairwiseCorrelationTask& task = plan.task;
    const std::int64_t together = task.splits * task.samples_a_split;
    for (; task.samples > 0; task.samples -= together, task.goes_on = true) {
        pairwise_product(task, task.splits > 1 ? rest : out, stream);
        task.a.data += together * task.a.sample_stride;
        task.b.data += together * task.b.sample_stride;
    }
    if (task.splits > 1) pairwise_sum(task, out, rest, stream);
}

}  // namespace sdfast::cuda
