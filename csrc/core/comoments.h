// Co-moments of paired samples: what a channel's correlation is made of. Shared by every kernel.
#pragma once
#include <cmath>

#include "core/host_device.h"

namespace sdfast {

// Centred sums of one channel: m2_a = sum (a - mean_a)^2, c_ab = sum (a - mean_a)(b - mean_b).
struct Comoments {
    double count = 0, mean_a = 0, mean_b = 0, m2_a = 0, m2_b = 0, c_ab = 0;

    // Chan's formula: as if all samples of both had been seen together.
    SDFAST_HOST_DEVICE Comoments& operator+=(const Comoments& other) {
        if (other.count == 0) return *this;
        if (count == 0) return *this = other;
        const double total = count + other.count;
        const double gap_a = other.mean_a - mean_a, gap_b = other.mean_b - mean_b;
        const double weight = count * other.count / total;
        mean_a += gap_a * (other.count / total);
        mean_b += gap_b * (other.count / total);
        m2_a += other.m2_a + gap_a * gap_a * weight;
        m2_b += other.m2_b + gap_b * gap_b * weight;
        c_ab += other.c_ab + gap_a * gap_b * weight;
        count = total;
        return *this;
    }
};

// Plain sums of samples that had a shift near their mean subtracted, which keeps the squares small.
struct ShiftedSums {
    double count = 0, shift_a = 0, shift_b = 0, a = 0, b = 0, aa = 0, bb = 0, ab = 0;

    SDFAST_HOST_DEVICE Comoments centred() const {
        if (count == 0) return {};
        // A sum of squares below zero is rounding; the comparison lets NaN through.
        const double m2_a = aa - a * a / count, m2_b = bb - b * b / count;
        return {count,
                shift_a + a / count,
                shift_b + b / count,
                m2_a < 0 ? 0 : m2_a,
                m2_b < 0 ? 0 : m2_b,
                ab - a * b / count};
    }
};

enum class Kind { pearson, intraclass };

// A correlation without what rounding took it beyond 1; NaN stays.
SDFAST_HOST_DEVICE inline double bounded(double corr) { return corr > 1 ? 1 : corr < -1 ? -1 : corr; }

// NaN below two samples or where a sample was not finite, 0 where the variance is zero.
SDFAST_HOST_DEVICE inline double correlation(const Comoments& m, Kind kind) {
    if (m.count < 2) return NAN;
    double covariance = m.c_ab, scale;
    if (kind == Kind::pearson) {
        // sqrt(m2_a * m2_b), but neither overflowing nor inexact where a = b.
        scale = m.m2_a == 0 || m.m2_b == 0 ? 0 : std::sqrt(m.m2_a / m.m2_b) * m.m2_b;
    } else {
        const double gap = (m.mean_a - m.mean_b) * (m.mean_a - m.mean_b) / 4;
        covariance = m.c_ab / m.count - gap;
        scale = (m.m2_a + m.m2_b) / (2 * m.count) + gap;
    }
    if (scale == 0) return covariance == covariance ? 0 : NAN;
    return bounded(covariance / scale);
}

// Gaussian lower bound in nats.
SDFAST_HOST_DEVICE inline double mutual_information(double corr) { return -0.5 * std::log1p(-corr * corr); }

}  // namespace sdfast
