// sdfast._cuda's own bindings and kernels on the emulated GPU, with tensors of the CPU.
#include "bind_cuda.h"
#include "core/division.h"
#include "emulator.h"

PYBIND11_MODULE(emulated_cuda, m) {
    sdfast::find_torch(sdfast::dlpack::kCPU);
    sdfast::bind_cuda(m);
    m.def("set_processors", [](int count) { sdfast::cuda::emulated_processors = count; });
    m.def("set_order", [](std::uint64_t seed) { sdfast::cuda::order_seed = seed; });
    m.def("quotient", [](std::int64_t x, std::int64_t divisor) { return sdfast::Divisor(divisor).quotient(x); });
    m.def("launches", [] { return sdfast::cuda::launches; });
}
