"""Reading what was found: reports, scores, tables, plots, the files that are saved, and the metric."""

from typing import TYPE_CHECKING, Any

from sdfast.report.ablation import AblationReport, Loss
from sdfast.report.bias_report import BiasReport
from sdfast.report.certainty import LABELS
from sdfast.report.curves import draw_curves
from sdfast.report.dataset import DatasetBias
from sdfast.report.difference import Difference, compare, format_differences
from sdfast.report.layer_bias import ACCURACIES, Estimate, LayerBias
from sdfast.report.reading import SHARES, check_reading
from sdfast.report.saving import FORMATS, load_reports, load_settings, results, save_reports
from sdfast.report.seeds import format_seeds, over_seeds
from sdfast.report.sums import REPORT_JSON
from sdfast.report.tables import aligned, format_table, to_latex, to_markdown
from sdfast.report.values import plain

if TYPE_CHECKING:
    from sdfast.report.metric import BiasMetric

__all__ = [
    "ACCURACIES",
    "FORMATS",
    "LABELS",
    "REPORT_JSON",
    "SHARES",
    "AblationReport",
    "BiasMetric",
    "BiasReport",
    "DatasetBias",
    "Difference",
    "Estimate",
    "LayerBias",
    "Loss",
    "aligned",
    "check_reading",
    "compare",
    "draw_curves",
    "format_differences",
    "format_seeds",
    "format_table",
    "load_reports",
    "load_settings",
    "over_seeds",
    "plain",
    "results",
    "save_reports",
    "to_latex",
    "to_markdown",
]


def __getattr__(name: str) -> Any:
    # torchmetrics takes longer to import than all the rest; who needs no metric does not wait for it.
    if name == "BiasMetric":
        from sdfast.report.metric import BiasMetric

        return BiasMetric
    raise AttributeError(f"module 'sdfast.report' has no attribute {name!r}")
