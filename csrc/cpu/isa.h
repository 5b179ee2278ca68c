// Instruction sets that the kernels were compiled for, and which of them runs.
#pragma once
#include <string>
#include <vector>

#include "cpu/kraskov_lanes.h"
#include "cpu/lanes.h"
#include "cpu/moment_lanes.h"
#include "cpu/ranks_lanes.h"
#include "cpu/static_dropout_lanes.h"

namespace sdfast::cpu {

// Names of the levels that this machine can run, slowest first.
std::vector<std::string> available_isas();

// The level in use: the best one, or the one that SDFAST_ISA names.
const std::string& current_isa();

// Throws std::runtime_error for a level that this build or machine does not have.
void set_isa(const std::string& name);

// Kernels of the level in use.
const Kernels& kernels();
const KraskovKernels& kraskov_kernels();
const MomentKernels& moment_kernels();
const RankKernels& rank_kernels();
const StaticDropoutKernels& static_dropout_kernels();

}  // namespace sdfast::cpu
