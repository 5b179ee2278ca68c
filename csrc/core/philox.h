// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): random words by counter.
#pragma once
#include <cstdint>

#include "core/host_device.h"

namespace sdfast::philox {

constexpr std::uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
constexpr int kRounds = 10;
constexpr int kDraws = 8;  // 16-bit draws a counter gives, the low half of each word first

struct Words {
    std::uint32_t w0, w1, w2, w3;
};

SDFAST_HOST_DEVICE inline Words words(std::uint64_t seed, std::uint64_t counter) {
    Words w{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), 0, 0};
    std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
    for (int round = 0; round < kRounds; ++round, k0 += kWeyl0, k1 += kWeyl1) {
        const std::uint64_t p0 = static_cast<std::uint64_t>(w.w0) * kMultiplier0;
        const std::uint64_t p1 = static_cast<std::uint64_t>(w.w2) * kMultiplier1;
        w = {static_cast<std::uint32_t>(p1 >> 32) ^ w.w1 ^ k0, static_cast<std::uint32_t>(p1),
             static_cast<std::uint32_t>(p0 >> 32) ^ w.w3 ^ k1, static_cast<std::uint32_t>(p0)};
    }
    return w;
}

// Draw j in [0, kDraws) of a counter's words.
SDFAST_HOST_DEVICE inline std::uint32_t draw(const Words& w, int j) {
    const std::uint32_t word = j < 4 ? (j < 2 ? w.w0 : w.w1) : (j < 6 ? w.w2 : w.w3);
    return (j & 1) != 0 ? word >> 16 : word & 0xffffu;
}

}  // namespace sdfast::philox
