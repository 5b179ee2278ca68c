// The correlation of every channel of one sample matrix with every channel of another: one matrix product, into which
// the samples go centred and scaled.
#pragma once
#include "cuda/comoments.h"
#include "cuda/layout.h"
#include "cuda/runtime.h"

namespace sdfast::cuda {

// Samples in rows, [S][channels]; strides in bytes.
struct SampleMatrix {
    const char* data = nullptr;
    std::int64_t channels = 0, sample_stride = 0, channel_stride = 0;
    const double* moments = nullptr;  // [6][channels]
    bool vectors = false;             // rows of whole, aligned 16 bytes

    SDFAST_HOST_DEVICE double mean(std::int64_t c) const { return moments[channels + c]; }
    SDFAST_HOST_DEVICE double m2(std::int64_t c) const { return moments[3 * channels + c]; }
};

struct PairwiseCorrelationTask {
    DType dtype = DType::f32;  // or f64
    std::int64_t samples = 0;
    SampleMatrix a, b;

    // What plan_pairwise_correlation decides: blocks share out the samples, too. A launch takes as many as the splits
    // have.
    std::int64_t samples_a_split = 0, splits = 0;
    bool goes_on = false;  // a launch adds to what earlier ones wrote
};

struct PairwiseCorrelationPlan {
    PairwiseCorrelationTask task;
    ComomentsPlan of_a, of_b;
    std::int64_t moments = 0, moments_workspace = 0;  // doubles
    std::int64_t partials = 0;                        // of the product's dtype, where there are several splits

    std::int64_t workspace() const;  // doubles
};

PairwiseCorrelationPlan plan_pairwise_correlation(PairwiseCorrelationTask task, int processors);

// Writes [channels of a][channels of b] in the dtype of the samples. `workspace` holds plan.workspace() doubles.
void pairwise_correlation(PairwiseCorrelationPlan plan, void* out, double* workspace, int processors, Stream stream);

// The kernels: the product of each split of the samples, [splits][channels of a][channels of b], and the sum of these.
void pairwise_product(const PairwiseCorrelationTask& task, void* out, Stream stream);
void pairwise_sum(const PairwiseCorrelationTask& task, void* out, const void* partials, Stream stream);

}  // namespace sdfast::cuda
