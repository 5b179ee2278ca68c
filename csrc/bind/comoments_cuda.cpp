#include "bind/module.h"
#include "bind/tasks.h"
#include "cuda/comoments.h"

namespace sdfast {
namespace {

// A task on its device: made, planned, run.
class Run {
  public:
    Run(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors, std::int64_t channel_dim,
        bool pool, py::handle source = py::none(), std::int64_t groups = 1, py::handle state = py::none())
        : beside_(feats_a), device_(one_device({feats_a, feats_b, factor, source, state})), on_device_(device_.index) {
        ComomentsTask task = comoments_task(feats_a, feats_b, factor, num_factors, channel_dim, pool);
        if (!source.is_none()) {
            const Labels sources = factor_labels(source, task.batch.size, groups);
            task.labels.sources = sources.values;
            task.labels.source_stride = sources.stride;
            task.labels.groups = groups;
            task.labels.factors = num_factors;
            task.factors = groups * num_factors;
        }
        plan_ = cuda::plan_comoments(task, cuda::processors());
    }

    std::int64_t channels() const { return plan_.samples.channel.size; }

    template <class T>
    Output<T> make(std::initializer_list<std::int64_t> shape) const {
        return empty<T>(shape, beside_);
    }

    // The workspace goes back to torch, which hands it on only to work that comes later on this stream.
    void write(const cuda::ComomentsResults& results) const {
        Output<double> workspace{};
        if (plan_.workspace() > 0) workspace = make<double>({plan_.workspace()});
        cuda::comoments(plan_, results, workspace.data, cuda::processors(), current_stream(device_));
    }

  private:
    py::handle beside_;
    dlpack::Device device_;
    cuda::OnDevice on_device_;
    cuda::ComomentsPlan plan_;
};

py::object comoments(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors,
                     std::int64_t channel_dim, bool pool) {
    const Run run(feats_a, feats_b, factor, num_factors, channel_dim, pool);
    Output<double> out = run.make<double>({6, num_factors, run.channels()});
    cuda::ComomentsResults results;
    results.moments = out.data;
    run.write(results);
    return std::move(out.tensor);
}

py::tuple channel_bias(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors,
                       std::int64_t channel_dim, bool pool, bool pearson) {
    const Run run(feats_a, feats_b, factor, num_factors, channel_dim, pool);
    const bool labelled = !factor.is_none();
    const std::int64_t channels = run.channels();
    const auto make = [&] {
        return labelled ? run.make<double>({num_factors, channels}) : run.make<double>({channels});
    };
    Output<double> mi = make(), corr = make();
    Output<std::int64_t> count = labelled ? run.make<std::int64_t>({num_factors}) : run.make<std::int64_t>({});
    run.write({nullptr, corr.data, mi.data, count.data, pearson ? Kind::pearson : Kind::intraclass});
    return py::make_tuple(std::move(mi.tensor), std::move(corr.tensor), std::move(count.tensor));
}

// What is not end to end in memory is left to be merged by torch: None.
py::object update_comoments(py::object moments, py::handle feats_a, py::handle feats_b, py::handle factor,
                            py::handle source, std::int64_t channel_dim, bool pool) {
    const dlpack::Tensor state = view(moments);
    const bool grouped = state.ndim == 4;
    if ((state.ndim != 3 && !grouped) || feature_dtype(state.dtype) != DType::f64 || state.shape[0] != 6) refuse();
    if (grouped == source.is_none()) refuse();
    std::int64_t stride = 1;
    for (std::int32_t d = state.ndim; d-- > 0; stride *= state.shape[d])
        if (state.shape[d] != 1 && state.strides[d] != stride) return py::none();
    const std::int64_t *shape = state.shape + state.ndim - 2, groups = grouped ? state.shape[1] : 1;
    const Run run(feats_a, feats_b, factor, shape[0], channel_dim, pool, source, groups, moments);
    if (run.channels() != shape[1]) refuse();
    cuda::ComomentsResults results;
    results.state = reinterpret_cast<double*>(data_of(state));
    run.write(results);
    return moments;
}

const Binding binding([](py::module_& m) {
    m.def("comoments", &comoments, py::arg("feats_a"), py::arg("feats_b"), py::arg("factor"), py::arg("num_factors"),
          py::arg("channel_dim"), py::arg("pool"),
          "Return (6, F, C) float64: count, mean_a, mean_b, m2_a, m2_b, c_ab. Labels of no factor are passed over.");
    m.def("channel_bias", &channel_bias, py::arg("feats_a"), py::arg("feats_b"), py::arg("factor"),
          py::arg("num_factors"), py::arg("channel_dim"), py::arg("pool"), py::arg("pearson"),
          "Return (mi, corr, count) of each channel, finished by the last kernel of the co-moments.");
    m.def("update_comoments", &update_comoments, py::arg("moments"), py::arg("feats_a"), py::arg("feats_b"),
          py::arg("factor"), py::arg("source"), py::arg("channel_dim"), py::arg("pool"),
          "Merge pairs into moments (6, F, C), or (6, G, F, C) by source % G, in place, by the last kernel of the "
          "co-moments; touch no row of no pair. None where the moments do not lie end to end.");
});

}  // namespace
}  // namespace sdfast
