// Co-moments of feature pairs on a GPU, and what derives from them, in one pass over memory.
#pragma once
#include "core/comoments.h"
#include "core/tasks.h"
#include "cuda/layout.h"
#include "cuda/runtime.h"

namespace sdfast::cuda {

// What is null is not written.
struct ComomentsResults {
    double* moments = nullptr;      // [6][F][C]
    double* corr = nullptr;         // [F][C]
    double* mi = nullptr;           // [F][C], nats; with corr
    std::int64_t* count = nullptr;  // [F]; with corr
    Kind kind = Kind::pearson;
    double* state = nullptr;  // [6][F][C], to which moments are added
};

// Samples of paired channels and how blocks share them out. Of rows, a step is what `lanes` threads load at once of a
// run: kInFlight times as many vectors. Of columns, a step is one sample of all channels.
struct Samples : ComomentsTask {
    Divisors sizes;        // of the positions, which of rows are those without the run
    bool rows = false;     // positions lie side by side, else channels (or nothing does)
    bool vectors = false;  // 16 bytes at a time
    int lanes = 1;         // threads side by side: of one run, or of one sample
    std::int64_t run = 1;  // of rows: positions that lie side by side
    // Columns of float64 may hold means in parts: a sample is the sum of `fold` values that lie `fold_gap` bytes apart.
    std::int64_t fold = 1, fold_gap = 0;
    Divisor steps_a_run, runs_an_entry;
    std::int64_t steps = 0, steps_a_chunk = 0, chunks = 0;
    double* partials = nullptr;  // [chunks][6][F][C] where there are several chunks
    ComomentsResults results;

    SDFAST_HOST_DEVICE Offsets offsets(std::int64_t position) const {
        return cuda::offsets(positions, sizes, position);
    }
};

// Means of each batch entry and channel over the positions, [N][splits][C]: each split is a part of the sum.
struct Pooling {
    Samples from;
    std::int64_t splits = 1, steps_a_split = 0;
    double* mean_a = nullptr;
    double* mean_b = nullptr;
};

// All that is decided before a launch. The result depends on it, in the last digits: on the number of processors, too.
struct ComomentsPlan {
    bool pool = false;
    Pooling pooling;
    Samples samples;
    std::int64_t means = 0, partials = 0;  // doubles of workspace

    std::int64_t workspace() const { return 2 * means + partials; }
    int launches() const { return 1 + pool + (samples.chunks > 1); }
};

// Labels of no factor are passed over.
ComomentsPlan plan_comoments(const ComomentsTask& task, int processors);

// `workspace` holds plan.workspace() doubles.
void comoments(ComomentsPlan plan, const ComomentsResults& results, double* workspace, int processors, Stream stream);

// The kernels.
void row_comoments(const Samples& samples, Stream stream);
void column_comoments(const Samples& samples, Stream stream);
void merge_comoments(const Samples& samples, Stream stream);
void pool_rows(const Pooling& pooling, int processors, Stream stream);
void pool_columns(const Pooling& pooling, int processors, Stream stream);

}  // namespace sdfast::cuda
