// Marks functions that g++ and nvcc compile alike.
#pragma once

#ifdef __CUDACC__
#define SDFAST_HOST_DEVICE __host__ __device__
#else
#define SDFAST_HOST_DEVICE
#endif
