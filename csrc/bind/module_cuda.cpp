#include "bind/module.h"
#include "bind/tensors.h"

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "Compiled CUDA kernels of sdfast.";
    sdfast::find_torch(sdfast::dlpack::kCUDA);
    sdfast::bind_comoments_cuda(m);
    sdfast::bind_pairwise_correlation_cuda(m);
    sdfast::bind_static_dropout_cuda(m);
}
