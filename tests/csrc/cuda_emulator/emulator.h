// Stands in for the GPU: csrc/cuda's kernels, compiled by g++ as they are, run on memory of the CPU. The threads of a
// block are fibers that meet at barriers and shuffles; the order of threads and blocks is drawn anew each time, and
// shared memory starts as NaN, so that a missing barrier or a dependency between blocks shows.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#include "core/dtype.h"
#include "cuda/runtime.h"

#define __global__
#define __device__
#define __grid_constant__
#define __launch_bounds__(...)

namespace sdfast::cuda {

struct Here {
    int thread = 0;
    std::int64_t block = 0, blocks = 0;
    unsigned char* shared = nullptr;
};
extern Here here;

inline int thread_index() { return here.thread; }
inline std::int64_t block_index() { return here.block; }
inline std::int64_t block_count() { return here.blocks; }

void barrier();
inline void in_this_order() {}
double from_lane_across(double value, int distance);

template <class T>
T& shared() {
    return *reinterpret_cast<T*>(here.shared);
}

inline void lower(long long* at, long long value) {
    if (value < *at) *at = value;
}
inline void raise(long long* at, long long value) {
    if (value > *at) *at = value;
}

struct alignas(16) Bits {
    std::uint32_t words[4];
};
// Throw where the address is no multiple of 16, as a GPU does.
Bits load_bits(const void* from);
void store_bits(void* to, const Bits& x);

inline float widen(Half x) { return to_float(x); }
inline float widen(BFloat16 x) { return to_float(x); }
void narrow(float x, Half& to);
void narrow(float x, BFloat16& to);

// Runs all blocks, one after the other. Throws where the stream is not the current GPU's.
void run_grid(std::int64_t blocks, int threads, std::size_t shared_bytes, Stream stream,
              const std::function<void()>& thread);

template <class... Parameters>
void launch(void (*kernel)(Parameters...), std::int64_t blocks, int threads, std::size_t shared_bytes, Stream stream,
            const Parameters&... arguments) {
    static_assert((sizeof(Parameters) + ... + 0) <= 4096, "more than every driver passes to a kernel");
    run_grid(blocks, threads, shared_bytes, stream, [&] { kernel(arguments...); });
}

// Which of the emulated GPUs is the current one, and the stream that torch uses on each.
extern int current_gpu;
inline Stream stream_of(int gpu) { return reinterpret_cast<Stream>(static_cast<std::uintptr_t>(gpu) + 1); }

// How many processors an emulated GPU has, and the seed of all orders; launches and their blocks so far.
extern int emulated_processors;
extern std::uint64_t order_seed;
extern std::int64_t launches, blocks_run;

}  // namespace sdfast::cuda
