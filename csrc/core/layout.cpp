#include "core/layout.h"

#include <algorithm>

namespace sdfast {

void coalesce(Dims& positions) {
    if (positions.count > 1)
        std::stable_sort(positions.begin(), positions.end(),
                         [](const Dim& x, const Dim& y) { return x.stride_a > y.stride_a; });
    const int count = positions.count;
    positions.count = 0;
    positions.size = 1;
    for (int d = 0; d < count; ++d) {
        Dim inner = positions.dims[d];
        if (inner.size == 1) continue;
        const auto goes_on_from = [&](const Dim& outer) {
            return outer.stride_a == inner.stride_a * inner.size && outer.stride_b == inner.stride_b * inner.size;
        };
        if (positions.count > 0 && goes_on_from(positions.end()[-1])) inner.size *= positions.pop_back().size;
        positions.push_back(inner);
    }
}

void Walk::seek(std::int64_t index) {
    a_ = b_ = 0;
    for (int d = dims_.count; d-- > 0;) {
        const Dim& dim = dims_.dims[d];
        index_[d] = index % dim.size;
        index /= dim.size;
        a_ += index_[d] * dim.stride_a;
        b_ += index_[d] * dim.stride_b;
    }
}

void Walk::next() {
    for (int d = dims_.count; d-- > 0;) {
        const Dim& dim = dims_.dims[d];
        a_ += dim.stride_a;
        b_ += dim.stride_b;
        if (++index_[d] < dim.size) return;
        a_ -= dim.stride_a * dim.size;
        b_ -= dim.stride_b * dim.size;
        index_[d] = 0;
    }
}

}  // namespace sdfast
