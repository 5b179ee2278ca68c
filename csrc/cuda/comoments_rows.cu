// Co-moments of channels whose positions lie side by side: a block has one channel and a chunk of its runs.
#include "cuda/comoments_block.h"
#include "cuda/dispatch.h"
#include "cuda/in_flight.h"

namespace sdfast::cuda {
namespace {

using RowScratch = Scratch<1, kRowThreads>;

template <class T, int V>
__global__ void __launch_bounds__(kRowThreads, 2) rows_kernel(const __grid_constant__ Samples s) {
    using L = Lane<T>;
    constexpr std::int64_t kItem = sizeof(T);
    RowScratch& scratch = shared<RowScratch>();
    const std::int64_t block = block_index(), column = block % (s.factors * s.channel.size);
    const std::int64_t chunk = block / (s.factors * s.channel.size);
    const std::int64_t c = column % s.channel.size, f = column / s.channel.size;
    const char* a = s.a + c * s.channel.stride_a;
    const char* b = s.b + c * s.channel.stride_b;
    const std::int64_t first = chunk * s.steps_a_chunk;
    const std::int64_t last = first + s.steps_a_chunk < s.steps ? first + s.steps_a_chunk : s.steps;

    const auto entry = [&](std::int64_t n) { return Offsets{n * s.batch.stride_a, n * s.batch.stride_b}; };
    const std::int64_t step = static_cast<std::int64_t>(s.lanes) * V * kInFlight;
    const auto sample = [&](std::int64_t at) {
        const std::int64_t row = at / s.steps_a_run.value, rest = (at - row * s.steps_a_run.value) * step;
        return row * s.run + rest;
    };
    const std::int64_t end = last < s.steps ? sample(last) : s.batch.size * s.runs_an_entry.value * s.run;
    const Picks picks = pick_samples(scratch, s, f, sample(first), end, kRowThreads);
    if (thread_index() == 0) {
        const auto value = [&](const char* from, std::int64_t position) {
            return static_cast<double>(widen(*reinterpret_cast<const T*>(from + position % s.run * kItem)));
        };
        scratch.shift_a[0] = picks.shift([&](std::int64_t n, std::int64_t position) {
            return value(a + entry(n).a + s.offsets(position / s.run).a, position);
        });
        scratch.shift_b[0] = picks.shift([&](std::int64_t n, std::int64_t position) {
            return value(b + entry(n).b + s.offsets(position / s.run).b, position);
        });
    }
    barrier();
    const L shift_a = static_cast<L>(scratch.shift_a[0]), shift_b = static_cast<L>(scratch.shift_b[0]);

    const int lane = thread_index() % s.lanes, together = kRowThreads / s.lanes;
    LaneSums<L> sums;
    std::int64_t count = 0;
    int since = 0;
    scratch.clear();
    for (std::int64_t at = first + thread_index() / s.lanes; at < last; at += together) {
        const std::int64_t run = s.steps_a_run.quotient(at), n = s.runs_an_entry.quotient(run);
        if (!s.labels.has(n, f)) continue;
        const Offsets row = entry(n), place = s.offsets(run - n * s.runs_an_entry.value);
        use_step<T, V>(s, a + row.a + place.a, b + row.b + place.b, at - run * s.steps_a_run.value, lane,
                       [&](const Vector<T, V>& x, const Vector<T, V>& y) {
                           count += V;
#pragma unroll
                           for (int v = 0; v < V; ++v)
                               sums.add(static_cast<L>(widen(x.values[v])) - shift_a,
                                        static_cast<L>(widen(y.values[v])) - shift_b);
                       });
        if constexpr (kHalf<T>) {
            since += kInFlight * V;
            if (since >= kFlushEvery) {
                scratch.add(0, sums);
                since = 0;
            }
        }
    }
    scratch.add(0, sums);
    scratch.sums[5][thread_index()] = static_cast<double>(count);
    scratch.reduce(1);
    if (thread_index() == 0) finish(s, chunk, f, c, scratch.centred(0));
}

}  // namespace

void row_comoments(const Samples& s, Stream stream) {
    const std::int64_t blocks = s.chunks * s.factors * s.channel.size;
    dispatch(s.dtype, s.vectors, [&](auto type, auto vector) {
        using T = typename decltype(type)::type;
        launch(rows_kernel<T, vector>, blocks, kRowThreads, sizeof(RowScratch), stream, s);
    });
}

}  // namespace sdfast::cuda
