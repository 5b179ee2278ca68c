#include "cpu/comoments.h"

#include <omp.h>

#include <cstring>
#include <optional>
#include <vector>

#include "bind/module.h"
#include "bind/tasks.h"
#include "core/comoments.h"

namespace sdfast {
namespace {

constexpr std::int64_t kKeepGilBelow = 1 << 16;  // elements; releasing it costs more than it frees

// A task whose labels are copied as they are checked, as other threads may write to theirs when the GIL is released.
class Call {
  public:
    Call(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors, std::int64_t channel_dim,
         bool pool)
        : task_(comoments_task(feats_a, feats_b, factor, num_factors, channel_dim, pool)) {
        if (!task_.labels) return;
        labels_.resize(static_cast<std::size_t>(task_.batch.size));
        const char* from = reinterpret_cast<const char*>(task_.labels.values);
        for (std::int64_t& label : labels_) {
            std::memcpy(&label, from, sizeof label);  // it may lie at any address
            if (label < 0 || label >= num_factors) refuse();
            from += task_.labels.stride * static_cast<std::int64_t>(sizeof label);
        }
        task_.labels = {labels_.data(), 1};
    }
    Call(const Call&) = delete;

    std::int64_t channels() const { return task_.channel.size; }
    bool labelled() const { return !labels_.empty(); }

    // Fills [6][factors][channels].
    void run(double* moments) const {
        std::optional<py::gil_scoped_release> release;
        if (task_.batch.size * task_.channel.size * task_.positions.size >= kKeepGilBelow) release.emplace();
        cpu::comoments(task_, omp_get_max_threads(), moments);
    }

  private:
    ComomentsTask task_;
    std::vector<std::int64_t> labels_;
};

py::object comoments(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors,
                     std::int64_t channel_dim, bool pool) {
    const Call call(feats_a, feats_b, factor, num_factors, channel_dim, pool);
    Output<double> out = empty<double>({6, num_factors, call.channels()});
    call.run(out.data);
    return std::move(out.tensor);
}

py::tuple channel_bias(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors,
                       std::int64_t channel_dim, bool pool, bool pearson) {
    const Call call(feats_a, feats_b, factor, num_factors, channel_dim, pool);
    const std::int64_t channels = call.channels(), row = num_factors * channels;
    const Kind kind = pearson ? Kind::pearson : Kind::intraclass;

    static thread_local std::vector<double> moments;
    moments.resize(static_cast<std::size_t>(6 * row));
    call.run(moments.data());

    const auto make = [&] {
        return call.labelled() ? empty<double>({num_factors, channels}) : empty<double>({channels});
    };
    Output<double> mi = make(), corr = make();
    Output<std::int64_t> count = call.labelled() ? empty<std::int64_t>({num_factors}) : empty<std::int64_t>({});
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
