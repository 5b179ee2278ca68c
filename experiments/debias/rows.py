"""The rows of the table: which dropout, clips or loss a model is trained with, and how much of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from experiments.debias.dropblock import DropBlock3d
from sdfast.dropout import StaticDropout

TUNED = Path(__file__).with_name("tuned.json")  # {world: {start: {row: value}}}, written by --tune
TRIES = {  # the same number for all rows
    "p": (0.1, 0.3, 0.5, 0.7),
    "small p": (0.02, 0.05, 0.1, 0.3),
    "weight": (0.1, 0.3, 1.0, 3.0),
    "amount": (0.25, 0.5, 0.75, 1.0),
    "rate": (0.3, 0.6, 1.0, 2.0),
}


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
        weights: how the layers take their channel weights from what is measured during training, see `guidance`; None
            for no weights.
        loss: what a step minimises, by the name of a function in `losses`.
        weight: of what the loss adds to that of the labels.
        change: what is done to the clips before, by the name of a function in `changes`; None for nothing.
        amount: how much of that.
        rate: times the learning rate of all.
        network: arguments of `make_network`.
        control: the row that shares all but what this one is to show; what is gained over it is in the table. None
            where there is nothing to gain.
        tries: which of `TRIES` are tried in tuning.
    """

    name: str
    layer: Callable[..., nn.Module] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ("block1", "block2")
    mask: str | None = None
    weights: str | None = None
    loss: str = "labels"
    weight: float = 1.0
    change: str | None = None
    amount: float = 1.0
    rate: float = 1.0
    network: Mapping[str, Any] = field(default_factory=dict)
    control: str | None = "no dropout"
    tries: str = "rate"

    @property
    def tuned(self) -> str:
        """What the tuning chooses: p, weight, amount or rate."""
        return self.tries.split()[-1]

    @property
    def value(self) -> float:
        """How much of that there is."""
        return self.options["p"] if self.tuned == "p" else getattr(self, self.tuned)

    def having(self, value: float) -> "Row":
        """Return the row with another value of what the tuning chooses."""
        if self.tuned == "p":
            return replace(self, options={**self.options, "p": value})
        return replace(self, **{self.tuned: value})

    def insert(self, model: nn.Module) -> dict[str, nn.Module]:
        """Append the layers to the blocks of a model; return them by the blocks' names."""
        layers = {} if self.layer is None else {name: self.layer(**self.options) for name in self.after}
        for name, layer in layers.items():
            model.get_submodule(name).append(layer)
        return layers

    def settings(self) -> dict[str, Any]:
        """Return the row as plain values."""
        plain = {**asdict(self), "layer": None if self.layer is None else self.layer.__name__}
        return {**plain, "after": list(self.after) if self.layer else []}


def _region(name: str, mask: str, **more: Any) -> Row:
    return Row(name, StaticDropout, {"p": 0.3}, mask=mask, tries="p", **more)


NO_DROPOUT = Row("no dropout", control=None)
ROWS = (
    NO_DROPOUT,
    Row("Dropout", nn.Dropout, {"p": 0.1}, tries="small p"),
    Row("Dropout3d", nn.Dropout3d, {"p": 0.05}, tries="small p"),
    Row("DropBlock", DropBlock3d, {"p": 0.05, "block_size": 3}, tries="small p"),
    _region("region, known masks", "labels"),
    _region("region, from_motion", "motion"),
    _region("region, from_video", "video"),
    Row("random channels", StaticDropout, {"p": 0.5}, ("block3",), weights="random", tries="p"),
    Row("channel", StaticDropout, {"p": 0.5}, ("block3",), weights="rank", control="random channels", tries="p"),
    _region("region and channel", "labels", weights="difference"),
    Row("permuted clips", loss="permuted"),
    Row("bias penalty", loss="penalty", control="permuted clips", tries="weight"),
    Row("entropy of permuted clips", loss="entropy", control="permuted clips", tries="weight"),
    Row("FAME", mask="motion", change="swapped", tries="amount"),
    Row("StillMix", change="with_still", tries="amount"),
    Row("background erasing", change="with_own_frame", amount=0.5, tries="amount"),
    Row("ALBAR", loss="adversarial", tries="weight"),
    Row("RandConv", change="convolved", tries="amount"),
    Row("mean over time subtracted", network={"centred": True}),
    _region("penalty and region", "motion", loss="penalty", control="bias penalty"),
    _region("FAME and region", "motion", change="swapped", control="FAME"),
)


def tuned_rows(world: str, start: str) -> tuple[Row, ...]:
    """Return the rows as they were tuned for a world and a start; as for the first world where nobody has.

    >>> len(tuned_rows("shapes", "scratch")) == len(ROWS)
    True
    """
    known = json.loads(TUNED.read_text(encoding="utf-8")) if TUNED.exists() else {}
    chosen = known.get(world, known.get("shapes", {})).get(start, {})
    return tuple(row.having(chosen.get(row.name, row.value)) for row in ROWS)
