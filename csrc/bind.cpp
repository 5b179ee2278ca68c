#include "bind.h"

#include <stdexcept>
#include <vector>

namespace sdfast {
namespace {

struct Torch {
    PyTypeObject* tensor_type = nullptr;
    const dlpack::ExchangeApi* api = nullptr;
} torch;

void* object_address(py::handle h) {
    return h.ptr();
}

dlpack::Tensor describe(py::handle tensor) {
    if (!PyObject_TypeCheck(tensor.ptr(), torch.tensor_type)) refuse();
    dlpack::Tensor view;
    if (torch.api->tensor_from_object(object_address(tensor), &view) != 0) throw py::error_already_set();
    if (view.device.type != dlpack::kCPU || view.ndim > cpu::kMaxDims) refuse();
    return view;
}

cpu::Dim dim(const dlpack::Tensor& a, const dlpack::Tensor& b, std::int32_t d, std::int64_t item) {
    return {a.shape[d], a.strides[d] * item, b.strides[d] * item};
}

DType feature_dtype(const dlpack::DataType& t) {
    if (t.lanes == 1 && t.code == dlpack::kFloat && t.bits == 64) return DType::f64;
    if (t.lanes == 1 && t.code == dlpack::kFloat && t.bits == 32) return DType::f32;
    if (t.lanes == 1 && t.code == dlpack::kFloat && t.bits == 16) return DType::f16;
    if (t.lanes == 1 && t.code == dlpack::kBfloat && t.bits == 16) return DType::bf16;
    refuse();
}

char* data_of(const dlpack::Tensor& t) {
    return static_cast<char*>(t.data) + t.byte_offset;
}

template <class T>
Output<T> empty(std::initializer_list<std::int64_t> shape, dlpack::TypeCode code) {
    std::vector<std::int64_t> sizes(shape);
    dlpack::Tensor prototype{nullptr, {dlpack::kCPU, 0}, static_cast<std::int32_t>(sizes.size()), {code, 64, 1},
                             sizes.data(), nullptr, 0};
    const auto set_error = [](void*, const char*, const char* message) {
        const py::gil_scoped_acquire gil;
        PyErr_SetString(PyExc_MemoryError, message);
    };
    dlpack::ManagedTensor* managed = nullptr;
    void* object = nullptr;
    if (torch.api->allocate(&prototype, &managed, nullptr, set_error) != 0 ||
        torch.api->object_from_managed(managed, &object) != 0)
        throw py::error_already_set();
    py::object tensor = py::reinterpret_steal<py::object>(static_cast<PyObject*>(object));
    return {tensor, reinterpret_cast<T*>(data_of(view(tensor)))};
}

}  // namespace

void find_torch() {
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
    return describe(tensor);
}

Output<double> empty_float64(std::initializer_list<std::int64_t> shape) {
    return empty<double>(shape, dlpack::kFloat);
}

Output<std::int64_t> empty_int64(std::initializer_list<std::int64_t> shape) {
    return empty<std::int64_t>(shape, dlpack::kInt);
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

const std::int64_t* factor_labels(py::handle factor, std::int64_t batch, std::int64_t num_factors) {
    if (num_factors < 1) refuse();
    if (factor.is_none()) {
        if (num_factors != 1) refuse();
        return nullptr;
    }
    const dlpack::Tensor labels = view(factor);
    const bool is_int64 = labels.dtype.code == dlpack::kInt && labels.dtype.bits == 64 && labels.dtype.lanes == 1;
    if (!is_int64 || labels.ndim != 1 || labels.shape[0] != batch || (batch > 1 && labels.strides[0] != 1)) refuse();
    const auto* values = reinterpret_cast<const std::int64_t*>(data_of(labels));
    for (std::int64_t i = 0; i < batch; ++i)
        if (values[i] < 0 || values[i] >= num_factors) refuse();
    return values;
}

}  // namespace sdfast
