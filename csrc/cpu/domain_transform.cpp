#include "cpu/domain_transform.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace sdfast::cpu {
namespace {

constexpr int kRounds = 3;
constexpr int kDistances = 3 * 255 + 1;  // of two colours: the sum over their channels

typedef float Pixel __attribute__((vector_size(16)));  // red, green, blue and nothing

// Rows of pixels, or the columns of a frame as rows.
struct Picture {
    Picture(std::int64_t height, std::int64_t width)
        : rows(height), length(width), pixels(static_cast<std::size_t>(height * width)) {}

    Pixel* row(std::int64_t y) { return pixels.data() + y * length; }
    const Pixel* row(std::int64_t y) const { return pixels.data() + y * length; }

    std::int64_t rows, length;
    std::vector<Pixel> pixels;
};

void transpose(const Picture& from, Picture& to) {
    constexpr std::int64_t kTile = 8;
    for (std::int64_t top = 0; top < from.rows; top += kTile)
        for (std::int64_t left = 0; left < from.length; left += kTile)
            for (std::int64_t x = left; x < std::min(left + kTile, from.length); ++x)
                for (std::int64_t y = top; y < std::min(top + kTile, from.rows); ++y) to.row(x)[y] = from.row(y)[x];
}

// Between pixels of whole numbers.
int distance(Pixel a, Pixel b) {
    const Pixel d = a - b;
    return static_cast<int>(std::fabs(d[0]) + std::fabs(d[1]) + std::fabs(d[2]));
}

// The standard deviation of each round, half of that before: together they are that of `reach`.
float deviation(float reach, int round) {
    constexpr float kAll = 63;  // 4^rounds - 1
    static_assert(kRounds == 3);
    return reach * std::sqrt(3.0f / kAll) * static_cast<float>(1 << (kRounds - 1 - round));
}

// Where the pixels of each row lie after the transform.
class Places {
  public:
    Places(const Picture& picture, float reach, float contrast)
        : length_(picture.length),
          places_(static_cast<std::size_t>(picture.rows * (length_ + 1))),
          first_(static_cast<std::size_t>(length_)) {
        const float slope = reach / contrast / 255;
        for (std::int64_t y = 0; y < picture.rows; ++y) {
            const Pixel* const row = picture.row(y);
            float* const places = places_.data() + y * (length_ + 1);
            places[0] = 1;
            for (std::int64_t x = 1; x < length_; ++x)
                places[x] = places[x - 1] + 1 + slope * static_cast<float>(distance(row[x], row[x - 1]));
            places[length_] = std::numeric_limits<float>::infinity();
        }
    }

    // Calls f(x, first, end) for each pixel of a row: those within `radius` of it are from first to end - 1. The first
    // of a pixel is the first that it is within the radius of.
    template <class F>
    void each(std::int64_t y, float radius, F f) {
        const float* const places = places_.data() + y * (length_ + 1);
        std::int64_t* const first = first_.data();
        std::int64_t end = 0;
        for (std::int64_t x = 0; x < length_; ++x) {
            const float limit = places[x] + radius;
            while (places[end] <= limit) first[end++] = x;
            f(x, first[x], end);
        }
    }

  private:
    std::int64_t length_;
    std::vector<float> places_;  // with one beyond all at the end of each row
    std::vector<std::int64_t> first_;
};

// Gives each pixel the mean of those within a radius.
class NormalisedConvolution {
  public:
    NormalisedConvolution(const Picture& picture, float reach, float contrast)
        : places_(picture, reach, contrast),
          reach_(reach),
          sums_(static_cast<std::size_t>(picture.length + 1)),
          share_(sums_.size()) {
        for (std::size_t number = 1; number < share_.size(); ++number) share_[number] = 1 / static_cast<float>(number);
    }

    void operator()(Picture& picture, int round) {
        const float radius = std::sqrt(3.0f) * deviation(reach_, round);
        for (std::int64_t y = 0; y < picture.rows; ++y) {
            Pixel *const row = picture.row(y), *const sums = sums_.data();
            sums[0] = Pixel{};
            for (std::int64_t x = 0; x < picture.length; ++x) sums[x + 1] = sums[x] + row[x];
            places_.each(y, radius, [&](std::int64_t x, std::int64_t first, std::int64_t end) {
                row[x] = (sums[end] - sums[first]) * share_[static_cast<std::size_t>(end - first)];
            });
        }
    }

