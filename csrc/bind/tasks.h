// What kernels are asked to do, read from the arguments of a Python call. All refuse what does not fit.
#pragma once
#include "bind/tensors.h"
#include "core/tasks.h"

namespace sdfast {

// The element type of features.
DType feature_dtype(const dlpack::DataType& type);

// Two feature tensors (N, C, ...) of one shape and dtype.
FeaturePair feature_pair(py::handle feats_a, py::handle feats_b, std::int64_t channel_dim);

// Labels of the batch, not read; none for None.
Labels factor_labels(py::handle factor, std::int64_t batch, std::int64_t num_factors);

ComomentsTask comoments_task(py::handle feats_a, py::handle feats_b, py::handle factor, std::int64_t num_factors,
                             std::int64_t channel_dim, bool pool);

// Adds static_dropout to a module; `run` also gets the tensors that the task points into.
void def_static_dropout(py::module_& m,
                        void (*run)(const StaticDropoutTask& task, std::initializer_list<py::handle> tensors));

}  // namespace sdfast
