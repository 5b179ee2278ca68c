// Scores of samples: centred and scaled, for the matrix product of a pairwise correlation.
#include <algorithm>

#include "bind/module.h"
#include "bind/tasks.h"
#include "bind/threads.h"
#include "cpu/isa.h"
#include "cpu/parallel.h"

namespace sdfast {
namespace {

// A vector of as many numbers as there are channels.
template <class T>
const T* channels_of(py::handle tensor, const dlpack::Tensor& samples) {
    const dlpack::Tensor t = view(tensor);
    if (t.ndim != 1 || t.dtype.bits != 8 * sizeof(T) || feature_dtype(t.dtype) != feature_dtype(samples.dtype))
        refuse();
    if (t.shape[0] != samples.shape[1] || (t.shape[0] > 1 && t.strides[0] != 1)) refuse();
    return reinterpret_cast<const T*>(data_of(t));
}

template <class T, class Kernel>
py::object scores_of(const dlpack::Tensor& samples, py::handle centre, py::handle scale, py::handle rest,
                     Kernel kernel) {
    const std::int64_t rows = samples.shape[0], channels = samples.shape[1], stride = samples.strides[0];
    const cpu::Scaling<T> scaling{channels_of<T>(centre, samples), channels_of<T>(scale, samples),
                                  channels_of<T>(rest, samples)};
    const T* const from = reinterpret_cast<const T*>(data_of(samples));
    Output<T> out = empty<T>({rows, channels});
    {
        const int most = num_threads();
        const py::gil_scoped_release release;
        const std::int64_t bytes = rows * channels * static_cast<std::int64_t>(sizeof(T));
        const std::int64_t useful = std::max<std::int64_t>(1, bytes / cpu::kBytesPerThread);
        const std::int64_t threads = std::min<std::int64_t>({most, useful, rows});
        cpu::in_parallel(static_cast<int>(threads), [&](int thread) {
            for (std::int64_t r = rows * thread / threads; r < rows * (thread + 1) / threads; ++r)
                kernel(from + r * stride, channels, scaling, out.data + r * channels);
        });
    }
    return std::move(out.tensor);
}

py::object standard_scores(py::handle samples, py::handle centre, py::handle scale, py::handle rest) {
    const dlpack::Tensor t = view(samples);
    if (t.ndim != 2 || t.shape[0] == 0 || t.shape[1] == 0 || (t.shape[1] > 1 && t.strides[1] != 1)) refuse();
    const cpu::MomentKernels& kernels = cpu::moment_kernels();
    switch (feature_dtype(t.dtype)) {
        case DType::f32:
            return scores_of<float>(t, centre, scale, rest, kernels.float_scores);
        case DType::f64:
            return scores_of<double>(t, centre, scale, rest, kernels.double_scores);
        default:
            refuse();
    }
}

const Binding binding([](py::module_& m) {
    m.def("standard_scores", &standard_scores, py::arg("samples"), py::arg("centre"), py::arg("scale"), py::arg("rest"),
          "Return (samples - centre) * scale + rest, of samples (N, C) whose channels lie side by side.");
});

}  // namespace
}  // namespace sdfast
