// Means over positions of channels that lie side by side, or anyhow: a block sums some channels of one batch entry.
#include "cuda/dispatch.h"
#include "cuda/in_flight.h"

namespace sdfast::cuda {
namespace {

template <int V>
struct PoolScratch {
    double sums[2 * V][kPoolThreads];  // of a, then of b
};

template <class T, int V>
__global__ void __launch_bounds__(kPoolThreads, 2) pool_columns_kernel(const __grid_constant__ Pooling p) {
    const Samples& s = p.from;
    PoolScratch<V>& scratch = shared<PoolScratch<V>>();
    const int t = thread_index(), lane = t % s.lanes, together = kPoolThreads / s.lanes, width = s.lanes * V;
    const std::int64_t tiles = (s.channel.size + width - 1) / width;
    const std::int64_t steps = s.positions.size, blocks = tiles * p.splits * s.batch.size;
    const double positions = static_cast<double>(steps);
    for (std::int64_t block = block_index(); block < blocks; block += block_count()) {
        const std::int64_t tile = block % tiles, n = block / tiles / p.splits, split = block / tiles % p.splits;
        const std::int64_t c = tile * width + lane * V;
        const bool inside = c < s.channel.size;
        const char* a = s.a + n * s.batch.stride_a + c * s.channel.stride_a;
        const char* b = s.b + n * s.batch.stride_b + c * s.channel.stride_b;
        const std::int64_t first = split * p.steps_a_split;
        const std::int64_t last = first + p.steps_a_split < steps ? first + p.steps_a_split : steps;
        double sum_a[V] = {}, sum_b[V] = {};
        for (std::int64_t at = first + t / s.lanes; at < last && inside; at += kInFlight * together) {
            const auto fetch = [&](int u, Vector<T, V>& x, Vector<T, V>& y) {
                if (at + u * together >= last) return 0;
                const Offsets place = s.offsets(at + u * together);
                x = load<T, V>(a + place.a);
                y = load<T, V>(b + place.b);
                return 1;
            };
            Lane<T> part_a[V] = {}, part_b[V] = {};  // of halves, few are added in float32, nearly always exactly
            in_flight<T, V, kInFlight>(fetch, [&](const Vector<T, V>& x, const Vector<T, V>& y) {
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    part_a[v] += static_cast<Lane<T>>(widen(x.values[v]));
                    part_b[v] += static_cast<Lane<T>>(widen(y.values[v]));
                }
            });
#pragma unroll
            for (int v = 0; v < V; ++v) {
                sum_a[v] += part_a[v];
                sum_b[v] += part_b[v];
            }
        }
#pragma unroll
        for (int v = 0; v < V; ++v) {
            scratch.sums[v][t] = sum_a[v];
            scratch.sums[V + v][t] = sum_b[v];
        }
        for (int half = kPoolThreads / 2; half >= s.lanes; half /= 2) {
            barrier();
            if (t < half)
                for (auto& row : scratch.sums) row[t] += row[t + half];
        }
        if (t < s.lanes && inside) {
            const std::int64_t to = (n * p.splits + split) * s.channel.size + c;
            for (int v = 0; v < V; ++v) {
                p.mean_a[to + v] = scratch.sums[v][t] / positions;
                p.mean_b[to + v] = scratch.sums[V + v][t] / positions;
            }
        }
        barrier();  // before the next sums take the place of these
    }
}

}  // namespace

void pool_columns(const Pooling& p, int processors, Stream stream) {
    const Samples& s = p.from;
    const std::int64_t most = std::int64_t{processors} * kPoolBlocks;
    dispatch(s.dtype, s.vectors, [&](auto type, auto vector) {
        using T = typename decltype(type)::type;
        const std::int64_t tiles = ceil_div(s.channel.size, std::int64_t{s.lanes} * vector);
        const std::int64_t needed = tiles * p.splits * s.batch.size;
        launch(pool_columns_kernel<T, vector>, needed < most ? needed : most, kPoolThreads, sizeof(PoolScratch<vector>),
               stream, p);
    });
}

}  // namespace sdfast::cuda
