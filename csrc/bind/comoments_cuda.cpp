#include "bind/module.h"
#include "bind/tasks.h"
#include "cuda/comoments.h"

namespace sdfast {
namespace {

// A task on its device: made, planned, run.
class Run {
  public:
    Run(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors, std::int64_t channel_dim,
        bool pool)
        : beside_(feats_a), device_(one_device({feats_a, feats_b, factor})), on_device_(device_.index) {
        const ComomentsTask task = comoments_task(feats_a, feats_b, factor, num_factors, channel_dim, pool);
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

const Binding binding([](py::module_& m) {
    m.def("comoments", &comoments, py::arg("feats_a"), py::arg("feats_b"), py::arg("factor"), py::arg("num_factors"),
          py::arg("channel_dim"), py::arg("pool"),
          "Return (6, F, C) float64: count, mean_a, mean_b, m2_a, m2_b, c_ab. Labels of no factor are passed over.");
    m.def("channel_bias", &channel_bias, py::arg("feats_a"), py::arg("feats_b"), py::arg("factor"),
          py::arg("num_factors"), py::arg("channel_dim"), py::arg("pool"), py::arg("pearson"),
          "Return (mi, corr, count) of each channel, finished by the last kernel of the co-moments.");
});

}  // namespace
}  // namespace sdfast
