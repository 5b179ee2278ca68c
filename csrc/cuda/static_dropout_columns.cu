// StaticDropout of channels that lie side by side: a thread has a vector of channels at the eight positions of a group.
#include "cuda/dispatch.h"
#include "cuda/static_dropout_block.h"

namespace sdfast::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kDropoutThreads, 2) vector_columns(const __grid_constant__ StaticDropoutPlan t) {
    constexpr int V = kVector<T>;
    PositionRates& rates = shared<PositionRates>();
    const std::int64_t block = block_index(), chunk = block % t.chunks, tile = block / t.chunks % t.tiles;
    const std::int64_t n = block / t.chunks / t.tiles;
    const int together = kDropoutThreads >> t.lanes_log2, inner = (thread_index() >> t.lanes_log2) * kGroup;
    if (t.rates != Rates::row) fill(rates, t, n, tile * together * kGroup, together * kGroup);
    const std::uint64_t seed = *t.seed;
    const std::int64_t group = tile * together + inner / kGroup, first = group * kGroup;
    bool marked = !t.in_place() || t.rates == Rates::row;
    if (!marked)
        for (int j = 0; j < kGroup; ++j) marked = marked || rates.threshold[inner + j] != 0;
    if (group >= t.groups || !marked) return;

    const char* x = t.x + n * t.batch.stride_a;
    char* out = t.out + n * t.batch.stride_b;
    std::int64_t c = (chunk * t.rounds * t.lanes + (thread_index() & (t.lanes - 1))) * V;
    for (std::int64_t round = 0; round < t.rounds && c < t.channel.size; ++round, c += t.lanes * V) {
        Vector<T, V> values[kGroup];
#pragma unroll
        for (int j = 0; j < kGroup; ++j)
            if (first + j < t.positions.size)
                values[j] = load<T, V>(x + t.offsets(first + j).a + c * t.channel.stride_a);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const philox::Words words = group_draws(t, seed, n, c + v, group);
            const float rate = row_rate(t, c + v);
            const Verdict row = t.rates == Rates::row ? row_verdict(t, n, c + v) : Verdict{0, 1.0f};
#pragma unroll
            for (int j = 0; j < kGroup; ++j)
                values[j].values[v] = dropped(values[j].values[v], philox::draw(words, j),
                                              verdict_at(t, rates, inner + j, rate, row), t.rescale);
        }
#pragma unroll
        for (int j = 0; j < kGroup; ++j)
            if (first + j < t.positions.size)
                store<T, V>(out + t.offsets(first + j).b + c * t.channel.stride_b, values[j]);
    }
}

}  // namespace

void static_dropout_columns(const StaticDropoutPlan& t, Stream stream) {
    const std::size_t rates = t.rates == Rates::row ? 0 : sizeof(PositionRates);
    dispatch(t.dtype, true, [&](auto type, auto vector) {
        using T = typename decltype(type)::type;
        if constexpr (vector > 1)
            launch(vector_columns<T>, t.batch.size * t.chunks * t.tiles, kDropoutThreads, rates, stream, t);
    });
}

}  // namespace sdfast::cuda
