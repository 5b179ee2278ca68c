"""Reports as text: one in words, several in tables for the terminal, for Markdown and for LaTeX."""

import math
import re
from collections.abc import Mapping

from torch import Tensor

from sdfast.report.certainty import LABELS, Certainty
from sdfast.report.notes import UNDEFINED_NOTE, counted, how_sure, notes, undefined_notes
from sdfast.report.reading import SHARES
from sdfast.report.values import named
from sdfast.statistics import FACTORS

SCORE, PERCENT = "{:.3f}", "{:.1f}"  # a layer's score, and its shares


def summary(report: Certainty) -> str:
    """Return the text of `BiasReport.summary`."""
    *determined, (_, unsure) = report.classes.items()
    scores = sure(report.layer_score, report.layer_interval(), SCORE)[: len(FACTORS)]
    score = dict(zip(SHARES, [*scores, "1"], strict=True))  # that of the residual is 1 by definition
    share = dict(zip(SHARES, sure(report.percent, report.share_interval(), PERCENT), strict=True))
    held = f"their {100 * report.level:g} % intervals hold {report.threshold:g}"
    lines = {
        f"classes at corr > {report.threshold:g}": _join({x: _part(n, report) for x, n in determined}),
        "undetermined": f"{_part(unsure, report)}, {held}{' or are not known' * _some_unknown(report)}",
        "layer score": _join(score),
        "share of the layer": _join({name: f"{text} %" for name, text in share.items()}),
        "among the residual": f"{int(report.dead.sum())} dead (never vary), "
        f"{int(report.undefined.sum())} {UNDEFINED_NOTE}",
        "MI by chance": _join({x: f"{floor:.2g} nats" for x, floor in named(FACTORS, report.mi_floor).items()}),
    }
    if report.estimator == "kraskov":
        del lines["MI by chance"]
    dynamic, static = report.count.tolist()
    origin = "" if report.sources is None else f" of {counted(report.sources, 'source')}"
    pairs = f"{dynamic} dynamic + {static} static pairs{origin}"
    head = f"{report.name or 'layer'}: {report.num_channels} channels, {pairs}, {report.kind}"
    width = max(map(len, lines))
    body = [f"  {title:{width}}  {text}" for title, text in lines.items()]
    return "\n".join([head, *body, *(f"  {line}" for line in notes([report]))])


def format_table(reports: Mapping[str, Certainty]) -> str:
    """Return tables for the terminal, one line a layer: classes of channels, then scores and shares."""
    classes = [["layer", "pairs", "sources", "channels", *LABELS, "dead"]]
    shares = [["layer", *(f"score {factor}" for factor in FACTORS), *(f"{share} %" for share in SHARES)]]
    for name, report in reports.items():
        sources = "-" if report.sources is None else str(report.sources)
        sizes = report.num_channels, *report.classes.values(), int(report.dead.sum())
        classes.append([name, str(int(report.count.sum())), sources, *map(str, sizes)])
        shares.append([name, *_scores_and_shares(report)])
    return "\n".join([*aligned(classes), "", *aligned(shares), "", *notes(reports.values()), *undefined_notes(reports)])


def to_markdown(reports: Mapping[str, Certainty]) -> str:
    """Return a table in Markdown, one line a layer: scores and shares with their intervals, and classes.

    A line below it says what the intervals are.

    >>> import torch, sdfast
    >>> moments = torch.tensor([9.0, 0, 0, 9, 9, 8]).view(6, 1, 1).repeat(1, 2, 3)
    >>> print(to_markdown({"layer4": sdfast.BiasReport(moments)}).splitlines()[2][:59])
    | layer4 | 3 | - | 0.889 | 0.889 | 32.1 | 32.1 | 35.8 | 3 |
    """
    rows = [[cell.replace("|", r"\|") for cell in row] for row in _published(reports)]
    rows.insert(1, [":--", *["--:"] * (len(rows[0]) - 1)])
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", *_explained(reports)])


def to_latex(reports: Mapping[str, Certainty]) -> str:
    r"""Return the same table as a tabular of LaTeX, after a comment on the intervals; it needs the package booktabs.

    >>> import torch, sdfast
    >>> moments = torch.tensor([9.0, 0, 0, 9, 9, 8]).view(6, 1, 1).repeat(1, 2, 3)
    >>> print(to_latex({"layer_4": sdfast.BiasReport(moments)}).splitlines()[5][:28])
    layer\_4 & 3 & - & 0.889 & 0
    """
    rows = [[_escaped(cell) for cell in row] for row in _published(reports)]
    head, *lines = [" & ".join(row) + r" \\" for row in rows]
    begin = rf"\begin{{tabular}}{{l{'r' * head.count('&')}}}"
    comments = [f"% {line}" for line in _explained(reports)]
    return "\n".join([*comments, begin, r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"])


def _published(reports: Mapping[str, Certainty]) -> list[list[str]]:
    """Return the cells of the table that papers print, its head first."""
    head = ["layer", "channels", "sources", *(f"score {x}" for x in FACTORS), *(f"{x} %" for x in SHARES), *LABELS]
    rows = [head]
    for name, report in reports.items():
        sources = "-" if report.sources is None else str(report.sources)
        classes = [str(number) for number in report.classes.values()]
        rows.append([name, str(report.num_channels), sources, *_scores_and_shares(report), *classes])
    return rows


def _explained(reports: Mapping[str, Certainty]) -> list[str]:
    return list(dict.fromkeys(map(how_sure, reports.values())))


def _scores_and_shares(report: Certainty) -> list[str]:
    scores = sure(report.layer_score, report.layer_interval(), SCORE)[: len(FACTORS)]
    return [*scores, *sure(report.percent, report.share_interval(), PERCENT)]


def sure(values: Tensor, interval: Tensor, form: str) -> list[str]:
    """Return values as "34.7 ± 2.1", with half the width of their intervals where these are known."""
    low, high = interval
    pairs = zip(values.tolist(), ((high - low) / 2).tolist(), strict=True)
    return [form.format(x) + ("" if math.isnan(half) else f" ± {form.format(half)}") for x, half in pairs]


def aligned(rows: list[list[str]]) -> list[str]:
    """Return cells as lines with a rule under the head: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([name.ljust(widths[0]), *(x.rjust(w) for x, w in zip(cells, widths[1:], strict=True))])
        for name, *cells in rows
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def _escaped(text: str) -> str:
    """Return text that LaTeX prints as it is, with ± as mathematics."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    return re.sub(r"[\\~^±&%$#_{}]", lambda found: special.get(found[0], "\\" + found[0]), text)


def _part(number: int, report: Certainty) -> str:
    return f"{number} ({100 * number / report.num_channels:.1f} %)"


def _some_unknown(report: Certainty) -> bool:
    """Tell whether some channel has correlations, but no interval of one."""
    return bool((report.interval().isnan().any(0) & ~report.undefined & ~report.dead).any())


def _join(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
