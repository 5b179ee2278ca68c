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

#include "cpu/simd.h"

// How an element type is summed: float64 lanes for float64 and float32, float32 lanes for the halves, whose products
// are exact in float32; those are moved to float64 every few terms. A pair is two vectors of adjacent elements;
// bfloat16 comes as the even and the odd ones, which needs no shuffle.
template <class T>
struct Lane;
template <>
struct Lane<double> {
    using V = vdouble;
    static V load(const double* p) { return load_unaligned<vdouble>(p); }
};
template <>
struct Lane<float> {
    using V = vdouble;
    static V load(const float* p) { return widen(load_unaligned<vfloat_half>(p)); }
};
template <>
struct Lane<Half> {
    using V = vfloat;
    static V load(const Half* p) { return widen_half(p); }
};
template <>
struct Lane<BFloat16> {
    using V = vfloat;
    static V load(const BFloat16* p) { return widen_bfloat16(p); }
};

template <class V>
struct Pair {
    V first, second;
};

template <class T>
inline Pair<typename Lane<T>::V> load_pair(const T* p) {
    using V = typename Lane<T>::V;
    return {Lane<T>::load(p), Lane<T>::load(p + sizeof(V) / sizeof(V{}[0]))};
}
template <>
inline Pair<vfloat> load_pair(const BFloat16* p) {
    const vuint32 both = load_unaligned<vuint32>(p);
    return {(vfloat)(both << 16), (vfloat)(both & 0xffff0000u)};
}

constexpr int kDoubles = kVectorBytes / 8;
constexpr int kColumnBlock = kVectorBytes / 2;  // two float vectors, four double vectors
constexpr int kRows = 16;                       // rows summed in registers before memory is touched
constexpr int kRunBlock = 512;                  // samples of a run summed before float lanes are widened
constexpr std::int64_t kPrefetchBytes = 4096;

template <class V>
constexpr int width = kVectorBytes / sizeof(V{}[0]);

template <class T>
inline void prefetch(const T* p) {
    __builtin_prefetch(p, 0, 3);
}

inline void broadcast(vdouble& v, double x) { v = vdouble{} + x; }
inline void broadcast(vfloat& v, double x) { v = vfloat{} + static_cast<float>(x); }
inline void load_doubles(vdouble& v, const double* from) { v = load_unaligned<vdouble>(from); }
inline void load_doubles(vfloat& v, const double* from) {
    v = narrow(load_unaligned<vdouble>(from), load_unaligned<vdouble>(from + kDoubles));
}
inline void add_doubles(double* to, vdouble v) { store_unaligned(to, load_unaligned<vdouble>(to) + v); }
inline void add_doubles(double* to, vfloat v) {
    add_doubles(to, low_half(v));
    add_doubles(to + kDoubles, high_half(v));
}
inline vdouble fold(vdouble v) { return v; }
inline vdouble fold(vfloat v) { return low_half(v) + high_half(v); }

inline double sum_of(vdouble v) {
    double lanes[kDoubles];
    std::memcpy(lanes, &v, sizeof v);
    for (int step = kDoubles / 2; step > 0; step /= 2)
        for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
    return lanes[0];
}

// Zeroes the lanes of the last vector of a run that the vector before it has counted; works on bits, so NaN goes too.
template <class V>
inline V keep_last(V v, std::int64_t kept) {
    alignas(kVectorBytes) static constexpr std::int32_t kMask[2 * kVectorBytes / 4] = {
#define ROW4 0, 0, 0, 0
#define ONES4 -1, -1, -1, -1
#if defined(__AVX512F__)
        ROW4, ROW4, ROW4, ROW4, ONES4, ONES4, ONES4, ONES4
#elif defined(__AVX2__)
        ROW4, ROW4, ONES4, ONES4
#else
        ROW4, ONES4
#endif
#undef ROW4
#undef ONES4
    };
    const char* from = reinterpret_cast<const char*>(kMask) + kept * static_cast<std::int64_t>(sizeof(v[0]));
    return (V)((vint64)v & load_unaligned<vint64>(from));
}

