#include "bind/module.h"
#include "bind/tasks.h"
#include "cuda/static_dropout.h"

namespace sdfast {
namespace {

void run(const StaticDropoutTask& task, std::initializer_list<py::handle> tensors) {
    const dlpack::Device device = one_device(tensors);
    const cuda::OnDevice on_device(device.index);
    cuda::static_dropout(cuda::plan_static_dropout(task, cuda::processors()), current_stream(device));
}

const Binding binding([](py::module_& m) { def_static_dropout(m, run); });

}  // namespace
}  // namespace sdfast
