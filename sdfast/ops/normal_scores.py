"""Normal scores of samples as a torch operator."""

import torch
from torch import Tensor

from sdfast.backends import is_direct, run_or_compose
from sdfast.ops.checks import check_no_gradient, check_samples


def normal_scores(samples: Tensor) -> Tensor:
    """Replace the samples of each channel by the normal quantiles of their ranks, Phi^-1(rank / (N + 1)).

    Correlation does not change under any increasing map of a channel once samples are replaced by their scores.
    Equal samples share the mean of their ranks: in the order in which they come, the zeros of two independent ReLU
    features would be sorted alike and correlate. On GPUs it is composed of torch's own operations.

    Args:
        samples: (N, C) float64, any strides.

    Returns:
        Scores (N, C) float64; NaN for a channel with a sample that is not finite, 0 for one that never varies.

    Raises:
        TypeError: samples are no tensor of float64.
        ValueError: the shape is none of samples, or a gradient is wanted: ranks have none.

    Source: the normal scores of van der Waerden (1952), as in Ince et al., Human Brain Mapping 2017.

    >>> import torch
    >>> normal_scores(torch.tensor([[0.0], [7.0], [0.0]], dtype=torch.float64)).T
    tensor([[-0.3186,  0.6745, -0.3186]], dtype=torch.float64)
    """
    if is_direct(samples, samples, None):
        return _run(samples)
    check_arguments(samples)
    scores: Tensor = torch.ops.sdfast.normal_scores(samples)
    return scores


def check_arguments(samples: Tensor) -> None:
    """Raise an error that names what does not fit."""
    check_samples("samples", samples)
    check_no_gradient("samples", samples)


def _run(samples: Tensor) -> Tensor:
    return run_or_compose("normal_scores", check_arguments, (samples,))


@torch.library.custom_op("sdfast::normal_scores", mutates_args=())
def _normal_scores(samples: Tensor) -> Tensor:
    return _run(samples)


@_normal_scores.register_fake
def _(samples: Tensor) -> Tensor:
    return samples.new_empty(samples.shape)
