#include "cpu/static_dropout.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "core/division.h"
#include "core/philox.h"
#include "cpu/caches.h"
#include "cpu/isa.h"
#include "cpu/mask_rows.h"
#include "cpu/parallel.h"
#include "cpu/static_dropout_lanes.h"

namespace sdfast::cpu {
namespace {

constexpr std::int64_t kPiece = 4096;         // elements of a row handled at a time; their draws stay in cache
constexpr std::int64_t kFetched = 12 * 1024;  // bytes that are fetched before their turn
constexpr std::int64_t kRound = 64;           // elements that pieces are multiples of
constexpr std::size_t kWaiting = 64;          // pieces done before their places are cleared
constexpr std::int64_t kShortRow = 1024;      // several of these share a batch of draws

using philox::kDraws;

// A number that may lie at any address.
template <class T>
T loaded(const T* from) {
    T value;
    std::memcpy(&value, static_cast<const void*>(from), sizeof value);
    return value;
}

class StaticDropout {
  public:
    explicit StaticDropout(const StaticDropoutTask& task);

    void run(int max_threads) const;

  private:
    class Worker;

    // Runs of positions (or of channels, where there are no positions): one (n, c) each.
    bool positions_run() const;
    void join_rows();
    // Whether a store has to have the memory that it changes in a cache, other than that of x.
    bool reads_out() const { return !in_place_ && !past_caches_; }
    bool channels_run() const { return channel_.stride_a == item_ && channel_.stride_b == item_; }
    float rate(std::int64_t c) const { return rates_.empty() ? rate_ : rates_[static_cast<std::size_t>(c)]; }

    const StaticDropoutTask& task_;
    const StaticDropoutKernels& kernels_ = static_dropout_kernels();
    const std::uint64_t seed_ = loaded(task_.seed);
    const std::int64_t item_ = task_.item();
    Dim batch_, channel_;
    Dims positions_;
    bool vectors_;           // no positions: the channels take their place in the draws
    std::int64_t counters_;  // of a row
    float rate_;
    std::vector<float> rates_;  // of the channels, 65536 p w
    std::vector<std::int32_t> thresholds_;
    std::vector<float> scales_;
    std::vector<std::uint16_t> shared_;  // draws that elements share, by n or by (n, c)
    bool in_place_;
    std::int64_t bytes_;
    bool past_caches_;
};

StaticDropout::StaticDropout(const StaticDropoutTask& task)
    : task_(task),
      batch_(task.batch),
      channel_(task.channel),
      positions_(task.positions),
      vectors_(positions_.size == 1),
      rate_(task.p * 65536.0f),
      in_place_(task.in_place()) {
    if (task_.channel_weight)
        for (std::int64_t c = 0; c < channel_.size; ++c) {
            rates_.push_back(drop_rate(task_.p, loaded(task_.channel_weight + c)));
            thresholds_.push_back(drop_threshold(rates_.back(), 1.0f));
            scales_.push_back(keep_scale(thresholds_.back()));
        }
    if (task_.granularity != Granularity::element) {
        const std::int64_t draws = task_.granularity == Granularity::region ? batch_.size : batch_.size * channel_.size;
        shared_.resize(static_cast<std::size_t>(ceil_div(draws, kDraws) * kDraws + kDrawSlack));
        kernels_.draws(seed_, 0, ceil_div(draws, kDraws), shared_.data());
    }
    if (vectors_) {
        positions_ = {};
        positions_.push_back(channel_);
        channel_ = {1, 0, 0};
    }
    bytes_ = batch_.size * channel_.size * positions_.size * item_;
    past_caches_ = !in_place_ && bytes_ >= past_caches_from();
    join_rows();
    counters_ = ceil_div(positions_.size, kDraws);
}

// Rows that follow each other in memory and in the draws, at one rate, make longer rows.
void StaticDropout::join_rows() {
    std::int64_t size = positions_.size;
    const std::int64_t bytes = size * item_;
    const auto follows = [](const Dim& d, std::int64_t stride) {
        return d.size == 1 || (d.stride_a == stride && d.stride_b == stride);
    };
    const bool one_rate = rates_.empty() && !task_.mask && task_.granularity == Granularity::element;
    if (!one_rate || size % kDraws != 0 || !positions_run() || !follows(channel_, bytes) ||
        !follows(batch_, bytes * channel_.size))
        return;
    std::int64_t rows = batch_.size * channel_.size;
    for (; rows % 2 == 0 && size * 2 <= kPiece; rows /= 2) size *= 2;
    batch_ = {1, 0, 0};
    channel_ = {rows, size * item_, size * item_};
    positions_ = {};
    positions_.push_back({size, item_, item_});
    vectors_ = false;
}

bool StaticDropout::positions_run() const {
    std::int64_t stride = item_;
    for (int d = positions_.count; d-- > 0;) {
        const Dim& dim = positions_.dims[d];
        if (dim.size > 1 && (dim.stride_a != stride || dim.stride_b != stride)) return false;
        stride *= dim.size;
    }
    return true;
}

// One thread's share of the rows.
class StaticDropout::Worker {
  public:
    explicit Worker(const StaticDropout& owner)
        : owner_(owner),
          task_(owner.task_),
          mask_(task_.mask, task_.positions),
          walk_(owner.positions_),
          draws_(static_cast<std::size_t>(kPiece + kShortRow + kDrawSlack)) {}

