#include "cuda/dispatch.h"
#include "cuda/geometry.h"
#include "cuda/pairwise_correlation.h"

namespace sdfast::cuda {
namespace {

constexpr int kSide = 16;  // threads along each side of a tile

// What makes samples of the channels of a tile standard: (x - mean) / sqrt(m2), the mean rounded; what rounding it
// leaves behind is taken off at the end. All 0 for a channel that never varies and where there is none.
template <class T, int kWidth>
struct Standard {
    alignas(16) T mean[kWidth], scale[kWidth], rest[kWidth];

    __device__ void set(const SampleMatrix& m, std::int64_t first) {
        for (int i = thread_index(); i < kWidth; i += kProductThreads) {
            const bool inside = first + i < m.channels;
            const double exact = inside ? m.mean(first + i) : 0, m2 = inside ? m.m2(first + i) : 0;
            const double factor = m2 == 0 ? 0 : 1 / std::sqrt(m2);
            mean[i] = static_cast<T>(exact);
            scale[i] = static_cast<T>(factor);
            rest[i] = static_cast<T>((static_cast<double>(mean[i]) - exact) * factor);
        }
    }
    __device__ Vector<T, kVector<T>> of(const Vector<T, kVector<T>>& x, int along) const {
        constexpr int V = kVector<T>;
        const auto at = [&](const T* values) { return load<T, V>(reinterpret_cast<const char*>(values + along)); };
        const Vector<T, V> m = at(mean), s = at(scale), r = at(rest);
        Vector<T, V> z;
#pragma unroll
        for (int v = 0; v < V; ++v) z.values[v] = (x.values[v] - m.values[v]) * s.values[v] + r.values[v];
        return z;
    }
};

// Standardized samples of a tile's channels. Two of each: one is filled while the other is used.
template <class T>
struct Tiles {
    static constexpr int kWidth = 2 * kSide * kVector<T>;
    alignas(16) T a[2][kProductDepth][kWidth];
    alignas(16) T b[2][kProductDepth][kWidth];
    Standard<T, kWidth> standard_a, standard_b;
};

// Reads V neighbouring channels of every kProductDepth-th sample, 0 where there is no channel.
template <class T, bool kVectors>
struct Reader {
    static constexpr int V = kVector<T>;
    const SampleMatrix& matrix;
    const char* from;
    int channels;

    __device__ Reader(const SampleMatrix& m, std::int64_t sample, std::int64_t channel)
        : matrix(m),
          from(m.data + sample * m.sample_stride + channel * m.channel_stride),
          channels(static_cast<int>(channel + V < m.channels ? V : m.channels - channel)) {}

