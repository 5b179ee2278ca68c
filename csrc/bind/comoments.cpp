#include "core/comoments.h"

#include <omp.h>

#include <optional>

#include "bind/tensors.h"
#include "cpu/comoments.h"

namespace sdfast {
namespace {

constexpr std::int64_t kKeepGilBelow = 1 << 16;  // elements; releasing it costs more than it frees

void run(cpu::FeaturePair pair, cpu::Labels factor, std::int64_t num_factors, bool pool, double* out) {
    std::int64_t elements = pair.batch.size * pair.channel.size;
    for (const cpu::Dim& d : pair.positions) elements *= d.size;
    std::optional<py::gil_scoped_release> release;
    if (elements >= kKeepGilBelow) release.emplace();
    cpu::comoments(std::move(pair), factor, num_factors, pool, omp_get_max_threads(), out);
}

// Refuses labels outside of [0, num_factors).
cpu::Labels checked_labels(py::handle factor, std::int64_t batch, std::int64_t num_factors) {
    const cpu::Labels labels = factor_labels(factor, batch, num_factors);
    for (std::int64_t n = 0; labels && n < batch; ++n)
        if (labels[n] < 0 || labels[n] >= num_factors) refuse();
    return labels;
}

py::object comoments(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors,
                     std::int64_t channel_dim, bool pool) {
    cpu::FeaturePair pair = feature_pair(feats_a, feats_b, channel_dim);
    const cpu::Labels labels = checked_labels(factor, pair.batch.size, num_factors);
    Output<double> out = empty_float64({6, num_factors, pair.channel.size});
    run(std::move(pair), labels, num_factors, pool, out.data);
    return std::move(out.tensor);
}

py::tuple channel_bias(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors,
                       std::int64_t channel_dim, bool pool, bool pearson) {
    cpu::FeaturePair pair = feature_pair(feats_a, feats_b, channel_dim);
    const cpu::Labels labels = checked_labels(factor, pair.batch.size, num_factors);
    const std::int64_t channels = pair.channel.size, row = num_factors * channels;
    const Kind kind = pearson ? Kind::pearson : Kind::intraclass;

    static thread_local std::vector<double> moments;
    moments.resize(static_cast<std::size_t>(6 * row));
    run(std::move(pair), labels, num_factors, pool, moments.data());

    Output<double> mi = labels ? empty_float64({num_factors, channels}) : empty_float64({channels});
    Output<double> corr = labels ? empty_float64({num_factors, channels}) : empty_float64({channels});
    Output<std::int64_t> count = labels ? empty_int64({num_factors}) : empty_int64({});
    const double* m = moments.data();
    for (std::int64_t i = 0; i < row; ++i) {
        corr.data[i] =
            correlation({m[i], m[row + i], m[2 * row + i], m[3 * row + i], m[4 * row + i], m[5 * row + i]}, kind);
        mi.data[i] = mutual_information(corr.data[i]);
    }
    for (std::int64_t f = 0; f < num_factors; ++f) count.data[f] = static_cast<std::int64_t>(m[f * channels]);
    return py::make_tuple(std::move(mi.tensor), std::move(corr.tensor), std::move(count.tensor));
}

}  // namespace

void bind_comoments(py::module_& m) {
    m.def("comoments", &comoments, py::arg("feats_a"), py::arg("feats_b"), py::arg("factor"), py::arg("num_factors"),
          py::arg("channel_dim"), py::arg("pool"),
          "Return (6, F, C) float64: count, mean_a, mean_b, m2_a, m2_b, c_ab.");
    m.def("channel_bias", &channel_bias, py::arg("feats_a"), py::arg("feats_b"), py::arg("factor"),
          py::arg("num_factors"), py::arg("channel_dim"), py::arg("pool"), py::arg("pearson"),
          "Return (mi, corr, count) of each channel.");
}

}  // namespace sdfast
