#include "cuda/runtime.h"

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace sdfast::cuda {

void check(int error) {
    if (error == cudaSuccess) return;
    const auto code = static_cast<cudaError_t>(error);
    cudaGetLastError();  // an error that was reported should not be reported again by the next call
    throw std::runtime_error(std::string("sdfast: CUDA error: ") + cudaGetErrorName(code) + ": " +
                             cudaGetErrorString(code));
}

void check_grid(std::int64_t blocks) {
    if (blocks >> 31 != 0) throw std::runtime_error("sdfast: features too large for one launch");
}

OnDevice::OnDevice(int device) {
    check(cudaGetDevice(&previous_));
    if (device == previous_) return;
    check(cudaSetDevice(device));
    changed_ = true;
}

OnDevice::~OnDevice() {
    if (changed_) cudaSetDevice(previous_);
}

int processors() {
    int device = 0, count = 0;
    check(cudaGetDevice(&device));
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
    return count;
}

}  // namespace sdfast::cuda
