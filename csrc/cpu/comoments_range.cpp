// Co-moments right over the whole range of bfloat16, whose squares are beyond that of the float lanes.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/comoments.h"
#include "cpu/lanes.h"
#include "cpu/moment_lanes.h"

namespace sdfast::cpu {
namespace {

constexpr double kLeastVariance = 0x1p-100;  // that float lanes hold: squares below 2^-126 are lost or lose digits
constexpr double kLeastApart = 0x1p-40;      // bfloat16 beyond it are farther from each other than what is lost
constexpr std::int64_t kLine = 64;           // bytes of memory that are read together

// Whether float lanes have neither overflown nor lost what is squared or multiplied, of one factor and channel.
bool is_held_by_floats(const double* m, std::int64_t gap, bool pooled) {
    for (int k = 1; k < 6; ++k)
        if (!std::isfinite(m[k * gap])) return false;
    if (pooled || m[0] < 2) return true;  // pooled values are squared in float64
    for (int side = 1; side < 3; ++side) {
        const double mean = m[side * gap], m2 = m[(side + 2) * gap];
        const bool constant = m2 == 0 && std::abs(mean) >= kLeastApart;  // what differs would differ by more
        if (m2 < m[0] * kLeastVariance && !constant) return false;
    }
    return true;
}

// Sums anew, in float64 lanes, channels whose values or spread are beyond what float lanes hold.
void sum_widely(const ComomentsTask& task, int max_threads, MomentRows<double> moments) {
    const std::int64_t channels = task.channel.size;
    const bool pooled = task.pool && task.positions.size > 1;
    const auto is_held = [&](std::int64_t c) {
        for (std::int64_t f = 0; f < task.factors; ++f)
            if (!is_held_by_floats(moments.data + f * channels + c, moments.gap, pooled)) return false;
        return true;
    };
    const std::int64_t bridged = task.channel.stride_a == task.item() ? kLine / task.item() : 1;
    std::vector<double> anew;
    for (std::int64_t first = 0; first < channels; ++first) {
        if (is_held(first)) continue;
        std::int64_t last = first + 1;
        for (std::int64_t c = last; c < std::min(last + bridged, channels); ++c)
            if (!is_held(c)) last = c + 1;
        ComomentsTask part = task;
        part.dtype = kWideBFloat16;
        part.a += first * task.channel.stride_a;
        part.b += first * task.channel.stride_b;
        part.channel.size = last - first;
        const std::int64_t row = task.factors * part.channel.size;
        anew.resize(static_cast<std::size_t>(6 * row));
        sum_pairs(part, max_threads, anew.data());
        for (std::int64_t k = 0; k < 6; ++k)
            for (std::int64_t f = 0; f < task.factors; ++f)
                std::copy_n(anew.data() + k * row + f * part.channel.size, part.channel.size,
                            moments.data + k * moments.gap + f * channels + first);
        first = last;
    }
}

}  // namespace

void comoments(const ComomentsTask& task, int max_threads, double* out) {
    sum_pairs(task, max_threads, out);
    if (task.dtype == DType::bf16) sum_widely(task, max_threads, {out, task.factors * task.channel.size});
}

}  // namespace sdfast::cpu
