"""Reading what was found: reports, scores, tables, plots, the files that are saved, and the metric."""

from typing import TYPE_CHECKING

from sdfast.report.bias_report import BiasReport
from sdfast.report.reading import LABELS, SHARES, check_reading
from sdfast.report.saving import REPORT_JSON, RESULTS, save_reports
from sdfast.report.tables import format_table, plain

if TYPE_CHECKING:
    from sdfast.report.metric import BiasMetric

__all__ = [
    "LABELS",
    "REPORT_JSON",
    "RESULTS",
    "SHARES",
    "BiasMetric",
    "BiasReport",
    "check_reading",
    "format_table",
    "plain",
    "save_reports",
]


def __getattr__(name: str):
    # torchmetrics takes longer to import than all the rest; who needs no metric does not wait for it.
    if name == "BiasMetric":
        from sdfast.report.metric import BiasMetric

        return BiasMetric
    raise AttributeError(f"module 'sdfast.report' has no attribute {name!r}")
