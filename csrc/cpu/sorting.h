// Sorting numbers together with where they were.
#pragma once
#include <cstdint>
#include <vector>

namespace sdfast::cpu {

struct Placed {
    double value;
    std::int64_t index;
};

// Sorts up to `most` finite numbers at a time, in linear time unless their spacing is wild at many scales at once.
class Sorter {
  public:
    explicit Sorter(std::int64_t most);

    // Ascending by value; equal values in any order.
    void operator()(Placed* items, std::int64_t count);

  private:
    struct Stretch {
        std::int64_t first, last;
        int depth;
    };
    void spread(Placed* items, const Stretch& stretch);

    std::vector<Placed> spare_;
    std::vector<std::int32_t> ends_;
    std::vector<Stretch> pending_;
};

}  // namespace sdfast::cpu
