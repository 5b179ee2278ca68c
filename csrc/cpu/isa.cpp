#include "cpu/isa.h"

#include <cstdlib>
#include <stdexcept>

namespace sdfast::cpu {

#define SDFAST_DECLARE(NAME)                                 \
    namespace NAME {                                         \
    extern const Kernels kKernels;                           \
    extern const KraskovKernels kKraskovKernels;             \
    extern const MomentKernels kMomentKernels;               \
    extern const RankKernels kRankKernels;                   \
    extern const StaticDropoutKernels kStaticDropoutKernels; \
    }
#if defined(__x86_64__)
SDFAST_DECLARE(baseline)
SDFAST_DECLARE(avx2)
SDFAST_DECLARE(avx512)
#elif defined(__aarch64__)
SDFAST_DECLARE(neon)
#else
SDFAST_DECLARE(baseline)
#endif
#undef SDFAST_DECLARE

namespace {

struct Level {
    std::string name;
    const Kernels* kernels;
    const KraskovKernels* kraskov_kernels;
    const MomentKernels* moment_kernels;
    const RankKernels* rank_kernels;
    const StaticDropoutKernels* static_dropout_kernels;
};

#define SDFAST_LEVEL(NAME)                                                                          \
    Level {                                                                                         \
        #NAME, &NAME::kKernels, &NAME::kKraskovKernels, &NAME::kMomentKernels, &NAME::kRankKernels, \
            &NAME::kStaticDropoutKernels                                                            \
    }

// Levels that this machine can run, slowest first.
std::vector<Level> detect() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    std::vector<Level> found;
    if (__builtin_cpu_supports("x86-64-v2")) found.push_back(SDFAST_LEVEL(baseline));
    if (__builtin_cpu_supports("x86-64-v3")) found.push_back(SDFAST_LEVEL(avx2));
    if (__builtin_cpu_supports("x86-64-v4")) found.push_back(SDFAST_LEVEL(avx512));
    return found;
#elif defined(__aarch64__)
    return {SDFAST_LEVEL(neon)};
#else
    return {SDFAST_LEVEL(baseline)};
#endif
}
#undef SDFAST_LEVEL

const std::vector<Level>& levels() {
    static const std::vector<Level> found = detect();
    return found;
}

const Level& find(const std::string& name) {
    std::string known;
    for (const Level& level : levels()) {
        if (level.name == name) return level;
        known += (known.empty() ? "" : ", ") + level.name;
    }
    throw std::runtime_error("SDFAST_ISA: expected one of " + known + " on this machine, got '" + name + "'");
}

const Level*& current() {
    static const Level* level = [] {
        const char* forced = std::getenv("SDFAST_ISA");
        if (forced && *forced) return &find(forced);
        if (levels().empty()) throw std::runtime_error("sdfast needs a processor of level x86-64-v2 or better");
        return &levels().back();
    }();
    return level;
}

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Level& level : levels()) names.push_back(level.name);
    return names;
}

const std::string& current_isa() { return current()->name; }

void set_isa(const std::string& name) { current() = &find(name); }

const Kernels& kernels() { return *current()->kernels; }

const KraskovKernels& kraskov_kernels() { return *current()->kraskov_kernels; }

const MomentKernels& moment_kernels() { return *current()->moment_kernels; }

const RankKernels& rank_kernels() { return *current()->rank_kernels; }

const StaticDropoutKernels& static_dropout_kernels() { return *current()->static_dropout_kernels; }

}  // namespace sdfast::cpu
