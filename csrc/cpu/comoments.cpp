#include "cpu/comoments.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "cpu/isa.h"
#include "cpu/packing.h"
#include "cpu/parallel.h"
#include "cpu/sums.h"

namespace sdfast::cpu {
namespace {

constexpr std::int64_t kMinRun = 16;     // shorter runs are faster side by side
constexpr std::int64_t kFirstRun = 256;  // of a long run, before its shift is re-centred

// A part of the work: samples [first, last) of the batch (times positions, unless pooled) of some channels.
struct Block {
    std::int64_t first_sample, last_sample, first_channel, last_channel;
    std::int64_t channels() const { return last_channel - first_channel; }
};

class Task {
  public:
    explicit Task(const ComomentsTask& task);

    void run(int max_threads, double* out) const;

  private:
    void choose_layout();
    std::vector<Block> split(int threads) const;

    // Each fills partial [factors][channels of the block].
    void add_rows(const Block&, Comoments* partial) const;
    void add_columns(const Block&, Comoments* partial) const;
    void add_pooled(const Block&, Comoments* partial) const;
    void pool_rows(const Block&, const char* a, const char* b, double* sum_a, double* sum_b) const;
    void pool_columns(const Block&, const char* a, const char* b, double* sum_a, double* sum_b) const;

    const char* base_a(const Block& block, std::int64_t n) const {
        return task_.a + n * task_.batch.stride_a + block.first_channel * task_.channel.stride_a;
    }
    const char* base_b(const Block& block, std::int64_t n) const {
        return task_.b + n * task_.batch.stride_b + block.first_channel * task_.channel.stride_b;
    }
    const TypedKernels& typed() const { return kernels_.typed[static_cast<int>(task_.dtype)]; }
    std::size_t factor_of(std::int64_t n) const { return static_cast<std::size_t>(task_.labels[n]); }

    template <class Make>
    std::vector<RunningSums> per_factor(Make make) const {
        std::vector<RunningSums> sums;
        sums.reserve(static_cast<std::size_t>(task_.factors));
        for (std::int64_t f = 0; f < task_.factors; ++f) sums.push_back(make());
        return sums;
    }

    const Kernels& kernels_ = kernels();
    ComomentsTask task_;
    bool rows_ = false;      // channels are runs; else they lie side by side (or are packed so)
    std::int64_t run_ = 1;   // length of a run
    std::int64_t fold_ = 1;  // adjacent columns that belong to one channel
    std::int64_t samples_per_entry_ = 1;
};

Task::Task(const ComomentsTask& task) : task_(task) {
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

    const int count = static_cast<int>(blocks.size());
    std::vector<std::int64_t> offsets{0};
    for (const Block& block : blocks) offsets.push_back(offsets.back() + task_.factors * block.channels());
    std::vector<Comoments> partials(static_cast<std::size_t>(offsets.back()));
    in_parallel(count, [&](int i) {
        const Block& block = blocks[static_cast<std::size_t>(i)];
        Comoments* partial = partials.data() + offsets[static_cast<std::size_t>(i)];
        if (task_.pool)
            add_pooled(block, partial);
        else if (rows_)
            add_rows(block, partial);
        else
            add_columns(block, partial);
    });

    const std::int64_t row = task_.factors * channels;
    for (std::int64_t i = 0; i < row; ++i) {
        const std::int64_t f = i / channels, c = i % channels;
        Comoments m;
        for (std::size_t b = 0; b < blocks.size(); ++b)
            if (c >= blocks[b].first_channel && c < blocks[b].last_channel)
                m += partials[static_cast<std::size_t>(offsets[b] + f * blocks[b].channels() + c -
                                                       blocks[b].first_channel)];
        const double values[6] = {m.count, m.mean_a, m.mean_b, m.m2_a, m.m2_b, m.c_ab};
        for (int k = 0; k < 6; ++k) out[k * row + i] = values[k];
    }
}

void Task::add_rows(const Block& block, Comoments* partial) const {
    std::vector<RunningSums> sums =
        per_factor([&] { return RunningSums::of_rows(kernels_, task_.dtype, block.channels()); });
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
        RunningSums& sum = sums[factor_of(s / samples_per_entry_)];
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
    for (const RunningSums& sum : sums)
        for (std::int64_t c = 0; c < block.channels(); ++c) *partial++ = sum.comoments(c);
}

void Task::add_columns(const Block& block, Comoments* partial) const {
    const std::int64_t item = task_.item();
    const std::int64_t columns = block.channels() * fold_;
    const std::int64_t stride_a = fold_ > 1 ? item : task_.channel.stride_a;
    const std::int64_t stride_b = fold_ > 1 ? item : task_.channel.stride_b;
    const bool narrow = columns < kernels_.block;
    Rows rows_a(columns, stride_a, item, kernels_, narrow), rows_b(columns, stride_b, item, kernels_, narrow);
    const std::int64_t width = rows_a.columns();
    std::vector<RunningSums> sums = per_factor([&] { return RunningSums::of_columns(kernels_, task_.dtype, width); });

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
            Chunk& chunk = chunks[factor_of(n)];
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
    for (const RunningSums& sum : sums)
        for (std::int64_t c = 0; c < block.channels(); ++c, ++partial)
            for (std::int64_t k = 0; k < fold_; ++k)
                *partial += sum.comoments(kernels_.slot_of(c * fold_ + k, width, task_.dtype));
}

void Task::add_pooled(const Block& block, Comoments* partial) const {
    const TypedKernels& doubles = kernels_.typed[static_cast<int>(DType::f64)];
    const std::int64_t width = kernels_.slots(block.channels());
    const double positions = static_cast<double>(run_ * task_.positions.size);

    std::vector<double> mean_a(static_cast<std::size_t>(width)), mean_b(static_cast<std::size_t>(width));
    const void* a[1] = {mean_a.data()};
    const void* b[1] = {mean_b.data()};
    std::vector<RunningSums> sums = per_factor([&] { return RunningSums::of_columns(kernels_, DType::f64, width); });
    for (std::int64_t n = block.first_sample; n < block.last_sample; ++n) {
        std::fill(mean_a.begin(), mean_a.end(), 0.0);
        std::fill(mean_b.begin(), mean_b.end(), 0.0);
        if (rows_)
            pool_rows(block, base_a(block, n), base_b(block, n), mean_a.data(), mean_b.data());
        else
            pool_columns(block, base_a(block, n), base_b(block, n), mean_a.data(), mean_b.data());
        for (double& mean : mean_a) mean /= positions;
        for (double& mean : mean_b) mean /= positions;
        RunningSums& sum = sums[factor_of(n)];
        if (sum.empty()) {
            std::copy(mean_a.begin(), mean_a.end(), sum.shift_a());
            std::copy(mean_b.begin(), mean_b.end(), sum.shift_b());
        }
        doubles.columns(a, b, 1, width, sum.shift_a(), sum.shift_b(), sum.acc());
        sum.count(1, 1);
    }
    const std::int64_t summed = std::max<std::int64_t>(block.channels(), kernels_.block);
    for (const RunningSums& sum : sums)
        for (std::int64_t c = 0; c < block.channels(); ++c)
            *partial++ = sum.comoments(rows_ ? c : kernels_.slot_of(c, summed, task_.dtype));
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

void comoments(const ComomentsTask& task, int max_threads, double* out) { Task(task).run(max_threads, out); }

}  // namespace sdfast::cpu
