// Co-moments of channels that lie side by side, or anyhow: a thread has some channels and every so many samples.
#include "cuda/comoments_block.h"
#include "cuda/dispatch.h"
#include "cuda/in_flight.h"

namespace sdfast::cuda {
namespace {

template <class T>
constexpr int kThreads = sizeof(T) == 2 ? column_threads(DType::f16) : column_threads(DType::f32);

// One sample of V channels; of means in parts, their sum.
template <class T, int V>
__device__ inline Vector<T, V> sample(const Samples& s, const char* from) {
    Vector<T, V> x = load<T, V>(from);
    if constexpr (sizeof(T) == 8) {
#pragma unroll 1
        for (std::int64_t k = 1; k < s.fold; ++k) {
            const Vector<T, V> more = load<T, V>(from + k * s.fold_gap);
            for (int v = 0; v < V; ++v) x.values[v] += more.values[v];
        }
    }
    return x;
}

template <class T, int V>
__global__ void __launch_bounds__(kThreads<T>, kThreads<T> == 128 ? 3 : 2)
    columns_kernel(const __grid_constant__ Samples s) {
    using L = Lane<T>;
    using BlockScratch = Scratch<V, kThreads<T>>;
    BlockScratch& scratch = shared<BlockScratch>();
    const int width = s.lanes * V;  // channels of the block
    const std::int64_t tiles = (s.channel.size + width - 1) / width;
    const std::int64_t block = block_index(), tile = block % tiles, f = block / tiles % s.factors;
    const std::int64_t chunk = block / tiles / s.factors;
    const std::int64_t first = chunk * s.steps_a_chunk;
    const std::int64_t last = first + s.steps_a_chunk < s.steps ? first + s.steps_a_chunk : s.steps;
    const Picks picks = pick_samples(scratch, s, f, first, last, kThreads<T>);

    const auto offsets = [&](std::int64_t n, std::int64_t position) {
        const Offsets place = s.offsets(position);
        return Offsets{n * s.batch.stride_a + place.a, n * s.batch.stride_b + place.b};
    };
    for (int i = thread_index(); i < width && tile * width + i < s.channel.size; i += kThreads<T>) {
        const char* a = s.a + (tile * width + i) * s.channel.stride_a;
        const char* b = s.b + (tile * width + i) * s.channel.stride_b;
        const auto value = [&](const char* from) {
            return static_cast<double>(widen(sample<T, 1>(s, from).values[0]));
        };
        scratch.shift_a[i] =
            picks.shift([&](std::int64_t n, std::int64_t position) { return value(a + offsets(n, position).a); });
        scratch.shift_b[i] =
            picks.shift([&](std::int64_t n, std::int64_t position) { return value(b + offsets(n, position).b); });
    }
    barrier();

    const int lane = thread_index() % s.lanes, together = kThreads<T> / s.lanes;
    const std::int64_t c = tile * width + lane * V;
    const bool inside = c < s.channel.size;
    const char* a = s.a + c * s.channel.stride_a;
    const char* b = s.b + c * s.channel.stride_b;
    L shift_a[V], shift_b[V];
#pragma unroll
    for (int v = 0; v < V; ++v) {
        shift_a[v] = static_cast<L>(scratch.shift_a[lane * V + v]);
        shift_b[v] = static_cast<L>(scratch.shift_b[lane * V + v]);
    }

    LaneSums<L> sums[V];
    std::int64_t count = 0;
    int since = 0;
    scratch.clear();
    constexpr int kLoads = V == 1 ? kInFlight : 2;  // the sums of several channels take registers
    for (std::int64_t at = first + thread_index() / s.lanes; at < last; at += kLoads * together) {
        const auto fetch = [&](int u, Vector<T, V>& x, Vector<T, V>& y) {
            const std::int64_t here = at + u * together, n = s.runs_an_entry.quotient(here);
            if (!inside || here >= last || !s.labels.has(n, f)) return 0;
            const Offsets from = offsets(n, here - n * s.runs_an_entry.value);
            x = sample<T, V>(s, a + from.a);
            y = sample<T, V>(s, b + from.b);
            return 1;
        };
        in_flight<T, V, kLoads>(fetch, [&](const Vector<T, V>& x, const Vector<T, V>& y) {
            ++count;
#pragma unroll
            for (int v = 0; v < V; ++v)
                sums[v].add(static_cast<L>(widen(x.values[v])) - shift_a[v],
                            static_cast<L>(widen(y.values[v])) - shift_b[v]);
        });
        if constexpr (kHalf<T>) {
            since += kLoads;
            if (since >= kFlushEvery) {
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    scratch.add(v, sums[v]);
                    in_this_order();  // all at once would take registers
                }
                since = 0;
            }
        }
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
        scratch.add(v, sums[v]);
        in_this_order();
    }
    scratch.sums[5 * V][thread_index()] = static_cast<double>(count);
    scratch.reduce(s.lanes);
    for (int i = thread_index(); i < width && tile * width + i < s.channel.size; i += kThreads<T>)
        finish(s, chunk, f, tile * width + i, scratch.centred(i));
}

}  // namespace

void column_comoments(const Samples& s, Stream stream) {
    dispatch(s.dtype, s.vectors, [&](auto type, auto vector) {
        using T = typename decltype(type)::type;
        const std::int64_t tiles = ceil_div(s.channel.size, std::int64_t{s.lanes} * vector);
        launch(columns_kernel<T, vector>, s.chunks * s.factors * tiles, kThreads<T>,
               sizeof(Scratch<vector, kThreads<T>>), stream, s);
    });
}

}  // namespace sdfast::cuda
