"""`sdfast measure`: from a model and a folder of videos to a table and a folder of results."""

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import torch

from sdfast.commands.arguments import PairsAction, Subparsers, half_width, positive
from sdfast.commands.errors import RunError
from sdfast.commands.like import add_like
from sdfast.commands.machine import JOIN, find_device, joined_processes, locked, restarted, try_writing, writing_to
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
from sdfast.measurement import (
    STATES,
    check_estimator,
    check_settings,
    forget_states,
    measure,
    percent,
    ran_out,
    widest_share,
)
from sdfast.models import ClipToTensor, RgbAndFlow, VideoModel
from sdfast.pairs import FlowPairs, PairDataset, ProbeSet, StylisedFolderPairs, VideoPairs, demo_videos
from sdfast.report import FORMATS, REPORT_JSON, BiasReport, format_table, results, save_reports
from sdfast.statistics import GROUPS, SAMPLE_ESTIMATORS


def register(subparsers: Subparsers) -> None:
    """Add `measure` to the subcommands."""
    command = subparsers.add_parser(
        "measure",
        help="measure the static and dynamic information of a model's layers",
        description="Measure the static and dynamic information of a model's layers. Without arguments: a trained "
        "3-D CNN on a few real clips. Under torchrun the processes share the pairs.",
    )
    command.set_defaults(run=run, flow=False)
    add = command.add_argument
    add("--model", default="transnetv2", metavar="SPEC", help=MODEL_HELP)
    add("--weights", metavar="FILE", help=WEIGHTS_HELP)
    add("--videos", nargs="+", metavar="PATH",
        help="video files, folders of videos or frames, patterns, lists (.txt, .csv), or one folder of styles, "
        "style_1/VIDEO/frame_00001.jpg (default: the demo's clips)")  # fmt: skip
    add("--probe", type=Path, metavar="FOLDER",
        help="keep the pairs there, decoded and restyled; where they are kept, they are read from there")  # fmt: skip
    add("--pairs", nargs="+", action=PairsAction, default=200, metavar="N",
        help="pairs to measure, both factors (%(default)s); `flow` or `flow N`: with optical flow beside the frames, "
        "for networks that take both")  # fmt: skip
    add("--until", type=half_width, metavar="D",
        help="stop as soon as the share of every layer is known to ± D, such as 1%% or 0.01, by 95 %% intervals of at "
        "least 20 videos; --pairs is the most that is measured then. Stopping when the classes of the channels are "
        "determined is not offered: it ends with a wrong class in 37 %% of cases")  # fmt: skip
    add_settings(add)
    add("--heads", type=positive, metavar="N", help="report the channels of every layer by so many heads, too")
    add("--estimator", choices=("gaussian", *SAMPLE_ESTIMATORS), default="gaussian",
        help="of the mutual information; the others keep all pooled features, 8 bytes a channel and pair "
        "(%(default)s)")  # fmt: skip
    add("--neighbors", type=positive, default=3, metavar="K", help="that --estimator kraskov looks at (%(default)s)")
    add("--keep-in", type=Path, metavar="FOLDER", help="for a file with these features instead of memory")
    add("--out", type=Path, default=Path("sdfast-report"), metavar="FOLDER", help="for the results (%(default)s)")
    add("--format", choices=FORMATS, default="png", help="of the pictures (%(default)s)")
    add_like(command)
    add("--resume", action="store_true",
        help="go on from where a run with the same --out was stopped, with any number of processes")  # fmt: skip
    add_output(add)
    add("--json", action="store_true", help="print the report as JSON on stdout, all else on stderr")


