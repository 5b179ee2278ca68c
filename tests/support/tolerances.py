"""How far results may be from the float64 ground truth, by feature dtype. One table; never relaxed."""

import torch

# Relative to the scale of each moment: float32 lanes for the halves, float64 lanes for the others.
MOMENTS = {torch.float64: 1e-12, torch.float32: 1e-12, torch.float16: 5e-6, torch.bfloat16: 5e-6}
# Of correlations, absolute.
CORRELATION = {torch.float64: 1e-12, torch.float32: 1e-12, torch.float16: 5e-6, torch.bfloat16: 5e-6}
# Of a matrix product in the dtype of the features (float32 for the halves).
PRODUCT = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-6, torch.bfloat16: 2e-6}
