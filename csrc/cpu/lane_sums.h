// Sums in vector lanes: how each element type is loaded, added up and folded.
// Include inside a namespace of its own per instruction set, as simd.h.

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

// As kWideBFloat16.
struct WideBFloat16 {
    std::uint16_t bits;
};
template <>
struct Lane<WideBFloat16> {
    using V = vdouble;
    static V load(const WideBFloat16* p) {
        vfloat_half values;
        std::uint32_t bits[kVectorBytes / 8];
        std::uint16_t words[kVectorBytes / 8];
        std::memcpy(words, p, sizeof words);
        for (int i = 0; i < kVectorBytes / 8; ++i) bits[i] = static_cast<std::uint32_t>(words[i]) << 16;
        std::memcpy(&values, bits, sizeof values);
        return widen(values);
    }
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
constexpr int kColumnBlock = kVectorBytes / 2;          // two float vectors, four double vectors
constexpr int kRows = 16;                               // rows summed in registers before memory is touched
constexpr int kTile = 512;                              // columns whose accumulators stay in the first-level cache
constexpr int kRunBlock = 8 * kVectorBytes;             // samples of a run summed before float lanes are widened
constexpr int kRunLanes = kDoubles < 4 ? kDoubles : 4;  // lanes of a run's accumulator: few, they are many runs
constexpr std::int64_t kPrefetchBytes = 4096;

template <class V>
constexpr int width = kVectorBytes / sizeof(V{}[0]);

template <int kBytes>
inline void prefetch(const void* p) {
    for (int offset = 0; offset < kBytes; offset += 64) __builtin_prefetch(static_cast<const char*>(p) + offset, 0, 3);
}

// To the second level only: rows of a power-of-two length crowd each other out of the first.
template <class T>
inline void prefetch_far(const T* p) {
    __builtin_prefetch(p, 0, 2);
}

// Minus zero, not plus: that is no operation for any x.
inline void broadcast(vdouble& v, double x) { v = x - vdouble{}; }
inline void broadcast(vfloat& v, double x) { v = static_cast<float>(x) - vfloat{}; }
inline void load_doubles(vdouble& v, const double* from) { v = load_unaligned<vdouble>(from); }
inline void load_doubles(vfloat& v, const double* from) {
    v = narrow(load_unaligned<vdouble>(from), load_unaligned<vdouble>(from + kDoubles));
}
template <class V>
inline void add_doubles(double* to, V v) {
    store_unaligned(to, load_unaligned<V>(to) + v);
}
inline void add_doubles(double* to, vfloat v) {
    add_doubles(to, low_half(v));
    add_doubles(to + kDoubles, high_half(v));
}
typedef double double2 __attribute__((vector_size(16)));
typedef double double4 __attribute__((vector_size(32)));
typedef double run_lanes __attribute__((vector_size(kRunLanes * 8)));
typedef float float4 __attribute__((vector_size(16)));
typedef float float8 __attribute__((vector_size(32)));

template <class Half, class V>
inline Half sum_of_halves(V v) {
    Half halves[2];
    std::memcpy(halves, &v, sizeof v);
    return halves[0] + halves[1];
}
inline double sum_of(double2 v) { return v[0] + v[1]; }
inline double sum_of(double4 v) { return sum_of(sum_of_halves<double2>(v)); }

// The lanes of a vector added up to those of a run's accumulator.
#if defined(__AVX512F__)
inline run_lanes fold(vdouble v) { return sum_of_halves<run_lanes>(v); }
inline run_lanes fold(vfloat v) {
    return (run_lanes)_mm256_cvtps_pd((__m128)sum_of_halves<float4>(sum_of_halves<float8>(v)));
}
#elif defined(__AVX2__)
inline run_lanes fold(vdouble v) { return v; }
inline run_lanes fold(vfloat v) { return widen(sum_of_halves<vfloat_half>(v)); }
#else
inline run_lanes fold(vdouble v) { return v; }
inline run_lanes fold(vfloat v) { return low_half(v) + high_half(v); }
#endif

// Zeroes the lanes of the last vector of a run that the vector before it has counted; works on bits, so NaN goes too.
template <class V>
inline V keep_last(V v, std::int64_t kept) {
    alignas(kVectorBytes) static constexpr std::int32_t kMask[2 * kVectorBytes / 4] = {
#define ROW4 0, 0, 0, 0
#define ONES4 -1, -1, -1, -1
#if defined(__AVX512F__)
        ROW4,  ROW4,  ROW4, ROW4, ONES4,
        ONES4, ONES4, ONES4
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
    void operator+=(const Sums& other) {
        a += other.a;
        b += other.b;
        aa += other.aa;
        bb += other.bb;
        ab += other.ab;
    }
};

template <class V>
inline void add_to(double* acc, std::int64_t pitch, const Sums<V>& sums) {
    add_doubles(acc, sums.a);
    add_doubles(acc + pitch, sums.b);
    add_doubles(acc + 2 * pitch, sums.aa);
    add_doubles(acc + 3 * pitch, sums.bb);
    add_doubles(acc + 4 * pitch, sums.ab);
}

// Adds the folded sums to a run's accumulator.
template <class V>
inline void add_folded(double* acc, const Sums<V>& s) {
    add_to(acc, kRunLanes, Sums<run_lanes>{fold(s.a), fold(s.b), fold(s.aa), fold(s.bb), fold(s.ab)});
}
#if defined(__AVX512F__)
// Short runs are dominated by this step, so four of the sums are folded together.
template <>
inline void add_folded(double* acc, const Sums<vdouble>& s) {
    const auto join = [](vdouble x, vdouble y) {
        return __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11) +
               __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15);
    };
    add_doubles(acc, join(s.a, s.b));
    add_doubles(acc + 8, join(s.aa, s.bb));
    add_doubles(acc + 16, fold(s.ab));
}
template <>
inline void add_folded(double* acc, const Sums<vfloat>& s) {
    const auto join = [](vfloat x, vfloat y) {
        return __builtin_shufflevector(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
               __builtin_shufflevector(x, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    };
    const vfloat x = join(s.a, s.b), y = join(s.aa, s.bb);
    const vfloat four = __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
                        __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    add_doubles(acc, four);
    add_doubles(acc + 16, fold(s.ab));
}
#endif
