// How the files of this room add what they bind to their module, sdfast._C or sdfast._cuda: none of them is listed.
#pragma once
#include <pybind11/pybind11.h>

namespace sdfast {

// A static object of a file: what the file adds to the module that it is linked into.
class Binding {
  public:
    using Add = void (*)(pybind11::module_& m);

    explicit Binding(Add add) : add_(add), next_(first_) { first_ = this; }

    static void add_all(pybind11::module_& m) {
        for (const Binding* binding = first_; binding; binding = binding->next_) binding->add_(m);
    }

  private:
    Add add_;
    const Binding* next_;
    static inline const Binding* first_ = nullptr;
};

}  // namespace sdfast