template <class V>
struct Sums {
    V a{}, b{}, aa{}, bb{}, ab{};

    void add(V x, V y) {
        a += x;
        b += y;
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
};

template <class V>
inline void add_folded(Sums<vdouble>& to, const Sums<V>& from) {
    to.a += fold(from.a);
    to.b += fold(from.b);
    to.aa += fold(from.aa);
    to.bb += fold(from.bb);
    to.ab += fold(from.ab);
}

template <class T>
void row(const void* a_data, const void* b_data, std::int64_t length, double shift_a, double shift_b, double* acc) {
    using V = typename Lane<T>::V;
    constexpr int W = width<V>;
    constexpr std::int64_t kAhead = kPrefetchBytes / sizeof(T);
    const T* a = static_cast<const T*>(a_data);
    const T* b = static_cast<const T*>(b_data);
    V sa, sb;
    broadcast(sa, shift_a);
    broadcast(sb, shift_b);
    Sums<vdouble> total;
    std::int64_t i = 0;
    while (length - i >= W) {
        const std::int64_t end = length - i < kRunBlock ? length : i + kRunBlock;
        Sums<V> even, odd;
        for (; i + 2 * W <= end; i += 2 * W) {
            prefetch(a + i + kAhead);
            prefetch(b + i + kAhead);
            const Pair<V> x = load_pair(a + i), y = load_pair(b + i);
            even.add(x.first - sa, y.first - sb);
            odd.add(x.second - sa, y.second - sb);
        }
        for (; i + W <= end; i += W) even.add(Lane<T>::load(a + i) - sa, Lane<T>::load(b + i) - sb);
        if (length - i < W && length > i) {
            const std::int64_t last = length - W;
            odd.add(keep_last(Lane<T>::load(a + last) - sa, length - i),
                    keep_last(Lane<T>::load(b + last) - sb, length - i));
            i = length;
        }
        add_folded(total, even);
        add_folded(total, odd);
    }
    add_doubles(acc, total.a);
    add_doubles(acc + kDoubles, total.b);
    add_doubles(acc + 2 * kDoubles, total.aa);
    add_doubles(acc + 3 * kDoubles, total.bb);
    add_doubles(acc + 4 * kDoubles, total.ab);
}

template <class T>
double row_sum(const void* data, std::int64_t length) {
    using V = typename Lane<T>::V;
    constexpr int W = width<V>;
    constexpr std::int64_t kAhead = kPrefetchBytes / sizeof(T);
    const T* x = static_cast<const T*>(data);
    vdouble total{};
    std::int64_t i = 0;
    while (length - i >= W) {
        const std::int64_t end = length - i < kRunBlock ? length : i + kRunBlock;
        V s0{}, s1{}, s2{}, s3{};
        for (; i + 4 * W <= end; i += 4 * W) {
            prefetch(x + i + kAhead);
            const Pair<V> low = load_pair(x + i), high = load_pair(x + i + 2 * W);
            s0 += low.first;
            s1 += low.second;
            s2 += high.first;
            s3 += high.second;
        }
        for (; i + W <= end; i += W) s0 += Lane<T>::load(x + i);
        if (length - i < W && length > i) {
            s1 += keep_last(Lane<T>::load(x + length - W), length - i);
            i = length;
        }
        total += (fold(s0) + fold(s1)) + (fold(s2) + fold(s3));
    }
    return sum_of(total);
}

// First column of the group that holds a slot; see Kernels::slots.
inline std::int64_t column_of(std::int64_t slot, std::int64_t slots, std::int64_t columns) {
    return slot < slots - kColumnBlock ? slot : slot - (slots - columns);
}

template <class T>
void column(const void* const* a, const void* const* b, std::int64_t rows, std::int64_t columns, const double* shift_a,
            const double* shift_b, double* acc) {
    using V = typename Lane<T>::V;
    constexpr int W = width<V>;
    constexpr int kVectors = 2;
    const std::int64_t slots = (columns + kColumnBlock - 1) / kColumnBlock * kColumnBlock;
    for (std::int64_t first = 0; first < rows; first += kRows) {
        const std::int64_t last = first + kRows < rows ? first + kRows : rows;
        for (std::int64_t slot = 0; slot < slots; slot += kVectors * W) {
            const std::int64_t column = column_of(slot, slots, columns);
            V sa[kVectors], sb[kVectors];
            Sums<V> sums[kVectors];
            for (int v = 0; v < kVectors; ++v) {
                load_doubles(sa[v], shift_a + slot + v * W);
                load_doubles(sb[v], shift_b + slot + v * W);
            }
            for (std::int64_t r = first; r < last; ++r) {
                const T* x = static_cast<const T*>(a[r]) + column;
                const T* y = static_cast<const T*>(b[r]) + column;
                if (r + kRows < rows) {
                    prefetch(static_cast<const T*>(a[r + kRows]) + column);
                    prefetch(static_cast<const T*>(b[r + kRows]) + column);
                }
                const Pair<V> p = load_pair(x), q = load_pair(y);
                sums[0].add(p.first - sa[0], q.first - sb[0]);
                sums[1].add(p.second - sa[1], q.second - sb[1]);
            }
            for (int v = 0; v < kVectors; ++v) {
                double* to = acc + slot + v * W;
                add_doubles(to, sums[v].a);
                add_doubles(to + slots, sums[v].b);
                add_doubles(to + 2 * slots, sums[v].aa);
                add_doubles(to + 3 * slots, sums[v].bb);
                add_doubles(to + 4 * slots, sums[v].ab);
            }
        }
    }
}

template <class T>
void column_sum(const void* const* data, std::int64_t rows, std::int64_t columns, double* sum) {
    using V = typename Lane<T>::V;
    constexpr int W = width<V>;
    constexpr int kVectors = 2;
    const std::int64_t slots = (columns + kColumnBlock - 1) / kColumnBlock * kColumnBlock;
    for (std::int64_t first = 0; first < rows; first += kRows) {
        const std::int64_t last = first + kRows < rows ? first + kRows : rows;
        for (std::int64_t slot = 0; slot < slots; slot += kVectors * W) {
            const std::int64_t column = column_of(slot, slots, columns);
            V sums[kVectors]{};
            for (std::int64_t r = first; r < last; ++r) {
                const T* x = static_cast<const T*>(data[r]) + column;
                if (r + kRows < rows) prefetch(static_cast<const T*>(data[r + kRows]) + column);
                const Pair<V> p = load_pair(x);
                sums[0] += p.first;
                sums[1] += p.second;
            }
            for (int v = 0; v < kVectors; ++v) add_doubles(sum + slot + v * W, sums[v]);
        }
    }
}

std::uint64_t read(const void* data, std::int64_t bytes) {
    const char* p = static_cast<const char*>(data);
    vint64 sums[8]{};
    std::int64_t i = 0;
    for (; i + 8 * kVectorBytes <= bytes; i += 8 * kVectorBytes) {
        for (int v = 0; v < 8; ++v) {
            prefetch(p + i + kPrefetchBytes + v * kVectorBytes);
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
    return {row<T>, row_sum<T>, column<T>, column_sum<T>, std::is_same_v<T, BFloat16>};
}

}  // namespace

extern const Kernels kKernels;
const Kernels kKernels = {kDoubles,
                          kColumnBlock,
                          2 * kDoubles,
                          {typed<double>(), typed<float>(), typed<Half>(), typed<BFloat16>()},
                          read};

}  // namespace sdfast::cpu::SDFAST_ISA_NAME
