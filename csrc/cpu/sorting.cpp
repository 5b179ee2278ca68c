#include "cpu/sorting.h"

#include <algorithm>
#include <cmath>

namespace sdfast::cpu {
namespace {

constexpr std::int64_t kFew = 16;  // sorted by insertion
constexpr int kDeepest = 5;        // stretches within stretches, before comparing is surer

bool before(const Placed& a, const Placed& b) { return a.value < b.value; }

// Moves items to `to` in order.
void insert_all(const Placed* items, std::int64_t count, Placed* to) {
    for (std::int64_t i = 0; i < count; ++i) {
        const Placed item = items[i];
        std::int64_t place = i;
        for (; place > 0 && item.value < to[place - 1].value; --place) to[place] = to[place - 1];
        to[place] = item;
    }
}

}  // namespace

Sorter::Sorter(std::int64_t most) : spare_(static_cast<std::size_t>(most)), ends_(static_cast<std::size_t>(most)) {
    pending_.reserve(static_cast<std::size_t>(most / kFew + 1));
}

void Sorter::operator()(Placed* items, std::int64_t count) {
    pending_.push_back({0, count, 0});
    while (!pending_.empty()) {
        const Stretch stretch = pending_.back();
        pending_.pop_back();
        spread(items, stretch);
    }
}

// Deals a stretch into as many even bins as it has items, and sorts each: values that many share, but for a jitter,
// fill one bin, which is dealt again by itself.
void Sorter::spread(Placed* items, const Stretch& stretch) {
    Placed* const first = items + stretch.first;
    Placed* const last = items + stretch.last;
    const std::int64_t count = stretch.last - stretch.first;
    const auto [lowest, highest] = std::minmax_element(first, last, before);
    const double low = lowest->value, scale = static_cast<double>(count - 1) / (highest->value - low);
    if (highest->value == low) return;
    if (stretch.depth == kDeepest || !std::isfinite(scale)) return std::sort(first, last, before);

    const auto bin = [=](const Placed& item) { return static_cast<std::int64_t>((item.value - low) * scale); };
    std::int64_t* const ends = ends_.data();
    std::fill(ends, ends + count, 0);
    for (const Placed* item = first; item != last; ++item) ++ends[bin(*item)];
    std::int64_t total = 0;
    for (std::int64_t b = 0; b < count; ++b) {
        const std::int64_t size = ends[b];
        ends[b] = total;
        total += size;
    }
    for (const Placed* item = first; item != last; ++item) spare_[static_cast<std::size_t>(ends[bin(*item)]++)] = *item;

    std::int64_t begin = 0;
    for (std::int64_t b = 0; b < count; begin = ends[b++]) {
        const Placed* const from = spare_.data() + begin;
        const std::int64_t size = ends[b] - begin;
        if (size <= kFew) {
            insert_all(from, size, first + begin);
        } else {
            std::copy(from, from + size, first + begin);
            pending_.push_back({stretch.first + begin, stretch.first + begin + size, stretch.depth + 1});
        }
    }
}

}  // namespace sdfast::cpu