    void rows_of_positions(std::int64_t first, std::int64_t last, bool contiguous);
    void rows_of_channels(std::int64_t first, std::int64_t last);

  private:
    void enter(std::int64_t n) {
        if (n == entry_) return;
        entry_ = n;
        mask_.load(n);
    }
    void draw(std::int64_t row, std::int64_t last_row, const Span& span, Decision& d);
    void decide(std::int64_t n, std::int64_t c, std::int64_t last_row, const Span& span, Decision& d);
    void decide_vector(std::int64_t n, std::int64_t last_row, const Span& span, Decision& d);
    void rate_channels(float value, std::int64_t first, Decision& d) const;
    // A span of the row of (n, c), whose position 0 is at x and out.
    struct Piece {
        const char* x;
        char* out;
        Span span;
        std::int64_t n, c;
    };
    void submit(const Piece& piece, std::int64_t last_row, bool contiguous);
    void work_off(std::int64_t bytes, std::int64_t last_row, bool contiguous);
    Fetch fetch_of(const Piece& piece) const;
    void apply(const Piece& piece, const Decision& decision, bool contiguous);
    void copy(const char* x, char* out, const Span& span, bool contiguous);

    const StaticDropout& owner_;
    const StaticDropoutTask& task_;
    MaskRows mask_;
    Walk walk_;
    std::vector<std::uint16_t> draws_;
    std::vector<char> packed_;
    std::vector<Piece> waiting_;  // the first `worked_` are done
    std::size_t worked_ = 0;
    std::int64_t waiting_bytes_ = 0;
    std::int64_t entry_ = -1;
    std::int64_t first_drawn_ = 0, last_drawn_ = 0;  // rows that draws_ holds
};

// Draws of a span of a row. Long rows make them as they go; short ones from a batch for several, as counters run on
// from row to row.
void StaticDropout::Worker::draw(std::int64_t row, std::int64_t last_row, const Span& span, Decision& d) {
    const std::int64_t pitch = owner_.counters_ * kDraws;
    const auto counter = [&](std::int64_t r) { return static_cast<std::uint64_t>(r * owner_.counters_); };
    if (pitch > kShortRow) {
        d.seed = owner_.seed_;
        d.first = counter(row) * kDraws + static_cast<std::uint64_t>(span.begin);
        return;
    }
    if (row < first_drawn_ || row >= last_drawn_) {
        first_drawn_ = row;
        last_drawn_ = std::min(last_row, row + kPiece / pitch);
        owner_.kernels_.draws(owner_.seed_, counter(row), (last_drawn_ - row) * owner_.counters_, draws_.data());
    }
    d.draws = draws_.data() + (row - first_drawn_) * pitch + span.begin;
}

void StaticDropout::Worker::copy(const char* x, char* out, const Span& span, bool contiguous) {
    if (owner_.in_place_ || span.length() == 0) return;
    const std::int64_t item = owner_.item_;
    if (contiguous) {
        std::memcpy(out + span.begin * item, x + span.begin * item, static_cast<std::size_t>(span.length() * item));
        return;
    }
    walk_.seek(span.begin);
    for (std::int64_t i = span.begin; i < span.end; ++i, walk_.next())
        std::memcpy(out + walk_.b(), x + walk_.a(), static_cast<std::size_t>(item));
}

void StaticDropout::Worker::apply(const Piece& piece, const Decision& decision, bool contiguous) {
    const bool draws = task_.granularity == Granularity::element && !decision.draws;
    const auto run = (draws ? owner_.kernels_.drop : owner_.kernels_.apply)[static_cast<int>(task_.dtype)];
    const std::int64_t item = owner_.item_;
    const Span& span = piece.span;
    if (contiguous) return run(piece.x + span.begin * item, piece.out + span.begin * item, span.length(), decision);
    const auto bytes = static_cast<std::size_t>(item);
    packed_.resize(static_cast<std::size_t>(kPiece * item));
    walk_.seek(span.begin);
    for (std::int64_t i = 0; i < span.length(); ++i, walk_.next())
        std::memcpy(packed_.data() + i * item, piece.x + walk_.a(), bytes);
    run(packed_.data(), packed_.data(), span.length(), decision);
    walk_.seek(span.begin);
    for (std::int64_t i = 0; i < span.length(); ++i, walk_.next())
        std::memcpy(piece.out + walk_.b(), packed_.data() + i * item, bytes);
}

// Works on pieces that came before; meanwhile the memory of this one is fetched.
void StaticDropout::Worker::submit(const Piece& piece, std::int64_t last_row, bool contiguous) {
    waiting_.push_back(piece);
    waiting_bytes_ += piece.span.length() * owner_.item_;
    work_off(kFetched, last_row, contiguous);
}

void StaticDropout::Worker::work_off(std::int64_t bytes, std::int64_t last_row, bool contiguous) {
    for (; worked_ < waiting_.size(); ++worked_) {
        const Piece& piece = waiting_[worked_];
        const std::int64_t behind = waiting_bytes_ - piece.span.length() * owner_.item_;
        if (behind < bytes) break;
        waiting_bytes_ = behind;
        Decision d{};
        d.rescale = task_.rescale;
        d.past_caches = owner_.past_caches_;
        if (contiguous && waiting_bytes_ > 0) d.fetch = fetch_of(waiting_.back());
        if (owner_.vectors_)
            decide_vector(piece.n, last_row, piece.span, d);
        else
            decide(piece.n, piece.c, last_row, piece.span, d);
        apply(piece, d, contiguous);
    }
    if (worked_ < kWaiting && waiting_bytes_ > 0) return;
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(worked_));
    worked_ = 0;
}

// Over a run of positions of channel c.
void StaticDropout::Worker::decide(std::int64_t n, std::int64_t c, std::int64_t last_row, const Span& span,
                                   Decision& d) {
    const std::int64_t row = n * owner_.channel_.size + c;
    d.rate = owner_.rate(c);
    if (!span.ones && mask_.marks()) {
        d.rates = Rates::binary;
        d.marks = mask_.marks();
        d.first_mark = span.begin;
    } else if (!span.ones) {
        d.rates = Rates::varied;
        d.factors = mask_.values() + span.begin;
    }
    if (task_.granularity == Granularity::element) draw(row, last_row, span, d);
    if (task_.granularity == Granularity::channel) d.draw = owner_.shared_[static_cast<std::size_t>(row)];
    if (task_.granularity == Granularity::region) d.draw = owner_.shared_[static_cast<std::size_t>(n)];
}

// Of channels from `first` on, where the mask has one value. A rate times that is the same in either order.
void StaticDropout::Worker::rate_channels(float value, std::int64_t first, Decision& d) const {
    d.rate = owner_.rates_.empty() ? owner_.rate_ * value : value;
    if (owner_.rates_.empty()) return;
    d.rates = value == 1 ? Rates::given : Rates::varied;
    d.factors = owner_.rates_.data() + first;
    d.thresholds = owner_.thresholds_.data() + first;
    d.scales = owner_.scales_.data() + first;
}

// Over a run of channels, where there are no positions.
void StaticDropout::Worker::decide_vector(std::int64_t n, std::int64_t last_row, const Span& span, Decision& d) {
    rate_channels(mask_.values() ? *mask_.values() : 1.0f, span.begin, d);
    if (task_.granularity == Granularity::element) draw(n, last_row, span, d);
    if (task_.granularity == Granularity::channel)
        d.draws = owner_.shared_.data() + n * owner_.positions_.size + span.begin;
    if (task_.granularity == Granularity::region) d.draw = owner_.shared_[static_cast<std::size_t>(n)];
}

Fetch StaticDropout::Worker::fetch_of(const Piece& piece) const {
    const std::int64_t begin = piece.span.begin * owner_.item_;
    return {piece.x + begin, owner_.reads_out() ? piece.out + begin : nullptr, piece.span.length() * owner_.item_};
}

void StaticDropout::Worker::rows_of_positions(std::int64_t first, std::int64_t last, bool contiguous) {
    const std::int64_t channels = owner_.channel_.size;
    const std::vector<Span> all{{0, owner_.positions_.size, true}};
    for (std::int64_t row = first; row < last; ++row) {
        const std::int64_t n = row / channels, c = row % channels;
        if (n != entry_) work_off(0, last, contiguous);  // they need the mask that is about to change
        enter(n);
        const char* x = task_.x + n * owner_.batch_.stride_a + c * owner_.channel_.stride_a;
        char* out = task_.out + n * owner_.batch_.stride_b + c * owner_.channel_.stride_b;
        const bool vectors = owner_.vectors_;
        const bool none = vectors ? mask_.spans().empty() : owner_.rate(c) == 0;
        std::int64_t done = 0;
        for (const Span& whole : vectors || !mask_.values() ? all : mask_.spans()) {
            if (none) break;
            copy(x, out, {done, whole.begin, false}, contiguous);
            // Equal pieces: each fetches the next as it goes.
            const std::int64_t pieces = ceil_div(whole.length(), kPiece);
            const std::int64_t step = ceil_div(ceil_div(whole.length(), pieces), kRound) * kRound;
            for (done = whole.begin; done < whole.end;) {
                const Span span{done, std::min(done + step, whole.end), whole.ones};
                submit({x, out, span, n, c}, last, contiguous);
                done = span.end;
            }
        }
        copy(x, out, {done, owner_.positions_.size, false}, contiguous);
    }
    work_off(0, last, contiguous);
}

// Channels lie side by side: eight positions at a time, whose draws come from one counter a channel.
void StaticDropout::Worker::rows_of_channels(std::int64_t first, std::int64_t last) {
    const std::int64_t channels = owner_.channel_.size;
    const std::int64_t pitch = channels + kDrawSlack;
    const auto apply = owner_.kernels_.apply[static_cast<int>(task_.dtype)];
    draws_.resize(static_cast<std::size_t>(kDraws * pitch));
    const std::int64_t bytes = channels * owner_.item_, ahead = kDraws * bytes;
    for (std::int64_t unit = first; unit < last; ++unit) {
        const std::int64_t n = unit / owner_.counters_, group = unit % owner_.counters_;
        enter(n);
        const std::int64_t begin = group * kDraws, end = std::min(begin + kDraws, owner_.positions_.size);
        const float* values = mask_.values();
        const bool none = values && std::all_of(values + begin, values + end, [](float v) { return v == 0; });
        if (!none && owner_.shared_.empty())
            owner_.kernels_.draws_across(owner_.seed_,
                                         static_cast<std::uint64_t>(n * channels * owner_.counters_ + group),
                                         static_cast<std::uint64_t>(owner_.counters_), channels, draws_.data(), pitch);
        walk_.seek(begin);
        for (std::int64_t position = begin; position < end; ++position, walk_.next()) {
            const char* x = task_.x + n * owner_.batch_.stride_a + walk_.a();
            char* out = task_.out + n * owner_.batch_.stride_b + walk_.b();
            const float value = values ? values[position] : 1.0f;
            // Rows that are left out fetch for those that are not.
            const std::int64_t later = position + kDraws;
            const bool wanted = !owner_.in_place_ || !values || later >= owner_.positions_.size || values[later] != 0;
            const Fetch fetch = {x + ahead, owner_.reads_out() ? out + ahead : nullptr, wanted ? bytes : 0};
            if (value == 0) {
                if (!owner_.in_place_)
                    std::memcpy(out, x, static_cast<std::size_t>(bytes));
                else
                    for (std::int64_t i = 0; i < fetch.bytes; i += 64) __builtin_prefetch(fetch.x + i, 0, 2);
                continue;
            }
            Decision decision{};
            rate_channels(value, 0, decision);
            decision.rescale = task_.rescale;
            decision.past_caches = owner_.past_caches_;
            decision.fetch = fetch;
            if (task_.granularity == Granularity::element) decision.draws = draws_.data() + (position - begin) * pitch;
            if (task_.granularity == Granularity::channel) decision.draws = owner_.shared_.data() + n * channels;
            if (task_.granularity == Granularity::region) decision.draw = owner_.shared_[static_cast<std::size_t>(n)];
            apply(x, out, channels, decision);
        }
    }
}

void StaticDropout::run(int max_threads) const {
    const bool contiguous = positions_run();
    const bool by_channels = !contiguous && channels_run() && channel_.size >= kDraws;
    const std::int64_t units = by_channels ? batch_.size * counters_ : batch_.size * channel_.size;
    const std::int64_t useful = std::clamp<std::int64_t>(bytes_ / kBytesPerThread, 1, units);
    const int threads = static_cast<int>(std::min<std::int64_t>(max_threads, useful));
    in_parallel(threads, [&](int i) {
        Worker worker(*this);
        const std::int64_t first = units * i / threads, last = units * (i + 1) / threads;
        if (by_channels)
            worker.rows_of_channels(first, last);
        else
            worker.rows_of_positions(first, last, contiguous);
        // What went past the caches is not ordered by the threads' joining alone.
        std::atomic_thread_fence(std::memory_order_seq_cst);
    });
}

}  // namespace

void static_dropout(const StaticDropoutTask& task, int max_threads) { StaticDropout(task).run(max_threads); }

}  // namespace sdfast::cpu
