"""What a model loses without the channels of a class, beside as many at random: numbers, table and plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sdfast.report.layer_bias import Estimate
from sdfast.report.notes import counted
from sdfast.report.tables import aligned

_WHAT = {"accuracy": "accuracy, points", "output": "the output moves, % of its size"}


class Loss(NamedTuple):
    """What is lost without the channels of one class of a layer; fractions, with intervals by the sources.

    Attributes:
        channels: how many are switched off, of the class as of each draw.
        of: how many channels the layer has.
        lost: without those of the class.
        random: without as many at random, the mean over the draws.
        more: by how much more without those of the class.
        draws: without each draw.
    """

    channels: int
    of: int
    lost: Estimate
    random: Estimate
    more: Estimate
    draws: tuple[float, ...]

    @property
    def chance(self) -> float:
        """The probability that channels at random lose as much or more: p of a test by the draws."""
        return (1 + sum(draw >= self.lost.value for draw in self.draws)) / (1 + len(self.draws))


@dataclass(frozen=True)
class AblationReport:
    """What a model loses without the static, the dynamic or other channels of its layers.

    Args:
        what: "accuracy", or "output", how far the output moves, of clips without labels.
        whole: the accuracy of the whole model, or None.
        losses: by layer and class; classes that no channel of a layer has are left out.
        clips: how many were looked at.
        sources: of how many videos.
        how: what the channels were set to, "zero" or "mean".
        level: the confidence of the intervals.
    """

    what: str
    whole: Estimate | None
    losses: Mapping[str, Mapping[str, Loss]]
    clips: int
    sources: int
    how: str
    level: float = 0.95

    def summary(self) -> str:
        """Return a table for the terminal, a line for each layer and class, and how to read it."""
        head = ["layer", "class", "off", "of", "lost", "at random", "draws", "more than random", "p"]
        rows = [head]
        for layer, of_layer in self.losses.items():
            for label, loss in of_layer.items():
                lost, random, more = (each.text("{:.1f}", 100) for each in (loss.lost, loss.random, loss.more))
                draws = f"{100 * min(loss.draws):.1f} to {100 * max(loss.draws):.1f}"
                sizes = str(loss.channels), str(loss.of)
                rows.append([layer, label, *sizes, lost, random, draws, more, f"{loss.chance:.2g}"])
        lines = [f"lost: {_WHAT[self.what]}, of {counted(self.clips, 'clip')} of {counted(self.sources, 'video')}"]
        if self.whole is not None:
            lines[0] += f"; the whole model: {self.whole.text('{:.1f}', 100)} %"
        lines.append(f"channels are set to {'their means' if self.how == 'mean' else 'zero'}")
        if len(rows) == 1:
            return "\n".join(["no channel is of these classes", *lines])
        number = len(next(iter(next(iter(self.losses.values())).values())).draws)
        lines.append(
            f"± half-widths of {100 * self.level:g} % intervals by the videos; p: how often {number} draws of as many "
            "channels that vary lose as much"
        )
        return "\n".join([*aligned(rows), "", *lines])

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON; NaN may be among them."""
        losses = {
            layer: {label: {**_nested(loss), "p": loss.chance} for label, loss in of_layer.items()}
            for layer, of_layer in self.losses.items()
        }
        whole = None if self.whole is None else self.whole._asdict()
        settings = {"clips": self.clips, "sources": self.sources, "how": self.how, "level": self.level}
        return {"what": self.what, "whole": whole, **settings, "losses": losses}


def _nested(loss: Loss) -> dict[str, Any]:
    return {key: x._asdict() if isinstance(x, Estimate) else x for key, x in loss._asdict().items()}
