// The CPU kernels as a program, so that an emulator can run them as built for another processor: calls come from
// standard input, results go to standard output. A number is an int64; a tensor is its size in bytes, at most all its
// memory.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cpu/comoments.h"
#include "cpu/kraskov.h"
#include "cpu/normal_scores.h"
#include "cpu/static_dropout.h"

namespace {

using namespace sdfast;

constexpr int kThreads = 2;

void read(void* to, std::size_t bytes) {
    if (std::fread(to, 1, bytes, stdin) != bytes) std::exit(0);
}

std::int64_t number() {
    std::int64_t n;
    read(&n, sizeof n);
    return n;
}

std::vector<char> tensor() {
    std::vector<char> bytes(static_cast<std::size_t>(number()));
    read(bytes.data(), bytes.size());
    return bytes;
}

template <class T>
const T* data(const std::vector<char>& bytes) {
    return bytes.empty() ? nullptr : reinterpret_cast<const T*>(bytes.data());
}

Dim dim() { return {number(), number(), number()}; }

PairLayout layout() {
    PairLayout all{static_cast<DType>(number()), dim(), dim(), {}};
    for (std::int64_t count = number(); count > 0; --count) all.positions.push_back(dim());
    return all;
}

void answer(const void* from, std::size_t bytes) {
    std::fwrite(from, 1, bytes, stdout);
    std::fflush(stdout);
}

void comoments() {
    const std::vector<char> a = tensor(), b = tensor(), labels = tensor();
    ComomentsTask task{{layout(), a.data(), b.data()}, {data<std::int64_t>(labels), 1}};
    task.factors = number();
    task.pool = number() != 0;
    std::vector<double> moments(static_cast<std::size_t>(6 * task.factors * task.channel.size));
    cpu::comoments(task, kThreads, moments.data());
    answer(moments.data(), moments.size() * sizeof(double));
}

void static_dropout() {
    std::vector<char> x = tensor(), out = tensor();
    const std::vector<char> mask = tensor(), weight = tensor();
    StaticDropoutTask task;
    static_cast<PairLayout&>(task) = layout();
    const bool in_place = out.empty();
    task.x = x.data();
    task.out = in_place ? x.data() : out.data();
    const auto seed = static_cast<std::uint64_t>(number());
    task.seed = &seed;
    const auto p = static_cast<std::int32_t>(number());
    std::memcpy(&task.p, &p, sizeof p);
    task.granularity = static_cast<Granularity>(number());
    task.rescale = number() != 0;
    task.channel_weight = data<float>(weight);
    task.mask.data = data<char>(mask);
    if (task.mask) {
        task.mask.type = static_cast<MaskType>(number());
        task.mask.batch_stride = number();
        for (int d = 0; d < task.positions.count; ++d) {
            task.mask.grid[d] = number();
            task.mask.stride[d] = number();
        }
    }
    cpu::static_dropout(task, kThreads);
    answer(task.out, in_place ? x.size() : out.size());
}

// Contiguous samples (N, C).
cpu::Samples samples(const std::vector<char>& bytes, std::int64_t channels) {
    const auto count = static_cast<std::int64_t>(bytes.size() / sizeof(double)) / channels;
    return {data<double>(bytes), count, channels, channels, 1};
}

void normal_scores() {
    const std::vector<char> from = tensor();
    std::vector<double> scores(from.size() / sizeof(double));
    cpu::normal_scores(samples(from, number()), kThreads, scores.data());
    answer(scores.data(), from.size());
}

void kraskov() {
    const std::vector<char> a = tensor(), b = tensor();
    const std::int64_t channels = number(), neighbors = number(), seed = number();
    std::vector<double> information(static_cast<std::size_t>(channels));
    cpu::kraskov(samples(a, channels), samples(b, channels), neighbors, static_cast<std::uint64_t>(seed), kThreads,
                 information.data());
    answer(information.data(), information.size() * sizeof(double));
}

}  // namespace

int main() {
    constexpr void (*kCalls[])() = {comoments, static_dropout, normal_scores, kraskov};
    for (;;) kCalls[number()]();
}
