"""The ways to train: their layers, losses, changes of clips, weights of channels, and how they are tuned."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

import sdfast
from experiments.debias import changes, data, guidance, losses, tuning
from experiments.debias.changes import CHANGES
from experiments.debias.channels import NETWORKS, channel_rows
from experiments.debias.dropblock import DropBlock3d
from experiments.debias.losses import LOSSES
from experiments.debias.model import BLOCKS, WIDTHS, SmallNet
from experiments.debias.rows import NO_DROPOUT, ROWS, TRIES, Row, tuned_rows
from experiments.debias.settings import Settings
from experiments.debias.training import Run, train
from experiments.debias.transformer import SmallTransformer
from sdfast.dropout import context
from sdfast.training import run_with_permuted
from tests.support.debias import REGION, TINY


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_transformer_is_watched_and_guided_as_the_others_are():
    """No norm in it knows other clips, its blocks return (N, C, T, H, W), and it tells the order of frames."""
    torch.manual_seed(0)
    model, video = SmallTransformer((1, 8, 24, 24)), data.Shapes().train_clips(6, generator()).video
    together, alone = model(video), torch.cat([model(clip[None]) for clip in video])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    for block in BLOCKS:
        model.get_submodule(block).register_forward_hook(lambda *_: shapes.append(tuple(_[2].shape)))
    shapes = []
    assert not torch.allclose(model(video.flip(2)), together, atol=1e-4)
    assert shapes == [(6, 32, 4, 6, 6)] * 3
    rows = channel_rows(["transformer"])
    assert len(rows) == 1 + 3 * 3 + 1 and {row.network["kind"] for row in rows.values()} == {"transformer"}
    for settings in (TINY, replace(TINY, start="fine-tuned")):
        run = train(rows["transformer", "block2", "conditional"], 0, settings)
        assert run.steps == [0, 2] and run.scores["block2"]["static"] < 1
    assert set(channel_rows()) == {key for key in channel_rows(NETWORKS) if key[0] != "transformer"}


def test_dropblock_drops_cubes_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = DropBlock3d(p=0.2, block_size=3)
    output = layer(torch.ones(16, 32, 8, 12, 12))
    dropped = output == 0
    assert abs(dropped.double().mean().item() - 0.2) < 0.04  # overlaps make it less
    assert abs(output.mean().item() - 1) < 1e-5
    inside = dropped[..., 1:-1, 1:-1, 1:-1]
    neighbours = (dropped[..., :-2, 1:-1, 1:-1] | dropped[..., 2:, 1:-1, 1:-1])[inside]
    assert neighbours.all()  # no element goes alone
    assert layer.eval()(output) is output


def test_dropblock_fits_into_small_features_and_drops_all_at_most():
    torch.manual_seed(0)
    assert DropBlock3d(p=0.5, block_size=7)(torch.ones(64, 2, 1, 2, 9)).shape == (64, 2, 1, 2, 9)
    assert DropBlock3d(p=1.0, block_size=1)(torch.ones(2, 2, 3, 3, 3)).abs().sum() == 0


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_layers_are_inserted_after_their_blocks_and_do_nothing_in_tests(row):
    torch.manual_seed(0)
    plain, model = (SmallNet(**row.network).eval() for _ in range(2))
    model.load_state_dict(plain.state_dict())
    layers = row.insert(model)
    assert list(layers) == list(row.after if row.layer else ())
    assert all(model.get_submodule(name)[-1] is layer for name, layer in layers.items())
    model.eval()
    video = data.Shapes().train_clips(4, generator()).video
    assert torch.equal(model(video), plain(video))


def test_rows_are_those_of_the_comparison():
    rows = {row.name: row for row in ROWS}
    assert len(rows) == len(ROWS) == 21
    plain = {row.layer for row in ROWS if row.loss == "labels" and row.mask is row.weights is None}
    assert plain == {None, nn.Dropout, nn.Dropout3d, DropBlock3d}
    guidance = {(row.mask is not None, row.weights is not None) for row in ROWS if row.layer is sdfast.StaticDropout}
    assert guidance == {(True, False), (False, True), (True, True)}
    assert {row.mask for row in ROWS} == {None, "labels", "motion", "video"} and {row.loss for row in ROWS} == {*LOSSES}
    assert {row.change for row in ROWS} == {None, *CHANGES}
    assert all(row.control in rows for row in ROWS[1:]) and ROWS[0].control is None
    assert rows["bias penalty"].control == rows["entropy of permuted clips"].control == "permuted clips"


def test_controls_share_all_but_what_they_are_to_show():
    rows = {row.name: row for row in (*ROWS, *channel_rows().values())}
    for guided, random in (("channel", "random channels"), ("batch norm: block2, rank", "batch norm: block2, random")):
        same = {"name": random, "weights": "random", "control": "no dropout"}
        assert replace(rows[guided], **same) == rows[random]
    assert replace(rows["bias penalty"], name="x", loss="permuted") == replace(
        rows["permuted clips"], name="x", tries="weight", control="permuted clips"
    )


def test_no_row_is_better_tuned_than_another():
    assert len({len(values) for values in TRIES.values()}) == 1
    for row in ROWS:
        values = TRIES[row.tries]
        assert len(set(values)) == len(values) and row.value == row.having(row.value).value
        assert {row.having(value).value for value in values} == set(values)
        changed = {key for key, value in row.having(values[0]).settings().items() if value != row.settings()[key]}
        assert changed <= {{"p": "options"}.get(row.tuned, row.tuned)}


def test_tuning_takes_what_is_best_out_of_distribution_and_keeps_other_worlds(tmp_path, monkeypatch):
    rows, path = (NO_DROPOUT, REGION), tmp_path / "tuned.json"
    path.write_text('{"other": {"scratch": {"region": 0.9}}, "shapes": {"fine-tuned": {"region": 0.8}}}')
    out = {"no dropout": {0.3: 0.2, 0.6: 0.1, 1.0: 0.5, 2.0: 0.5}, "region": {0.1: 0.1, 0.3: 0.2, 0.5: 0.3, 0.7: 0.4}}
    seen = []

    def make(jobs, processes, kept):
        seen.extend(jobs)
        return [Run(job.row.name, job.seed, "", {"out": out[job.row.name][job.row.value]}, {}, [], {}) for job in jobs]

    monkeypatch.setattr(tuning, "run_all", make)
    best = tuning.tune(rows, Settings(), path=path)
    assert best == {"no dropout": 1.0, "region": 0.7}
    assert json.loads(path.read_text()) == {
        "other": {"scratch": {"region": 0.9}},
        "shapes": {"fine-tuned": {"region": 0.8}, "scratch": best},
    }
    assert len(seen) == len(rows) * 4 * len(tuning.SEEDS) and {job.seed for job in seen} == {*tuning.SEEDS}
    assert min(tuning.SEEDS) >= 100, "the seeds of tests"
    monkeypatch.setattr("experiments.debias.rows.TUNED", path)
    monkeypatch.setattr("experiments.debias.rows.ROWS", rows)
    assert [row.value for row in tuned_rows("shapes", "scratch")] == [1.0, 0.7]
    assert [row.value for row in tuned_rows("other", "scratch")] == [1.0, 0.9]
    assert [row.value for row in tuned_rows("new", "fine-tuned")] == [1.0, 0.8]


def test_losses_ask_what_they_say():
    torch.manual_seed(0)
    clips, model = data.Shapes().train_clips(16, generator()), SmallNet()
    taken = {}
    for name, loss in LOSSES.items():
        torch.manual_seed(1)
        taken[name] = loss(model, clips.video, clips.label, None, 0.5).item()
    torch.manual_seed(1)
    logits, others, feats = run_with_permuted(model, clips.video, "block3")
    plain = functional.cross_entropy(logits, clips.label)
    assert taken["labels"] == pytest.approx(functional.cross_entropy(model(clips.video), clips.label).item())
    assert taken["permuted"] == pytest.approx(plain.item()) != taken["labels"]
    assert taken["penalty"] == pytest.approx((plain + 0.5 * sdfast.bias_penalty(*feats["block3"])).item())
    uniform = torch.full_like(others, 0.25)
    assert taken["entropy"] == pytest.approx((plain + 0.5 * functional.cross_entropy(others, uniform)).item())


def test_the_adversarial_loss_knows_the_slope_of_still_clips():
    """Of a model that is linear in the picture, whose gradient is known, and on average over many directions."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool3d((1, 6, 6)), nn.Flatten(), nn.Linear(36, 4)).double()
    clip = torch.randn(1, 1, 8, 6, 6, dtype=torch.float64)[:, :, :1].expand(-1, -1, 8, -1, -1)  # all its frames alike
    label = torch.tensor([1])
    logits = net(clip)
    picture = clip[:, :, :1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(functional.cross_entropy(net(picture), label), picture)
    certain = (logits.softmax(1) * logits.log_softmax(1)).sum()
    told = functional.cross_entropy(logits, label)
    expected = told + 2 * (losses.ENTROPY * certain + losses.SLOPE * slope.square().sum() - told)
    many = 4000
    found = losses.adversarial(net, clip.repeat(many, 1, 1, 1, 1), label.repeat(many), None, 2.0)
    assert found.item() == pytest.approx(expected.item(), rel=0.05)


def test_a_mask_is_permuted_with_its_clip():
    """Where the mask is what the clip shows, dropping it leaves nothing, whatever the order of frames."""
    seen = []

    class Spy(sdfast.StaticDropout):
        def forward(self, input):
            output = super().forward(input)
            seen.append((input.detach().clone(), output.detach().clone()))
            return output

    torch.manual_seed(0)
    model = SmallNet()
    model.block1 = nn.Sequential(nn.Identity(), Spy(p=1.0, rescale=False), model.block1)
    mask = (torch.rand(4, 8, 1, 1) < 0.5).float().expand(4, 8, 24, 24)
    video = 1 + mask.unsqueeze(1)
    losses.penalty(model, video, torch.zeros(4, dtype=torch.int64), mask, 1.0)
    ((before, after),) = seen
    assert before.shape == (8, 1, 8, 24, 24) and not torch.equal(before[:4], before[4:])
    assert torch.equal(after, torch.where(before == 2, 0.0, before))


def test_changes_change_what_they_say():
    torch.manual_seed(0)
    video = torch.arange(6.0).view(6, 1, 1, 1, 1) + torch.linspace(0, 0.5, 8).view(1, 1, 8, 1, 1).expand(6, 1, 8, 4, 4)
    static = torch.ones(6, 8, 4, 4)
    static[:, :, 0] = 0
    swapped = changes.swapped(video, 1.0, static)
    assert torch.equal(swapped[..., 0, :], video[..., 0, :])
    apart = (swapped - video)[..., 1:, :]
    assert (apart.abs() > 0.9).all()
    torch.testing.assert_close(apart, apart[:, :, :1, :1, :1].expand_as(apart))
    still = 2 * changes.with_still(video, 1.0, None) - video  # what was mixed in, of another clip, all frames alike
    torch.testing.assert_close(still, still[:, :, :1].expand_as(still))
    assert (still[:, 0, 0, 0, 0].floor() != torch.arange(6.0)).all()
    own = changes.with_own_frame(video, 0.5, None)
    shrunk = own.diff(dim=2)[:, 0, :, 0, 0] / video.diff(dim=2)[:, 0, :, 0, 0]  # motion is weaker, the clip the same
    assert (shrunk >= 0.5 - 1e-4).all() and (shrunk < 1).all() and torch.equal(own.floor(), video.floor())
    noise = torch.randn(2, 3, 8, 16, 16)
    mixed = changes.convolved(noise, 1.0, None)
    assert mixed.shape == noise.shape and not torch.equal(mixed, noise)
    moved = changes.convolved(noise[:, :, :1].expand(-1, -1, 8, -1, -1), 1.0, None)
    torch.testing.assert_close(moved, moved[:, :, :1].expand_as(moved))  # what is still stays still
    for change in CHANGES.values():
        same = change(video, 0.0, static)
        torch.testing.assert_close(same, video)


def test_conditional_weights_do_not_see_what_the_label_explains():
    """Of a channel that is the label, and one of the texture: given the label, the first has nothing left to share."""
    pairs = data.Shapes().draw_pairs(400, generator())
    look = torch.randn(400, generator=generator(1))

    class Known(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Identity()

        def forward(self, video):
            return self.block(video)

    feats = torch.stack([pairs.label.float(), look], 1)[..., None, None, None]
    known = pairs._replace(video_a=feats, video_b=feats + 1e-3 * torch.randn(feats.shape, generator=generator(2)))
    static = guidance._within_labels(Known(), "block", known).corr[1]
    assert abs(static[0]) < 0.3 and static[1] > 0.99


def test_random_channels_have_the_weights_of_the_guided_ones_dealt_out_anew():
    kept = []

    class Spy(sdfast.StaticDropout):
        def forward(self, input):
            if self.training:
                kept.append(self.channel_weight.clone())
            return super().forward(input)

    for weights in ("rank", "random"):
        train(Row("spy", Spy, {"p": 0.5}, ("block3",), weights=weights), 0, replace(TINY, steps=1))
    ranked, dealt = kept
    assert torch.equal(ranked.sort().values, dealt.sort().values) and not torch.equal(ranked, dealt)


def test_guided_layers_take_their_weights_from_the_reports():
    taken = []

    class Spy(sdfast.StaticDropout):
        def guide(self, report, how):
            assert how == "minmax"
            taken.append(report)
            return super().guide(report, how)

    train(Row("spy", Spy, {"p": 0.5}, weights="minmax"), 0, TINY)
    assert [report.num_channels for report in taken] == [*WIDTHS[:2]] * 2  # two layers, at steps 0 and 2
    taken.clear()
    train(Row("spy", Spy, {"p": 0.5}), 0, TINY)
    assert not taken


@pytest.mark.parametrize("source", [None, "labels", "motion", "video"])
def test_the_mask_reaches_the_layers(source):
    masks, dropped = [], []

    class Spy(sdfast.StaticDropout):
        def forward(self, input):
            output = super().forward(input)
            if self.training:
                masks.append(context.current()[0])
                dropped.append(((output == 0) & (input != 0)).double().mean().item())
            return output

    train(Row("spy", Spy, {"p": 1.0, "rescale": False}, mask=source), 0, replace(TINY, steps=2))
    assert len(masks) == 4
    for mask, share in zip(masks, dropped, strict=True):
        if source is None:
            assert mask is None
            continue
        assert mask.shape == (TINY.batch_size, data.FRAMES, data.SIZE, data.SIZE)
        assert (set(mask.unique().tolist()) == {0.0, 1.0}) == (source in ("labels", "motion"))
        assert 0.05 < share < 0.6