    __device__ Vector<T, V> next(bool any) {
        Vector<T, V> x{};
        if constexpr (kVectors) {
            if (any && channels > 0) x = load<T, V>(from);
        } else {
#pragma unroll
            for (int v = 0; v < V; ++v)
                if (any && v < channels) x.values[v] = load<T, 1>(from + v * matrix.channel_stride).values[0];
        }
        from += kProductDepth * matrix.sample_stride;
        return x;
    }
};

template <class T, bool kVectors>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks)
    product_kernel(const __grid_constant__ PairwiseCorrelationTask task, T* out) {
    constexpr int V = kVector<T>, kWidth = Tiles<T>::kWidth, kEach = 2 * V;
    Tiles<T>& tiles = shared<Tiles<T>>();
    const SampleMatrix &a = task.a, &b = task.b;
    const std::int64_t columns = (b.channels + kWidth - 1) / kWidth, rows = (a.channels + kWidth - 1) / kWidth;
    const std::int64_t block = block_index(), split = block / columns / rows;
    const std::int64_t first_a = block / columns % rows * kWidth, first_b = block % columns * kWidth;
    const std::int64_t first = split * task.samples_a_split, left = task.samples - first;
    const int samples = static_cast<int>(left < task.samples_a_split ? left : task.samples_a_split);

    // Of loading: a thread has the same channels of each sample.
    const int t = thread_index(), depth = t / (2 * kSide), along = t % (2 * kSide) * V;
    const auto put = [&](int buffer, bool any, const Vector<T, V>& x, const Vector<T, V>& y) {
        Vector<T, V> z_a{}, z_b{};
        if (any) {
            z_a = tiles.standard_a.of(x, along);
            z_b = tiles.standard_b.of(y, along);
        }
        store<T, V>(reinterpret_cast<char*>(&tiles.a[buffer][depth][along]), z_a);
        store<T, V>(reinterpret_cast<char*>(&tiles.b[buffer][depth][along]), z_b);
    };
    tiles.standard_a.set(a, first_a);
    tiles.standard_b.set(b, first_b);

    // Of the product: two vectors of channels each way, half a tile apart.
    const int row = t / kSide * V, column = t % kSide * V;
    T sums[kEach][kEach] = {};
    Reader<T, kVectors> of_a(a, first + depth, first_a + along), of_b(b, first + depth, first_b + along);
    bool any = depth < samples;
    barrier();
    put(0, any, of_a.next(any), of_b.next(any));
    barrier();
    for (int sample = 0, buffer = 0; sample < samples; sample += kProductDepth, buffer ^= 1) {
        any = sample + kProductDepth + depth < samples;
        const Vector<T, V> x = of_a.next(any), y = of_b.next(any);
#pragma unroll
        for (int k = 0; k < kProductDepth; ++k) {
            Vector<T, V> p[2], q[2];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                p[half] = load<T, V>(reinterpret_cast<const char*>(&tiles.a[buffer][k][row + half * kWidth / 2]));
                q[half] = load<T, V>(reinterpret_cast<const char*>(&tiles.b[buffer][k][column + half * kWidth / 2]));
            }
#pragma unroll
            for (int i = 0; i < kEach; ++i)
#pragma unroll
                for (int j = 0; j < kEach; ++j) sums[i][j] += p[i / V].values[i % V] * q[j / V].values[j % V];
        }
        put(buffer ^ 1, any, x, y);
        barrier();
    }

    T* to = out + split * a.channels * b.channels;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
        const std::int64_t c_a = first_a + row + i / V * (kWidth / 2) + i % V;
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            const std::int64_t c_b = first_b + column + j / V * (kWidth / 2) + j % V;
            if (c_a >= a.channels || c_b >= b.channels) continue;
            T& total = to[c_a * b.channels + c_b];
            const T sum = task.goes_on ? total + sums[i][j] : sums[i][j];
            total = static_cast<T>(bounded(static_cast<double>(sum)));  // a part is no larger, either
        }
    }
}

template <class T>
__global__ void __launch_bounds__(kSumThreads)
    sum_kernel(const __grid_constant__ PairwiseCorrelationTask task, T* out, const T* partials) {
    const std::int64_t size = task.a.channels * task.b.channels;
    const std::int64_t i = block_index() * kSumThreads + thread_index();
    if (i >= size) return;
    double sum = 0;
    for (std::int64_t split = 0; split < task.splits; ++split) sum += static_cast<double>(partials[split * size + i]);
    out[i] = static_cast<T>(bounded(sum));
}

template <class Run>
void dispatch_product(DType dtype, Run run) {
    if (dtype == DType::f64)
        run(Type<double>{});
    else
        run(Type<float>{});
}

}  // namespace

void pairwise_product(const PairwiseCorrelationTask& task, void* out, Stream stream) {
    const std::int64_t tile = product_tile(task.dtype);
    const std::int64_t blocks = ceil_div(task.a.channels, tile) * ceil_div(task.b.channels, tile) * task.splits;
    dispatch_product(task.dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        const auto run = [&](auto kernel) {
            launch(kernel, blocks, kProductThreads, sizeof(Tiles<T>), stream, task, static_cast<T*>(out));
        };
        if (task.a.vectors && task.b.vectors)
            run(product_kernel<T, true>);
        else
            run(product_kernel<T, false>);
    });
}

void pairwise_sum(const PairwiseCorrelationTask& task, void* out, const void* partials, Stream stream) {
    const std::int64_t size = task.a.channels * task.b.channels;
    dispatch_product(task.dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        launch(sum_kernel<T>, ceil_div(size, kSumThreads), kSumThreads, 0, stream, task, static_cast<T*>(out),
               static_cast<const T*>(partials));
    });
}

}  // namespace sdfast::cuda
