"""The benchmarks of dropout: wrong bits and rates are found, masks and peers are what they are called."""

import numpy as np
import pytest
import torch

from benchmarks.dropout_peers import composed, unguided
from benchmarks.dropouts import SEED, Activations, Guidance, P, blobs, rate_error
from benchmarks.targets import KEPT
from benchmarks.test_static_dropout import LARGE_LAYERS, TRAINING_LAYERS, bytes_kept
from sdfast.bench.timing import Spread

SMALL = ((2, 6, 4, 10, 10), 1, None), ((2, 400, 6), -1, (4, 10, 10))
GUIDANCES = {
    "plain": Guidance(),
    "without rescaling": Guidance(rescale=False),
    "half": Guidance(0.5),
    "in pieces": Guidance(0.2, pieces=3),
    "by channel": Guidance(0.5, granularity="channel"),
    "by region": Guidance(0.5, granularity="region", rescale=False),
    "finer mask": Guidance(0.5, grid=(8, 20, 20)),
}


def small(shape=SMALL[0], guidance=GUIDANCES["half"], dtype=torch.float32):
    sizes, channel_dim, frames = shape
    return Activations(sizes, dtype, channel_dim, guidance, frames)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "name"),
    [(SMALL[0], name) for name in GUIDANCES] + [(SMALL[1], name) for name in GUIDANCES if name != "finer mask"],
)
def test_our_dropout_passes_in_place_and_out_of_place(shape, name, dtype):
    feats = small(shape, GUIDANCES[name], dtype)
    for run in (lambda: feats.drop(feats.x), lambda: feats.drop(feats.x, inplace=True)):
        feats.refill()
        candidate = feats.ours(run)
        assert candidate.error(run()) <= candidate.tolerance


@pytest.mark.parametrize("name", ["plain", "half"])
def test_a_wrong_bit_or_a_wrong_rate_is_wrong(name):
    feats = small(guidance=GUIDANCES[name])
    candidate = feats.ours(lambda: feats.drop(feats.x))
    right = candidate.run()
    for change in (
        lambda y: y[0, 0, 0, 0].zero_(),  # in the sample that is compared
        lambda y: y[0].mul_(1 + 1e-6),
        lambda y: y[1].zero_(),  # beyond it
        lambda y: y[1].fill_(1.0),
        lambda y: y[1, 0].fill_(torch.nan),
    ):
        wrong = right.clone()
        change(wrong)
        assert candidate.error(wrong) > candidate.tolerance
    assert candidate.error(feats.source) > candidate.tolerance


def test_a_wrong_bit_is_wrong_also_where_chance_decides_the_rate():
    feats = small(guidance=GUIDANCES["by region"])
    candidate = feats.ours(lambda: None)
    assert candidate.error(feats.drop(feats.x) * 2) > candidate.tolerance


def test_refilled_features_are_what_they_were():
    feats = small()
    for _ in range(2):
        feats.drop(feats.x, inplace=True)
    assert rate_error(feats.x, 0.0) > 0.05
    feats.refill()
    assert torch.equal(feats.x, feats.source) and bool(feats.x.all())


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("grid", [(7, 9), (3, 8, 10)])
@pytest.mark.parametrize("static", [0.1, 0.5, 1.0])
def test_blobs_cover_their_share_of_each_frame(static, grid, pieces):
    mask = blobs(3, grid, static, pieces, torch.Generator().manual_seed(0))
    assert mask.shape == (3, *grid) and set(mask.unique().tolist()) <= {0.0, 1.0}
    share = mask.flatten(-2).mean(-1)
    assert torch.all((share - static).abs() <= 0.51 / (grid[-2] * grid[-1]))
    if static < 1:
        edges = int((mask[..., 1:] != mask[..., :-1]).sum())
        assert 0 < edges < 0.5 * mask.numel()


@pytest.mark.parametrize("static", [None, 0.5])
@pytest.mark.parametrize(
    "shape", [((8, 32, 8, 20, 20), 1, None), ((8, 3200, 6), -1, (8, 20, 20))], ids=["video", "tokens"]
)
def test_dropout_peers_drop_what_they_should(shape, static, monkeypatch):
    monkeypatch.setattr("benchmarks.dropout_peers.compiled", lambda formula: formula)
    torch.manual_seed(0)
    feats = small(shape, Guidance(static))
    assert feats.rate == P if static is None else 0 < feats.rate < P
    peers = {**unguided(feats, lambda drop: drop(feats.x)), **composed(feats, lambda drop: drop(feats.x))}
    assert len(peers) == (3 if shape[2] is not None else 5)
    for name, peer in peers.items():
        assert peer.error(peer.run()) <= peer.tolerance, name
        assert peer.error(feats.x) > peer.tolerance, name


def test_the_composition_keeps_the_mean():
    feats = small(guidance=Guidance(0.5))
    run = composed(feats, lambda drop: drop(feats.source))["naive composition"].run
    torch.manual_seed(0)
    assert torch.stack([run() for _ in range(100)]).mean().item() == pytest.approx(feats.source.mean().item(), rel=0.01)


def test_our_dropout_draws_what_the_seed_says():
    assert int(small().seed) == SEED


def test_layers_are_as_large_as_they_are_said_to_be():
    assert all(4 * np.prod(layer.shape) >= 200e6 for layer in LARGE_LAYERS)
    for layer in (*LARGE_LAYERS, *TRAINING_LAYERS):
        assert layer.sizes is None or np.prod(layer.sizes) == layer.shape[1]


def test_bytes_kept_counts_what_the_caller_does_not_hold():
    x, factor = torch.ones(8, requires_grad=True), torch.full((8,), 2.0)
    assert bytes_kept(lambda: x * factor, (factor,)) == 0
    assert bytes_kept(lambda: x * factor, (None,)) == 32
    assert bytes_kept(lambda: x * factor.clone(), (factor,)) == 32
    assert KEPT.verdict(Spread((0.0,))) == "aim"
    assert KEPT.verdict(Spread((1.0,))) == "missed"
