// Vectors of the widest kind that the current compilation flags allow, in GCC and Clang vector extensions.
// Include inside a namespace of its own per instruction set, after <cstring> and the intrinsics header.

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

typedef double vdouble __attribute__((vector_size(kVectorBytes)));
typedef float vfloat __attribute__((vector_size(kVectorBytes)));
typedef float vfloat_half __attribute__((vector_size(kVectorBytes / 2)));
typedef std::int64_t vint64 __attribute__((vector_size(kVectorBytes)));
typedef std::uint32_t vuint32 __attribute__((vector_size(kVectorBytes)));
typedef std::uint16_t vuint16_half __attribute__((vector_size(kVectorBytes / 2)));

template <class V>
inline V load_unaligned(const void* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <class V>
inline void store_unaligned(void* to, V v) {
    std::memcpy(to, &v, sizeof v);
}

// GCC 12 splits __builtin_convertvector to 512 bits into halves; the intrinsics are one instruction each.
inline vdouble widen(vfloat_half v) {
#if defined(__AVX512F__)
    return (vdouble)_mm512_cvtps_pd((__m256)v);
#else
    return __builtin_convertvector(v, vdouble);
#endif
}

template <int kFirst, int... I>
inline vfloat_half half_of(vfloat v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, (kFirst + I)...);
}

inline vdouble low_half(vfloat v) {
    return widen(half_of<0>(v, std::make_integer_sequence<int, kVectorBytes / 8>{}));
}

inline vdouble high_half(vfloat v) {
    return widen(half_of<kVectorBytes / 8>(v, std::make_integer_sequence<int, kVectorBytes / 8>{}));
}

inline vfloat narrow(vdouble low, vdouble high) {
    const vfloat_half halves[2] = {__builtin_convertvector(low, vfloat_half),
                                   __builtin_convertvector(high, vfloat_half)};
    return load_unaligned<vfloat>(halves);
}

// IEEE half to float: in hardware where there is an instruction, else by moving the fields; NaN stays NaN.
inline vfloat widen_half(const void* from) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_cvtph_ps(load_unaligned<__m256i>(from));
#elif defined(__F16C__)
    return (vfloat)_mm256_cvtph_ps(load_unaligned<__m128i>(from));
#elif defined(__aarch64__)
    return (vfloat)vcvt_f32_f16(load_unaligned<float16x4_t>(from));
#else
    const vuint32 bits = __builtin_convertvector(load_unaligned<vuint16_half>(from), vuint32);
    const vuint32 sign = (bits & 0x8000u) << 16;
    const vuint32 magnitude = bits & 0x7fffu;
    const vuint32 normal = (magnitude << 13) + ((127u - 15u) << 23);
    // A denormal is its integer value times 2^-24, exactly.
    const vuint32 denormal = (vuint32)(__builtin_convertvector(magnitude, vfloat) * 0x1p-24f);
    const vuint32 special = (magnitude << 13) | 0x7f800000u;
    const vuint32 is_denormal = (vuint32)(magnitude < 0x0400u), is_special = (vuint32)(magnitude >= 0x7c00u);
    const vuint32 finite = (denormal & is_denormal) | (normal & ~is_denormal);
    return (vfloat)(sign | (special & is_special) | (finite & ~is_special));
#endif
}

inline vfloat widen_bfloat16(const void* from) {
#if defined(__AVX512F__)
    return (vfloat)((vuint32)_mm512_cvtepu16_epi32(load_unaligned<__m256i>(from)) << 16);
#elif defined(__AVX2__)
    return (vfloat)((vuint32)_mm256_cvtepu16_epi32(load_unaligned<__m128i>(from)) << 16);
#else
    return (vfloat)(__builtin_convertvector(load_unaligned<vuint16_half>(from), vuint32) << 16);
#endif
}
