// The CUDA runtime as the host code of the kernels needs it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace sdfast::cuda {

using Stream = void*;

// Throws std::runtime_error with CUDA's own words unless the code of a call, a cudaError_t, is success.
void check(int error);

// Throws where a launch would need more blocks than a grid takes.
inline void check_grid(std::int64_t blocks) {
    if (blocks >> 31 != 0) throw std::runtime_error("sdfast: features too large for one launch");
}

// Makes a device the current one of this thread, and the previous one current again at the end.
class OnDevice {
  public:
    explicit OnDevice(int device);
    ~OnDevice();
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

  private:
    int previous_ = 0;
    bool changed_ = false;
};

// The number of multiprocessors of the current device.
int processors();

}  // namespace sdfast::cuda
