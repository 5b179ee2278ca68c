#include "emulator.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace sdfast::cuda {

Here here;
int current_gpu = 0;
int emulated_processors = 4;
std::uint64_t order_seed = 0;
std::int64_t launches = 0, blocks_run = 0;

namespace {

constexpr std::size_t kStack = 128 * 1024;
constexpr int kLanes = 32;

enum class State { ready, at_barrier, at_shuffle, done };

// A thread of the block. The stack is entered once through makecontext; later switches are jumps, which are cheaper.
struct Fiber {
    std::unique_ptr<char[]> stack{new char[kStack]};
    ucontext_t context;
    jmp_buf at;
    State state = State::ready;
    bool started = false;
    int shuffles = 0;
};

struct Machine {
    std::vector<Fiber> fibers;
    std::vector<double> exchanged[2];  // of a warp's lanes; a lane may be one shuffle ahead of another
    const std::function<void()>* thread = nullptr;
    std::exception_ptr error;
    jmp_buf scheduler;
} machine;

// Lets other threads go on until this one is ready again.
void wait(State state) {
    Fiber& fiber = machine.fibers[static_cast<std::size_t>(here.thread)];
    fiber.state = state;
    if (_setjmp(fiber.at) == 0) _longjmp(machine.scheduler, 1);
}

void enter() {
    try {
        (*machine.thread)();
    } catch (...) {
        machine.error = std::current_exception();
    }
    machine.fibers[static_cast<std::size_t>(here.thread)].state = State::done;
    _longjmp(machine.scheduler, 1);
}

void resume(int index) {
    Fiber& fiber = machine.fibers[static_cast<std::size_t>(index)];
    here.thread = index;
    if (_setjmp(machine.scheduler) != 0) return;
    if (fiber.started) _longjmp(fiber.at, 1);
    fiber.started = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
    setcontext(&fiber.context);
}

// Releases those that have all arrived. Returns whether a thread can go on.
bool release(int threads) {
    const auto state = [](int i) -> State& { return machine.fibers[static_cast<std::size_t>(i)].state; };
    const auto all = [&](int begin, int end, State wanted) {
        for (int i = begin; i < end; ++i)
            if (state(i) != wanted) return false;
        return true;
    };
    bool any = false;
    const auto free = [&](int begin, int end) {
        for (int i = begin; i < end; ++i) state(i) = State::ready;
        any = true;
    };
    for (int warp = 0; warp < threads; warp += kLanes)
        if (all(warp, warp + kLanes, State::at_shuffle)) free(warp, warp + kLanes);
    if (!any && all(0, threads, State::at_barrier)) free(0, threads);
    return any;
}

void run_block(int threads, std::mt19937_64& random) {
    for (Fiber& fiber : machine.fibers) {
        fiber.state = State::ready;
        fiber.started = false;
        fiber.shuffles = 0;
    }
    std::vector<int> order(static_cast<std::size_t>(threads));
    for (int i = 0; i < threads; ++i) order[static_cast<std::size_t>(i)] = i;
    do {
        std::shuffle(order.begin(), order.end(), random);
        for (const int i : order) {
            if (machine.fibers[static_cast<std::size_t>(i)].state != State::ready) continue;
            resume(i);
            if (machine.error) std::rethrow_exception(std::exchange(machine.error, nullptr));
        }
    } while (release(threads));
    for (int i = 0; i < threads; ++i)
        if (machine.fibers[static_cast<std::size_t>(i)].state != State::done)
            throw std::runtime_error("emulator: thread " + std::to_string(i) + " waits for others that do not come");
}

}  // namespace

void barrier() { wait(State::at_barrier); }

double from_lane_across(double value, int distance) {
    const auto self = static_cast<std::size_t>(here.thread);
    std::vector<double>& slots = machine.exchanged[machine.fibers[self].shuffles++ % 2];
    slots[self] = value;
    wait(State::at_shuffle);
    return slots[self ^ static_cast<std::size_t>(distance)];
}

Bits load_bits(const void* from) {
    if (reinterpret_cast<std::uintptr_t>(from) % 16 != 0) throw std::runtime_error("emulator: misaligned load");
    Bits x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

void store_bits(void* to, const Bits& x) {
    if (reinterpret_cast<std::uintptr_t>(to) % 16 != 0) throw std::runtime_error("emulator: misaligned store");
    std::memcpy(to, &x, sizeof x);
}

// To the nearest, ties to even.
void narrow(float x, BFloat16& to) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (x != x)
        bits = 0x7fff0000;
    else
        bits += 0x7fff + (bits >> 16 & 1);
    to.bits = static_cast<std::uint16_t>(bits >> 16);
}

void narrow(float x, Half& to) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const std::uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    std::uint32_t half;
    if (magnitude > 0x7f800000) {
        half = 0x7fff;
    } else if (magnitude >= 0x477ff000) {
        half = 0x7c00;
    } else if (magnitude < 0x38800000) {  // steps of 2^-24: adding 1/2 leaves just those bits, rounded
        float small;
        std::memcpy(&small, &magnitude, sizeof small);
        small += 0.5f;
        std::memcpy(&half, &small, sizeof half);
        half -= 0x3f000000;
    } else {
        half = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    }
    to.bits = static_cast<std::uint16_t>(sign | half);
}

void run_grid(std::int64_t blocks, int threads, std::size_t shared_bytes, Stream stream,
              const std::function<void()>& thread) {
    check_grid(blocks);
    if (stream != stream_of(current_gpu)) throw std::runtime_error("emulator: a stream of another GPU");
    if (threads % kLanes != 0 || threads > 1024 || shared_bytes > 48 * 1024 || blocks < 1)
        throw std::runtime_error("emulator: a launch that no GPU takes");
    ++launches;
    blocks_run += blocks;
    std::mt19937_64 random(order_seed++);
    const auto count = static_cast<std::size_t>(threads);
    machine.fibers.resize(std::max(machine.fibers.size(), count));
    for (auto& slots : machine.exchanged) slots.resize(count);
    machine.thread = &thread;
    std::vector<std::max_align_t> memory(shared_bytes / sizeof(std::max_align_t) + 2);
    here.shared = reinterpret_cast<unsigned char*>(memory.data());
    here.blocks = blocks;
    std::vector<std::int64_t> order(static_cast<std::size_t>(blocks));
    for (std::int64_t i = 0; i < blocks; ++i) order[static_cast<std::size_t>(i)] = i;
    std::shuffle(order.begin(), order.end(), random);
    for (const std::int64_t block : order) {
        here.block = block;
        std::memset(here.shared, 0xff, shared_bytes);
        run_block(threads, random);
    }
}

void check(int) {}

OnDevice::OnDevice(int device) : previous_(current_gpu) { current_gpu = device; }
OnDevice::~OnDevice() { current_gpu = previous_; }

int processors() { return emulated_processors; }

}  // namespace sdfast::cuda
