"""What is printed says how sure it is: half-widths, what to doubt, and tables for papers, frames and loggers."""

import csv
import json
import re
import sys

import numpy as np
import pytest
import torch

from sdfast.report import SHARES, BiasReport, format_table, to_latex, to_markdown
from tests.support.grouped import clustered_pairs, grouped_truth


def report(videos=12, name="", **settings):
    pairs = clustered_pairs(videos=videos, pairs=6, channels=8)
    return BiasReport(torch.from_numpy(grouped_truth(*pairs)), name=name, sources=videos, **settings)


def half_widths(interval):
    low, high = interval
    return ((high - low) / 2).tolist()


def shares_of(each):
    halves = half_widths(each.share_interval())
    return [f"{x:.1f} ± {half:.1f}" for x, half in zip(each.percent.tolist(), halves, strict=True)]


def scores_of(each):
    halves = half_widths(each.layer_interval())
    return [f"{x:.3f} ± {half:.3f}" for x, half in zip(each.layer_score.tolist(), halves, strict=True)][:2]


def test_table_and_summary_show_half_widths_and_sources():
    each = report()
    table, text = format_table({"layer4": each}), each.summary()
    for cell in (*shares_of(each), *scores_of(each)):
        assert cell in table and cell in text
    classes = table.splitlines()[2].split()
    assert classes == ["layer4", "72", "12", "8", *map(str, each.classes.values()), "0"]
    assert "of 12 sources, pearson" in text.splitlines()[0]
    assert f"{each.classes['undetermined']} (" in text and "95 % intervals hold 0.5" in text
    for printed in (table, text):
        assert "± half-widths of 95 % intervals, by a jackknife over the sources" in printed
        assert f"every share to ±1 % would take about {each.needed_sources():,} sources" in printed
        assert max(map(len, printed.splitlines())) <= 120


def test_tables_of_long_layers_fit_the_terminal():
    table = format_table({f"encoder.blocks.{i}.output": report(videos=40) for i in range(12)})
    assert max(map(len, table.splitlines())) <= 120
    assert table.count("± half-widths") == 1


@pytest.mark.parametrize("videos", [4, 9])
def test_few_sources_are_said_to_be_few(videos):
    for printed in (report(videos).summary(), format_table({"layer4": report(videos)})):
        assert (
            f"{videos} sources are few: intervals from so few are wide, and hold in 85 to 97 % of cases instead of 95"
            in printed
        )
    assert "are few" not in report(10).summary()
    assert report(4, level=0.9).summary().count("4 sources are few: intervals from so few are wide\n") == 1


def test_a_single_source_and_none_are_said_to_say_nothing():
    alone = BiasReport(report().groups[:, :1])
    assert "1 source: no intervals, so that every class stays undetermined" in alone.summary()
    assert "8 (100.0 %), their 95 % intervals hold 0.5 or are not known" in alone.summary()
    assert "±" not in alone.summary() and "not known" not in report().summary()
    without = BiasReport(report().moments).summary()
    assert "no sources known: intervals take all pairs as independent" in without and "±" not in without
    assert "are few" not in without and "would take" not in without


@pytest.mark.parametrize(
    ("numbers", "said", "missing"),
    [
        ((12, 0), "0 static pairs: there", ["static"]),
        ((11, 1), "1 static pair: there", ["static"]),
        ((0, 7), "0 dynamic pairs: there", ["dynamic"]),
        ((1, 1), "1 dynamic pair and 1 static pair: there", ["dynamic", "static"]),
        ((2, 2), None, []),
    ],
)
def test_pairs_that_are_missing_are_said(numbers, said, missing):
    a, b, _, _ = clustered_pairs(videos=12, pairs=1, channels=3)
    factor = torch.repeat_interleave(torch.arange(2), torch.tensor(numbers)).numpy()
    number = len(factor)
    each = BiasReport(
        torch.from_numpy(grouped_truth(a[:number], b[:number], factor, np.arange(number))), sources=number
    )
    assert each.count.tolist() == list(numbers)
    reports = {"layer3": each, "layer4": each}
    for printed in (each.summary(), *(show(reports) for show in (format_table, to_markdown, to_latex))):
        assert printed.count("there must be two of each factor") == bool(missing)
        assert said is None or said in printed
    assert each.to_dict()["missing_factors"] == missing


