#include "cuda/runtime.h"

#include <cuda_runtime_api.h>

#include <string>

namespace sdfast::cuda {

void check(int error) {
    if (error == cudaSuccess) return;
    const auto code = static_cast<cudaError_t>(error);
    cudaGetLastError();  // an error that was reported should not be reported again by the next call
    std::string message =
        std::string("sdfast: CUDA error: ") + cudaGetErrorName(code) + ": " + cudaGetErrorString(code);
    if (code == cudaErrorNoKernelImageForDevice)
        message += "; build sdfast with CMAKE_CUDA_ARCHITECTURES=native, or use the backend 'triton'";
    throw std::runtime_error(message);
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
