"""The rows of the table: which fusion joins the streams, and which cross connections."""

from dataclasses import dataclass

from experiments.fusion.model import CHANNELS, CROSSINGS, FUSIONS, ONE_STREAM, WIDTHS, TwoStream

LEVELS = range(len(WIDTHS))


@dataclass(frozen=True)
class Row:
    """One network.

    Args:
        fusion: as `TwoStream` takes it.
        crossing: likewise.
    """

    fusion: str
    crossing: str = "none"

    @property
    def name(self) -> str:
        """As the table has it."""
        return self.fusion if self.fusion in ONE_STREAM else f"{self.fusion}, {self.crossing}"

    @property
    def layers(self) -> tuple[str, ...]:
        """What is measured: the blocks of the streams that are used, and the fusion layers where there are two."""
        own = ONE_STREAM.get(self.fusion)
        parts = (*CHANNELS, "fusion") if own is None else (own,)
        return tuple(f"{part}.{level}" for part in parts for level in LEVELS)

    def model(self) -> TwoStream:
        """Make the network."""
        return TwoStream(self.fusion, self.crossing)


COMBINATIONS = tuple(Row(fusion, crossing) for fusion in FUSIONS for crossing in CROSSINGS)
CONTROLS = tuple(Row(name) for name in ONE_STREAM)
ROWS = (*CONTROLS, *COMBINATIONS)
