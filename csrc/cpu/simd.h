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
typedef std::int32_t vint32 __attribute__((vector_size(kVectorBytes)));
typedef std::uint32_t vuint32 __attribute__((vector_size(kVectorBytes)));
typedef std::uint16_t vuint16 __attribute__((vector_size(kVectorBytes)));
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

// Past the caches, which spares reading what is overwritten. Only to where a whole vector is aligned.
template <class V>
inline void store_past_caches(void* to, V v) {
#if defined(__AVX512F__)
    _mm512_stream_si512(static_cast<__m512i*>(to), (__m512i)v);
#elif defined(__AVX2__)
    _mm256_stream_si256(static_cast<__m256i*>(to), (__m256i)v);
#elif defined(__SSE2__)
    _mm_stream_si128(static_cast<__m128i*>(to), (__m128i)v);
#else
    store_unaligned(to, v);
#endif
}

// GCC 12 splits __builtin_convertvector to 512 bits into halves; the intrinsics are one instruction each.
inline vdouble widen(vfloat_half v) {
#if defined(__AVX512F__)
    return (vdouble)_mm512_cvtps_pd((__m256)v);
#elif defined(__SSE2__) && !defined(__AVX__)
    __m128 low = _mm_setzero_ps();
    std::memcpy(&low, &v, sizeof v);
    return (vdouble)_mm_cvtps_pd(low);
#else
    return __builtin_convertvector(v, vdouble);
#endif
}

template <int kFirst, int... I>
inline vfloat_half half_of(vfloat v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, (kFirst + I)...);
}

inline vdouble low_half(vfloat v) { return widen(half_of<0>(v, std::make_integer_sequence<int, kVectorBytes / 8>{})); }

inline vdouble high_half(vfloat v) {
    return widen(half_of<kVectorBytes / 8>(v, std::make_integer_sequence<int, kVectorBytes / 8>{}));
}

inline vfloat narrow(vdouble low, vdouble high) {
    const vfloat_half halves[2] = {__builtin_convertvector(low, vfloat_half),
                                   __builtin_convertvector(high, vfloat_half)};
    return load_unaligned<vfloat>(halves);
}

// Sixteen-bit words as the low half of 32-bit ones.
inline vuint32 widen_words(const void* from) {
#if defined(__AVX512F__)
    return (vuint32)_mm512_cvtepu16_epi32(load_unaligned<__m256i>(from));
#elif defined(__AVX2__)
    return (vuint32)_mm256_cvtepu16_epi32(load_unaligned<__m128i>(from));
#elif defined(__SSE2__)
    return (vuint32)_mm_unpacklo_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(from)), _mm_setzero_si128());
#else
    return __builtin_convertvector(load_unaligned<vuint16_half>(from), vuint32);
#endif
}

inline vfloat widen_bfloat16(const void* from) { return (vfloat)(widen_words(from) << 16); }

// IEEE half to float: in hardware where there is an instruction, else by moving the fields; NaN stays NaN.
inline vfloat widen_half(const void* from) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_cvtph_ps(load_unaligned<__m256i>(from));
#elif defined(__F16C__)
    return (vfloat)_mm256_cvtph_ps(load_unaligned<__m128i>(from));
#elif defined(__aarch64__)
    return (vfloat)vcvt_f32_f16(load_unaligned<float16x4_t>(from));
#else
    const vint32 bits = (vint32)widen_words(from);
    const vint32 magnitude = bits & 0x7fff;
    const vint32 normal = (magnitude << 13) + ((127 - 15) << 23);
    // A denormal is its integer value times 2^-24, exactly.
    const vint32 denormal = (vint32)(__builtin_convertvector(magnitude, vfloat) * 0x1p-24f);
    const vint32 special = (magnitude << 13) | 0x7f800000;
    const vint32 is_denormal = magnitude < 0x0400, is_special = magnitude > 0x7bff;
    const vint32 finite = (denormal & is_denormal) | (normal & ~is_denormal);
    return (vfloat)(((bits & 0x8000) << 16) | (special & is_special) | (finite & ~is_special));
#endif
}
