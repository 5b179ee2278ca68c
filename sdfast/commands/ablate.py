"""`sdfast ablate`: what a model loses without the channels that a report calls static or dynamic."""

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from sdfast.commands.arguments import Subparsers, positive
from sdfast.commands.dataset import class_names
from sdfast.commands.errors import RunError
from sdfast.commands.machine import find_device, try_writing
from sdfast.commands.output import add_output, check_new, told
from sdfast.commands.settings import MODEL_HELP, WEIGHTS_HELP, add_settings, chosen_model, loading, pair_settings
from sdfast.foundation import write_atomically
from sdfast.measurement import video_labels
from sdfast.models import VideoModel, match_layers
from sdfast.pairs import ChangedClips, demo_videos
from sdfast.report import LABELS, BiasReport, load_reports, load_settings, plain
from sdfast.training import HOW, ablation_losses

_JSON = "ablation.json"


def register(subparsers: Subparsers) -> None:
    """Add `ablate` to the subcommands."""
    command = subparsers.add_parser(
        "ablate",
        help="switch off the channels that a report calls static or dynamic: what does the model lose?",
        description="The causal check of the classes: switch off the channels that a report of `sdfast measure` calls "
        "static, or dynamic, and measure what accuracy is lost (--labels), or how far the output moves, beside as "
        "many channels at random. Model, weights and clips are given as they were for `sdfast measure`.",
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("report", type=Path, metavar="REPORT", help="a folder of results of `sdfast measure`")
    add("--model", default="transnetv2", metavar="SPEC", help=MODEL_HELP)
    add("--weights", metavar="FILE", help=WEIGHTS_HELP)
    add("--videos", nargs="+", metavar="PATH", help="video files or folders of them (default: the demo's clips)")
    add("--labels", metavar="folder|FILE",
        help="classes, for accuracies: the names of the folders below --videos, sorted as the model's outputs are, or "
        "a file with a name a line in their order; a video is of the class that its folder is named after")  # fmt: skip
    add("--classes", nargs="+", choices=LABELS, default=["static", "dynamic"], help="of channels (%(default)s)")
    add("--how", choices=HOW, default="zero", help="what the channels are set to (%(default)s)")
    add("--draws", type=positive, default=20, metavar="N", help="of as many channels at random (%(default)s)")
    add("--clips", type=positive, default=40, metavar="N", help="clips to look at, not restyled (%(default)s)")
    add_settings(add, of_pairs=False)
    add("--out", type=Path, metavar="FOLDER", help=f"for {_JSON} (default: REPORT)")
    add_output(add)
    add("--json", action="store_true", help="print the losses as JSON on stdout, all else on stderr")


def run(args: argparse.Namespace) -> None:
    """Switch channels off, save what was lost and print it."""
    args.pairs = 2 * args.clips  # two are made of a clip
    out = args.out or (args.report if args.report.is_dir() else args.report.parent)
    device, file = find_device(args.device), told(args)
    with contextlib.redirect_stdout(file):
        reports = load_reports(args.report)
        args.layers = args.layers or list(reports)
        model = chosen_model(args, args.weights)
        reports = _chosen(args, model, reports)
        clips = ChangedClips(args.videos or demo_videos(), **pair_settings(args, model))
        classes = None if args.labels is None else class_names(args.labels, args.videos or [])
        labels = None if classes is None else video_labels(model.module, clips, classes, device, model.forward)
        check_new(args, out, [_JSON])
        try_writing(out, megabytes=1)
        found = ablation_losses(
            model.module,
            _Clips(clips),
            reports,
            classes=args.classes,
            how=args.how,
            labels=labels,
            draws=args.draws,
            seed=args.seed,
            device=device,
            channel_dim=model.channel_dim,
            forward=model.forward,
            progress=not args.quiet,
            **loading(args),
        )
    settings = {"report": args.report, "model": model.name, "weights": args.weights, "seed": args.seed}
    text = json.dumps(plain({"settings": settings, **found.to_dict()}), indent=1, allow_nan=False) + "\n"
    try:
        write_atomically(out / _JSON, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise RunError(str(error)) from error
    if args.json:
        print(text, end="")
    print(f"{found.summary()}\nwrote {out / _JSON}", file=file)


class _Clips(Dataset[tuple[Any, int]]):
    """Each clip once, with the number of its video."""

    def __init__(self, clips: ChangedClips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips) // 2

    def __getitem__(self, index: int) -> tuple[Any, int]:
        clip, _, _, source = self.clips[2 * index]
        return clip, source


def _chosen(args: argparse.Namespace, model: VideoModel, reports: dict[str, BiasReport]) -> dict[str, BiasReport]:
    """Return the reports of the layers that were asked for; all must be layers of this model."""
    measured = load_settings(args.report).get("model")
    if measured not in (None, model.name):
        raise ValueError(f"--model: expected {measured}, which {args.report} is of, got {model.name}")
    names = [name for group in match_layers(model.module, args.layers).values() for name in group]
    if chosen := {name: report for name, report in reports.items() if name in names}:
        return chosen
    raise ValueError(
        f"--layers: expected some of {', '.join(reports)}, as {args.report} has them, got {' '.join(names)}"
    )
