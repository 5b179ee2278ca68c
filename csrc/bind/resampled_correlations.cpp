// The bootstrap: correlations of many resamples at once.
#include <algorithm>

#include "bind/module.h"
#include "bind/tasks.h"
#include "bind/threads.h"
#include "cpu/isa.h"
#include "cpu/parallel.h"

namespace sdfast {
namespace {

// A contiguous tensor of doubles.
const double* doubles(const dlpack::Tensor& t) {
    if (feature_dtype(t.dtype) != DType::f64) refuse();
    std::int64_t elements = 1;
    for (std::int32_t d = t.ndim; d-- > 0; elements *= t.shape[d])
        if (t.shape[d] == 0 || (t.shape[d] > 1 && t.strides[d] != elements)) refuse();
    return reinterpret_cast<const double*>(data_of(t));
}

py::object resampled_correlations(py::handle sums, py::handle origin, std::int64_t groups, bool pearson) {
    const dlpack::Tensor of_sums = view(sums), of_origin = view(origin);
    if (of_sums.ndim != 3 || of_sums.shape[1] != 6 || of_origin.ndim != 2 || of_origin.shape[0] != 2) refuse();
    const std::int64_t draws = of_sums.shape[0], channels = of_sums.shape[2];
    if (of_origin.shape[1] != channels || groups < 1) refuse();
    const double *from = doubles(of_sums), *means = doubles(of_origin);
    Output<double> out = empty<double>({draws, channels});
    {
        const int most = num_threads();
        const py::gil_scoped_release release;
        const std::int64_t bytes = 6 * draws * channels * static_cast<std::int64_t>(sizeof(double));
        const std::int64_t useful = std::max<std::int64_t>(1, bytes / cpu::kBytesPerThread);
        const std::int64_t threads = std::min<std::int64_t>({most, useful, draws});
        cpu::in_parallel(static_cast<int>(threads), [&](int thread) {
            const std::int64_t first = draws * thread / threads, last = draws * (thread + 1) / threads;
            const Kind kind = pearson ? Kind::pearson : Kind::intraclass;
            cpu::moment_kernels().resampled_correlations(from + 6 * channels * first, last - first, channels, means,
                                                         groups, kind, out.data + channels * first);
        });
    }
    return std::move(out.tensor);
}

const Binding binding([](py::module_& m) {
    m.def("resampled_correlations", &resampled_correlations, py::arg("sums"), py::arg("origin"), py::arg("groups"),
          py::arg("pearson"), "Return the correlations (B, C) of resamples from their sums (B, 6, C).");
});

}  // namespace
}  // namespace sdfast
