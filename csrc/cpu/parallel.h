// Work that threads share.
#pragma once
#include <cstdint>
#include <exception>

namespace sdfast::cpu {

constexpr std::int64_t kBytesPerThread = 128 * 1024;  // below this, waking a thread costs more than it saves

// Calls share(i) for each i below `threads`, in a thread of its own. Throws what a share throws: an exception that
// leaves a parallel region would end the process.
template <class Share>
void in_parallel(int threads, Share share) {
    if (threads == 1) return share(0);  // even a parallel region of one thread costs a system call
    std::exception_ptr error;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int i = 0; i < threads; ++i) {
        try {
            share(i);
        } catch (...) {
#pragma omp critical
            error = std::current_exception();
        }
    }
    if (error) std::rethrow_exception(error);
}

}  // namespace sdfast::cpu
