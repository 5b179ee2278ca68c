"""The rows of the table: which dropout or loss a model is trained with, where and how much of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from experiments.debias.dropblock import DropBlock3d
from sdfast.dropout import StaticDropout


@dataclass(frozen=True)
class Row:
    """One way to train.

    Args:
        name: as the table has it.
        layer: makes the layer of dropout, one after each block in `after`; None for none.
        options: its arguments.
        after: names of blocks.
        mask: where the static mask comes from: None for no mask, "labels" for where the shape is known not to be,
            "video" for `masks.from_video`, "motion" for `masks.from_motion`.
        weights: how the layers take their channel weights from the reports made during training, see
            `BiasReport.static_weight`; "random" for the weights by rank dealt out at random, the control; None for no
            weights.
        loss: what a step minimises, by the name of a function in `losses`.
        control: the row that shares all but what this one is to show; what is gained over it is in the table. None
            where there is nothing to gain.
    """

    name: str
    layer: Callable[..., nn.Module] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ("block1", "block2")
    mask: str | None = None
    weights: str | None = None
    loss: str = "labels"
    control: str | None = None

    def insert(self, model: nn.Module) -> dict[str, nn.Module]:
        """Append the layers to the blocks of a model; return them by the blocks' names."""
        layers = {} if self.layer is None else {name: self.layer(**self.options) for name in self.after}
        for name, layer in layers.items():
            model.get_submodule(name).append(layer)
        return layers

    def settings(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return {
            "layer": None if self.layer is None else self.layer.__name__,
            "options": dict(self.options),
            "after": list(self.after) if self.layer is not None else [],
            "mask": self.mask,
            "weights": self.weights,
            "loss": self.loss,
            "control": self.control,
        }


NO_DROPOUT = Row("no dropout")
ROWS = (
    NO_DROPOUT,
    Row("Dropout", nn.Dropout, {"p": 0.1}),
    Row("Dropout3d", nn.Dropout3d, {"p": 0.05}),
    Row("DropBlock", DropBlock3d, {"p": 0.05, "block_size": 3}),
    Row("StaticDropout, region (known)", StaticDropout, {"p": 0.3}, mask="labels", control="no dropout"),
    Row("StaticDropout, region (motion)", StaticDropout, {"p": 0.3}, mask="motion", control="no dropout"),
    Row("StaticDropout, region (video)", StaticDropout, {"p": 0.3}, mask="video", control="no dropout"),
    Row("random channels", StaticDropout, {"p": 0.5}, ("block3",), weights="random"),
    Row(
        "StaticDropout, channel",
        StaticDropout,
        {"p": 0.5},
        after=("block3",),
        weights="rank",
        control="random channels",
    ),
    Row("StaticDropout, both", StaticDropout, {"p": 0.3}, mask="labels", weights="difference", control="no dropout"),
    Row("permuted clips", loss="permuted"),
    Row("bias penalty", loss="penalty", control="permuted clips"),
    Row("entropy of permuted clips", loss="entropy", control="permuted clips"),
    Row("background swapped (motion)", loss="swap", control="no dropout"),
)