  private:
    Places places_;
    float reach_;
    std::vector<Pixel> sums_;
    std::vector<float> share_;
};

// Lets each row take from the one before it as much as their pixels are alike, down and up again.
class Recursive {
  public:
    Recursive(const Picture& picture, float reach, float contrast)
        : reach_(reach), slope_(reach / contrast / 255), distances_(picture.pixels.size()) {
        for (std::int64_t y = 1; y < picture.rows; ++y)
            for (std::int64_t x = 0; x < picture.length; ++x)
                between(picture, y)[x] = static_cast<std::uint16_t>(distance(picture.row(y)[x], picture.row(y - 1)[x]));
    }

    void operator()(Picture& picture, int round) {
        const float each = -std::sqrt(2.0f) / deviation(reach_, round);
        for (int d = 0; d < kDistances; ++d) share_[d] = std::exp(each * (1 + slope_ * static_cast<float>(d)));
        for (std::int64_t y = 1; y < picture.rows; ++y)
            take(picture.row(y), picture.row(y - 1), between(picture, y), picture.length);
        for (std::int64_t y = picture.rows - 1; y > 0; --y)
            take(picture.row(y - 1), picture.row(y), between(picture, y), picture.length);
    }

  private:
    // The distances from the row before.
    std::uint16_t* between(const Picture& picture, std::int64_t y) { return distances_.data() + y * picture.length; }

    void take(Pixel* row, const Pixel* from, const std::uint16_t* distances, std::int64_t length) const {
        for (std::int64_t x = 0; x < length; ++x) row[x] += share_[distances[x]] * (from[x] - row[x]);
    }

    float reach_, slope_;
    float share_[kDistances];
    std::vector<std::uint16_t> distances_;
};

// Calls f(number, frame, frame with its columns as rows) for each frame.
template <class F>
void each_frame(const Frames& frames, F f) {
    Picture upright(frames.height, frames.width), lying(frames.width, frames.height);
    const std::int64_t size = frames.height * frames.width;
    for (std::int64_t n = 0; n < frames.count; ++n) {
        const std::uint8_t* from = frames.data + 3 * n * size;
        for (Pixel& pixel : upright.pixels) {
            pixel = Pixel{static_cast<float>(from[0]), static_cast<float>(from[1]), static_cast<float>(from[2]), 0};
            from += 3;
        }
        transpose(upright, lying);
        f(n, upright, lying);
    }
}

// Filters along the rows of `first` and those of `second`, in turn; what comes out is in both.
template <class Filter>
void smooth(Picture& first, Picture& second, float reach, float contrast) {
    Filter along_first(first, reach, contrast), along_second(second, reach, contrast);
    for (int round = 0; round < kRounds; ++round) {
        along_first(first, round);
        transpose(first, second);
        along_second(second, round);
        transpose(second, first);
    }
}

}  // namespace

void edge_preserving(const Frames& frames, float reach, float contrast, EdgeFilter filter, float* out) {
    each_frame(frames, [&](std::int64_t, Picture& upright, Picture& lying) {
        if (filter == EdgeFilter::recursive)  // from row to row: along the rows of the frame where these are columns
            smooth<Recursive>(lying, upright, reach, contrast);
        else
            smooth<NormalisedConvolution>(upright, lying, reach, contrast);
        for (const Pixel& pixel : upright.pixels)
            for (int channel = 0; channel < 3; ++channel) *out++ = pixel[channel];
    });
}

void alike_widths(const Frames& frames, float reach, float contrast, float* out) {
    const float radius = std::sqrt(3.0f) * deviation(reach, 0);
    each_frame(frames, [&](std::int64_t n, const Picture& upright, const Picture& lying) {
        float* const widths = out + n * frames.height * frames.width;
        Places in_rows(upright, reach, contrast), in_columns(lying, reach, contrast);
        for (std::int64_t y = 0; y < frames.height; ++y)
            in_rows.each(y, radius, [&](std::int64_t x, std::int64_t first, std::int64_t end) {
                widths[y * frames.width + x] = static_cast<float>(end - first);
            });
        for (std::int64_t x = 0; x < frames.width; ++x)
            in_columns.each(x, radius, [&](std::int64_t y, std::int64_t first, std::int64_t end) {
                widths[y * frames.width + x] += static_cast<float>(end - first);
            });
    });
}

}  // namespace sdfast::cpu
