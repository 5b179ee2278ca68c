// Inner loops of ranking. Compiled once per instruction set with SDFAST_ISA_NAME set to a namespace.
//
// Samples are dealt into bins, several for each sample. A rank is how many samples lie in the bins before, and how many
// in the own bin are smaller; these few are compared all at once. Nothing is moved back to where it was.
#include "cpu/ranks_lanes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace sdfast::cpu::SDFAST_ISA_NAME {
namespace {

#include "cpu/simd.h"

constexpr int kLanes = kVectorBytes / 8;
constexpr std::int64_t kWindow = kRankWindow;  // samples compared at once: bins of more are sorted
typedef std::int32_t vint32_half __attribute__((vector_size(kVectorBytes / 2)));

inline vdouble magnitude(vdouble v) { return v < 0 ? -v : v; }

template <class F>
inline double folded(vdouble v, F f) {
    double all = v[0];
    for (int l = 1; l < kLanes; ++l) all = f(all, v[l]);
    return all;
}

// Calls f(first, vector) for all samples, the last ones perhaps twice. Needs a whole vector of samples.
template <class F>
inline void each(const double* samples, std::int64_t count, F f) {
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) f(i, load_unaligned<vdouble>(samples + i));
    if (i < count) f(count - kLanes, load_unaligned<vdouble>(samples + count - kLanes));
}

// A map of samples to bins that never falls: d / (s + |d|) of distances d from a centre, with s the typical one, leaves
// room for the few that are far away. It is written so that rounding never makes it fall either.
class Bins {
  public:
    Bins(const double* samples, std::int64_t count, std::int64_t bins) {
        constexpr double kInfinity = std::numeric_limits<double>::infinity();
        vdouble low = vdouble{} + kInfinity, high = vdouble{} - kInfinity, sum = {}, bad = {};
        const double share = 1 / static_cast<double>(count);
        each(samples, count, [&](std::int64_t, vdouble x) {
            low = x < low ? x : low;
            high = x > high ? x : high;
            sum += x * share;
            bad += x * 0;
        });
        finite_ = folded(bad, [](double a, double b) { return a + b; }) == 0;
        if (!finite_) return;
        centre_ = folded(sum, [](double a, double b) { return a + b; });
        vdouble distance = {};
        each(samples, count, [&](std::int64_t, vdouble x) { distance += magnitude(x - centre_) * share; });
        typical_ = folded(distance, [](double a, double b) { return a + b; });
        const double least = folded(low, [](double a, double b) { return std::min(a, b); });
        const double most = folded(high, [](double a, double b) { return std::max(a, b); });
        first_ = place(vdouble{} + least)[0];
        scale_ = static_cast<double>(bins - 2) / (place(vdouble{} + most)[0] - first_);
        even_ = scale_ > 0 && std::isfinite(scale_) && typical_ > 0;  // else all are in one bin, and sorted
    }

    bool finite() const { return finite_; }

    // From 0, which is for the least alone: ReLU leaves many.
    vint32_half operator()(vdouble x) const {
        if (!even_) return vint32_half{};
        const vdouble beyond = place(x) - first_;
        return __builtin_convertvector(beyond * scale_ + (beyond > 0 ? vdouble{} + 1 : vdouble{}), vint32_half);
    }

  private:
    vdouble place(vdouble x) const {
        const vdouble d = x - centre_, far = 1 - typical_ / (magnitude(d) + typical_);
        return d < 0 ? -far : far;
    }

    bool finite_, even_;
    double centre_, typical_, first_, scale_;
};

// How many of the kWindow numbers from `from` on are below x, and how many are not above.
inline std::int32_t below(const double* from, double x) {
#if defined(__AVX512F__)
    const __m512d all = _mm512_loadu_pd(from), own = _mm512_set1_pd(x);
    const unsigned less = _mm512_cmp_pd_mask(all, own, _CMP_LT_OQ), not_more = _mm512_cmp_pd_mask(all, own, _CMP_LE_OQ);
    return __builtin_popcount(less | not_more << 8);
#else
    vint64 found = {};
    for (int i = 0; i < kWindow; i += kLanes) {
        const vdouble all = load_unaligned<vdouble>(from + i);
        found -= (vint64)(all < x) + (vint64)(all <= x);
    }
    std::int64_t total = 0;
    for (int l = 0; l < kLanes; ++l) total += found[l];
    return static_cast<std::int32_t>(total);
#endif
}

// The same of the sorted numbers in [first, last), x among them.
inline std::int32_t below_in_order(const double* first, const double* last, double x) {
    if (*first == last[-1]) return static_cast<std::int32_t>(last - first);
    const double* const equal = std::lower_bound(first, last, x);
    return static_cast<std::int32_t>(equal - first + (std::upper_bound(equal, last, x) - first));
}

bool twice_ranks(const double* samples, std::int64_t count, RankScratch& scratch, std::int32_t* out) {
    double padded[kLanes];
    const double* read = samples;
    if (count < kLanes) {  // as many of the last one as make a vector: they change no bin of the others
        for (int l = 0; l < kLanes; ++l) padded[l] = samples[std::min<std::int64_t>(l, count - 1)];
        read = padded;
    }
    const std::int64_t width = std::max<std::int64_t>(count, kLanes), bins = kRankBins * width;
    const Bins bin_of(read, width, bins);
    if (!bin_of.finite()) return false;

    std::int32_t* const bin = scratch.bin.data();
    each(read, width, [&](std::int64_t i, vdouble x) { store_unaligned(bin + i, bin_of(x)); });
    std::int32_t* const ends = scratch.ends.data() + 1;  // ends[-1] is where the first bin begins
    std::fill_n(ends - 1, bins + 1, 0);
    for (std::int64_t i = 0; i < count; ++i) ++ends[bin[i]];
    scratch.crowded.clear();
    std::int32_t total = 0;
    for (std::int64_t b = 0; b < bins; ++b) {
        const std::int32_t size = ends[b];
        if (size > kWindow) scratch.crowded.push_back(static_cast<std::int32_t>(b));
        ends[b] = total;
        total += size;
    }
    double* const dealt = scratch.dealt.data();
    for (std::int64_t i = 0; i < count; ++i) dealt[ends[bin[i]]++] = samples[i];
    std::fill_n(dealt + count, kWindow, std::numeric_limits<double>::infinity());
    for (const std::int32_t b : scratch.crowded) {
        double *const first = dealt + ends[b - 1], *const last = dealt + ends[b];
        const auto [least, most] = std::minmax_element(first, last);
        if (*least != *most) std::sort(first, last);
    }

    // Which samples are the least no processor can guess: what they get is chosen without a branch.
    const std::int32_t of_least = dealt[0] == dealt[ends[0] - 1] ? ends[0] : 0;
    std::int32_t ranks[2] = {of_least + 1, 0};
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int32_t begin = ends[bin[i] - 1], end = ends[bin[i]], beyond = end > of_least;
        const double x = samples[i];
        if ((end - begin) * beyond > kWindow)
            ranks[1] = below_in_order(dealt + begin, dealt + end, x);
        else
            ranks[1] = below(dealt + begin, x);  // what follows the bin is above all that is in it
        ranks[1] += 2 * begin + 1;
        out[i] = ranks[beyond];
    }
    return true;
}

}  // namespace

extern const RankKernels kRankKernels;
const RankKernels kRankKernels = {twice_ranks};

}  // namespace sdfast::cpu::SDFAST_ISA_NAME
