#include "bind/module.h"

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "Compiled CUDA kernels of sdfast.";
    sdfast::find_torch(sdfast::dlpack::kCUDA);
    sdfast::bind_cuda(m);
}
