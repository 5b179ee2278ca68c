#include "cpu/comoments.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "bind/module.h"
#include "bind/tasks.h"
#include "bind/threads.h"
#include "core/comoments.h"
#include "cpu/isa.h"

namespace sdfast {
namespace {

constexpr std::int64_t kKeptSums = 1 << 17;      // of a thread's workspace: as much as the caches hold
constexpr std::int64_t kKeepGilBelow = 1 << 16;  // elements; releasing it costs more than it frees

// Labels below a bound, copied as they are checked: other threads may write to theirs when the GIL is released.
std::vector<std::int64_t> copied(const Labels& labels, std::int64_t batch, std::int64_t bound) {
    if (!labels) return {};
    std::vector<std::int64_t> copy(static_cast<std::size_t>(batch));
    const char* from = reinterpret_cast<const char*>(labels.values);
    for (std::int64_t& label : copy) {
        std::memcpy(&label, from, sizeof label);  // it may lie at any address
        if (label < 0 || label >= bound) refuse();
        from += labels.stride * static_cast<std::int64_t>(sizeof label);
    }
    return copy;
}

// A task with labels of its own. Given sources, a label says which group and then which factor a pair is of.
class Call {
  public:
    Call(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors, std::int64_t channel_dim,
         bool pool, py::handle source = py::none(), std::int64_t groups = 1)
        : task_(comoments_task(feats_a, feats_b, factor, num_factors, channel_dim, pool)),
          labels_(copied(task_.labels, task_.batch.size, num_factors)) {
        const Labels sources = factor_labels(source, task_.batch.size, groups);
        std::vector<std::int64_t> rows = copied(sources, task_.batch.size, std::numeric_limits<std::int64_t>::max());
        for (std::size_t n = 0; n < rows.size(); ++n)
            rows[n] = rows[n] % groups * num_factors + (labelled() ? labels_[n] : 0);
        if (!rows.empty()) labels_.swap(rows);
        if (labelled()) task_.labels = {labels_.data(), 1};
    }
    Call(const Call&) = delete;

    // Numbers the labels that occur from 0 on, so that others cost nothing. Returns which they are, in ascending order.
    std::vector<std::int64_t> compact() {
        if (!labelled()) return {0};
        std::vector<std::int64_t> occurring = labels_;
        std::sort(occurring.begin(), occurring.end());
        occurring.erase(std::unique(occurring.begin(), occurring.end()), occurring.end());
        for (std::int64_t& label : labels_)
            label = std::lower_bound(occurring.begin(), occurring.end(), label) - occurring.begin();
        task_.factors = static_cast<std::int64_t>(occurring.size());
        return occurring;
    }

    std::int64_t channels() const { return task_.channel.size; }
    bool labelled() const { return !labels_.empty(); }

    // Fills [6][factors][channels].
    void run(double* moments) const {
        const int threads = num_threads();
        std::optional<py::gil_scoped_release> release;
        if (task_.batch.size * task_.channel.size * task_.positions.size >= kKeepGilBelow) release.emplace();
        cpu::comoments(task_, threads, moments);
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

    static thread_local std::vector<double> kept;
    std::vector<double> own;
    std::vector<double>& moments = 6 * row <= kKeptSums ? kept : own;
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

// The sums of the batch are merged under the GIL: updates of one state by several threads lose nothing.
py::object update_comoments(py::object moments, py::handle feats_a, py::handle feats_b, py::handle factor,
                            py::handle source, std::int64_t channel_dim, bool pool) {
    const dlpack::Tensor state = view(moments);
    if (state.ndim != 3 && state.ndim != 4) refuse();
    if (feature_dtype(state.dtype) != DType::f64 || state.shape[0] != 6) refuse();
    const bool grouped = state.ndim == 4;
    if (!grouped && !source.is_none()) refuse();
    const std::int64_t *shape = state.shape + state.ndim - 2, *strides = state.strides + state.ndim - 2;
    const std::int64_t groups = grouped ? state.shape[1] : 1, group_stride = grouped ? state.strides[1] : 0;
    const std::int64_t factors = shape[0], channels = shape[1], gap = state.strides[0];
    Call call(feats_a, feats_b, factor, factors, channel_dim, pool, source, groups);
    // Each entry has a place of its own.
    const bool apart = (channels == 1 || strides[1] == 1) && (factors == 1 || strides[0] >= channels) &&
                       (groups == 1 || group_stride >= (factors - 1) * strides[0] + channels) &&
                       gap >= (groups - 1) * group_stride + (factors - 1) * strides[0] + channels;
    if (call.channels() != channels || !apart) refuse();

    const std::vector<std::int64_t> touched = call.compact();
    const std::int64_t row = static_cast<std::int64_t>(touched.size()) * channels;
    const std::unique_ptr<double[]> sums(new double[static_cast<std::size_t>(6 * row)]);
    call.run(sums.get());

    auto* data = reinterpret_cast<double*>(data_of(state));
    const double* batch = sums.get();
    for (const std::int64_t r : touched) {
        double* to = data + r / factors * group_stride + r % factors * strides[0];
        cpu::moment_kernels().merge({to, gap}, {batch, row}, channels);
        batch += channels;
    }
    return moments;
}

const Binding binding([](py::module_& m) {
    m.def("comoments", &comoments, py::arg("feats_a"), py::arg("feats_b"), py::arg("factor"), py::arg("num_factors"),
          py::arg("channel_dim"), py::arg("pool"),
          "Return (6, F, C) float64: count, mean_a, mean_b, m2_a, m2_b, c_ab.");
    m.def("channel_bias", &channel_bias, py::arg("feats_a"), py::arg("feats_b"), py::arg("factor"),
          py::arg("num_factors"), py::arg("channel_dim"), py::arg("pool"), py::arg("pearson"),
          "Return (mi, corr, count) of each channel.");
    m.def("update_comoments", &update_comoments, py::arg("moments"), py::arg("feats_a"), py::arg("feats_b"),
          py::arg("factor"), py::arg("source"), py::arg("channel_dim"), py::arg("pool"),
          "Merge pairs into moments (6, F, C), or (6, G, F, C) by source % G, in place; touch no row of no pair.");
});

}  // namespace
}  // namespace sdfast
