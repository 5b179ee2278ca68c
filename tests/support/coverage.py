"""How often intervals hold the truth and tests are wrong, by simulation: `python -m tests.support.coverage` prints it.

A data set is a channel here, so that one state holds thousands of them. Data are made from three latent normal
variables, one common and one of each clip, half of whose variance is the video's where videos have several pairs.
"""

import math
import sys
import time
from typing import NamedTuple

import torch
from torch import Tensor

from sdfast.statistics import (
    KINDS,
    GroupedCoMoments,
    Jackknife,
    bootstrap_interval,
    channel_classes,
    compare_groups,
    estimator_of,
    fisher_interval,
    sign_flip_test,
)

LATENT = 0.5  # correlation of the latent normal variables
WITHIN = 0.5  # the part of the variance that is a pair's own, where its video has others
LEVEL = 0.95
LAWS = ("normal", "ReLU", "log-normal", "Student 5")
# (videos, pairs of each), and how many data sets: as many numbers in all.
SETTINGS = {
    (20, 1): 8000,
    (100, 1): 4000,
    (1000, 1): 2000,
    (4, 50): 4000,
    (10, 10): 4000,
    (20, 5): 4000,
    (100, 10): 2000,
}


class Cell(NamedTuple):
    """The part of intervals that held the truth, in percent, in one setting."""

    law: str
    videos: int
    pairs: int
    kind: str
    data_sets: int
    covered: dict[str, float]

    @property
    def error(self) -> float:
        """The binomial standard error at the nominal level, in percent."""
        return 100 * math.sqrt(LEVEL * (1 - LEVEL) / self.data_sets)


def latent(videos: int, pairs: int, data_sets: int, generator: torch.Generator, rho: float = LATENT):
    """Return a and b, (N, D) normal with unit variance and correlation rho."""
    own = torch.randn(3, videos, pairs, data_sets, generator=generator, dtype=torch.float64)
    if pairs > 1:
        video = torch.randn(3, videos, 1, data_sets, generator=generator, dtype=torch.float64)
        own = own.mul_(math.sqrt(WITHIN)).add_(video, alpha=math.sqrt(1 - WITHIN))
    common, only_a, only_b = own.flatten(1, 2)
    common = math.sqrt(rho) * common
    return common + math.sqrt(1 - rho) * only_a, common + math.sqrt(1 - rho) * only_b


