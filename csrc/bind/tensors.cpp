#include "bind/tensors.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <string>

namespace sdfast {
namespace {

struct Torch {
    PyTypeObject* tensor_type = nullptr;
    const dlpack::ExchangeApi* api = nullptr;
    dlpack::DeviceType device = dlpack::kCPU;
} torch;

cpu::Dim dim(const dlpack::Tensor& a, const dlpack::Tensor& b, std::int32_t d, std::int64_t item) {
    return {a.shape[d], a.strides[d] * item, b.strides[d] * item};
}

constexpr std::size_t kAlignment = 64;
constexpr std::int64_t kMostFactors = 0x7fffffff;  // sizes made of more might not be numbers of 64 bits

// A tensor's description, its sizes and its data in one allocation.
struct alignas(kAlignment) Block {
    dlpack::ManagedTensor managed;
    std::int64_t shape[3], strides[3];
};

template <class T>
Output<T> empty(std::initializer_list<std::int64_t> shape, dlpack::TypeCode code) {
    std::size_t elements = 1;
    for (const std::int64_t size : shape) elements *= static_cast<std::size_t>(size);
    const auto alignment = std::align_val_t{kAlignment};
    auto* block = new (::operator new(sizeof(Block) + elements * sizeof(T), alignment)) Block;
    const auto free = [](dlpack::ManagedTensor* self) {
        ::operator delete(static_cast<void*>(self), std::align_val_t{kAlignment});
    };
    auto* data = reinterpret_cast<T*>(block + 1);
    const auto ndim = static_cast<std::int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), block->shape);
    std::int64_t stride = 1;
    for (std::int32_t d = ndim; d-- > 0; stride *= block->shape[d]) block->strides[d] = stride;
    block->managed = {
        {1, 0}, nullptr, free, 0, {data, {dlpack::kCPU, 0}, ndim, {code, 64, 1}, block->shape, block->strides, 0}};
    void* object = nullptr;
    if (torch.api->object_from_managed(&block->managed, &object) != 0) throw py::error_already_set();
    return {py::reinterpret_steal<py::object>(static_cast<PyObject*>(object)), data};
}

template <class T>
Output<T> empty(std::initializer_list<std::int64_t> shape, dlpack::TypeCode code, const dlpack::Device& device) {
    std::int64_t sizes[3];
    std::copy(shape.begin(), shape.end(), sizes);
    dlpack::Tensor prototype{nullptr, device, static_cast<std::int32_t>(shape.size()), {code, 8 * sizeof(T), 1}, sizes,
                             nullptr, 0};
    dlpack::ManagedTensor* made = nullptr;
    std::string error;
    const auto set_error = [](void* context, const char*, const char* message) {
        *static_cast<std::string*>(context) = message;
    };
    if (torch.api->allocate(&prototype, &made, &error, set_error) != 0)
        throw std::runtime_error("sdfast: torch cannot allocate: " + error);
    auto* data = reinterpret_cast<T*>(data_of(made->tensor));
    void* object = nullptr;
    if (torch.api->object_from_managed(made, &object) != 0) throw py::error_already_set();
    return {py::reinterpret_steal<py::object>(static_cast<PyObject*>(object)), data};
}

}  // namespace

DType feature_dtype(const dlpack::DataType& t) {
    if (t.lanes == 1 && t.code == dlpack::kFloat && t.bits == 64) return DType::f64;
    if (t.lanes == 1 && t.code == dlpack::kFloat && t.bits == 32) return DType::f32;
    if (t.lanes == 1 && t.code == dlpack::kFloat && t.bits == 16) return DType::f16;
    if (t.lanes == 1 && t.code == dlpack::kBfloat && t.bits == 16) return DType::bf16;
    refuse();
}

char* data_of(const dlpack::Tensor& t) { return static_cast<char*>(t.data) + t.byte_offset; }

