// The jackknife: co-moments and correlations of all groups but one.
#include "cpu/leave_one_out.h"

#include "bind/module.h"
#include "bind/tasks.h"
#include "bind/threads.h"

namespace sdfast {
namespace {

// Co-moments (6, G, C) in float64, the channels side by side.
cpu::GroupedRows<const double> groups_of(const dlpack::Tensor& t) {
    if (t.ndim != 3 || feature_dtype(t.dtype) != DType::f64 || t.shape[0] != 6) refuse();
    if (t.shape[1] == 0 || t.shape[2] == 0 || (t.shape[2] > 1 && t.strides[2] != 1)) refuse();
    return {reinterpret_cast<const double*>(data_of(t)), t.strides[0], t.strides[1], t.shape[1]};
}

py::object leave_one_out(py::handle grouped) {
    const dlpack::Tensor t = view(grouped);
    const cpu::GroupedRows<const double> from = groups_of(t);
    Output<double> out = empty<double>({6, from.groups, t.shape[2]});
    {
        const int threads = num_threads();
        const py::gil_scoped_release release;
        cpu::leave_one_out(from, t.shape[2], threads, out.data);
    }
    return std::move(out.tensor);
}

py::tuple correlations_without(py::handle grouped, bool pearson) {
    const dlpack::Tensor t = view(grouped);
    const cpu::GroupedRows<const double> from = groups_of(t);
    Output<double> total = empty<double>({6, t.shape[2]}), out = empty<double>({from.groups + 1, t.shape[2]});
    {
        const int threads = num_threads();
        const py::gil_scoped_release release;
        const Kind kind = pearson ? Kind::pearson : Kind::intraclass;
        cpu::correlations_without(from, t.shape[2], kind, threads, total.data, out.data);
    }
    return py::make_tuple(std::move(total.tensor), std::move(out.tensor));
}

py::object deviation_sums(py::handle values) {
    const dlpack::Tensor t = view(values);
    if (t.ndim != 2 || feature_dtype(t.dtype) != DType::f64 || t.shape[0] == 0 || t.shape[1] == 0) refuse();
    if ((t.shape[1] > 1 && t.strides[1] != 1) || (t.shape[0] > 1 && t.strides[0] != t.shape[1])) refuse();
    Output<double> out = empty<double>({4, t.shape[1]});
    {
        const int threads = num_threads();
        const py::gil_scoped_release release;
        cpu::deviations(reinterpret_cast<const double*>(data_of(t)), t.shape[0], t.shape[1], threads, out.data);
    }
    return std::move(out.tensor);
}

const Binding binding([](py::module_& m) {
    m.def("leave_one_out", &leave_one_out, py::arg("grouped"),
          "Return the co-moments (6, G, C) of all groups but one, for each of them.");
    m.def("correlations_without", &correlations_without, py::arg("grouped"), py::arg("pearson"),
          "Return the co-moments (6, C) of all groups, and the correlations (G + 1, C) of all but one, then of all.");
    m.def(
        "deviation_sums", &deviation_sums, py::arg("values"),
        "Return the mean of each column (K, C), and of the deviations from it the sums of squares and of fourth powers "
        "and the largest square, (4, C).");
});

}  // namespace
}  // namespace sdfast
