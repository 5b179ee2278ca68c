// Means over positions that lie side by side: some lanes of a warp sum one batch entry and channel, or a split of it.
// They take the elements in the order of the positions, wherever they lie: equal entries have equal means.
#include "cuda/dispatch.h"
#include "cuda/in_flight.h"

namespace sdfast::cuda {
namespace {

// Halves are added in pairs of pairs in float32, where that is nearly always exact.
template <class T, int V>
__device__ inline double sum_of(const Vector<T, V>& x) {
    Lane<T> sums[V];
#pragma unroll
    for (int v = 0; v < V; ++v) sums[v] = static_cast<Lane<T>>(widen(x.values[v]));
#pragma unroll
    for (int half = V / 2; half > 0; half /= 2)
#pragma unroll
        for (int v = 0; v < half; ++v) sums[v] += sums[v + half];
    return sums[0];
}

template <class T, int V>
__global__ void __launch_bounds__(kPoolThreads, 2) pool_rows_kernel(const __grid_constant__ Pooling p) {
    const Samples& s = p.from;
    const int lane = thread_index() % s.lanes, together = kPoolThreads / s.lanes;
    const std::int64_t steps = s.steps_a_run.value * s.runs_an_entry.value;
    const std::int64_t sums = s.batch.size * s.channel.size * p.splits;
    const double positions = static_cast<double>(s.runs_an_entry.value * s.run);
    // All lanes of a warp go as often, as they meet in the reduction.
    for (std::int64_t base = block_index() * together; base < sums; base += block_count() * together) {
        const std::int64_t i = base + thread_index() / s.lanes;
        const std::int64_t c = i % s.channel.size, n = i / s.channel.size / p.splits;
        const std::int64_t split = i / s.channel.size % p.splits;
        const char* a = s.a + n * s.batch.stride_a + c * s.channel.stride_a;
        const char* b = s.b + n * s.batch.stride_b + c * s.channel.stride_b;
        const std::int64_t first = split * p.steps_a_split;
        std::int64_t last = first + p.steps_a_split < steps ? first + p.steps_a_split : steps;
        if (i >= sums) last = first;
        double sum_a = 0, sum_b = 0;
        for (std::int64_t at = first; at < last; ++at) {
            const std::int64_t run = s.steps_a_run.quotient(at);
            const Offsets place = s.offsets(run);
            use_step<T, V>(s, a + place.a, b + place.b, at - run * s.steps_a_run.value, lane,
                           [&](const Vector<T, V>& x, const Vector<T, V>& y) {
                               sum_a += sum_of<T, V>(x);
                               sum_b += sum_of<T, V>(y);
                           });
        }
        for (int distance = s.lanes / 2; distance > 0; distance /= 2) {
            sum_a += from_lane_across(sum_a, distance);
            sum_b += from_lane_across(sum_b, distance);
        }
        if (lane == 0 && i < sums) {
            p.mean_a[i] = sum_a / positions;  // i counts [N][splits][C]
            p.mean_b[i] = sum_b / positions;
        }
    }
}

}  // namespace

void pool_rows(const Pooling& p, int processors, Stream stream) {
    const Samples& s = p.from;
    const std::int64_t needed = ceil_div(s.batch.size * s.channel.size * p.splits, kPoolThreads / s.lanes);
    const std::int64_t most = std::int64_t{processors} * kPoolBlocks;
    dispatch(s.dtype, s.vectors, [&](auto type, auto vector) {
        using T = typename decltype(type)::type;
        launch(pool_rows_kernel<T, vector>, needed < most ? needed : most, kPoolThreads, 0, stream, p);
    });
}

}  // namespace sdfast::cuda
