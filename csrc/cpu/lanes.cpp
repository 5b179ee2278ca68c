// Inner loops of the co-moments. Compiled once per instruction set with SDFAST_ISA_NAME set to a namespace.
#include "cpu/lanes.h"

#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace sdfast::cpu::SDFAST_ISA_NAME {
namespace {

#include "cpu/lane_sums.h"

// Adds one run; what lies at ahead_a and ahead_b is wanted soon.
template <class T>
inline void row(const T* a, const T* b, const T* ahead_a, const T* ahead_b, std::int64_t length, double shift_a,
                double shift_b, double* acc) {
    using V = typename Lane<T>::V;
    constexpr int W = width<V>;
    V sa, sb;
    broadcast(sa, shift_a);
    broadcast(sb, shift_b);
    std::int64_t i = 0;
    while (i < length) {
        const std::int64_t end = length - i < kRunBlock + W ? length : i + kRunBlock;
        Sums<V> even, odd;
        for (; i + 2 * W <= end; i += 2 * W) {
            prefetch<2 * W * sizeof(T)>(ahead_a + i);
            prefetch<2 * W * sizeof(T)>(ahead_b + i);
            const Pair<V> x = load_pair(a + i), y = load_pair(b + i);
            even.add(x.first - sa, y.first - sb);
            odd.add(x.second - sa, y.second - sb);
        }
        if (i + W <= end) {
            even.add(Lane<T>::load(a + i) - sa, Lane<T>::load(b + i) - sb);
            i += W;
        }
        if (i < end) {
            const std::int64_t last = end - W;
            odd.add(keep_last(Lane<T>::load(a + last) - sa, end - i), keep_last(Lane<T>::load(b + last) - sb, end - i));
            i = end;
        }
        even += odd;
        add_folded(acc, even);
    }
    prefetch<64>(ahead_a + length);  // a line that the loop leaves out would be waited for
    prefetch<64>(ahead_b + length);
}

// The same for a run of kWhole vectors and a rest, without a loop; `kept` masks the rest.
template <class T, int kWhole>
inline void short_row(const T* a, const T* b, const T* ahead_a, const T* ahead_b, std::int64_t length, double shift_a,
                      double shift_b, double* acc, typename Lane<T>::V kept) {
    using V = typename Lane<T>::V;
    constexpr int W = width<V>;
    prefetch<(kWhole + 1) * W * sizeof(T)>(ahead_a);
    prefetch<(kWhole + 1) * W * sizeof(T)>(ahead_b);
    V sa, sb;
    broadcast(sa, shift_a);
    broadcast(sb, shift_b);
    Sums<V> even, odd;
    for (int v = 0; v + 2 <= kWhole; v += 2) {
        const Pair<V> x = load_pair(a + v * W), y = load_pair(b + v * W);
        even.add(x.first - sa, y.first - sb);
        odd.add(x.second - sa, y.second - sb);
    }
    if (kWhole % 2 == 1) {
        constexpr int v = kWhole - 1;
        even.add(Lane<T>::load(a + v * W) - sa, Lane<T>::load(b + v * W) - sb);
    }
    if (length > kWhole * W) {
        const std::int64_t last = length - W;
        const vint64 x = (vint64)(Lane<T>::load(a + last) - sa) & (vint64)kept;
        const vint64 y = (vint64)(Lane<T>::load(b + last) - sb) & (vint64)kept;
        odd.add((V)x, (V)y);
    }
    even += odd;
    add_folded(acc, even);
}

// kWhole of short_row, or 0 for runs of any length.
template <class T, int kWhole>
void rows_of(const RowPair& pair, std::int64_t channels, std::int64_t length, const double* shift_a,
             const double* shift_b, double* acc) {
    using V = typename Lane<T>::V;
    constexpr std::int64_t item = sizeof(T);
    const T* a = static_cast<const T*>(pair.a);
    const T* b = static_cast<const T*>(pair.b);
    const std::int64_t step_a = pair.stride_a / item, step_b = pair.stride_b / item;
    // Near the end of the channels the stream goes on at the next ones, which may be elsewhere.
    const T* ahead_a = a + kPrefetchBytes / item;
    const T* ahead_b = b + kPrefetchBytes / item;
    const std::int64_t jump_a = kPrefetchBytes / (pair.stride_a > 0 ? pair.stride_a : 1);
    const std::int64_t jump_b = kPrefetchBytes / (pair.stride_b > 0 ? pair.stride_b : 1);
    const V kept = keep_last((V)(vint64{} - 1), kWhole > 0 ? length - kWhole * width<V> : 0);
    for (std::int64_t c = 0; c < channels; ++c, acc += kSums * kRunLanes) {
        if (c == channels - jump_a) ahead_a = static_cast<const T*>(pair.next_a);
        if (c == channels - jump_b) ahead_b = static_cast<const T*>(pair.next_b);
        if constexpr (kWhole > 0)
            short_row<T, kWhole>(a, b, ahead_a, ahead_b, length, shift_a[c], shift_b[c], acc, kept);
        else
            row(a, b, ahead_a, ahead_b, length, shift_a[c], shift_b[c], acc);
        a += step_a;
        b += step_b;
        ahead_a += step_a;
        ahead_b += step_b;
    }
}

template <class T>
void rows(const RowPair& pair, std::int64_t channels, std::int64_t length, const double* shift_a, const double* shift_b,
          double* acc) {
    constexpr std::int64_t W = width<typename Lane<T>::V>;
    using Rows = decltype(&rows_of<T, 0>);
    static constexpr Rows kByLength[] = {rows_of<T, 0>, rows_of<T, 1>, rows_of<T, 2>, rows_of<T, 3>,
                                         rows_of<T, 4>, rows_of<T, 5>, rows_of<T, 6>, rows_of<T, 7>};
    kByLength[length < 8 * W ? length / W : 0](pair, channels, length, shift_a, shift_b, acc);
}

template <class T>
inline double row_sum(const T* x, std::int64_t length) {
    using V = typename Lane<T>::V;
    constexpr int W = width<V>;
    constexpr std::int64_t kAhead = kPrefetchBytes / sizeof(T);
    run_lanes total{};
    std::int64_t i = 0;
    while (i < length) {
        const std::int64_t end = length - i < kRunBlock + W ? length : i + kRunBlock;
        V s0{}, s1{}, s2{}, s3{};
        for (; i + 4 * W <= end; i += 4 * W) {
            prefetch<4 * W * sizeof(T)>(x + i + kAhead);
            const Pair<V> low = load_pair(x + i), high = load_pair(x + i + 2 * W);
            s0 += low.first;
            s1 += low.second;
            s2 += high.first;
            s3 += high.second;
        }
        for (; i + W <= end; i += W) s0 += Lane<T>::load(x + i);
        if (i < end) {
            s1 += keep_last(Lane<T>::load(x + end - W), end - i);
            i = end;
        }
        total += fold((s0 + s1) + (s2 + s3));
    }
    return sum_of(total);
}

template <class T>
void row_sums(const void* x, std::int64_t stride, std::int64_t channels, std::int64_t length, double* sum) {
    const char* from = static_cast<const char*>(x);
    for (std::int64_t c = 0; c < channels; ++c, from += stride)
        sum[c] += row_sum(reinterpret_cast<const T*>(from), length);
}

// First column of the group that holds a slot; see Kernels::slots.
inline std::int64_t column_of(std::int64_t slot, std::int64_t slots, std::int64_t columns) {
    return slot < slots - kColumnBlock ? slot : slot - (slots - columns);
}

// Calls group(slot, column, first row, last row) for groups of rows and of two vectors of columns, in tiles.
template <int kStep, class Group>
inline void for_each_group(std::int64_t rows, std::int64_t columns, Group group) {
    const std::int64_t slots = (columns + kColumnBlock - 1) / kColumnBlock * kColumnBlock;
    for (std::int64_t tile = 0; tile < slots; tile += kTile) {
        const std::int64_t tile_end = tile + kTile < slots ? tile + kTile : slots;
        for (std::int64_t first = 0; first < rows; first += kRows) {
            const std::int64_t last = first + kRows < rows ? first + kRows : rows;
            for (std::int64_t slot = tile; slot < tile_end; slot += kStep)
                group(slot, column_of(slot, slots, columns), first, last);
        }
    }
}

template <class T>
void columns(const void* const* a, const void* const* b, std::int64_t rows, std::int64_t columns, const double* shift_a,
             const double* shift_b, double* acc) {
    using V = typename Lane<T>::V;
    constexpr int W = width<V>;
    const std::int64_t pitch = (columns + kColumnBlock - 1) / kColumnBlock * kColumnBlock;
    for_each_group<2 * W>(rows, columns,
                          [=](std::int64_t slot, std::int64_t column, std::int64_t r, std::int64_t last) {
                              V sa[2], sb[2];
                              for (int v = 0; v < 2; ++v) {
                                  load_doubles(sa[v], shift_a + slot + v * W);
                                  load_doubles(sb[v], shift_b + slot + v * W);
                              }
                              Sums<V> first, second;
                              for (; r < last; ++r) {
                                  if (r + kRows < rows) {
                                      prefetch_far(static_cast<const T*>(a[r + kRows]) + column);
                                      prefetch_far(static_cast<const T*>(b[r + kRows]) + column);
                                  }
                                  const Pair<V> x = load_pair(static_cast<const T*>(a[r]) + column);
                                  const Pair<V> y = load_pair(static_cast<const T*>(b[r]) + column);
                                  first.add(x.first - sa[0], y.first - sb[0]);
                                  second.add(x.second - sa[1], y.second - sb[1]);
                              }
                              add_to(acc + slot, pitch, first);
                              add_to(acc + slot + W, pitch, second);
                          });
}

template <class T>
void column_sums(const void* const* data, std::int64_t rows, std::int64_t columns, double* sum) {
    using V = typename Lane<T>::V;
    constexpr int W = width<V>;
    for_each_group<2 * W>(rows, columns,
                          [=](std::int64_t slot, std::int64_t column, std::int64_t r, std::int64_t last) {
                              V first{}, second{};
                              for (; r < last; ++r) {
                                  if (r + kRows < rows) prefetch_far(static_cast<const T*>(data[r + kRows]) + column);
                                  const Pair<V> x = load_pair(static_cast<const T*>(data[r]) + column);
                                  first += x.first;
                                  second += x.second;
                              }
                              add_doubles(sum + slot, first);
                              add_doubles(sum + slot + W, second);
                          });
}

std::uint64_t read(const void* data, std::int64_t bytes) {
    const char* p = static_cast<const char*>(data);
    vint64 sums[8]{};
    std::int64_t i = 0;
    for (; i + 8 * kVectorBytes <= bytes; i += 8 * kVectorBytes) {
        for (int v = 0; v < 8; ++v) {
            prefetch<kVectorBytes>(p + i + kPrefetchBytes + v * kVectorBytes);
            sums[v] += load_unaligned<vint64>(p + i + v * kVectorBytes);
        }
    }
    std::uint64_t total = 0;
    for (; i < bytes; ++i) total += static_cast<unsigned char>(p[i]);
    for (const vint64& s : sums)
        for (int l = 0; l < kDoubles; ++l) total += static_cast<std::uint64_t>(s[l]);
    return total;
}

template <class T>
constexpr TypedKernels typed() {
    return {rows<T>, row_sums<T>, columns<T>, column_sums<T>, std::is_same_v<T, BFloat16>};
}

}  // namespace

extern const Kernels kKernels;
const Kernels kKernels = {kRunLanes,
                          kColumnBlock,
                          {typed<double>(), typed<float>(), typed<Half>(), typed<BFloat16>(), typed<WideBFloat16>()},
                          read};

}  // namespace sdfast::cpu::SDFAST_ISA_NAME