def test_a_group_that_carries_the_variance_is_named():
    a, b, factor, source = clustered_pairs(videos=40, pairs=6, channels=2)
    a[source == 3, 1] *= 100
    b[source == 3, 1] *= 100
    each = BiasReport(torch.from_numpy(grouped_truth(a, b, factor, source)))
    assert each.dominated.any(0).tolist() == [False, True]
    said = "one group of sources carries most of the variance in {} (dominated)"
    assert said.format("1 channel") in each.summary()
    assert said.format("2 channels") in format_table({"layer3": each, "layer4": each})
    assert "carries most" not in report(40).summary()


def test_values_and_lines_have_the_ends(tmp_path):
    each = report(name="layer4")
    found = json.loads(json.dumps(each.to_dict(), allow_nan=False))
    assert (found["num_sources"], found["level"], found["method"]) == (12, 0.95, "jackknife")
    assert found["needed_sources"] == each.needed_sources()
    for key, interval in (("layer_interval", each.layer_interval()), ("share_interval", each.share_interval())):
        assert list(found[key]) == list(SHARES)
        torch.testing.assert_close(torch.tensor(list(found[key].values()), dtype=torch.float64), interval.T)
    each.to_csv(tmp_path / "channels.csv")
    with open(tmp_path / "channels.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    for i, factor in enumerate(("dynamic", "static")):
        for key, row in (
            ("corr_low", each.interval()[0, i]),
            ("corr_high", each.interval()[1, i]),
            ("mi_corrected", each.mi_corrected[i]),
        ):
            assert found["channels"][f"{key}_{factor}"] == row.tolist()
            assert [float(line[f"{key}_{factor}"]) for line in lines] == row.tolist()


def test_a_frame_has_the_columns_of_the_file(tmp_path):
    pandas = pytest.importorskip("pandas")
    each = report(name="layer4")
    each.to_csv(tmp_path / "channels.csv")
    frame, lines = each.to_frame().astype({"dead": int, "dominated": int}), pandas.read_csv(tmp_path / "channels.csv")
    pandas.testing.assert_frame_equal(frame, lines, check_dtype=False)


def test_without_pandas_a_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pandas is missing, which is for data frames: pip install pandas"):
        report().to_frame()


def test_markdown_is_a_table():
    reports = {"layer|3": report(), "layer4": BiasReport(report().moments)}
    *lines, gap, sure_of, without = to_markdown(reports).splitlines()
    assert gap == "" and sure_of.startswith("± half-widths of 95 %") and without.startswith("no sources known")
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert len(lines) == 4 and {len(row) for row in cells} == {13}
    assert cells[2][0].strip() == r"layer\|3"
    assert [cell.strip() for cell in cells[2][3:8]] == scores_of(report()) + shares_of(report())
    assert report(name="a").to_markdown() == to_markdown({"a": report()})


def test_latex_is_a_table():
    comment, *lines = to_latex({"layer_3$": report(), "b\\^~{}&#%": report()}).splitlines()
    assert comment == "% ± half-widths of 95 % intervals, by a jackknife over the sources"
    assert lines[0] == r"\begin{tabular}{lrrrrrrrrrrrr}" and lines[-1] == r"\end{tabular}"
    rows = [line for line in lines if line.endswith(r" \\")]
    assert len(rows) == 3 and all(len(re.split(r"(?<!\\)&", row)) == 13 for row in rows)
    assert rows[1].startswith(r"layer\_3\$ & 8 & 12 & ") and r"\%" in rows[0] and "±" not in "".join(lines)
    assert rows[2].startswith(r"b\textbackslash{}\textasciicircum{}\textasciitilde{}\{\}\&\#\% & ")
    assert shares_of(report())[0].replace("±", r"$\pm$") in rows[1]


def test_scalars_are_flat_floats():
    each = report(name="layer4")
    found = each.scalars()
    assert all(isinstance(key, str) and type(value) is float for key, value in found.items())
    assert all(key.startswith("layer4/") for key in found)
    assert found["layer4/score/static"] == each.layer_score[1].item()
    assert found["layer4/percent/dynamic"] == each.percent[0].item()
    assert found["layer4/percent_low/dynamic"] == each.share_interval()[0, 0].item()
    assert found["layer4/channels/undetermined"] == each.classes["undetermined"]
    assert "percent/dynamic" in report().scalars()
