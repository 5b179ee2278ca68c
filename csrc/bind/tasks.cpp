#include "bind/tasks.h"

namespace sdfast {
namespace {

// Sizes made of more might not be numbers of 64 bits.
constexpr std::int64_t kMostFactors = 0x7fffffff;
constexpr std::int64_t kMostSums = std::int64_t{1} << 40;  // factors times channels

bool is(const dlpack::DataType& type, dlpack::TypeCode code, int bits) {
    return type.code == code && type.bits == bits && type.lanes == 1;
}

void set_mask(StaticDropoutTask& task, py::handle object) {
    if (object.is_none()) return;
    Mask& mask = task.mask;
    const dlpack::Tensor t = view(object);
    // (N, 1, *grid) says the same as (N, *grid).
    const std::int32_t grid = task.positions.count;
    const std::int32_t first = t.ndim == grid + 2 && t.shape[1] == 1 ? 2 : 1;
    if (t.ndim != grid + first || t.shape[0] != task.batch.size) refuse();
    const bool byte = t.dtype.bits == 8 && (t.dtype.code == dlpack::kBool || t.dtype.code == dlpack::kUint);
    const auto item = static_cast<std::int64_t>(t.dtype.bits / 8);
    mask.type = byte ? MaskType::byte : static_cast<MaskType>(feature_dtype(t.dtype));
    mask.data = data_of(t);
    mask.batch_stride = t.strides[0] * item;
    for (std::int32_t d = 0; d < grid; ++d) {
        if (t.shape[first + d] == 0) refuse();
        mask.grid[d] = t.shape[first + d];
        mask.stride[d] = t.strides[first + d] * item;
    }
}

}  // namespace

DType feature_dtype(const dlpack::DataType& type) {
    if (is(type, dlpack::kFloat, 64)) return DType::f64;
    if (is(type, dlpack::kFloat, 32)) return DType::f32;
    if (is(type, dlpack::kFloat, 16)) return DType::f16;
    if (is(type, dlpack::kBfloat, 16)) return DType::bf16;
    refuse();
}

FeaturePair feature_pair(py::handle feats_a, py::handle feats_b, std::int64_t channel_dim) {
    const dlpack::Tensor a = view(feats_a), b = view(feats_b);
    if (channel_dim < 0) channel_dim += a.ndim;
    if (a.ndim < 2 || a.ndim != b.ndim || channel_dim < 1 || channel_dim >= a.ndim) refuse();
    FeaturePair pair;
    pair.dtype = feature_dtype(a.dtype);
    if (feature_dtype(b.dtype) != pair.dtype) refuse();
    pair.a = data_of(a);
    pair.b = data_of(b);
    for (std::int32_t d = 0; d < a.ndim; ++d) {
        if (a.shape[d] != b.shape[d] || a.shape[d] == 0) refuse();
        const Dim dim{a.shape[d], a.strides[d] * pair.item(), b.strides[d] * pair.item()};
        if (d == 0)
            pair.batch = dim;
        else if (d == channel_dim)
            pair.channel = dim;
        else
            pair.positions.push_back(dim);
    }
    return pair;
}

Labels factor_labels(py::handle factor, std::int64_t batch, std::int64_t num_factors) {
    if (num_factors < 1 || num_factors > kMostFactors) refuse();
    if (factor.is_none()) {
        if (num_factors != 1) refuse();
        return {};
    }
    const dlpack::Tensor labels = view(factor);
    if (!is(labels.dtype, dlpack::kInt, 64) || labels.ndim != 1 || labels.shape[0] != batch) refuse();
    return {reinterpret_cast<const std::int64_t*>(data_of(labels)), labels.strides[0]};
}

ComomentsTask comoments_task(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors,
                             std::int64_t channel_dim, bool pool) {
    const FeaturePair pair = feature_pair(feats_a, feats_b, channel_dim);
    if (num_factors > 0 && pair.channel.size > kMostSums / num_factors) refuse();
    return {pair, factor_labels(factor, pair.batch.size, num_factors), num_factors, pool};
}

void def_static_dropout(py::module_& m,
                        void (*run)(const StaticDropoutTask& task, std::initializer_list<py::handle> tensors)) {
    const auto static_dropout = [run](py::handle x, py::handle out, py::handle seed, double p, py::handle mask,
                                      py::handle channel_weight, int granularity, bool rescale,
                                      std::int64_t channel_dim) {
        const FeaturePair pair = feature_pair(x, out, channel_dim);
        if (!(p >= 0 && p <= 1) || granularity < 0 || granularity > 2) refuse();
        const dlpack::Tensor number = view(seed);
        if (number.ndim != 0 || number.dtype.code != dlpack::kInt || number.dtype.bits != 64) refuse();

        StaticDropoutTask task;
        static_cast<PairLayout&>(task) = pair;
        task.x = pair.a;
        task.out = const_cast<char*>(pair.b);
        task.seed = reinterpret_cast<const std::uint64_t*>(data_of(number));
        task.p = static_cast<float>(p);
        task.granularity = static_cast<Granularity>(granularity);
        task.rescale = rescale;
        set_mask(task, mask);
        if (!channel_weight.is_none()) {
            const dlpack::Tensor w = view(channel_weight);
            const bool fits = is(w.dtype, dlpack::kFloat, 32) && w.ndim == 1 && w.shape[0] == task.channel.size;
            if (!fits || (w.shape[0] > 1 && w.strides[0] != 1)) refuse();
            task.channel_weight = reinterpret_cast<const float*>(data_of(w));
        }
        run(task, {x, out, seed, mask, channel_weight});
    };
    m.def("static_dropout", static_dropout, py::arg("x"), py::arg("out"), py::arg("seed"), py::arg("p"),
          py::arg("mask"), py::arg("channel_weight"), py::arg("granularity"), py::arg("rescale"),
          py::arg("channel_dim"), "Write x to out with what the draws of the seed mark dropped; out may be x.");
}

}  // namespace sdfast