def run(args: argparse.Namespace) -> None:
    """Measure as the arguments say, save the results and print them."""
    device = find_device(args.device)
    args.resume = args.resume or restarted()
    with joined_processes(device) as (rank, world), contextlib.ExitStack() as until_done:
        # Everything but the JSON goes to stderr then, also what the model's own package prints.
        with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
            model = chosen_model(args, args.weights)
            made = _pairs(args, model)
            # What measure would say only after the state of an earlier run is gone.
            check_settings(model.module, model.layers, args.kind, args.threshold, model.channel_dim)
            check_estimator(args.estimator, args.neighbors, args.kind)
            until_done.enter_context(locked(args.out))
            if rank == 0:  # another may already have begun to write
                check_new(args, args.out, [*results(args.format), STATES])
            pairs: PairDataset | ProbeSet = made
            if args.probe is not None:
                pairs = made.materialise(args.probe, num_workers=running(args)["num_workers"])
            # Tables, pictures, the sums and the state twice, for layers of some 2,000 channels.
            groups = min(GROUPS, len(pairs.sources))
            _prepare(args.out, megabytes=4 + len(model.layers) * groups // 2, keep=args.resume)
            reports = _measure(args, model, pairs, device, rank, world)
        if rank == 0 and args.json:
            print((args.out / REPORT_JSON).read_text(encoding="utf-8"), end="")
        if rank == 0:
            _show(args, reports, told(args))


def _measure(
    args: argparse.Namespace,
    model: VideoModel,
    pairs: PairDataset | ProbeSet,
    device: torch.device,
    rank: int,
    world: int,
) -> dict[str, BiasReport]:
    start = time.perf_counter()
    try:
        reports = measure(
            model.module,
            pairs,
            model.layers,
            device=device,
            distributed=JOIN,
            channel_dim=model.channel_dim,
            batch_dim=model.batch_dim,
            forward=model.forward,
            heads=args.heads,
            resume=args.out,
            until=args.until,
            estimator=args.estimator,
            neighbors=args.neighbors,
            keep_in=args.keep_in,
            progress=not args.quiet,
            **running(args),
        )
        if rank == 0:
            seconds = time.perf_counter() - start
            neighbors = args.neighbors if args.estimator == "kraskov" else None
            settings = describe(args, args.weights, model, pairs, world)
            settings |= {"flow": args.flow, "heads": args.heads, "estimator": args.estimator, "neighbors": neighbors}
            settings |= _stopped(args, reports)
            save_reports(reports, args.out, {**settings, "seconds": round(seconds, 3)}, args.format)
            forget_states(args.out)
    except OSError as error:
        raise RunError(str(error)) from error
    return reports


def _pairs(args: argparse.Namespace, model: VideoModel) -> PairDataset:
    settings = pair_settings(args, model)
    if args.flow and isinstance(model.prepare, ClipToTensor):
        settings["transform"] = RgbAndFlow(model.prepare, model.prepare)
    if not args.flow and args.videos and len(args.videos) == 1 and any(Path(args.videos[0]).glob("style_*/")):
        if args.styles:
            raise ValueError(f"--styles: the folder {args.videos[0]} has its own; leave it out")
        return StylisedFolderPairs(args.videos[0], **settings)
    if args.styles:
        settings["styles"] = args.styles
    return (FlowPairs if args.flow else VideoPairs)(args.videos or demo_videos(), **settings)


def _prepare(out: Path, megabytes: int, keep: bool) -> None:
    """Fail now if the results will not fit; without `keep`, forget earlier runs."""
    if not keep:
        with writing_to(out):
            forget_states(out)
    try_writing(out, megabytes)


def _stopped(args: argparse.Namespace, reports: dict[str, BiasReport]) -> dict[str, Any]:
    """Return what --until asked for, how wide the widest share is, and whether that was reached."""
    if args.until is None:
        return {}
    widest = widest_share(reports.values())
    return {"until": args.until, "widest_share": widest, "reached": not ran_out(reports, args.until)}


def _show(args: argparse.Namespace, reports: dict[str, BiasReport], file: TextIO) -> None:
    print(format_table(reports), file=file)
    if args.until is not None and not ran_out(reports, args.until):
        measured = max(int(report.count.sum()) for report in reports.values())
        widest = percent(widest_share(reports.values()))
        print(
            f"stopped by --until after {measured} of {args.pairs} pairs: the widest share is known to ±{widest}",
            file=file,
        )
    for name in results(args.format):
        if (args.out / name).exists():
            print(f"wrote {args.out / name}", file=file)
