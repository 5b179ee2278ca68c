// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): random words by counter.
#pragma once
#include <cstdint>

namespace sdfast::philox {

constexpr std::uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
constexpr int kRounds = 10;
constexpr int kDraws = 8;  // 16-bit draws a counter gives, the low half of each word first

}  // namespace sdfast::philox
