"""dataset_bias: data sets side by side by one model, models side by side on one, and accuracies by folder names."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from sdfast.measurement import CheckpointError, dataset_bias, forget_dataset_states
from sdfast.models import ClipToTensor
from sdfast.pairs import SHUFFLED, STILL, ChangedClips, VideoPairs
from tests.support.processes import on_two
from tests.support.videos import numbered_frames, write_video

CLASSES = ("dark", "light")


@pytest.fixture
def folders(tmp_path):
    """Two data sets of four videos each, in a folder a class; those of `light` are red."""
    for name in ("one", "two"):
        for i, label in enumerate(CLASSES):
            (tmp_path / name / label).mkdir(parents=True)
            for number in range(2):
                frames = numbered_frames(24 + number + (name == "two"), tint=40 * i + 5 * number)
                write_video(tmp_path / name / label / f"{number}.mp4", frames)
    return tmp_path


def pairs_of(folder, **settings):
    settings = {"num_pairs": 12, "clip_frames": 4, "frame_size": (24, 32), "transform": ClipToTensor(), **settings}
    return VideoPairs(folder, styles=["pencil"], **settings)


class Toy(nn.Module):
    """One layer that sees frames alone, one that sees their order, and logits by how red the clip is."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.frames = nn.Conv3d(3, 5, (1, 3, 3), dtype=torch.float64)
        self.motion = nn.Conv3d(3, 5, (2, 3, 3), dtype=torch.float64)

    def forward(self, clips):
        clips = clips.double()
        self.frames(clips), self.motion(clips).relu()
        red = clips[:, 0].mean((1, 2, 3)) - clips[:, 1].mean((1, 2, 3))
        return torch.stack([0.15 - red, red], dim=1)


def measured(model, pairs, layers=("frames", "motion"), **settings):
    return dataset_bias(model, pairs, layers, **{"progress": False, **settings})


def test_each_data_set_reads_as_measured_alone(folders):
    model, sets = Toy(), {name: pairs_of(folders / name) for name in ("one", "two")}
    bias = measured(model, sets, kind="intraclass", threshold=0.4)
    assert list(bias.layers) == ["one", "two"] and bias.accuracy == {}
    for name, pairs in sets.items():
        alone = sdfast.measure(model, pairs, "*", kind="intraclass", threshold=0.4, progress=False)
        for layer, found in bias.layers[name].items():
            assert torch.equal(found.report.groups, alone[layer].groups)
            assert (found.report.kind, found.report.threshold) == ("intraclass", 0.4)


def test_changes_are_those_of_the_features(folders):
    model, pairs = Toy(), pairs_of(folders / "one")
    found = measured(model, {"one": pairs}, batch_size=3).layers["one"]
    columns = [
        torch.stack([torch.as_tensor(x) for x in column]) for column in zip(*ChangedClips.of(pairs), strict=True)
    ]
    for layer, reading in found.items():
        with torch.no_grad():
            clips, changed = (getattr(model, layer)(x.double()).mean((2, 3, 4)).numpy() for x in columns[:2])
        distance = np.linalg.norm(clips - changed, axis=1) / np.linalg.norm(clips, axis=1)
        rows = columns[2].numpy() == SHUFFLED
        np.testing.assert_allclose(reading.shuffled.value, distance[rows].mean(), rtol=1e-9, atol=1e-12)
        rows = columns[2].numpy() == STILL
        corr = [np.corrcoef(x, y)[0, 1] for x, y in zip(clips[rows].T, changed[rows].T, strict=True)]
        variance = clips[rows].var(0)
        np.testing.assert_allclose(reading.one_frame.value, (variance * np.square(corr)).sum() / variance.sum())
    assert found["frames"].shuffled.value < 1e-12 < 1e-3 < found["motion"].shuffled.value


def test_models_are_compared_on_the_same_clips(folders):
    models = {"a": Toy(0), "b": Toy(1)}
    bias = measured(models, pairs_of(folders / "one"))
    assert list(bias.layers) == ["a", "b"]
    found = sdfast.compare(*(bias.layers[name]["motion"].report for name in models))  # refuses other pairs
    assert found.percent.abs().max() > 0


def test_accuracies_by_the_names_of_folders(folders):
    pairs = pairs_of(folders / "one", num_pairs=16)
    right = measured(Toy(), {"one": pairs}, classes=CLASSES).accuracy["one"]
    assert {what: x.value for what, x in right.items()} == {"clips": 1, "shuffled": 1, "one_frame": 1}
    wrong = measured(Toy(), {"one": pairs}, classes=CLASSES[::-1]).accuracy["one"]
    assert {x.value for x in wrong.values()} == {0}
    for low_high in ((x.low, x.high) for x in right.values()):
        assert low_high == (1, 1)
    assert "one" not in measured(Toy(), {"one": pairs}).accuracy


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["dark", "light", "red"], r"expected as many as the model has logits, of shape \(1, 3\), got \(1, 2\)"),
        (["dark", "bright"], "expected .*light.*mp4 in a folder named after one of 2, got none"),
    ],
)
def test_classes_that_do_not_fit(folders, classes, message):
    with pytest.raises(ValueError, match=f"classes: {message}"):
        measured(Toy(), {"one": pairs_of(folders / "one")}, classes=classes)


