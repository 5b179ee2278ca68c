"""How static data sets are: a model on several of them, or models trained on several, measured alike."""

import contextlib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdfast.foundation import StrPath
from sdfast.measurement.accumulation import Forward, accumulate
from sdfast.measurement.capture import untouched
from sdfast.measurement.clip_changes import ClipChanges
from sdfast.measurement.job import check_settings, measure
from sdfast.measurement.journal import forget_states
from sdfast.measurement.processes import Processes
from sdfast.measurement.stopping import LEVEL
from sdfast.models import call_model, first_tensor, match_dims
from sdfast.pairs import SHUFFLED, STILL, ChangedClips, VideoPairs
from sdfast.report import ACCURACIES, BiasReport, DatasetBias, Estimate, LayerBias

_OUTPUT = ""  # the name that a module has for itself
_STATES, _PARTS = "states.{number}.{part}", ("clips", "pairs")
DATASET_STATES = _STATES.format(number="*", part="*")


def dataset_bias(
    model: nn.Module | Mapping[str, nn.Module],
    pairs: VideoPairs | Mapping[str, VideoPairs],
    layers: str | Sequence[str],
    *,
    classes: Sequence[str] | None = None,
    kind: str = "pearson",
    threshold: float = 0.5,
    device: torch.device | str | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    progress: bool = True,
    channel_dim: int | Mapping[str, int] | None = None,
    resume: StrPath | None = None,
    batch_dim: int | Mapping[str, int] | None = None,
    forward: Forward | None = None,
) -> DatasetBias:
    """Measure a model on several data sets, or several models, trained on different data, on one.

    For each: the layers' shares, as `measure` finds them; by how much pooled features change when the frames of a clip
    are shuffled; how well they are foretold by one of its frames; and, where classes are known, the accuracy on clips,
    shuffled clips and single frames. Shuffled and single frames are not restyled. All have intervals by the videos.

    Args:
        model: the model, or models by the names of the data that they learnt.
        pairs: pairs of a data set, or of several by their names; `sdfast.pairs.VideoPairs`. One of model and pairs has
            names.
        layers: names or glob patterns, as in `measure`.
        classes: the names of the classes in the order of the logits (N, classes) that the model returns; a video is of
            the class that a folder above it is named after. None leaves the accuracies out.
        kind, threshold, device, batch_size, num_workers, progress, channel_dim, batch_dim, forward: as in `measure`.
        resume: a folder for the states of all measurements, each as `measure` keeps it. A run that finds its own there
            goes on from them; what was measured is not measured again. The files stay; `forget_dataset_states` deletes
            them.

    Raises:
        ValueError: neither or both of model and pairs have names, the model returns no logits of these classes, a
            video lies in no folder of a class, or what `measure` raises.
        TypeError: pairs are no `VideoPairs`, or what `measure` raises.

    Source: Kowal et al., TPAMI 2024, finding (ii): data sets differ in how static what they teach is.

    >>> import torch
    >>> from sdfast.models import ClipToTensor
    >>> from sdfast.pairs import demo_videos
    >>> model = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 3), torch.nn.ReLU())
    >>> settings = {"num_pairs": 8, "frame_size": (18, 32), "transform": ClipToTensor()}
    >>> sets = {video.stem: VideoPairs(video, **settings) for video in demo_videos()[1:3]}
    >>> bias = dataset_bias(model, sets, "1", progress=False)
    >>> list(bias.layers), list(bias.layers["bikes"])
    (['bikes', 'bigbuckbunny'], ['1'])
    """
    several = [x for x in (model, pairs) if isinstance(x, Mapping)]
    if len(several) != 1 or not several[0]:
        raise ValueError("pairs: expected several data sets by name and one model, or one and several models by name")
    running: dict[str, Any] = {
        "device": device,
        "batch_size": batch_size,
        "num_workers": num_workers,
        "forward": forward,
    }
    reading: dict[str, Any] = {"kind": kind, "threshold": threshold, "channel_dim": channel_dim}
    runs = {}
    for name in several[0]:  # what is wrong with the last shall not show after the others have run
        one_model = model[name] if isinstance(model, Mapping) else model
        one_pairs = pairs[name] if isinstance(pairs, Mapping) else pairs
        clips = ChangedClips.of(one_pairs)
        matches = check_settings(one_model, layers, **reading)
        batch_dims = match_dims("batch_dim", one_model, batch_dim, matches[0])
        labels = None if classes is None else video_labels(one_model, clips, classes, device, forward)
        runs[name] = one_model, one_pairs, clips, matches, batch_dims, labels
    found, accuracy = {}, {}
    for number, (name, (one_model, one_pairs, clips, matches, batch_dims, labels)) in enumerate(runs.items()):
        of_clips, of_pairs = (running | {"resume": path} for path in _state_folders(resume, number))
        of_clips["batch_dims"], of_pairs["batch_dim"] = batch_dims, batch_dim
        states = _clip_changes(one_model, clips, *matches, labels, progress and f"{name}: changed clips", of_clips)
        reports = measure(one_model, one_pairs, layers, progress=progress and f"{name}: pairs", **reading, **of_pairs)
        found[name] = {layer: _layer_bias(report, states[layer]) for layer, report in reports.items()}
        if labels is not None:
            accuracy[name] = _accuracy(states[_OUTPUT])
    return DatasetBias(found, accuracy)


