// sdfast._cuda's own bindings and kernels on emulated GPUs, with tensors of the CPU.
#include "bind/module.h"

#include "bind/tensors.h"
#include "core/division.h"
#include "cuda/pairwise_correlation.h"
#include "emulator.h"

namespace sdfast {
namespace {

const dlpack::ExchangeApi* torch_api;

// A tensor is on the GPU that its attribute `gpu` says, or on the first.
int tensor_from_object(void* object, dlpack::Tensor* out) {
    if (torch_api->tensor_from_object(object, out) != 0) return -1;
    out->device = {dlpack::kCUDA, py::cast<int>(py::getattr(static_cast<PyObject*>(object), "gpu", py::int_(0)))};
    return 0;
}

int current_stream(std::int32_t, std::int32_t index, void** stream) {
    *stream = cuda::stream_of(index);
    return 0;
}

// Torch's functions, as they would be on a machine with GPUs.
void find_emulated_torch() {
    const char* name = "__dlpack_c_exchange_api__";
    py::object type = py::module_::import("torch").attr("Tensor");
    const py::object theirs = type.attr(name);
    torch_api = static_cast<const dlpack::ExchangeApi*>(PyCapsule_GetPointer(theirs.ptr(), "dlpack_exchange_api"));
    static dlpack::ExchangeApi ours = *torch_api;
    ours.tensor_from_object = tensor_from_object;
    ours.current_stream = current_stream;
    type.attr(name) = py::capsule(&ours, "dlpack_exchange_api");
    find_torch(dlpack::kCUDA);
    type.attr(name) = theirs;
}

}  // namespace
}  // namespace sdfast

PYBIND11_MODULE(emulated_cuda, m) {
    sdfast::find_emulated_torch();
    sdfast::Binding::add_all(m);
    m.def("set_processors", [](int count) { sdfast::cuda::emulated_processors = count; });
    m.def("set_order", [](std::uint64_t seed) { sdfast::cuda::order_seed = seed; });
    m.def("current_gpu", [] { return sdfast::cuda::current_gpu; });
    m.def("quotient", [](std::int64_t x, std::int64_t divisor) { return sdfast::Divisor(divisor).quotient(x); });
    m.def("nearest", [](std::int64_t i, std::int64_t grid, std::int64_t size) {
        return sdfast::nearest(i, grid, sdfast::Divisor(2 * size));
    });
    m.def("pairwise_correlation_workspace", [](std::int64_t samples, std::int64_t channels, int processors) {
        sdfast::cuda::SampleMatrix matrix;
        matrix.channels = channels;
        matrix.sample_stride = channels * 4;
        matrix.channel_stride = 4;
        return sdfast::cuda::plan_pairwise_correlation({sdfast::DType::f32, samples, matrix, matrix}, processors)
                   .workspace() *
               8;
    });
    m.def("launches", [] { return sdfast::cuda::launches; });
    m.def("blocks", [] { return sdfast::cuda::blocks_run; });
}
