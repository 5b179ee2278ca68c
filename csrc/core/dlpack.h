// The part of the DLPack 1.x binary interface that is used here: tensor descriptions, and the table of C functions
// that torch publishes as torch.Tensor.__dlpack_c_exchange_api__. It lets the extension read and make tensors in
// nanoseconds without linking torch.
#pragma once
#include <cstdint>

namespace sdfast::dlpack {

enum DeviceType : std::int32_t { kCPU = 1, kCUDA = 2 };
enum TypeCode : std::uint8_t { kInt = 0, kUint = 1, kFloat = 2, kBfloat = 4, kBool = 6 };

struct Device {
    std::int32_t type;
    std::int32_t index;
};

struct DataType {
    std::uint8_t code;
    std::uint8_t bits;
    std::uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    std::int32_t ndim;
    DataType dtype;
    std::int64_t* shape;
    std::int64_t* strides;  // in elements
    std::uint64_t byte_offset;
};

struct ManagedTensor {
    struct {
        std::uint32_t major, minor;
    } version;
    void* context;
    void (*deleter)(ManagedTensor* self);
    std::uint64_t flags;
    Tensor tensor;
};

struct ExchangeApi {
    struct {
        std::uint32_t major, minor;
    } version;
    ExchangeApi* previous;
    int (*allocate)(Tensor* prototype, ManagedTensor** out, void* context,
                    void (*set_error)(void* context, const char* kind, const char* message));
    int (*managed_from_object)(void* object, ManagedTensor** out);
    int (*object_from_managed)(ManagedTensor* tensor, void** object);
    int (*tensor_from_object)(void* object, Tensor* out);  // borrowed: valid while the object lives
    int (*current_stream)(std::int32_t device_type, std::int32_t device_index, void** stream);
};

}  // namespace sdfast::dlpack
