// StaticDropout of positions that lie side by side, or anyhow. A block has groups of eight positions of some rows.
#include "cuda/dispatch.h"
#include "cuda/static_dropout_block.h"

namespace sdfast::cuda {
namespace {

// Where a block is: a batch entry, its first group of positions and its first channel.
struct Place {
    std::int64_t n, group, channel;
};

__device__ inline Place place_of(const StaticDropoutPlan& t) {
    const std::int64_t block = block_index(), tile = block % t.tiles, chunk = block / t.tiles % t.chunks;
    return {block / t.tiles / t.chunks, tile * t.lanes, chunk * t.rounds * (kDropoutThreads >> t.lanes_log2)};
}

// What holds for all of a row; in place, a row that nothing is dropped of is not wanted.
struct Row {
    float rate;
    Verdict verdict;
    bool wanted = false;
};

__device__ inline Row row_at(const StaticDropoutPlan& t, std::int64_t n, std::int64_t c) {
    Row row{row_rate(t, t.channels_as_positions ? 0 : c), {1, 1.0f}, true};
    if (t.rates == Rates::row) row.verdict = row_verdict(t, n, c);
    if (t.in_place()) row.wanted = row.verdict.threshold != 0 && (t.rates != Rates::product || row.rate != 0);
    return row;
}

// Rows whose loads a thread issues before it works on the first: 32 bytes are on their way of each thread at least.
template <class T>
constexpr int kRows = sizeof(T) == 2 ? 2 : 1;

// A thread has a group of a row: its loads and stores are 16 bytes each.
template <class T>
__global__ void __launch_bounds__(kDropoutThreads, 4) vector_rows(const __grid_constant__ StaticDropoutPlan t) {
    constexpr int V = kVector<T>, kLoads = kGroup / V;
    PositionRates& rates = shared<PositionRates>();
    const Place place = place_of(t);
    if (t.rates != Rates::row) fill(rates, t, place.n, place.group * kGroup, t.lanes * kGroup);
    const std::uint64_t seed = *t.seed;
    const int lane = thread_index() & (t.lanes - 1);
    const std::int64_t group = place.group + lane, first = group * kGroup;
    bool marked = !t.in_place() || t.rates == Rates::row;
    if (!marked)
        for (int j = 0; j < kGroup; ++j) marked = marked || rates.threshold[lane * kGroup + j] != 0;
    if (group >= t.groups || !marked) return;

    const char* x = t.x + place.n * t.batch.stride_a + first * static_cast<int>(sizeof(T));
    char* out = t.out + place.n * t.batch.stride_b + first * static_cast<int>(sizeof(T));
    const int together = kDropoutThreads >> t.lanes_log2;
    std::int64_t c = place.channel + (thread_index() >> t.lanes_log2);
    std::int64_t end = c + t.rounds * together;
    if (end > t.channel.size) end = t.channel.size;
    for (; c < end; c += kRows<T> * together) {
        Row rows[kRows<T>];
        Vector<T, V> values[kRows<T>][kLoads];
#pragma unroll
        for (int r = 0; r < kRows<T>; ++r) {
            const std::int64_t channel = c + r * together;
            if (channel < end) rows[r] = row_at(t, place.n, channel);
            if (!rows[r].wanted) continue;
#pragma unroll
            for (int k = 0; k < kLoads; ++k)
                if (first + k * V < t.positions.size)
                    values[r][k] = load<T, V>(x + channel * t.channel.stride_a + k * 16);
        }
#pragma unroll
        for (int r = 0; r < kRows<T>; ++r) {
            const std::int64_t channel = c + r * together;
            if (!rows[r].wanted) continue;
            const philox::Words words = group_draws(t, seed, place.n, channel, group);
#pragma unroll
            for (int k = 0; k < kLoads; ++k) {
                if (first + k * V >= t.positions.size) continue;
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    const int j = k * V + v;
                    const Verdict here = verdict_at(t, rates, lane * kGroup + j, rows[r].rate, rows[r].verdict);
                    T& value = values[r][k].values[v];
                    value = dropped(value, philox::draw(words, j), here, t.rescale);
                }
                store<T, V>(out + channel * t.channel.stride_b + k * 16, values[r][k]);
            }
        }
    }
}

struct DrawnRates {
    PositionRates rates;
    std::uint16_t draws[kTile];
};

// A thread draws for a group of a row, and moves elements that lie side by side with its neighbours'.
template <class T>
__global__ void __launch_bounds__(kDropoutThreads, 3) scalar_rows(const __grid_constant__ StaticDropoutPlan t) {
    DrawnRates& scratch = shared<DrawnRates>();
    const Place place = place_of(t);
    if (t.rates != Rates::row) fill(scratch.rates, t, place.n, place.group * kGroup, t.lanes * kGroup);
    const std::uint64_t seed = *t.seed;
    const int together = kDropoutThreads >> t.lanes_log2, width = t.lanes * kGroup;
    const char* x = t.x + place.n * t.batch.stride_a;
    char* out = t.out + place.n * t.batch.stride_b;
    for (std::int64_t round = 0; round < t.rounds; ++round) {
        const std::int64_t channel = place.channel + round * together;
        const int lane = thread_index() & (t.lanes - 1);
        const philox::Words words =
            group_draws(t, seed, place.n, channel + (thread_index() >> t.lanes_log2), place.group + lane);
        for (int j = 0; j < kGroup; ++j)
            scratch.draws[thread_index() * kGroup + j] = static_cast<std::uint16_t>(philox::draw(words, j));
        barrier();
        for (int e = thread_index(); e < kTile; e += kDropoutThreads) {
            const int i = e & (width - 1);
            const std::int64_t c = channel + (e >> t.lanes_log2) / kGroup, position = place.group * kGroup + i;
            if (c >= t.channel.size || position >= t.positions.size) continue;
            const float rate = row_rate(t, t.channels_as_positions ? 0 : c);
            const Verdict row = t.rates == Rates::row ? row_verdict(t, place.n, c) : Verdict{0, 1.0f};
            const Verdict here = verdict_at(t, scratch.rates, i, rate, row);
            if (t.in_place() && here.threshold == 0) continue;
            const Offsets at = t.offsets(position);
            const T value = load<T, 1>(x + c * t.channel.stride_a + at.a).values[0];
            store<T, 1>(out + c * t.channel.stride_b + at.b, {dropped(value, scratch.draws[e], here, t.rescale)});
        }
        barrier();
    }
}

}  // namespace

void static_dropout_rows(const StaticDropoutPlan& t, Stream stream) {
    const std::int64_t blocks = t.batch.size * t.chunks * t.tiles;
    dispatch(t.dtype, t.vectors, [&](auto type, auto vector) {
        using T = typename decltype(type)::type;
        const std::size_t rates = t.rates == Rates::row ? 0 : sizeof(PositionRates);
        if constexpr (vector > 1)
            launch(vector_rows<T>, blocks, kDropoutThreads, rates, stream, t);
        else
            launch(scalar_rows<T>, blocks, kDropoutThreads, sizeof(DrawnRates), stream, t);
    });
}

}  // namespace sdfast::cuda
