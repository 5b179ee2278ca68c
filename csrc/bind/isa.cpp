#include "cpu/isa.h"

#include <pybind11/stl.h>

#include "bind/module.h"
#include "bind/tensors.h"
#include "bind/threads.h"

namespace sdfast {
namespace {

// Reads a contiguous tensor once with all threads: the bandwidth that no statistic can beat.
std::uint64_t read_probe(py::handle tensor) {
    const dlpack::Tensor t = view(tensor);
    std::int64_t bytes = t.dtype.bits / 8;
    for (std::int32_t d = t.ndim; d-- > 0;) {
        if (t.shape[d] > 1 && t.strides[d] * t.dtype.bits / 8 != bytes) refuse();
        bytes *= t.shape[d];
    }
    const char* data = data_of(t);
    const int threads = num_threads();
    const py::gil_scoped_release release;
    std::uint64_t total = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : total)
    for (int i = 0; i < threads; ++i) {
        const std::int64_t begin = bytes * i / threads / 64 * 64;
        const std::int64_t end = i + 1 == threads ? bytes : bytes * (i + 1) / threads / 64 * 64;
        total += cpu::kernels().read(data + begin, end - begin);
    }
    return total;
}

const Binding binding([](py::module_& m) {
    m.def("read_probe", &read_probe, py::arg("tensor"), "Read a contiguous tensor once; return a checksum.");
    m.def("isa", &cpu::current_isa, "Return the instruction set in use.");
    m.def("available_isas", &cpu::available_isas, "Return the instruction sets that this machine runs, slowest first.");
    m.def("set_isa", &cpu::set_isa, py::arg("name"), "Use another instruction set from now on.");
});

}  // namespace
}  // namespace sdfast
