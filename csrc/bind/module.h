// The module sdfast._cuda: tensors of one GPU in, launches on torch's stream.
#pragma once
#include "bind/tensors.h"
#include "cuda/layout.h"
#include "cuda/runtime.h"

namespace sdfast {

// The GPU that all tensors are on, None left out. Refuses tensors on several.
dlpack::Device one_device(std::initializer_list<py::handle> tensors);

// The same features as the kernels on GPUs take them.
cuda::FeaturePair on_gpu(const cpu::FeaturePair& pair);

void bind_cuda(py::module_& m);
void bind_cuda_comoments(py::module_& m);
void bind_cuda_static_dropout(py::module_& m);
void bind_cuda_pairwise_correlation(py::module_& m);

}  // namespace sdfast
