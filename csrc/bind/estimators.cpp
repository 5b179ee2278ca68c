// Information from samples that are kept: their normal scores, and Kraskov's estimator.
#include "bind/module.h"
#include "bind/tasks.h"
#include "bind/threads.h"
#include "cpu/kraskov.h"
#include "cpu/normal_scores.h"

namespace sdfast {
namespace {

// Samples (N, C) in float64.
cpu::Samples samples_of(py::handle tensor) {
    const dlpack::Tensor t = view(tensor);
    if (t.ndim != 2 || feature_dtype(t.dtype) != DType::f64 || t.shape[0] == 0 || t.shape[1] == 0) refuse();
    if (t.shape[0] >= cpu::kMostSamples) refuse();
    return {reinterpret_cast<const double*>(data_of(t)), t.shape[0], t.shape[1], t.strides[0], t.strides[1]};
}

py::object normal_scores(py::handle samples) {
    const cpu::Samples from = samples_of(samples);
    Output<double> out = empty<double>({from.count, from.channels});
    {
        const int threads = num_threads();
        const py::gil_scoped_release release;
        cpu::normal_scores(from, threads, out.data);
    }
    return std::move(out.tensor);
}

py::object kraskov(py::handle a, py::handle b, std::int64_t neighbors, std::int64_t seed) {
    const cpu::Samples of_a = samples_of(a), of_b = samples_of(b);
    if (of_b.count != of_a.count || of_b.channels != of_a.channels) refuse();
    if (neighbors < 1 || neighbors >= of_a.count || seed < 0) refuse();
    Output<double> out = empty<double>({of_a.channels});
    {
        const int threads = num_threads();
        const py::gil_scoped_release release;
        cpu::kraskov(of_a, of_b, neighbors, static_cast<std::uint64_t>(seed), threads, out.data);
    }
    return std::move(out.tensor);
}

const Binding binding([](py::module_& m) {
    m.def("normal_scores", &normal_scores, py::arg("samples"), "Return the normal scores (N, C) of samples.");
    m.def("kraskov", &kraskov, py::arg("a"), py::arg("b"), py::arg("neighbors"), py::arg("seed"),
          "Return the information (C,) in nats of paired samples by Kraskov's estimator.");
});

}  // namespace
}  // namespace sdfast
