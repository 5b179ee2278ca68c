// All that kernels ask of a GPU. Host code may stand in for it (tests/csrc/cuda_emulator), so that the same kernels run
// without one: no kernel uses a word of CUDA that is not here, but for __global__, __device__ and __launch_bounds__.
#pragma once
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "cuda/runtime.h"

namespace sdfast::cuda {

__device__ inline int thread_index() { return static_cast<int>(threadIdx.x); }
__device__ inline std::int64_t block_index() { return blockIdx.x; }
__device__ inline std::int64_t block_count() { return gridDim.x; }

// Waits for all threads of the block, or of the warp.
__device__ inline void barrier() { __syncthreads(); }

// Keeps the compiler from moving memory accesses across.
__device__ inline void in_this_order() { asm volatile("" ::: "memory"); }

// The value that the thread `distance` lanes away holds, lanes flipped bit by bit. All lanes of the warp take part.
__device__ inline double from_lane_across(double value, int distance) {
    return __shfl_xor_sync(0xffffffffu, value, distance);
}

// Memory that a block shares; a kernel uses one type, whose size it is launched with.
template <class T>
__device__ inline T& shared() {
    extern __shared__ __align__(16) unsigned char bytes[];
    return *reinterpret_cast<T*>(bytes);
}

__device__ inline void lower(long long* at, long long value) { atomicMin(at, value); }
__device__ inline void raise(long long* at, long long value) { atomicMax(at, value); }

// 16 bytes at an address that is a multiple of 16.
struct alignas(16) Bits {
    std::uint32_t words[4];
};
__device__ inline Bits load_bits(const void* from) {
    const uint4 x = *static_cast<const uint4*>(from);
    return {{x.x, x.y, x.z, x.w}};
}
__device__ inline void store_bits(void* to, const Bits& x) {
    *static_cast<uint4*>(to) = make_uint4(x.words[0], x.words[1], x.words[2], x.words[3]);
}

__device__ inline float widen(Half x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ inline float widen(BFloat16 x) { return __uint_as_float(static_cast<std::uint32_t>(x.bits) << 16); }
__device__ inline void narrow(float x, Half& to) { to.bits = __half_as_ushort(__float2half_rn(x)); }
__device__ inline void narrow(float x, BFloat16& to) { to.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x)); }

template <class... Parameters>
void launch(void (*kernel)(Parameters...), std::int64_t blocks, int threads, std::size_t shared_bytes, Stream stream,
            const Parameters&... arguments) {
    static_assert((sizeof(Parameters) + ... + 0) <= 4096, "more than every driver passes to a kernel");
    check_grid(blocks);
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream);
    check(cudaLaunchKernelEx(&config, kernel, arguments...));
}

}  // namespace sdfast::cuda
#else
#include "emulator.h"
#endif
