// Several neighbouring elements that are loaded and stored by one instruction, and the types they are summed in.
#pragma once
#include <cstring>

#include "cuda/device.h"

namespace sdfast::cuda {

template <class T>
constexpr int kVector = static_cast<int>(16 / sizeof(T));

// V elements: one, or as many as 16 bytes hold.
template <class T, int V>
struct alignas(sizeof(T) * V) Vector {
    T values[V];
};

template <class T, int V>
__device__ inline Vector<T, V> load(const char* from) {
    Vector<T, V> x;
    if constexpr (V == 1) {
        x.values[0] = *reinterpret_cast<const T*>(from);
    } else {
        const Bits bits = load_bits(from);
        memcpy(&x, &bits, sizeof x);
    }
    return x;
}

template <class T, int V>
__device__ inline void store(char* to, const Vector<T, V>& x) {
    if constexpr (V == 1) {
        *reinterpret_cast<T*>(to) = x.values[0];
    } else {
        Bits bits;
        memcpy(&bits, &x, sizeof x);
        store_bits(to, bits);
    }
}

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline void narrow(float x, float& to) { to = x; }
__device__ inline void narrow(double x, double& to) { to = x; }

// What a lane sums in. Of float32 features the sums are float64: a lane's conversions and additions are a quarter to a
// third of what data centre GPUs do in the time they take to read 8 bytes. For the halves, which are twice as many a
// byte, they would be the bound: these are summed in float32 and every few samples taken over into float64.
template <class T>
struct LaneOf {
    using type = float;
};
template <>
struct LaneOf<float> {
    using type = double;
};
template <>
struct LaneOf<double> {
    using type = double;
};
template <class T>
using Lane = typename LaneOf<T>::type;

template <class T>
constexpr bool kHalf = sizeof(T) == 2;

}  // namespace sdfast::cuda
