#include <algorithm>

#include "bind/module.h"
#include "cuda/static_dropout.h"

namespace sdfast {
namespace {

void static_dropout(py::handle x, py::handle out, py::handle seed, float p, py::handle mask, py::handle channel_weight,
                    int granularity, bool rescale, std::int64_t channel_dim) {
    const dlpack::Device device = one_device({x, out, seed, mask, channel_weight});
    cuda::StaticDropoutTask task;
    const cpu::StaticDropoutTask given =
        static_dropout_task(x, out, seed, p, mask, channel_weight, granularity, rescale, channel_dim, task.seed);
    const cuda::FeaturePair pair =
        on_gpu({given.x, given.out, given.dtype, given.batch, given.channel, given.positions});
    task.x = given.x;
    task.out = given.out;
    task.dtype = given.dtype;
    task.batch = pair.batch;
    task.channel = pair.channel;
    task.positions = pair.positions;
    task.p = p;
    task.granularity = given.granularity;
    task.rescale = rescale;
    task.channel_weight = given.channel_weight;
    if (given.mask) {
        task.mask.data = given.mask.data;
        task.mask.type = given.mask.type;
        task.mask.batch_stride = given.mask.batch_stride;
        std::copy(given.mask.size.begin(), given.mask.size.end(), task.mask.grid);
        std::copy(given.mask.stride.begin(), given.mask.stride.end(), task.mask.stride);
    }
    const cuda::OnDevice on_device(device.index);
    cuda::static_dropout(cuda::plan_static_dropout(task, cuda::processors()), current_stream(device));
}

}  // namespace

void bind_cuda_static_dropout(py::module_& m) {
    m.def("static_dropout", &static_dropout, py::arg("x"), py::arg("out"), py::arg("seed"), py::arg("p"),
          py::arg("mask"), py::arg("channel_weight"), py::arg("granularity"), py::arg("rescale"),
          py::arg("channel_dim"), "Write x to out with what the draws of the seed mark dropped; out may be x.");
}

}  // namespace sdfast
