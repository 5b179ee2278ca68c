#include "bind/module.h"

namespace sdfast {

dlpack::Device one_device(std::initializer_list<py::handle> tensors) {
    const dlpack::Device device = view(*tensors.begin()).device;
    for (const py::handle tensor : tensors)
        if (!tensor.is_none() && view(tensor).device.index != device.index)
            throw py::value_error("sdfast kernel: expected tensors on one CUDA device, got them on several");
    return device;
}

cuda::FeaturePair on_gpu(const cpu::FeaturePair& pair) {
    const auto dim = [](const cpu::Dim& d) { return cuda::Dim{d.size, d.stride_a, d.stride_b}; };
    cuda::FeaturePair same{pair.a, pair.b, pair.dtype, dim(pair.batch), dim(pair.channel), {}};
    for (const cpu::Dim& d : pair.positions) same.positions.push_back(dim(d));
    return same;
}

void bind_cuda(py::module_& m) {
    bind_cuda_comoments(m);
    bind_cuda_static_dropout(m);
    bind_cuda_pairwise_correlation(m);
}

}  // namespace sdfast
