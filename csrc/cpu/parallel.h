// Work that threads share.
#pragma once
#include <cstdint>
#include <exception>
#if defined(__SANITIZE_THREAD__)
#include <mutex>
#include <thread>
#include <vector>
#endif

namespace sdfast::cpu {

// Below this, waking a thread costs more than it saves.
#if defined(__SANITIZE_THREAD__)
constexpr std::int64_t kBytesPerThread = 128;
#else
constexpr std::int64_t kBytesPerThread = 128 * 1024;
#endif

// Calls share(i) for each i below `threads`, in a thread of its own. Throws what a share throws: an exception that
// leaves a parallel region would end the process.
template <class Share>
void in_parallel(int threads, Share share) {
    if (threads == 1) return share(0);  // even a parallel region of one thread costs a system call
    std::exception_ptr error;
#if defined(__SANITIZE_THREAD__)
    // It knows nothing of how OpenMP's threads wait for each other.
    std::mutex mutex;
    std::vector<std::thread> workers;
    for (int i = 0; i < threads; ++i)
        workers.emplace_back([&, i] {
            try {
                share(i);
            } catch (...) {
                const std::lock_guard<std::mutex> lock(mutex);
                error = std::current_exception();
            }
        });
    for (std::thread& worker : workers) worker.join();
#else
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int i = 0; i < threads; ++i) {
        try {
            share(i);
        } catch (...) {
#pragma omp critical
            error = std::current_exception();
        }
    }
#endif
    if (error) std::rethrow_exception(error);
}

}  // namespace sdfast::cpu
