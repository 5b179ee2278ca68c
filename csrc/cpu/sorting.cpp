#include "cpu/sorting.h"

#include <algorithm>
#include <cmath>

namespace sdfast::cpu {
namespace {

constexpr std::int64_t kFew = 16;  // sorted by insertion
constexpr std::int64_t kBins = 2;  // for each item
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

Sorter::Sorter(std::int64_t most)
    : spare_(static_cast<std::size_t>(most)), ends_(static_cast<std::size_t>(kBins * most)) {
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

// Deals a stretch into even bins, twice as many as it has items, and mends what is left: values that many share, but
// for a jitter, fill one bin, which is dealt again by itself.
void Sorter::spread(Placed* items, const Stretch& stretch) {
    Placed* const first = items + stretch.first;
    Placed* const last = items + stretch.last;
    const std::int64_t count = stretch.last - stretch.first;
    double low = first->value, high = low;
    for (const Placed* item = first; item != last; ++item) {
        low = std::min(low, item->value);
        high = std::max(high, item->value);
    }
    if (high == low) return;
    const std::int64_t bins = kBins * count;
    const double scale = static_cast<double>(bins - 1) / (high - low);
    if (stretch.depth == kDeepest || !std::isfinite(scale)) return std::sort(first, last, before);

    const auto bin = [=](const Placed& item) { return static_cast<std::int64_t>((item.value - low) * scale); };
    std::int32_t* const ends = ends_.data();
    std::fill(ends, ends + bins, 0);
    for (const Placed* item = first; item != last; ++item) ++ends[bin(*item)];
    const std::size_t known = pending_.size();
    std::int32_t total = 0;
    for (std::int64_t b = 0; b < bins; ++b) {
        const std::int32_t size = ends[b];
        if (size > kFew) pending_.push_back({stretch.first + total, stretch.first + total + size, stretch.depth + 1});
        ends[b] = total;
        total += size;
    }
    for (const Placed* item = first; item != last; ++item) spare_[static_cast<std::size_t>(ends[bin(*item)]++)] = *item;

    // Now each item but those of crowded bins is next to its place, or in it.
    const Placed* const from = spare_.data();
    std::int64_t done = 0;
    for (std::size_t i = known; i < pending_.size(); ++i) {
        const std::int64_t begin = pending_[i].first - stretch.first, end = pending_[i].last - stretch.first;
        insert_all(from + done, begin - done, first + done);
        std::copy(from + begin, from + end, first + begin);
        done = end;
    }
    insert_all(from + done, count - done, first + done);
}

}  // namespace sdfast::cpu
