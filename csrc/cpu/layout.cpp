#include "cpu/layout.h"

#include <algorithm>
#include <cstdlib>

namespace sdfast::cpu {

void coalesce(std::vector<Dim>& positions) {
    positions.erase(std::remove_if(positions.begin(), positions.end(), [](const Dim& d) { return d.size == 1; }),
                    positions.end());
    if (positions.size() < 2) return;
    std::stable_sort(positions.begin(), positions.end(),
                     [](const Dim& x, const Dim& y) { return std::abs(x.stride_a) > std::abs(y.stride_a); });
    std::vector<Dim> joined;
    for (const Dim& inner : positions) {
        const bool continues = !joined.empty() && joined.back().stride_a == inner.stride_a * inner.size &&
                               joined.back().stride_b == inner.stride_b * inner.size;
        if (continues)
            joined.back() = {joined.back().size * inner.size, inner.stride_a, inner.stride_b};
        else
            joined.push_back(inner);
    }
    positions = std::move(joined);
}

Walk::Walk(const std::vector<Dim>& dims) : dims_(dims) {
    for (const Dim& d : dims) size_ *= d.size;
}

void Walk::seek(std::int64_t index) {
    a_ = b_ = 0;
    for (std::size_t d = dims_.size(); d-- > 0;) {
        index_[d] = index % dims_[d].size;
        index /= dims_[d].size;
        a_ += index_[d] * dims_[d].stride_a;
        b_ += index_[d] * dims_[d].stride_b;
    }
}

void Walk::next() {
    for (std::size_t d = dims_.size(); d-- > 0;) {
        a_ += dims_[d].stride_a;
        b_ += dims_[d].stride_b;
        if (++index_[d] < dims_[d].size) return;
        a_ -= dims_[d].stride_a * dims_[d].size;
        b_ -= dims_[d].stride_b * dims_[d].size;
        index_[d] = 0;
    }
}

}  // namespace sdfast::cpu
