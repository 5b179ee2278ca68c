#include "bind/module.h"

#include "bind/tensors.h"
#include "cpu/isa.h"

PYBIND11_MODULE(_C, m) {
    m.doc() = "Compiled CPU kernels of sdfast.";
    sdfast::find_torch(sdfast::dlpack::kCPU);
    try {
        sdfast::cpu::kernels();  // an unknown SDFAST_ISA should fail here, not in the first call
    } catch (const std::exception& error) {
        throw pybind11::import_error(error.what());
    }
    sdfast::Binding::add_all(m);
}
