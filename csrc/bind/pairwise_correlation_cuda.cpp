#include "bind/module.h"
#include "bind/tasks.h"
#include "cuda/pairwise_correlation.h"

namespace sdfast {
namespace {

cuda::SampleMatrix matrix(const dlpack::Tensor& t) {
    const std::int64_t item = t.dtype.bits / 8;
    return {data_of(t), t.shape[1], t.strides[0] * item, t.strides[1] * item, nullptr, false};
}

template <class T>
py::object write(const cuda::PairwiseCorrelationPlan& plan, Output<T> out, py::handle beside,
                 const dlpack::Device& device) {
    const Output<double> workspace = empty<double>({plan.workspace()}, beside);
    cuda::pairwise_correlation(plan, out.data, workspace.data, cuda::processors(), current_stream(device));
    return std::move(out.tensor);
}

py::object pairwise_correlation(py::handle a, py::handle b) {
    const dlpack::Device device = one_device({a, b});
    const dlpack::Tensor of_a = view(a), of_b = view(b);
    const DType dtype = feature_dtype(of_a.dtype);
    if (of_a.ndim != 2 || of_b.ndim != 2 || feature_dtype(of_b.dtype) != dtype || size_of(dtype) < 4) refuse();
    if (of_a.shape[0] != of_b.shape[0] || of_a.shape[0] < 2) refuse();
    if (of_a.shape[1] == 0 || of_b.shape[1] == 0) refuse();
    const cuda::OnDevice on_device(device.index);
    const cuda::PairwiseCorrelationPlan plan =
        cuda::plan_pairwise_correlation({dtype, of_a.shape[0], matrix(of_a), matrix(of_b)}, cuda::processors());
    const std::initializer_list<std::int64_t> shape{of_a.shape[1], of_b.shape[1]};
    if (dtype == DType::f64) return write(plan, empty<double>(shape, a), a, device);
    return write(plan, empty<float>(shape, a), a, device);
}

const Binding binding([](py::module_& m) {
    m.def("pairwise_correlation", &pairwise_correlation, py::arg("a"), py::arg("b"),
          "Return (C_a, C_b): the correlation of each column of a (S, C_a) with each of b (S, C_b).");
});

}  // namespace
}  // namespace sdfast
