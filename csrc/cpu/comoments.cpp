#include "cpu/comoments.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "core/comoments.h"
#include "cpu/isa.h"
#include "cpu/packing.h"
#include "cpu/parallel.h"
#include "cpu/sums.h"

namespace sdfast::cpu {
namespace {

constexpr std::int64_t kMinRun = 16;     // shorter runs are faster side by side
constexpr std::int64_t kFirstRun = 256;  // of a long run, before its shift is re-centred
constexpr std::int64_t kFewFactors = 4;  // the sums of more do not stay in a cache: a factor is summed after the other

// A part of the work: samples [first, last) of the batch (times positions, unless pooled) of some channels, all of them
// of one factor or of any.
struct Block {
    std::int64_t first_sample, last_sample, first_channel, last_channel;
    bool one_factor = false;
    std::int64_t channels() const { return last_channel - first_channel; }
};

class Task {
  public:
    explicit Task(const ComomentsTask& task);

    void run(int max_threads, double* out) const;

  private:
    void choose_layout();
    void sort_by_factor();
    std::vector<Block> split(int threads) const;

    // Each fills [6][factors][channels], of which the block has a part.
    void add(const Block&, MomentRows<double> out) const;
    void add_of_factors(const Block&, MomentRows<double> out) const;
    void add_rows(const Block&, MomentRows<double> out) const;
    void add_columns(const Block&, MomentRows<double> out) const;
    void add_pooled(const Block&, MomentRows<double> out) const;
    void store_columns(RunningSums& sum, std::int64_t width, std::int64_t columns, DType dtype,
                       MomentRows<double> out) const;
    void pool_rows(const Block&, const char* a, const char* b, double* sum_a, double* sum_b) const;
    void pool_columns(const Block&, const char* a, const char* b, double* sum_a, double* sum_b) const;

    const char* base_a(const Block& block, std::int64_t n) const {
        return task_.a + entry(n) * task_.batch.stride_a + block.first_channel * task_.channel.stride_a;
    }
    const char* base_b(const Block& block, std::int64_t n) const {
        return task_.b + entry(n) * task_.batch.stride_b + block.first_channel * task_.channel.stride_b;
    }
    const TypedKernels& typed() const { return kernels_.typed[static_cast<int>(task_.dtype)]; }
    std::int64_t entry(std::int64_t n) const { return order_.empty() ? n : order_[static_cast<std::size_t>(n)]; }
    std::size_t factor_of(const Block& block, std::int64_t n) const {
        return block.one_factor ? 0 : static_cast<std::size_t>(task_.labels[n]);
    }

    template <class Make>
    std::vector<RunningSums> per_factor(const Block& block, Make make) const {
        const std::size_t factors = block.one_factor ? 1 : static_cast<std::size_t>(task_.factors);
        std::vector<RunningSums> sums;
        sums.reserve(factors);
        while (sums.size() < factors) sums.push_back(make());
        return sums;
    }