def forget_dataset_states(folder: StrPath) -> None:
    """Delete the states that `dataset_bias` keeps in a folder.

    Raises:
        OSError: a file cannot be deleted.

    >>> forget_dataset_states("no/such/folder")
    """
    for path in sorted(Path(folder).glob(DATASET_STATES)):
        forget_states(path)
        with contextlib.suppress(OSError):  # there is something else in it
            path.rmdir()


def _state_folders(resume: StrPath | None, number: int) -> list[Path | None]:
    """Return where the states of a data set's changed clips and of its pairs lie."""
    return [None if resume is None else Path(resume) / _STATES.format(number=number, part=part) for part in _PARTS]


def video_labels(
    model: nn.Module, clips: ChangedClips, classes: Sequence[str], device: Any, forward: Forward | None = None
) -> Tensor:
    """Return the class of each video by its number, (videos,) int64, for a model that has these classes.

    Raises:
        ValueError: the model returns no logits of these classes, or a video lies in no folder of a class.
    """
    with untouched(model, device) as device:
        logits = first_tensor((forward or call_model)(model, torch.as_tensor(clips[0][0]).unsqueeze(0).to(device)))
    if logits is None or logits.shape != (1, len(classes)):
        got = "none" if logits is None else f"{tuple(logits.shape)}"
        raise ValueError(f"classes: expected as many as the model has logits, of shape (1, {len(classes)}), got {got}")
    numbers = {name: number for number, name in enumerate(classes)}
    labels: list[int] = []
    of_origin: dict[str, str | None] = {}
    for video in clips.sources:
        if of_origin.setdefault(video.origin, video.label) != video.label:
            raise ValueError(f"classes: expected one class in {video.origin}, got several in parts of it")
    for video in map(clips.video, range(len(clips.sources))):
        known = [video.label] if video.label is not None else [folder.name for folder in Path(video).parents]
        found = [numbers[name] for name in known if name in numbers]
        if not found:
            raise ValueError(f"classes: expected {video} in a folder named after one of {len(classes)}, got none")
        labels.append(found[0])
    return torch.tensor(labels)


def _clip_changes(
    model: nn.Module,
    clips: ChangedClips,
    matches: Mapping[str, Sequence[str]],
    channel_dims: Mapping[str, int],
    labels: Tensor | None,
    progress: bool | str,
    running: Mapping[str, Any],
) -> dict[str, ClipChanges]:
    """Return what the layers, and with labels the output, show when clips are changed."""
    if labels is not None:
        matches = {**matches, "the output": (_OUTPUT,)}
    with Processes() as processes:
        make_state = functools.partial(ClipChanges, labels=labels)
        return accumulate(model, clips, matches, channel_dims, make_state, processes, progress=progress, **running)


def _layer_bias(report: BiasReport, state: ClipChanges) -> LayerBias:
    shuffled = Estimate.of(state.change(), SHUFFLED, report.level)
    return LayerBias(report, shuffled, Estimate.of(state.explained(), STILL, report.level))


def _accuracy(state: ClipChanges) -> dict[str, Estimate]:
    clips, changed = state.accuracy()
    rows = (clips, STILL), (changed, SHUFFLED), (changed, STILL)
    return {what: Estimate.of(*row, LEVEL) for what, row in zip(ACCURACIES, rows, strict=True)}
