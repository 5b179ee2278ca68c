#include "bind/module.h"
#include "bind/tensors.h"

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "Compiled CUDA kernels of sdfast.";
    sdfast::find_torch(sdfast::dlpack::kCUDA);
    sdfast::Binding::add_all(m);
}
