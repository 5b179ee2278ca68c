#include "bind/tensors.h"

#include <algorithm>
#include <new>
#include <type_traits>
#include <utility>

#include "core/layout.h"

namespace sdfast {
namespace {

struct Torch {
    PyTypeObject* tensor_type = nullptr;
    const dlpack::ExchangeApi* api = nullptr;
    dlpack::DeviceType device = dlpack::kCPU;
    PyObject* dtypes[3] = {};  // float32, float64, int64
} torch;

constexpr std::size_t kAlignment = 64;

// A tensor's description, its sizes and its data in one allocation.
struct alignas(kAlignment) Block {
    dlpack::ManagedTensor managed;
    std::int64_t shape[3], strides[3];
};

template <class T>
constexpr dlpack::DataType kType{std::is_integral_v<T> ? dlpack::kInt : dlpack::kFloat, 8 * sizeof(T), 1};

}  // namespace

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
    const char* const names[] = {"float32", "float64", "int64"};
    for (int i = 0; i < 3; i++)
        torch.dtypes[i] = py::object(py::module_::import("torch").attr(names[i])).release().ptr();
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
    if (view.device.type != torch.device || view.ndim > kMaxDims) refuse();
    return view;
}

dlpack::Device one_device(std::initializer_list<py::handle> tensors) {
    const dlpack::Device device = view(*tensors.begin()).device;
    for (const py::handle tensor : tensors)
        if (!tensor.is_none() && view(tensor).device.index != device.index)
            throw py::value_error("sdfast kernel: expected tensors on one CUDA device, got them on several");
    return device;
}

void* current_stream(const dlpack::Device& device) {
    void* stream = nullptr;
    if (device.type == dlpack::kCPU) return stream;
    if (torch.api->current_stream(device.type, device.index, &stream) != 0) throw py::error_already_set();
    return stream;
}

template <class T>
Output<T> empty(std::initializer_list<std::int64_t> shape) {
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
        {1, 0}, nullptr, free, 0, {data, {dlpack::kCPU, 0}, ndim, kType<T>, block->shape, block->strides, 0}};
    void* object = nullptr;
    if (torch.api->object_from_managed(&block->managed, &object) != 0) throw py::error_already_set();
    return {py::reinterpret_steal<py::object>(static_cast<PyObject*>(object)), data};
}

template <class T>
Output<T> empty(std::initializer_list<std::int64_t> shape, py::handle beside) {
    py::tuple sizes(shape.size());
    std::size_t d = 0;
    for (const std::int64_t size : shape) sizes[d++] = size;
    PyObject* dtype = torch.dtypes[std::is_integral_v<T> ? 2 : sizeof(T) / 8];
    py::object tensor = beside.attr("new_empty")(sizes, py::arg("dtype") = py::handle(dtype));
    auto* data = reinterpret_cast<T*>(data_of(view(tensor)));
    return {std::move(tensor), data};
}

template Output<double> empty(std::initializer_list<std::int64_t>);
template Output<float> empty(std::initializer_list<std::int64_t>);
template Output<std::int64_t> empty(std::initializer_list<std::int64_t>);
template Output<double> empty(std::initializer_list<std::int64_t>, py::handle);
template Output<float> empty(std::initializer_list<std::int64_t>, py::handle);
template Output<std::int64_t> empty(std::initializer_list<std::int64_t>, py::handle);

}  // namespace sdfast