def draw(law: str, videos: int, pairs: int, data_sets: int, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Return a and b, (N, D), and their true correlation, which is also the intraclass one: both have one law."""
    a, b = latent(videos, pairs, data_sets, generator)
    if law == "normal":
        return a, b, LATENT
    if law == "ReLU":
        product = (math.sqrt(1 - LATENT**2) + LATENT * (math.pi - math.acos(LATENT))) / (2 * math.pi)
        square = 1 / (2 * math.pi)  # of the mean
        return a.relu_(), b.relu_(), (product - square) / (0.5 - square)
    if law == "log-normal":
        return a.exp_(), b.exp_(), math.expm1(LATENT) / math.expm1(1)
    scale = torch.zeros_like(a)  # both clips of a pair share it: Student's law in two dimensions
    for _ in range(5):
        scale += torch.randn(a.shape, generator=generator, dtype=torch.float64).square_()
    scale = (5 / scale).sqrt_()
    return a * scale, b * scale, LATENT


def state_of(a: Tensor, b: Tensor, pairs: int, factor: Tensor | None = None) -> GroupedCoMoments:
    """Return the grouped co-moments of pairs in the order of their videos."""
    state = GroupedCoMoments(a.shape[1], num_factors=1 if factor is None else 2)
    state.update(a, b, factor, source=torch.arange(len(a)) // pairs)
    return state


def coverage(law: str, videos: int, pairs: int, data_sets: int, bootstraps: bool = False, seed: int = 0) -> list[Cell]:
    """Return the coverage of both kinds of correlation in one setting."""
    generator = torch.Generator().manual_seed(seed)
    a, b, truth = draw(law, videos, pairs, data_sets, generator)
    grouped = state_of(a, b, pairs).moments
    cells = []
    for kind in KINDS:
        jackknife = Jackknife(grouped, estimator_of(kind))
        intervals = {
            "Fisher": fisher_interval(jackknife.total, jackknife.estimator, LEVEL),
            "jackknife": jackknife.correlation_interval(LEVEL),
        }
        if bootstraps:
            for name, method in (("percentile", "bootstrap"), ("BCa", "bca")):
                intervals[name] = bootstrap_interval(jackknife, LEVEL, method=method, resamples=1000)
        covered = {name: percent((low <= truth) & (truth <= high)) for name, (low, high) in intervals.items()}
        cells.append(Cell(law, videos, pairs, kind, data_sets, covered))
    return cells


def percent(found: Tensor) -> float:
    """Return how many are true, in percent."""
    return 100 * found.double().mean().item()


def error_ratio(videos: int, pairs: int, data_sets: int = 4000, seed: int = 0) -> float:
    """Return the mean standard error of z by the jackknife over that of the closed form, for normal features.

    Products of normal variables are as correlated as the square of these: z of N pairs, m of a video, has the
    variance (1 + (m - 1) w^2) / N where w is the part of the variance that is the video's.
    """
    a, b = latent(videos, pairs, data_sets, torch.Generator().manual_seed(seed))
    within = 0 if pairs == 1 else 1 - WITHIN
    closed = math.sqrt((1 + (pairs - 1) * within**2) / (videos * pairs))
    return Jackknife(state_of(a, b, pairs).moments, estimator_of("pearson")).z.error.mean().item() / closed


def mislabelled(rho: float, videos: int, pairs: int, data_sets: int = 8000, seed: int = 0) -> tuple[float, float]:
    """Return the percentage of channels in a wrong class at threshold 0.5: with "undetermined", and by the estimate."""
    a, b = latent(videos, pairs, data_sets, torch.Generator().manual_seed(seed), rho)
    jackknife = Jackknife(state_of(a, b, pairs).moments, estimator_of("pearson"))
    interval = jackknife.correlation_interval(LEVEL).expand(2, 2, -1)  # both factors are this one
    classes = channel_classes(interval, 0.5, torch.zeros(data_sets, dtype=torch.bool))
    wrong = 0 if rho > 0.5 else 3
    return percent(classes == wrong), percent((jackknife.correlation.value > 0.5) != (rho > 0.5))


def false_alarms(videos: int, pairs: int, data_sets: int = 1000, channels: int = 40, seed: int = 0) -> dict[str, float]:
    """Return how often a test at 5 % finds something in channels without correlation, in percent."""
    generator = torch.Generator().manual_seed(seed)
    found = {"one channel, signs": [], "max-T, signs": [], "one channel, pairs": [], "max-T, pairs": []}
    for number in range(data_sets):
        a, b = latent(videos, pairs, channels, generator, rho=0.0)
        grouped = state_of(a, b, pairs).moments
        for name, adjust in (("one channel, signs", None), ("max-T, signs", "maxT")):
            p = sign_flip_test(grouped, adjust=adjust, flips=999, seed=number)
            found[name].append(p.min() if adjust else p.flatten())
        a, b = ((x - x.mean(0)) / x.std(0, correction=0) for x in (a, b))
        orders = torch.rand(199, len(a), generator=generator).argsort(1)
        seen, permuted = (a * b).sum(0).abs(), (a * b[orders]).sum(1).abs()  # (C,), (199, C)
        found["one channel, pairs"].append(((permuted >= seen).sum(0) + 1) / 200)
        found["max-T, pairs"].append(((permuted.amax(1) >= seen.max()).sum() + 1) / 200)
    return {name: percent(torch.stack(p) <= 0.05) for name, p in found.items()}


def layer_coverage(data_sets: int = 1000, channels: int = 8, seed: int = 0) -> dict[str, float]:
    """Return the coverage for a layer of 100 videos with 5 pairs, and of the difference of two models."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.arange(500) % 2
    found = {"score": [], "share": [], "difference of scores": [], "difference of shares": []}
    for _ in range(data_sets):
        a, b = latent(100, 5, channels, generator)
        c, d = latent(100, 5, channels, generator)
        one, two = state_of(a, b, 5, factor).moments, state_of(0.6 * a + 0.8 * c, 0.6 * b + 0.8 * d, 5, factor).moments
        jackknife = Jackknife(one, estimator_of("pearson"))
        difference = compare_groups(one, two, estimator_of("pearson"))
        score = torch.tensor([LATENT, LATENT, 1.0], dtype=torch.float64)
        for name, spread, truth in (
            ("score", jackknife.scores, score),
            ("share", jackknife.shares, score.softmax(0)),
            ("difference of scores", difference.scores, 0 * score),
            ("difference of shares", difference.shares, 0 * score),
        ):
            low, high = spread.interval(LEVEL)
            found[name].append(((low <= truth) & (truth <= high))[:2])
    return {name: percent(torch.stack(each)) for name, each in found.items()}


def main(out=sys.stdout) -> None:
    """Print all tables as Markdown."""
    start = time.perf_counter()

    def line(*cells: object) -> None:
        texts = (f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells)
        print("| " + " | ".join(texts) + " |", file=out, flush=True)

    methods = ("Fisher", "jackknife", "percentile", "BCa")
    line("law", "videos x pairs", "data sets", *(f"{kind}: {name}" for kind in KINDS for name in methods))
    line(*["---"] * 11)
    for law in LAWS:
        for (videos, pairs), data_sets in SETTINGS.items():
            cells = coverage(law, videos, pairs, data_sets, bootstraps=True)
            line(law, f"{videos} x {pairs}", data_sets, *(cell.covered[name] for cell in cells for name in methods))
    print(file=out)
    line("videos x pairs", "mean jackknife standard error over the closed form")
    line("---", "---")
    for videos, pairs in ((100, 10), (100, 5), (20, 5)):
        line(f"{videos} x {pairs}", f"{error_ratio(videos, pairs):.3f}")
    print(file=out)
    line("true correlation", "mislabelled with undetermined", "by the estimate alone")
    line("---", "---", "---")
    for rho in (0.48, 0.52):
        line(f"{rho:.2f}", *mislabelled(rho, 20, 5))
    print(file=out)
    line("videos x pairs", "one channel, signs", "max-T, signs", "one channel, pairs", "max-T, pairs")
    line(*["---"] * 5)
    for videos, pairs in ((20, 5), (10, 10), (100, 5)):
        line(f"{videos} x {pairs}", *false_alarms(videos, pairs).values())
    print(file=out)
    found = layer_coverage()
    line(*found)
    line(*["---"] * 4)
    line(*found.values())
    print(f"\n{time.perf_counter() - start:.0f} s", file=out)


if __name__ == "__main__":
    main()
