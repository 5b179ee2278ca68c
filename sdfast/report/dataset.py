"""How static a data set is: the layers of a model on several of them side by side, in one table."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdfast.foundation import StrPath, require, write_atomically
from sdfast.report.layer_bias import ACCURACIES, Estimate, LayerBias
from sdfast.report.notes import notes
from sdfast.report.reading import SHARES
from sdfast.report.tables import PERCENT, aligned
from sdfast.report.values import ENDS, named, plain

if TYPE_CHECKING:
    import matplotlib.figure

_RATIO = "{:.3f}"
CHANGE_NOTE = "shuffled: |clip - shuffled| / |clip| of pooled features, mean over the clips; 0 where order is no matter"
FRAME_NOTE = (
    "one frame: R^2 of the clip's pooled features from those of one of its frames, repeated; 1 where it says all"
)
_COLUMNS = ("data_set", "layer", "sources", *(f"{x}_percent" for x in SHARES), "shuffled_change", "one_frame_r2")


@dataclass(frozen=True)
class DatasetBias:
    """The findings of `sdfast.measurement.dataset_bias`.

    Args:
        layers: what each layer shows, by the name of the data set, then by that of the layer.
        accuracy: of the model on whole clips, shuffled ones and single frames (`ACCURACIES`), by the name of the data
            set; empty where classes are not known.

    Source: Kowal et al., TPAMI 2024, finding (ii): data sets differ in how static what they teach is.
    """

    layers: Mapping[str, Mapping[str, LayerBias]]
    accuracy: Mapping[str, Mapping[str, Estimate]]

    def summary(self) -> str:
        """Return the table, with what to keep in mind when reading it."""
        reports = [found.report for layers in self.layers.values() for found in layers.values()]
        lines = [*aligned(self._layer_rows()), ""]
        if self.accuracy:
            lines += [*aligned(self._accuracy_rows()), ""]
        return "\n".join([*lines, CHANGE_NOTE, FRAME_NOTE, *notes(reports)])

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain values that `json.dumps(..., allow_nan=False)` takes; NaN becomes None."""
        return plain(
            {
                name: {
                    "layers": {layer: _values(found) for layer, found in layers.items()},
                    "accuracy": {what: x._asdict() for what, x in self.accuracy.get(name, {}).items()} or None,
                }
                for name, layers in self.layers.items()
            }
        )

    def to_csv(self, path: StrPath) -> None:
        """Write one line for each data set and layer."""
        write_atomically(path, self._write_csv)

    def plot(self, path: StrPath | None = None) -> "matplotlib.figure.Figure":
        """Draw the layers' numbers side by side, a colour and a marker for each data set, with their intervals.

        Args:
            path: where to save the picture, or None.

        Raises:
            ImportError: matplotlib is missing.
        """
        require("matplotlib")
        from sdfast.report import dataset_plot

        figure = dataset_plot.dataset_figure(self.layers, self.accuracy)
        if path is not None:
            write_atomically(path, figure.savefig)
        return figure

    def _layer_rows(self) -> list[list[str]]:
        rows = [["layer", "data set", "sources", *(f"{x} %" for x in SHARES), "shuffled", "one frame R^2"]]
        for layer in dict.fromkeys(layer for layers in self.layers.values() for layer in layers):
            for name, layers in self.layers.items():
                if layer in layers:
                    found = layers[layer]
                    shares = [share.text(PERCENT) for share in found.shares]
                    changes = found.shuffled.text(_RATIO), found.one_frame.text(_RATIO)
                    rows.append([layer, name, str(found.report.num_sources), *shares, *changes])
        return rows

    def _accuracy_rows(self) -> list[list[str]]:
        head = ["data set", *(f"{what.replace('_', ' ')}: right %" for what in ACCURACIES)]
        return [head, *([name, *(found[x].text(PERCENT, 100) for x in ACCURACIES)]
                        for name, found in self.accuracy.items())]  # fmt: skip

    def _write_csv(self, path: Path) -> None:
        with open(path, "w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            whole, numbers = _COLUMNS[:3], _COLUMNS[3:]
            lines.writerow([*whole, *(f"{x}{end}" for x in numbers for end in ("", *(f"_{end}" for end in ENDS)))])
            for name, layers in self.layers.items():
                for layer, found in layers.items():
                    estimates = *found.shares, found.shuffled, found.one_frame
                    lines.writerow([name, layer, found.report.num_sources, *(x for one in estimates for x in one)])


def _values(found: LayerBias) -> dict[str, Any]:
    report = found.report
    return {
        "num_channels": report.num_channels,
        "num_sources": report.num_sources,
        "level": report.level,
        "percent": {name: share._asdict() for name, share in zip(SHARES, found.shares, strict=True)},
        "layer_score": named(SHARES, report.layer_score),
        "layer_interval": named(SHARES, report.layer_interval().T),
        "shuffled_change": found.shuffled._asdict(),
        "one_frame_r2": found.one_frame._asdict(),
    }
