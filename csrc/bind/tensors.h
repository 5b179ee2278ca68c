// Torch tensors as seen from C++: read and made through the DLPack C functions that torch publishes.
#pragma once
#include <pybind11/pybind11.h>

#include <initializer_list>

#include "core/dlpack.h"

namespace sdfast {

namespace py = pybind11;

// Thrown when arguments do not fit; sdfast.ops.checks finds out which one and words the error.
[[noreturn]] inline void refuse() { throw py::value_error("sdfast kernel: arguments refused"); }

// Looks up torch.Tensor and its C functions for a module whose kernels run on one type of device. Throws ImportError
// where torch is too old to have them.
void find_torch(dlpack::DeviceType device);

// A tensor's description, valid while the object lives. Refuses anything else, and tensors on other devices.
dlpack::Tensor view(py::handle tensor);

// The device that all tensors are on, None left out. Refuses tensors on several.
dlpack::Device one_device(std::initializer_list<py::handle> tensors);

// The stream of work on a device that torch uses now; null on the CPU.
void* current_stream(const dlpack::Device& device);

inline char* data_of(const dlpack::Tensor& tensor) { return static_cast<char*>(tensor.data) + tensor.byte_offset; }

// An uninitialised tensor of up to three dimensions and a pointer to its data.
template <class T>
struct Output {
    py::object tensor;
    T* data;
};

// On the CPU, of doubles, floats or 64-bit integers.
template <class T>
Output<T> empty(std::initializer_list<std::int64_t> shape);

// On the device of another tensor; also of floats. Torch makes it: streams and graphs know such memory, and no other.
template <class T>
Output<T> empty(std::initializer_list<std::int64_t> shape, py::handle beside);

}  // namespace sdfast