    const Kernels& kernels_ = kernels();
    ComomentsTask task_;
    bool rows_ = false;      // channels are runs; else they lie side by side (or are packed so)
    std::int64_t run_ = 1;   // length of a run
    std::int64_t fold_ = 1;  // adjacent columns that belong to one channel
    std::int64_t samples_per_entry_ = 1;
    std::vector<std::int64_t> order_;  // entries of the batch by factor, or empty: as they are
    std::vector<std::int64_t> ends_;   // where in that order those of each factor end
};

Task::Task(const ComomentsTask& task) : task_(task) {
    if (task_.labels && task_.factors > kFewFactors) sort_by_factor();
    coalesce(task_.positions);
    if (task_.positions.count == 0) task_.pool = false;  // a mean over one position is the position
    if (!task_.pool && !task_.labels) {
        task_.positions.push_back(task_.batch);
        task_.batch = {1, 0, 0};
        coalesce(task_.positions);
    }
    choose_layout();
}

void Task::choose_layout() {
    const std::int64_t item = task_.item();
    Dims& positions = task_.positions;
    if (positions.count > 0) {
        const Dim inner = positions.dims[positions.count - 1];
        const bool unit = inner.stride_a == item && inner.stride_b == item;
        const std::int64_t bytes = inner.size * item;
        if (unit && inner.size >= kMinRun) {
            rows_ = true;
            run_ = positions.pop_back().size;
        } else if (unit && !task_.pool && task_.channel.stride_a == bytes && task_.channel.stride_b == bytes) {
            fold_ = positions.pop_back().size;
        }
    }
    if (!task_.pool) samples_per_entry_ = positions.size;
}

void Task::sort_by_factor() {
    ends_.resize(static_cast<std::size_t>(task_.factors));
    order_.resize(static_cast<std::size_t>(task_.batch.size));
    const auto of = [&](std::int64_t n) -> std::int64_t& { return ends_[static_cast<std::size_t>(task_.labels[n])]; };
    for (std::int64_t n = 0; n < task_.batch.size; ++n) ++of(n);
    std::int64_t before = 0;
    for (std::int64_t& end : ends_) before += std::exchange(end, before);
    for (std::int64_t n = 0; n < task_.batch.size; ++n) order_[static_cast<std::size_t>(of(n)++)] = n;
}

std::vector<Block> Task::split(int threads) const {
    const std::int64_t samples = task_.batch.size * samples_per_entry_;
    const std::int64_t channels = task_.channel.size;
    const std::int64_t wanted = threads;
    // Channels need no merging and rows of a channel range are long runs; columns are best read in full width.
    const bool by_channel =
        rows_ ? channels >= 4 * wanted || samples < wanted : samples < wanted || channels >= 4096 * wanted;
    const std::int64_t parts = std::min(wanted, by_channel ? channels : samples);
    std::vector<Block> blocks;
    for (std::int64_t p = 0; p < parts; ++p) {
        if (by_channel)
            blocks.push_back({0, samples, channels * p / parts, channels * (p + 1) / parts});
        else
            blocks.push_back({samples * p / parts, samples * (p + 1) / parts, 0, channels});
    }
    return blocks;
}

void Task::run(int max_threads, double* out) const {
    const std::int64_t channels = task_.channel.size;
    const std::int64_t positions = task_.positions.size * run_ * fold_;
    const std::int64_t bytes = 2 * task_.item() * channels * task_.batch.size * positions;
    const std::int64_t useful = std::max<std::int64_t>(1, bytes / kBytesPerThread);
    const std::vector<Block> blocks = split(static_cast<int>(std::min<std::int64_t>(max_threads, useful)));

    // Blocks of channels have places of their own; of blocks of samples the first has, and the others are merged into
    // it.
    const bool apart = blocks.size() > 1 && blocks[1].first_channel == 0;
    const std::int64_t row = task_.factors * channels;
    std::vector<double> others(apart ? static_cast<std::size_t>(6 * row) * (blocks.size() - 1) : 0);
    in_parallel(static_cast<int>(blocks.size()), [&](int i) {
        const Block& block = blocks[static_cast<std::size_t>(i)];
        add(block, {(apart && i > 0 ? others.data() + 6 * row * (i - 1) : out) + block.first_channel, row});
    });
    for (std::size_t first = 0; first < others.size(); first += static_cast<std::size_t>(6 * row))
        moment_kernels().merge({out, row}, {others.data() + first, row}, row);
}

void Task::add(const Block& block, MomentRows<double> out) const {
    if (order_.empty()) return add_of_factors(block, out);
    Block own = block;
    own.one_factor = true;
    for (const std::int64_t end : ends_) {
        own.last_sample = std::clamp(end * samples_per_entry_, own.first_sample, block.last_sample);
        if (own.first_sample < own.last_sample)
            add_of_factors(own, out);
        else
            for (int k = 0; k < 6; ++k) std::fill_n(out.data + k * out.gap, block.channels(), 0.0);
        own.first_sample = own.last_sample;
        out = out + task_.channel.size;
    }
}

void Task::add_of_factors(const Block& block, MomentRows<double> out) const {
    if (task_.pool)
        add_pooled(block, out);
    else if (rows_)
        add_rows(block, out);
    else
        add_columns(block, out);
}

void Task::add_rows(const Block& block, MomentRows<double> out) const {
    std::vector<RunningSums> sums =
        per_factor(block, [&] { return RunningSums::of_rows(kernels_, task_.dtype, block.channels()); });
    const std::int64_t item = task_.item();
    const Dim& channel = task_.channel;
    Walk walk(task_.positions);
    walk.seek(block.first_sample % samples_per_entry_);
    const auto address = [&](std::int64_t n) {
        return std::pair{base_a(block, n) + walk.a(), base_b(block, n) + walk.b()};
    };
    auto here = address(block.first_sample / samples_per_entry_);
    for (std::int64_t s = block.first_sample; s < block.last_sample; ++s) {
        walk.next();
        const auto next = s + 1 < block.last_sample ? address((s + 1) / samples_per_entry_) : here;
        RunningSums& sum = sums[factor_of(block, s / samples_per_entry_)];
        const auto [a, b] = here;
        std::int64_t done = 0;
        const auto add = [&](std::int64_t length) {
            const RowPair rows{a + done * item, b + done * item,  next.first,
                               next.second,     channel.stride_a, channel.stride_b};
            typed().rows(rows, block.channels(), length, sum.shift_a(), sum.shift_b(), sum.acc());
            done += length;
        };
        if (sum.empty()) {
            typed().row_sums(a, channel.stride_a, block.channels(), kMinRun, sum.shift_a());
            typed().row_sums(b, channel.stride_b, block.channels(), kMinRun, sum.shift_b());
            sum.divide_shifts(kMinRun);
            if (run_ >= 2 * kFirstRun) {
                add(kFirstRun);
                sum.count(kFirstRun, kMinRun);
            }
        }
        const std::int64_t rest = run_ - done;
        add(rest);
        sum.count(rest, 1);
        here = next;
    }
    for (RunningSums& sum : sums) {
        sum.comoments(out);
        out = out + task_.channel.size;
    }
}

void Task::add_columns(const Block& block, MomentRows<double> out) const {
    const std::int64_t item = task_.item();
    const std::int64_t columns = block.channels() * fold_;
    const std::int64_t stride_a = fold_ > 1 ? item : task_.channel.stride_a;
    const std::int64_t stride_b = fold_ > 1 ? item : task_.channel.stride_b;
    const bool narrow = columns < kernels_.block;
    Rows rows_a(columns, stride_a, item, kernels_, narrow), rows_b(columns, stride_b, item, kernels_, narrow);
    const std::int64_t width = rows_a.columns();
    std::vector<RunningSums> sums =
        per_factor(block, [&] { return RunningSums::of_columns(kernels_, task_.dtype, width); });

    // Rows are taken in the order of memory and sorted by factor a chunk at a time, so that memory is streamed.
    struct Chunk {
        const void* a[kChunk];
        const void* b[kChunk];
        std::int64_t size = 0;
    };
    const std::unique_ptr<Chunk[]> chunks(new Chunk[sums.size()]);  // not zeroed, as a vector would be
    const auto add = [&](RunningSums& sum, Chunk& chunk) {
        for (std::int64_t r = 0; r < chunk.size;) {
            const std::int64_t count = std::min({chunk.size - r, sum.rows_left(), rows_a.at_most(), rows_b.at_most()});
            const void* const* a = rows_a.prepare(chunk.a + r, count);
            const void* const* b = rows_b.prepare(chunk.b + r, count);
            if (sum.empty()) {
                typed().column_sums(a, 1, width, sum.shift_a());
                typed().column_sums(b, 1, width, sum.shift_b());
            }
            typed().columns(a, b, count, width, sum.shift_a(), sum.shift_b(), sum.acc());
            sum.count(count, count);
            r += count;
        }
        chunk.size = 0;
    };

    Walk walk(task_.positions);
    walk.seek(block.first_sample % samples_per_entry_);
    std::int64_t n = block.first_sample / samples_per_entry_,
                 left = samples_per_entry_ - block.first_sample % samples_per_entry_;
    for (std::int64_t s = block.first_sample; s < block.last_sample;) {
        const std::int64_t end = std::min(s + kChunk, block.last_sample);
        for (; s < end; ++s, walk.next()) {
            Chunk& chunk = chunks[factor_of(block, n)];
            chunk.a[chunk.size] = base_a(block, n) + walk.a();
            chunk.b[chunk.size] = base_b(block, n) + walk.b();
            ++chunk.size;
            if (--left == 0) {
                ++n;
                left = samples_per_entry_;
            }
        }
        for (std::size_t f = 0; f < sums.size(); ++f) add(sums[f], chunks[f]);
    }
    for (RunningSums& sum : sums) {
        store_columns(sum, width, columns, task_.dtype, out);
        out = out + task_.channel.size;
    }
}

// `dtype` is of the features whose kernels have summed the columns: it says where each is.
void Task::store_columns(RunningSums& sum, std::int64_t width, std::int64_t columns, DType dtype,
                         MomentRows<double> out) const {
    const std::int64_t slots = sum.channels();
    if (slots == columns && fold_ == 1 && !kernels_.typed[static_cast<int>(dtype)].evens_first)
        return sum.comoments(out);
    const std::unique_ptr<double[]> by_slot(new double[static_cast<std::size_t>(6 * slots)]);
    sum.comoments({by_slot.get(), slots});
    if (fold_ == 1) return kernels_.in_order(by_slot.get(), slots, width, dtype, 6, out.data, out.gap, columns);
    const std::unique_ptr<double[]> by_column(new double[static_cast<std::size_t>(6 * columns)]);
    kernels_.in_order(by_slot.get(), slots, width, dtype, 6, by_column.get(), columns, columns);
    const double* from = by_column.get();
    for (std::int64_t c = 0; c < columns / fold_; ++c) {
        Comoments m;
        for (std::int64_t k = 0; k < fold_; ++k, ++from)
            m += {from[0], from[columns], from[2 * columns], from[3 * columns], from[4 * columns], from[5 * columns]};
        const double values[6] = {m.count, m.mean_a, m.mean_b, m.m2_a, m.m2_b, m.c_ab};
        for (int k = 0; k < 6; ++k) out.data[k * out.gap + c] = values[k];
    }
}

void Task::add_pooled(const Block& block, MomentRows<double> out) const {
    const TypedKernels& doubles = kernels_.typed[static_cast<int>(DType::f64)];
    const std::int64_t width = kernels_.slots(block.channels());
    const double positions = static_cast<double>(run_ * task_.positions.size);

    std::vector<double> mean_a(static_cast<std::size_t>(width)), mean_b(static_cast<std::size_t>(width));
    const void* a[1] = {mean_a.data()};
    const void* b[1] = {mean_b.data()};
    std::vector<RunningSums> sums =
        per_factor(block, [&] { return RunningSums::of_columns(kernels_, DType::f64, width); });
    for (std::int64_t n = block.first_sample; n < block.last_sample; ++n) {
        std::fill(mean_a.begin(), mean_a.end(), 0.0);
        std::fill(mean_b.begin(), mean_b.end(), 0.0);
        if (rows_)
            pool_rows(block, base_a(block, n), base_b(block, n), mean_a.data(), mean_b.data());
        else
            pool_columns(block, base_a(block, n), base_b(block, n), mean_a.data(), mean_b.data());
        for (double& mean : mean_a) mean /= positions;
        for (double& mean : mean_b) mean /= positions;
        RunningSums& sum = sums[factor_of(block, n)];
        if (sum.empty()) {
            std::copy(mean_a.begin(), mean_a.end(), sum.shift_a());
            std::copy(mean_b.begin(), mean_b.end(), sum.shift_b());
        }
        doubles.columns(a, b, 1, width, sum.shift_a(), sum.shift_b(), sum.acc());
        sum.count(1, 1);
    }
    const std::int64_t summed = rows_ ? width : std::max<std::int64_t>(block.channels(), kernels_.block);
    for (RunningSums& sum : sums) {
        store_columns(sum, summed, block.channels(), rows_ ? DType::f64 : task_.dtype, out);
        out = out + task_.channel.size;
    }
}

void Task::pool_rows(const Block& block, const char* a, const char* b, double* sum_a, double* sum_b) const {
    Walk walk(task_.positions);
    for (std::int64_t p = 0; p < task_.positions.size; ++p, walk.next()) {
        typed().row_sums(a + walk.a(), task_.channel.stride_a, block.channels(), run_, sum_a);
        typed().row_sums(b + walk.b(), task_.channel.stride_b, block.channels(), run_, sum_b);
    }
}

void Task::pool_columns(const Block& block, const char* a, const char* b, double* sum_a, double* sum_b) const {
    const std::int64_t item = task_.item();
    const bool narrow = block.channels() < kernels_.block;
    Rows rows_a(block.channels(), task_.channel.stride_a, item, kernels_, narrow);
    Rows rows_b(block.channels(), task_.channel.stride_b, item, kernels_, narrow);
    const std::int64_t width = rows_a.columns();
    const void* from_a[kChunk];
    const void* from_b[kChunk];
    Walk walk(task_.positions);
    for (std::int64_t p = 0; p < task_.positions.size;) {
        const std::int64_t count = std::min({task_.positions.size - p, rows_a.at_most(), rows_b.at_most()});
        for (std::int64_t r = 0; r < count; ++r, walk.next()) {
            from_a[r] = a + walk.a();
            from_b[r] = b + walk.b();
        }
        typed().column_sums(rows_a.prepare(from_a, count), count, width, sum_a);
        typed().column_sums(rows_b.prepare(from_b, count), count, width, sum_b);
        p += count;
    }
}

}  // namespace

void sum_pairs(const ComomentsTask& task, int max_threads, double* out) { Task(task).run(max_threads, out); }

}  // namespace sdfast::cpu
