"""`sdfast dataset`: how static data sets are, by a model on several of them or by models trained on several."""

import argparse
import contextlib
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from sdfast.commands.arguments import Subparsers, positive
from sdfast.commands.errors import RunError
from sdfast.commands.machine import find_device, joined_processes, locked, restarted, try_writing, writing_to
from sdfast.commands.output import add_output, check_new, told
from sdfast.commands.settings import (
    MODEL_HELP,
    WEIGHTS_HELP,
    add_settings,
    chosen_model,
    describe,
    pair_settings,
    running,
)
from sdfast.foundation import require, write_together
from sdfast.measurement import DATASET_STATES, check_settings, dataset_bias, forget_dataset_states
from sdfast.models import VideoModel
from sdfast.pairs import VideoPairs
from sdfast.report import REPORT_JSON, DatasetBias, plain
from sdfast.statistics import GROUPS

_CSV, _PNG = "datasets.csv", "datasets.png"


def register(subparsers: Subparsers) -> None:
    """Add `dataset` to the subcommands."""
    command = subparsers.add_parser(
        "dataset",
        help="compare how static data sets are, by one model or by models trained on them",
        description="Compare how static data sets are: one model on several folders of videos (--videos once a data "
        "set), or several weights of one model, trained on different data, on one (--weights A B). Beside the shares "
        "of the layers: by how much their features change when the frames of a clip are shuffled, how well one frame "
        "foretells them, and the accuracy on either where labels are known; all with intervals by the videos.",
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("--model", default="transnetv2", metavar="SPEC", help=MODEL_HELP)
    add("--weights", nargs="+", metavar="FILE", help=WEIGHTS_HELP)
    add("--videos", nargs="+", action="append", required=True, metavar="PATH",
        help="video files or folders of a data set; give it once for each")  # fmt: skip
    add("--labels", metavar="folder|FILE",
        help="classes, for accuracies: the names of the folders below --videos, sorted as the model's outputs are, or "
        "a file with a name a line in their order; a video is of the class that its folder is named after")  # fmt: skip
    add("--pairs", type=positive, default=200, metavar="N", help="pairs a data set, both factors (%(default)s)")
    add_settings(add)
    add("--out", type=Path, default=Path("sdfast-dataset"), metavar="FOLDER", help="for the results (%(default)s)")
    add("--resume", action="store_true", help="go on from where a run with the same --out was stopped")
    add_output(add)
    add("--json", action="store_true", help="print the findings as JSON on stdout, all else on stderr")


def run(args: argparse.Namespace) -> None:
    """Measure all data sets, save what was found and print it."""
    weights = args.weights or [None]
    if len(weights) > 1 and len(args.videos) > 1:
        raise ValueError("--weights: expected one with several --videos, or several with one")
    names = _names([[path] for path in weights] if len(weights) > 1 else args.videos)
    device = find_device(args.device)
    args.resume = args.resume or restarted()
    with joined_processes(device) as (rank, world), contextlib.ExitStack() as until_done:
        with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
            models = [chosen_model(args, path) for path in weights]
            pairs = _pairs(args, models[0])
            classes = None if args.labels is None else class_names(args.labels, [*itertools.chain(*args.videos)])
            # What would be said only after the states of an earlier run are gone.
            for model in models:
                check_settings(model.module, model.layers, args.kind, args.threshold, model.channel_dim)
            until_done.enter_context(locked(args.out))
            if rank == 0:
                check_new(args, args.out, [REPORT_JSON, _CSV, _PNG, DATASET_STATES])
            _prepare(args, len(models[0].layers) * len(names), pairs)
            modules = [model.module for model in models]
            try:
                bias = dataset_bias(
                    dict(zip(names, modules, strict=True)) if len(weights) > 1 else modules[0],
                    pairs[0] if len(weights) > 1 else dict(zip(names, pairs, strict=True)),
                    models[0].layers,
                    classes=classes,
                    device=device,
                    channel_dim=models[0].channel_dim,
                    batch_dim=models[0].batch_dim,
                    forward=models[0].forward,
                    resume=args.out,
                    progress=not args.quiet,
                    **running(args),
                )
            except OSError as error:
                raise RunError(str(error)) from error
        if rank > 0:
            return
        runs = zip(weights * len(pairs), pairs * len(weights), strict=True)
        settings = [describe(args, path, models[0], one, world) for path, one in runs]
        file = told(args)
        try:
            written = _save(bias, settings, args.out, file)
            forget_dataset_states(args.out)
        except OSError as error:
            raise RunError(str(error)) from error
        if args.json:
            print((args.out / REPORT_JSON).read_text(encoding="utf-8"), end="")
        print(bias.summary(), *(f"wrote {path}" for path in written), sep="\n", file=file)


def _pairs(args: argparse.Namespace, model: VideoModel) -> list[VideoPairs]:
    settings = pair_settings(args, model) | ({"styles": args.styles} if args.styles else {})
    return [VideoPairs(paths, **settings) for paths in args.videos]


def _prepare(args: argparse.Namespace, layers: int, pairs: list[VideoPairs]) -> None:
    """Fail now if the results will not fit; without --resume, forget earlier runs."""
    if not args.resume:
        with writing_to(args.out):
            forget_dataset_states(args.out)
    # Tables, a picture, and two states of each layer, which may be written anew: for some 2,000 channels.
    groups = min(GROUPS, max(len(one.sources) for one in pairs))
    try_writing(args.out, megabytes=4 + layers * groups // 2)


def _names(several: list[list[str]]) -> list[str]:
    """Return the names of files or folders, or their paths where two have the same name."""
    short = ["+".join(Path(path).stem if Path(path).is_file() else Path(path).resolve().name for path in paths)
             for paths in several]  # fmt: skip
    names = short if len(set(short)) == len(short) else ["+".join(paths) for paths in several]
    if len(set(names)) < len(names):
        raise ValueError(f"--videos, --weights: expected each once, got {', '.join(names)}")
    return names


def class_names(labels: str, videos: Sequence[str]) -> list[str]:
    """Return the names of the classes in the order of the model's outputs: of the folders below videos, or in a file.

    Raises:
        ValueError: there are no such folders, or no such file.
    """
    if labels == "folder":
        folders = [Path(path) for path in videos if Path(path).is_dir()]
        found = sorted({below.name for folder in folders for below in folder.iterdir()
                        if below.is_dir() and not below.name.startswith(".")})  # fmt: skip
        if not found:
            below = " ".join(videos) or "--videos"
            raise ValueError(f"--labels: expected a folder for each class below {below}, got none")
        return found
    try:
        lines = Path(labels).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--labels: expected folder, or a file with a class a line, got {labels}") from error
    return [line.strip() for line in lines if line.strip()]


def _save(bias: DatasetBias, settings: list[dict[str, Any]], folder: Path, file: TextIO) -> list[Path]:
    """Write report.json, datasets.csv and datasets.png, and return which there are."""
    from sdfast import __version__

    found = zip(bias.to_dict().items(), settings, strict=True)
    data_sets = {name: {"settings": of_it, **values} for (name, values), of_it in found}
    text = json.dumps(plain({"sdfast": __version__, "data_sets": data_sets}), indent=1, allow_nan=False) + "\n"
    writers: dict[str, Callable[[Path], Any]] = {_CSV: bias.to_csv}
    try:
        require("matplotlib")
        writers[_PNG] = bias.plot
    except ImportError as error:
        print(f"no picture: {error}", file=file)
        (folder / _PNG).unlink(missing_ok=True)  # that of an earlier run shows other numbers
    writers[REPORT_JSON] = lambda part: part.write_text(text, encoding="utf-8")
    write_together(folder, writers)
    return [folder / name for name in (REPORT_JSON, _CSV, _PNG) if name in writers]
