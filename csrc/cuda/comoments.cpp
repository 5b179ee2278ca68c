#include "cuda/comoments.h"

#include <algorithm>

#include "cuda/geometry.h"

namespace sdfast::cuda {
namespace {

constexpr std::int64_t kMinRun = 8;  // shorter runs are read as columns
// Rounds of a block that one block does faster than a second kernel merges those of several: a round of rows is several
// loads of a thread.
constexpr std::int64_t kFewRowRounds = 4, kFewColumnRounds = 16;
constexpr std::int64_t kMaxChunks = 4096;  // what the merge takes in its stride

bool all_aligned(std::initializer_list<std::int64_t> strides) {
    return std::all_of(strides.begin(), strides.end(), [](std::int64_t stride) { return stride % 16 == 0; });
}

bool starts_aligned(const char* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; }

// Where vectors of 16 bytes may be loaded: all runs start at multiples of 16 bytes and are as long.
bool has_vectors(const Samples& s, const Dim& along, std::int64_t item) {
    bool aligned = starts_aligned(s.a) && starts_aligned(s.b) && along.size * item % 16 == 0;
    aligned = aligned && (s.batch.size == 1 || all_aligned({s.batch.stride_a, s.batch.stride_b}));
    if (s.rows) aligned = aligned && (s.channel.size == 1 || all_aligned({s.channel.stride_a, s.channel.stride_b}));
    for (int d = 0; d < s.positions.count; ++d)
        aligned = aligned && all_aligned({s.positions.dims[d].stride_a, s.positions.dims[d].stride_b});
    return aligned && along.stride_a == item && along.stride_b == item;
}

void choose_layout(Samples& s) {
    const std::int64_t item = s.item();
    Dim run{1, 0, 0};
    if (s.positions.count > 0) {
        const Dim& inner = s.positions.dims[s.positions.count - 1];
        if (inner.stride_a == item && inner.stride_b == item && inner.size >= kMinRun) {
            run = s.positions.pop_back();
            s.rows = true;
            s.run = run.size;
        }
    }
    s.sizes = Divisors(s.positions);
    s.vectors = has_vectors(s, s.rows ? run : s.channel, item);
}

std::int64_t vector_of(const Samples& s) { return s.vectors ? 16 / s.item() : 1; }

// Threads that a run, or a sample of all channels, has work for. A thread loads several vectors of a run.
std::int64_t loads_side_by_side(const Samples& s) {
    return s.rows ? ceil_div(s.run / vector_of(s), kInFlight) : ceil_div(s.channel.size, vector_of(s));
}

void count_steps(Samples& s, std::int64_t lanes) {
    s.lanes = static_cast<int>(lanes);
    const std::int64_t steps_a_run = s.rows ? ceil_div(s.run / vector_of(s), lanes * kInFlight) : 1;
    s.steps_a_run = Divisor(steps_a_run);
    s.runs_an_entry = Divisor(s.positions.size);
    s.steps = s.batch.size * s.positions.size * steps_a_run;
}

std::int64_t column_tiles(const Samples& s) { return ceil_div(s.channel.size / vector_of(s), s.lanes); }

void share_out(Samples& s, int processors) {
    const std::int64_t threads = s.rows ? kRowThreads : column_threads(s.dtype);
    const std::int64_t wanted = std::int64_t{processors} * kBlocksAProcessor;
    // Few samples: narrow blocks, so that there are more of them and fewer steps a thread.
    const std::int64_t widest = s.rows ? threads : s.batch.size * s.positions.size < 8 * wanted ? 8 : kWarp;
    count_steps(s, std::min(power_of_two_from(loads_side_by_side(s)), widest));

    const std::int64_t together = threads / s.lanes;  // steps of a block at a time
    const std::int64_t columns = s.factors * (s.rows ? s.channel.size : column_tiles(s));
    const std::int64_t rounds = ceil_div(s.steps, together);
    const std::int64_t most = ceil_div(rounds, s.rows ? kFewRowRounds : kFewColumnRounds);
    const std::int64_t parts = std::clamp<std::int64_t>(wanted / columns, 1, std::min(kMaxChunks, most));
    s.steps_a_chunk = ceil_div(rounds, parts) * together;
    s.chunks = ceil_div(s.steps, s.steps_a_chunk);
}

void share_out(Pooling& p, int processors) {
    Samples& s = p.from;
    count_steps(s, std::min<std::int64_t>(power_of_two_from(loads_side_by_side(s)), kWarp));
    const std::int64_t steps = s.steps / s.batch.size;  // of a batch entry
    // Threads at work without a split. Of columns, those of a block beside each other share a sum.
    const std::int64_t width = s.rows ? s.lanes : kPoolThreads;
    const std::int64_t together = s.rows ? 1 : kPoolThreads / s.lanes;
    const std::int64_t busy = s.batch.size * (s.rows ? s.channel.size : column_tiles(s)) * width;
    const std::int64_t wanted = ceil_div(std::int64_t{processors} * kBlocksAProcessor * kPoolThreads * 2, busy);
    const std::int64_t splits = std::clamp<std::int64_t>(wanted, 1, ceil_div(steps, s.rows ? 1 : together * kInFlight));
    p.steps_a_split = ceil_div(steps, splits);
    p.splits = ceil_div(steps, p.steps_a_split);
}

// The means, as samples: [N][splits][C].
Samples of_means(const Pooling& p) {
    Samples s;
    const std::int64_t entry = p.splits * p.from.channel.size * 8;
    s.dtype = DType::f64;
    s.batch = {p.from.batch.size, entry, entry};
    s.channel = {p.from.channel.size, 8, 8};
    s.labels = p.from.labels;
    s.factors = p.from.factors;
    s.fold = p.splits;
    s.fold_gap = p.from.channel.size * 8;
    return s;
}

}  // namespace

ComomentsPlan plan_comoments(const ComomentsTask& task, int processors) {
    ComomentsPlan plan;
    Samples samples;
    static_cast<ComomentsTask&>(samples) = task;
    if (!task.pool && !task.labels) {  // the batch is one more dimension of samples
        samples.positions.push_back(samples.batch);
        samples.batch = {1, 0, 0};
    }
    coalesce(samples.positions);
    plan.pool = task.pool && samples.positions.size > 1;
    if (plan.pool) {
        choose_layout(samples);
        plan.pooling.from = samples;
        share_out(plan.pooling, processors);
        samples = of_means(plan.pooling);
        plan.means = samples.batch.size * plan.pooling.splits * samples.channel.size;
    }
    choose_layout(samples);
    share_out(samples, processors);
    plan.samples = samples;
    if (samples.chunks > 1) plan.partials = samples.chunks * 6 * samples.factors * samples.channel.size;
    return plan;
}

void comoments(ComomentsPlan plan, const ComomentsResults& results, double* workspace, int processors, Stream stream) {
    Samples& samples = plan.samples;
    if (plan.pool) {
        plan.pooling.mean_a = workspace;
        plan.pooling.mean_b = workspace + plan.means;
        samples.a = reinterpret_cast<const char*>(plan.pooling.mean_a);
        samples.b = reinterpret_cast<const char*>(plan.pooling.mean_b);
        (plan.pooling.from.rows ? pool_rows : pool_columns)(plan.pooling, processors, stream);
    }
    samples.partials = workspace + 2 * plan.means;
    samples.results = results;
    (samples.rows ? row_comoments : column_comoments)(samples, stream);
    if (samples.chunks > 1) merge_comoments(samples, stream);
}

}  // namespace sdfast::cuda
