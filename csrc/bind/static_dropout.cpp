#include <omp.h>

#include "bind/tensors.h"

namespace sdfast {
namespace {

void static_dropout(py::handle x, py::handle out, py::handle seed, float p, py::handle mask, py::handle channel_weight,
                    int granularity, bool rescale, std::int64_t channel_dim) {
    const std::uint64_t* number;
    cpu::StaticDropoutTask task =
        static_dropout_task(x, out, seed, p, mask, channel_weight, granularity, rescale, channel_dim, number);
    task.seed = *number;
    const int threads = omp_get_max_threads();
    const py::gil_scoped_release release;
    cpu::static_dropout(task, threads);
}

}  // namespace

void bind_static_dropout(py::module_& m) {
    m.def("static_dropout", &static_dropout, py::arg("x"), py::arg("out"), py::arg("seed"), py::arg("p"),
          py::arg("mask"), py::arg("channel_weight"), py::arg("granularity"), py::arg("rescale"),
          py::arg("channel_dim"), "Write x to out with what the draws of the seed mark dropped; out may be x.");
}

}  // namespace sdfast