void find_torch(dlpack::DeviceType device) {
    torch.device = device;
    const py::object type = py::module_::import("torch").attr("Tensor");
    const py::object capsule = py::getattr(type, "__dlpack_c_exchange_api__", py::none());
    if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api"))
        throw py::import_error("sdfast needs torch 2.11 or newer (torch.Tensor.__dlpack_c_exchange_api__ is missing)");
    torch.api = static_cast<const dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
    while (torch.api && torch.api->version.major != 1) torch.api = torch.api->previous;
    if (!torch.api || !torch.api->tensor_from_object)
        throw py::import_error("sdfast: this torch speaks a DLPack version other than 1.x");
    torch.tensor_type = reinterpret_cast<PyTypeObject*>(type.inc_ref().ptr());
}

dlpack::Tensor view(py::handle tensor) {
    if (!PyObject_TypeCheck(tensor.ptr(), torch.tensor_type)) refuse();
    dlpack::Tensor view;
    if (torch.api->tensor_from_object(tensor.ptr(), &view) != 0) {
        PyErr_Clear();
        refuse();
    }
    if (view.device.type != torch.device && torch.device == dlpack::kCUDA)
        throw py::value_error("sdfast kernel: expected tensors on a CUDA device, got one elsewhere");
    if (view.device.type != torch.device || view.ndim > cpu::kMaxDims) refuse();
    return view;
}

void* current_stream(const dlpack::Device& device) {
    void* stream = nullptr;
    if (device.type == dlpack::kCPU) return stream;
    if (torch.api->current_stream(device.type, device.index, &stream) != 0) throw py::error_already_set();
    return stream;
}

Output<double> empty_float64(std::initializer_list<std::int64_t> shape) { return empty<double>(shape, dlpack::kFloat); }

Output<std::int64_t> empty_int64(std::initializer_list<std::int64_t> shape) {
    return empty<std::int64_t>(shape, dlpack::kInt);
}

Output<double> empty_float64(std::initializer_list<std::int64_t> shape, const dlpack::Device& device) {
    return empty<double>(shape, dlpack::kFloat, device);
}

Output<float> empty_float32(std::initializer_list<std::int64_t> shape, const dlpack::Device& device) {
    return empty<float>(shape, dlpack::kFloat, device);
}

Output<std::int64_t> empty_int64(std::initializer_list<std::int64_t> shape, const dlpack::Device& device) {
    return empty<std::int64_t>(shape, dlpack::kInt, device);
}

cpu::FeaturePair feature_pair(py::handle feats_a, py::handle feats_b, std::int64_t channel_dim) {
    const dlpack::Tensor a = view(feats_a), b = view(feats_b);
    if (channel_dim < 0) channel_dim += a.ndim;
    if (a.ndim < 2 || a.ndim != b.ndim || channel_dim < 1 || channel_dim >= a.ndim) refuse();
    const DType dtype = feature_dtype(a.dtype);
    if (feature_dtype(b.dtype) != dtype) refuse();
    for (std::int32_t d = 0; d < a.ndim; ++d)
        if (a.shape[d] != b.shape[d] || a.shape[d] == 0) refuse();

    const auto item = static_cast<std::int64_t>(size_of(dtype));
    const auto channel = static_cast<std::int32_t>(channel_dim);
    cpu::FeaturePair pair{data_of(a), data_of(b), dtype, dim(a, b, 0, item), dim(a, b, channel, item), {}};
    for (std::int32_t d = 1; d < a.ndim; ++d)
        if (d != channel) pair.positions.push_back(dim(a, b, d, item));
    return pair;
}

cpu::Labels factor_labels(py::handle factor, std::int64_t batch, std::int64_t num_factors) {
    if (num_factors < 1 || num_factors > kMostFactors) refuse();
    if (factor.is_none()) {
        if (num_factors != 1) refuse();
        return {};
    }
    const dlpack::Tensor labels = view(factor);
    const bool is_int64 = labels.dtype.code == dlpack::kInt && labels.dtype.bits == 64 && labels.dtype.lanes == 1;
    if (!is_int64 || labels.ndim != 1 || labels.shape[0] != batch) refuse();
    return {reinterpret_cast<const std::int64_t*>(data_of(labels)), labels.strides[0]};
}

}  // namespace sdfast