@pytest.mark.parametrize("both", [True, False])
def test_either_models_or_pairs_have_names(folders, both):
    pairs = pairs_of(folders / "one")
    args = ({"a": Toy()}, {"one": pairs}) if both else (Toy(), pairs)
    with pytest.raises(ValueError, match="expected several data sets by name and one model, or one and several models"):
        measured(*args)
    with pytest.raises(ValueError, match="expected several data sets by name"):
        measured(Toy(), {})


class Interrupted(Toy):
    """Fails at its n-th batch, counted over all it is called for."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.left = fails_at

    def forward(self, clips):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise InterruptedError
        return super().forward(clips)


def resumed(folders, fails_at=None, classes=CLASSES, **settings):
    """Measure two data sets: a batch each for the logits, then six of changed clips and six of pairs for each."""
    sets = {name: pairs_of(folders / name) for name in ("one", "two")}
    return measured(Interrupted(fails_at), sets, classes=classes, batch_size=2, **settings).to_dict()


@pytest.mark.parametrize("fails_at", [2, 5, 11, 17, 23])
def test_a_resumed_run_finds_what_an_uninterrupted_one_does(folders, tmp_path, fails_at):
    """Wherever it was stopped: in the changed clips or the pairs of either data set."""
    whole = resumed(folders)
    with pytest.raises(InterruptedError):
        resumed(folders, fails_at, resume=tmp_path / "states")
    assert resumed(folders, 2 + 24 - max(0, fails_at - 2), resume=tmp_path / "states") == whole, "the rest was enough"
    assert resumed(folders, 2, resume=tmp_path / "states") == whole, "nothing is left to be measured"


def test_states_of_others_are_refused(folders, tmp_path):
    resumed(folders, resume=tmp_path / "states")
    with pytest.raises(CheckpointError, match="of another job: state_dict: expected the classes that these videos"):
        resumed(folders, classes=CLASSES[::-1], resume=tmp_path / "states")
    with pytest.raises(CheckpointError, match="of another job: layers was"):
        resumed(folders, classes=None, resume=tmp_path / "states")
    other = {"two": pairs_of(folders / "two"), "one": pairs_of(folders / "one")}
    with pytest.raises(CheckpointError, match=r"of another job: pairs\.fingerprint was"):
        measured(Interrupted(), other, classes=CLASSES, batch_size=2, resume=tmp_path / "states")


def test_forgetting_deletes_the_states_and_nothing_else(folders, tmp_path):
    states = tmp_path / "states"
    resumed(folders, resume=states)
    assert sorted(path.name for path in states.iterdir()) == [
        f"states.{n}.{part}" for n in (0, 1) for part in ("clips", "pairs")
    ]
    (states / "states.1.pairs" / "mine.txt").write_text("")
    (states / "state.0.sdfast").write_text("of measure")
    forget_dataset_states(states)
    assert sorted(path.name for path in states.rglob("*")) == ["mine.txt", "state.0.sdfast", "states.1.pairs"]


def findings(rank, folder, **settings):
    bias = measured(Toy(), {"one": pairs_of(folder)}, classes=CLASSES, batch_size=2, **settings)
    return bias.to_dict()


def test_two_processes_find_what_one_does(folders):
    first, second = on_two(findings, folders / "one")
    assert first == second
    for _ in range(2):  # the second time all is there already
        assert on_two(findings, folders / "one", resume=folders / "states") == [first, first]
    alone = findings(0, folders / "one")

    def flat(tree):
        return [x for value in tree.values() for x in (flat(value) if isinstance(value, dict) else [value])]

    for found, wanted in zip(flat(first), flat(alone), strict=True):
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9, nan_ok=True)
    assert json.dumps(first, allow_nan=False)


def test_the_model_is_left_as_it_was(folders):
    model = Toy().train()
    measured(model, {"one": pairs_of(folders / "one", num_pairs=2)}, classes=CLASSES)
    assert model.training and not any(module._forward_hooks for module in model.modules())


def test_dims_that_do_not_fit_the_last_model_are_said_before_the_first_runs(folders):
    ran, first, last = [], Toy(), Toy()
    first.register_forward_hook(lambda *_: ran.append(True))
    del last.motion
    with pytest.raises(ValueError, match=r"batch_dim: .*motion"):
        measured({"first": first, "last": last}, pairs_of(folders / "one"), "*", batch_dim={"motion": 0})
    assert not ran
