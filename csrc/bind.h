// Torch tensors as seen from C++: read and made through the DLPack C functions that torch publishes.
#pragma once
#include <pybind11/pybind11.h>

#include <initializer_list>

#include "core/dlpack.h"
#include "cpu/layout.h"

namespace sdfast {

namespace py = pybind11;

// Thrown when arguments do not fit; sdfast.ops.checks finds out which one and words the error.
[[noreturn]] inline void refuse() { throw py::value_error("sdfast kernel: arguments refused"); }

// Looks up torch.Tensor and its C functions. Throws ImportError where torch is too old to have them.
void find_torch();

// A CPU tensor's description, valid while the object lives. Refuses anything else.
dlpack::Tensor view(py::handle tensor);

// The element type of features. Refuses types that are none.
DType feature_dtype(const dlpack::DataType& type);

char* data_of(const dlpack::Tensor& tensor);

// An uninitialised CPU tensor of up to three dimensions and a pointer to its data.
template <class T>
struct Output {
    py::object tensor;
    T* data;
};
Output<double> empty_float64(std::initializer_list<std::int64_t> shape);
Output<std::int64_t> empty_int64(std::initializer_list<std::int64_t> shape);

// Two feature tensors (N, C, ...) of one shape and dtype.
cpu::FeaturePair feature_pair(py::handle feats_a, py::handle feats_b, std::int64_t channel_dim);

// Labels of the batch; none for None. Refuses labels outside of [0, num_factors).
cpu::Labels factor_labels(py::handle factor, std::int64_t batch, std::int64_t num_factors);

void bind_comoments(py::module_& m);
void bind_dropout(py::module_& m);
void bind_probe(py::module_& m);

}  // namespace sdfast
