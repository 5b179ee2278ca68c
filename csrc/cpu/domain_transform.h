// Filters of frames that smooth what is alike and stop at edges, for the appearance styles.
//
// Gastal and Oliveira, Domain Transform for Edge-Aware Image and Video Processing, 2011: along a row, pixels lie as far
// apart as their colours differ, and are smoothed by a filter of constant width there. Rows and columns take turns.
#pragma once
#include <cstdint>

namespace sdfast::cpu {

// Frames (N, H, W, 3), one after the other.
struct Frames {
    const std::uint8_t* data;
    std::int64_t count, height, width;
};

enum class EdgeFilter { normalised_convolution, recursive };

// Writes the smoothed frames (N, H, W, 3), from 0 to 255: `reach` is in pixels, `contrast` the part of the full range
// by which colours differ to be an edge.
void edge_preserving(const Frames& frames, float reach, float contrast, EdgeFilter filter, float* out);

// Writes how many pixels, (N, H, W), are alike in the row and in the column of each, together.
void alike_widths(const Frames& frames, float reach, float contrast, float* out);

}  // namespace sdfast::cpu
