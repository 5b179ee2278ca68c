// Co-moments right over the whole range of bfloat16, whose squares are beyond that of the float lanes.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cpu/comoments.h"
#include "cpu/isa.h"
#include "cpu/lanes.h"
#include "cpu/parallel.h"

namespace sdfast::cpu {
namespace {

constexpr double kLeastVariance = 0x1p-100;  // that float lanes hold: squares below 2^-126 are lost or lose digits
constexpr double kLeastApart = 0x1p-40;      // bfloat16 beyond it are farther from each other than what is lost
constexpr double kMost = std::numeric_limits<double>::max();
constexpr std::int64_t kLine = 64;       // bytes of memory that are read together
constexpr std::int64_t kTogether = 256;  // samples whose lines stay in a cache while several channels are looked at

using Channels = std::vector<std::int64_t>;

// What float lanes have made of one side: co-moments of all factors and channels.
struct Side {
    const double *count, *mean, *m2;
    double least;  // variance that they hold

    // A value that is not finite, or a sum of them, makes the spread NaN.
    bool has_spread(std::int64_t i) const { return m2[i] >= count[i] * least && m2[i] <= kMost; }
    bool is_held(std::int64_t i) const {
        if (has_spread(i) || count[i] < 2) return m2[i] <= kMost;
        return m2[i] == 0 && std::abs(mean[i]) >= kLeastApart;  // what differs would differ by more than what is lost
    }
    bool may_be_zero(std::int64_t i) const { return m2[i] == 0 && mean[i] == 0; }
};

int bits_at(const char* from) {
    std::uint16_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return bits;
}

// Takes away channels that are zero throughout, as those are that ReLU leaves dead. `data` is of side b, or of a.
void drop_zeros(const ComomentsTask& task, bool b, int max_threads, Channels& channels) {
    Dims samples = task.positions;
    samples.push_back(task.batch);
    coalesce(samples);
    std::int64_t run = 1;
    if (samples.count > 0 && (b ? samples.end()[-1].stride_b : samples.end()[-1].stride_a) == task.item())
        run = samples.pop_back().size;
    const char* const data = b ? task.b : task.a;
    const std::int64_t stride = b ? task.channel.stride_b : task.channel.stride_a;
    const auto count = static_cast<std::int64_t>(channels.size());
    const std::int64_t bytes = count * samples.size * run * task.item();
    const std::int64_t threads =
        std::clamp<std::int64_t>(bytes / kBytesPerThread, 1, std::min<std::int64_t>(max_threads, count));
    std::vector<int> bits(channels.size());
    in_parallel(static_cast<int>(threads), [&](int thread) {
        Walk walk(samples);
        walk.seek(0);
        const char* from[kTogether];
        for (std::int64_t s = 0; s < samples.size; s += kTogether) {
            const std::int64_t own = std::min(kTogether, samples.size - s);
            for (std::int64_t k = 0; k < own; ++k, walk.next()) from[k] = data + (b ? walk.b() : walk.a());
            for (std::int64_t i = count * thread / threads; i < count * (thread + 1) / threads; ++i) {
                const std::int64_t offset = channels[static_cast<std::size_t>(i)] * stride;
                int found = bits[static_cast<std::size_t>(i)];
                for (std::int64_t k = 0; k < own; ++k) found |= bits_at(from[k] + offset);
                // Where neighbours are equal all are.
                const auto rest = static_cast<std::size_t>(2 * run - 2);
                for (std::int64_t k = 0; k < own && run > 1 && found == 0; ++k)
                    found = std::memcmp(from[k] + offset, from[k] + offset + 2, rest);
                bits[static_cast<std::size_t>(i)] = found;
            }
        }
    });
    std::size_t kept = 0;
    for (std::size_t i = 0; i < channels.size(); ++i)
        if (bits[i] != 0) channels[kept++] = channels[i];
    channels.resize(kept);
}

// The channels that float lanes have not held, in ascending order.
Channels lost(const ComomentsTask& task, int max_threads, const double* moments) {
    const std::int64_t channels = task.channel.size, row = task.factors * channels;
    const double least = task.pool && task.positions.size > 1 ? 0 : kLeastVariance;  // pooled: squared in float64
    const Side sides[2] = {{moments, moments + row, moments + 3 * row, least},
                           {moments, moments + 2 * row, moments + 4 * row, least}};
    bool all_held = true;
    for (const Side& side : sides)
        for (std::int64_t f = 0; f < task.factors; ++f)
            all_held = all_held && moment_kernels().are_finite_from(side.m2 + f * channels, channels,
                                                                    side.count[f * channels] * least);
    Channels found;
    if (all_held) return found;
    for (int b = 0; b < 2; ++b) {
        Channels zeros;
        for (std::int64_t c = 0; c < channels; ++c) {
            bool is_held = true, may_be_zero = true;
            for (std::int64_t i = c; i < row; i += channels)
                if (!sides[b].is_held(i)) is_held = false, may_be_zero = may_be_zero && sides[b].may_be_zero(i);
            if (!is_held) (may_be_zero ? zeros : found).push_back(c);
        }
        if (!zeros.empty()) drop_zeros(task, b == 1, max_threads, zeros);
        found.insert(found.end(), zeros.begin(), zeros.end());
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

// Sums anew, in float64 lanes, channels whose values or spread are beyond what float lanes hold.
void sum_widely(const ComomentsTask& task, int max_threads, double* moments) {
    const Channels channels = lost(task, max_threads, moments);
    const std::int64_t near = task.channel.stride_a == task.item() ? kLine / task.item() : 1;
    std::vector<double> anew;
    for (std::size_t i = 0; i < channels.size(); ++i) {
        const std::int64_t first = channels[i];
        while (i + 1 < channels.size() && channels[i + 1] <= channels[i] + near) ++i;
        ComomentsTask part = task;
        part.dtype = kWideBFloat16;
        part.a += first * task.channel.stride_a;
        part.b += first * task.channel.stride_b;
        part.channel.size = channels[i] + 1 - first;
        anew.resize(static_cast<std::size_t>(6 * task.factors * part.channel.size));
        sum_pairs(part, max_threads, anew.data());
        for (std::int64_t row = 0; row < 6 * task.factors; ++row)
            std::copy_n(anew.data() + row * part.channel.size, part.channel.size,
                        moments + row * task.channel.size + first);
    }
}

}  // namespace

void comoments(const ComomentsTask& task, int max_threads, double* out) {
    sum_pairs(task, max_threads, out);
    if (task.dtype == DType::bf16) sum_widely(task, max_threads, out);
}

}  // namespace sdfast::cpu
