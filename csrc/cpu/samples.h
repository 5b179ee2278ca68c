// Samples (N, C) of channels in float64, and how threads share the channels.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "cpu/parallel.h"

namespace sdfast::cpu {

constexpr std::int64_t kSamplesPerThread = kBytesPerThread / 128;  // each is ranked, or looks for neighbours
constexpr std::int64_t kMostSamples = 1 << 29;                     // of a channel: ranks are counted in 32 bits
constexpr std::int64_t kChannelsTogether = 8;                      // of a cache line

struct Samples {
    const double* data;
    std::int64_t count, channels;
    std::int64_t stride, channel_stride;  // in elements

    // Copies channels [first, last) to rows of `count` samples.
    void gather(std::int64_t first, std::int64_t last, double* rows) const {
        for (std::int64_t n = 0; n < count; ++n)
            for (std::int64_t c = first; c < last; ++c)
                std::memcpy(rows + (c - first) * count + n, data + n * stride + c * channel_stride, sizeof(double));
    }

    // Threads that are worth waking.
    int threads(int most) const {
        return static_cast<int>(std::clamp<std::int64_t>(count * channels / kSamplesPerThread, 1, most));
    }
};

// Shares channels among threads, a few together. Each thread calls make(together), and what that returns with
// (first, last) for the channels that it takes.
template <class Make>
void share_channels(std::int64_t channels, int threads, Make make) {
    const std::int64_t together = std::clamp<std::int64_t>(channels / threads, 1, kChannelsTogether);
    std::atomic<std::int64_t> next{0};
    in_parallel(static_cast<int>(std::min<std::int64_t>(threads, channels)), [&](int) {
        auto work = make(together);
        for (std::int64_t first; (first = next.fetch_add(together)) < channels;)
            work(first, std::min(first + together, channels));
    });
}

}  // namespace sdfast::cpu
