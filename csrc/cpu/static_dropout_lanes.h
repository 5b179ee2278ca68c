// Inner loops of StaticDropout, compiled once per instruction set (static_dropout_lanes.cpp).
#pragma once
#include <cstdint>

namespace sdfast::cpu {

// How the rate of dropping varies along a run: not, by factors that are 0 or 1, by factors in between, or as given.
enum class Rates { none, binary, varied, given };

// Memory that is wanted soon, to be fetched along the way: so many bytes of the input and, unless null, of the output.
struct Fetch {
    const char *x, *out;
    std::int64_t bytes;
};

// What decides over a run of elements. Element i is dropped iff draw < T, with the integer threshold
// T = round(rate * factor of i) in [0, 65536].
struct Decision {
    const std::uint16_t* draws;  // [length], or null: then `draw` is shared by all
    std::uint16_t draw;
    std::uint64_t seed, first;  // for drop(): draws are made from draw number `first` on
    float rate;                 // 65536 * probability
    Rates rates;
    const std::uint8_t* marks;  // if rates is binary: bit first_mark + i is the factor of i; three bytes more are read
    std::int64_t first_mark;
    const float* factors;            // [length], if rates is varied
    const std::int32_t* thresholds;  // [length], if rates is given: T of each element,
    const float* scales;             // [length], and what rescaling multiplies the element by
    bool rescale;                    // multiply what is kept by 65536 / (65536 - T)
    bool past_caches;                // the output is too large to be found in a cache later
    Fetch fetch;
};

struct StaticDropoutKernels {
    // Draws of `count` counters first, first + 1, ...: out [8 * count], eight adjacent draws a counter. Writes up to
    // kDrawSlack draws beyond the end.
    void (*draws)(std::uint64_t seed, std::uint64_t first, std::int64_t count, std::uint16_t* out);

    // Draws of `count` counters that are `stride` apart, draw j of counter i at out[j * pitch + i]. Writes up to
    // kDrawSlack columns too many.
    void (*draws_across)(std::uint64_t seed, std::uint64_t first, std::uint64_t stride, std::int64_t count,
                         std::uint16_t* out, std::int64_t pitch);

    // out = x, dropped and scaled; out may be x. By DType.
    void (*apply[4])(const void* x, void* out, std::int64_t length, const Decision& decision);

    // The same from draws made along the way, a few at a time, so that memory moves while the core computes.
    void (*drop[4])(const void* x, void* out, std::int64_t length, const Decision& decision);
};

constexpr int kDrawSlack = 512;

}  // namespace sdfast::cpu
