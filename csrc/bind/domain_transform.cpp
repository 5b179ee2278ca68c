// Smoothing of frames for the appearance styles. Frames come as NumPy arrays: no torch tensor is involved in decoding.
#include "cpu/domain_transform.h"

#include <pybind11/numpy.h>

#include <string>

#include "bind/module.h"

namespace sdfast {
namespace {

namespace py = pybind11;
using Pictures = py::array_t<std::uint8_t, py::array::c_style>;

cpu::Frames frames_of(const Pictures& frames, float reach, float contrast) {
    if (frames.ndim() != 4 || frames.shape(3) != 3 || frames.shape(1) == 0 || frames.shape(2) == 0)
        throw py::value_error("frames: expected uint8 (T, H, W, 3)");
    if (!(reach > 0) || !(contrast > 0)) throw py::value_error("reach, contrast: expected positive numbers");
    return {frames.data(), frames.shape(0), frames.shape(1), frames.shape(2)};
}

py::array_t<float> edge_preserving(const Pictures& frames, float reach, float contrast, bool recursive) {
    const cpu::Frames from = frames_of(frames, reach, contrast);
    py::array_t<float> out({from.count, from.height, from.width, std::int64_t{3}});
    float* const to = out.mutable_data();
    const py::gil_scoped_release release;
    cpu::edge_preserving(from, reach, contrast,
                         recursive ? cpu::EdgeFilter::recursive : cpu::EdgeFilter::normalised_convolution, to);
    return out;
}

py::array_t<float> alike_widths(const Pictures& frames, float reach, float contrast) {
    const cpu::Frames from = frames_of(frames, reach, contrast);
    py::array_t<float> out({from.count, from.height, from.width});
    float* const to = out.mutable_data();
    const py::gil_scoped_release release;
    cpu::alike_widths(from, reach, contrast, to);
    return out;
}

const Binding binding([](py::module_& m) {
    m.def("edge_preserving", &edge_preserving, py::arg("frames"), py::arg("reach"), py::arg("contrast"),
          py::arg("recursive"), "Return frames (T, H, W, 3) smoothed but for their edges, float32 from 0 to 255.");
    m.def("alike_widths", &alike_widths, py::arg("frames"), py::arg("reach"), py::arg("contrast"),
          "Return how many pixels (T, H, W) are alike in the row and in the column of each, together.");
});

}  // namespace
}  // namespace sdfast
