#include "bind/threads.h"

#include <omp.h>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "bind/module.h"

namespace sdfast {
namespace {

// OpenMP's threads stay behind when a process is forked, and GNU's library waits for them in the child for ever.
bool was_forked = false;

const Binding binding([](pybind11::module_& m) {
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] { was_forked = true; });
#endif
    m.def("max_threads", &num_threads, "Threads that a kernel may use, as torch.get_num_threads() says.");
});

}  // namespace

int num_threads() {
    if (was_forked) return 1;
    // What torch.set_num_threads has said elsewhere reaches OpenMP in a new thread when that first asks torch for it.
    static thread_local bool has_asked = false;
    if (!has_asked) {
        pybind11::module_::import("torch").attr("get_num_threads")();
        has_asked = true;
    }
    return omp_get_max_threads();
}

}  // namespace sdfast
