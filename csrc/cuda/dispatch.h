// From an element type that is known at run time to the kernel made for it.
#pragma once
#include <type_traits>

#include "cuda/vector.h"

namespace sdfast::cuda {

template <class T>
struct Type {
    using type = T;
};

// Calls run(Type<T>, V): V elements make a vector, or one does.
template <class T, class Run>
void dispatch_vector(bool vectors, Run run) {
    if (vectors)
        run(Type<T>{}, std::integral_constant<int, kVector<T>>{});
    else
        run(Type<T>{}, std::integral_constant<int, 1>{});
}

template <class Run>
void dispatch(DType dtype, bool vectors, Run run) {
    switch (dtype) {
        case DType::f64:
            return dispatch_vector<double>(vectors, run);
        case DType::f32:
            return dispatch_vector<float>(vectors, run);
        case DType::f16:
            return dispatch_vector<Half>(vectors, run);
        case DType::bf16:
            return dispatch_vector<BFloat16>(vectors, run);
    }
}

}  // namespace sdfast::cuda
