// What the files of this room add to the modules sdfast._C and sdfast._cuda.
#pragma once
#include <pybind11/pybind11.h>

namespace sdfast {

void bind_comoments(pybind11::module_& m);
void bind_isa(pybind11::module_& m);
void bind_static_dropout(pybind11::module_& m);

void bind_comoments_cuda(pybind11::module_& m);
void bind_pairwise_correlation_cuda(pybind11::module_& m);
void bind_static_dropout_cuda(pybind11::module_& m);

}  // namespace sdfast
