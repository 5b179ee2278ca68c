#include "cpu/static_dropout.h"

#include "bind/module.h"
#include "bind/tasks.h"
#include "bind/threads.h"

namespace sdfast {
namespace {

void run(const StaticDropoutTask& task, std::initializer_list<py::handle>) {
    const int threads = num_threads();
    const py::gil_scoped_release release;
    cpu::static_dropout(task, threads);
}

const Binding binding([](py::module_& m) { def_static_dropout(m, run); });

}  // namespace
}  // namespace sdfast
