#include "bind/tensors.h"

namespace sdfast {
namespace {

cpu::Mask static_mask(py::handle object, const cpu::StaticDropoutTask& task) {
    cpu::Mask mask;
    if (object.is_none()) return mask;
    const dlpack::Tensor t = view(object);
    // (N, 1, *grid) says the same as (N, *grid).
    const auto grid = static_cast<std::int32_t>(task.positions.size());
    const std::int32_t first = t.ndim == grid + 2 && t.shape[1] == 1 ? 2 : 1;
    if (t.ndim != grid + first || t.shape[0] != task.batch.size) refuse();
    const bool byte = t.dtype.bits == 8 && (t.dtype.code == dlpack::kBool || t.dtype.code == dlpack::kUint);
    const auto item = static_cast<std::int64_t>(t.dtype.bits / 8);
    mask.type = byte ? MaskType::byte : static_cast<MaskType>(feature_dtype(t.dtype));
    mask.data = data_of(t);
    mask.batch_stride = t.strides[0] * item;
    for (std::int32_t d = first; d < t.ndim; ++d) {
        if (t.shape[d] == 0) refuse();
        mask.size.push_back(t.shape[d]);
        mask.stride.push_back(t.strides[d] * item);
    }
    return mask;
}

}  // namespace

cpu::StaticDropoutTask static_dropout_task(py::handle x, py::handle out, py::handle seed_tensor, float p,
                                           py::handle mask, py::handle channel_weight, int granularity, bool rescale,
                                           std::int64_t channel_dim, const std::uint64_t*& seed) {
    cpu::FeaturePair pair = feature_pair(x, out, channel_dim);
    if (!(p >= 0 && p <= 1) || granularity < 0 || granularity > 2) refuse();
    const dlpack::Tensor seed_view = view(seed_tensor);
    if (seed_view.ndim != 0 || seed_view.dtype.code != dlpack::kInt || seed_view.dtype.bits != 64) refuse();
    seed = reinterpret_cast<const std::uint64_t*>(data_of(seed_view));

    cpu::StaticDropoutTask task{};
    task.x = const_cast<char*>(pair.a);
    task.out = const_cast<char*>(pair.b);
    task.dtype = pair.dtype;
    task.batch = pair.batch;
    task.channel = pair.channel;
    task.positions = std::move(pair.positions);
    task.p = p;
    task.granularity = static_cast<Granularity>(granularity);
    task.rescale = rescale;
    task.mask = static_mask(mask, task);
    if (!channel_weight.is_none()) {
        const dlpack::Tensor w = view(channel_weight);
        const bool is_float = w.dtype.code == dlpack::kFloat && w.dtype.bits == 32 && w.dtype.lanes == 1;
        if (!is_float || w.ndim != 1 || w.shape[0] != task.channel.size || (w.shape[0] > 1 && w.strides[0] != 1))
            refuse();
        task.channel_weight = reinterpret_cast<const float*>(data_of(w));
    }
    return task;
}

}  // namespace sdfast
