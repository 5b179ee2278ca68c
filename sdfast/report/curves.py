"""The shares of layers over the steps of a training, as a picture."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from sdfast.foundation import require

if TYPE_CHECKING:
    import matplotlib.figure


def draw_curves(steps: Sequence[int], curves: Mapping[str, tuple[Tensor, Tensor]]) -> "matplotlib.figure.Figure":
    """Draw a panel for each layer.

    Args:
        steps: S of them.
        curves: by layer, the shares in percent (S, 3), and the lower and upper ends of their intervals (S, 2, 3).

    Raises:
        ImportError: matplotlib is missing.
    """
    require("matplotlib")
    from sdfast.report import plots

    return plots.curves_figure(steps, curves)
