// Torch tensors as seen from C++: read and made through the DLPack C functions that torch publishes.
#pragma once
#include <pybind11/pybind11.h>

#include <initializer_list>

#include "core/dlpack.h"
#include "cpu/layout.h"
#include "cpu/static_dropout.h"

namespace sdfast {

namespace py = pybind11;

// Thrown when arguments do not fit; sdfast.ops.checks finds out which one and words the error.
[[noreturn]] inline void refuse() { throw py::value_error("sdfast kernel: arguments refused"); }

// Looks up torch.Tensor and its C functions for a module whose kernels run on one type of device. Throws ImportError
// where torch is too old to have them.
void find_torch(dlpack::DeviceType device);

// A tensor's description, valid while the object lives. Refuses anything else, and tensors on other devices.
dlpack::Tensor view(py::handle tensor);

// The stream of work on a device that torch uses now; null on the CPU.
void* current_stream(const dlpack::Device& device);

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

// The same on any device, by torch's own allocator.
Output<double> empty_float64(std::initializer_list<std::int64_t> shape, const dlpack::Device& device);
Output<float> empty_float32(std::initializer_list<std::int64_t> shape, const dlpack::Device& device);
Output<std::int64_t> empty_int64(std::initializer_list<std::int64_t> shape, const dlpack::Device& device);

// Two feature tensors (N, C, ...) of one shape and dtype.
cpu::FeaturePair feature_pair(py::handle feats_a, py::handle feats_b, std::int64_t channel_dim);

// Labels of the batch, not read; none for None.
cpu::Labels factor_labels(py::handle factor, std::int64_t batch, std::int64_t num_factors);

// All of a StaticDropout but the number that its seed holds, which may be on another device: `seed` is where it is.
cpu::StaticDropoutTask static_dropout_task(py::handle x, py::handle out, py::handle seed_tensor, float p,
                                           py::handle mask, py::handle channel_weight, int granularity, bool rescale,
                                           std::int64_t channel_dim, const std::uint64_t*& seed);

void bind_comoments(py::module_& m);
void bind_static_dropout(py::module_& m);
void bind_isa(py::module_& m);

}  // namespace sdfast
