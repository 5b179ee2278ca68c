"""Arguments that commands share which run a model on pairs: what is measured, how, and what they made of it."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdfast.commands.arguments import Add, not_negative, positive
from sdfast.commands.machine import cores
from sdfast.measurement import dims_of, load_layouts
from sdfast.models import FORMS, VideoModel, load_model, named_layers
from sdfast.pairs import PairDataset, ProbeSet
from sdfast.statistics import KINDS

MODEL_HELP = f"{', '.join(FORMS[:-1])}, or your own {FORMS[-1]}, whose code runs"
WEIGHTS_HELP = 'a state_dict (.safetensors, or of torch.save), or "random" (default: the trained ones of the model)'


def add_settings(add: Add, of_pairs: bool = True) -> None:
    """Add to a command what it needs to know besides model, weights, videos and results.

    Args:
        add: adds an argument.
        of_pairs: whether it makes pairs and reads correlations.
    """
    add_input(add)
    if of_pairs:
        add("--styles", nargs="+", metavar="STYLE", help="appearances to draw from (default: all)")
        add("--kind", choices=KINDS, default="pearson", help="correlation (%(default)s)")
        add("--threshold", type=float, default=0.5, metavar="R",
            help="a channel encodes a factor above this correlation (%(default)s)")  # fmt: skip
    add("--device", help="cpu, cuda, cuda:1, ... (default: the best there are kernels for)")
    add("--batch-size", type=positive, default=8, metavar="N", help="pairs in one forward pass (%(default)s)")
    add("--workers", type=not_negative, metavar="N", help="processes that load clips (default: one a core, up to 4)")
    add("--seed", type=not_negative, default=0, help="draws clips, styles and random weights (%(default)s)")


def add_input(add: Add) -> None:
    """Add to a command what it may be told of a model: its layers, and how its clips and outputs are laid out."""
    add("--layers", nargs="+", metavar="LAYER",
        help="names or glob patterns, * for children and ** for all below (default: those of the model)")  # fmt: skip
    add("--channel-dim", type=int, metavar="DIM", help="channels in the layers' outputs (default: that of the model)")
    add("--batch-dim", type=int, metavar="DIM", help="clips in the layers' outputs (default: that of the model)")
    add("--layouts", type=Path, metavar="FILE",
        help="the same by layer, as `sdfast layers --json` printed it and you may have mended it")  # fmt: skip
    add("--clip-frames", type=positive, metavar="T", help="frames of a clip (default: that of the model)")
    add("--trust-remote-code", action="store_true", help="run the code that lies beside a model of hf:")


def prepared_model(args: argparse.Namespace, weights: str | None) -> VideoModel:
    """Return the model that --model names with its weights, and with the layers and dimensions that were asked for."""
    dims: dict[str, Any] = {"channel_dim": args.channel_dim, "batch_dim": args.batch_dim}
    if args.layouts is not None:
        for name, dim in dims.items():
            if dim is not None:
                raise ValueError(f"--{name.replace('_', '-')}: expected none beside --layouts, got {dim}")
        dims = dict(dims_of(load_layouts(args.layouts)))
    asked = {**dims, "layers": tuple(args.layers or ()) or None}
    model = load_model(args.model, weights, seed=args.seed, trust_remote_code=args.trust_remote_code)
    return replace(model, **{name: value for name, value in asked.items() if value is not None})


def chosen_model(args: argparse.Namespace, weights: str | None) -> VideoModel:
    """Return the prepared model, which has layers to be measured.

    Raises:
        ValueError: it has no layers of its own, and none were asked for.
    """
    model = prepared_model(args, weights)
    if not model.layers:
        names = list(named_layers(model.module))
        raise ValueError(
            f"--layers: needed for {model.name}; it has {', '.join(names[:10]) or 'none'}; "
            f"`sdfast layers {args.model}` lists them all"
        )
    return model


def pair_settings(args: argparse.Namespace, model: VideoModel) -> dict[str, Any]:
    """Return the arguments of pairs that all their kinds have."""
    return {
        "num_pairs": args.pairs,
        "clip_frames": args.clip_frames or model.clip_frames,
        "frame_size": model.frame_size,
        "seed": args.seed,
        "transform": model.prepare,
    }


def running(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a measurement that change how it runs, and what it reads from the features."""
    return {
        "kind": args.kind,
        "threshold": args.threshold,
        **loading(args),
    }


def loading(args: argparse.Namespace) -> dict[str, int]:
    """Return how clips are loaded."""
    return {
        "batch_size": args.batch_size,
        "num_workers": min(4, cores()) if args.workers is None else args.workers,
    }


def describe(
    args: argparse.Namespace, weights: str | None, model: VideoModel, pairs: PairDataset | ProbeSet, world: int
) -> dict[str, Any]:
    """Return what was measured and how, for report.json."""
    return {
        "model": model.name,
        "spec": args.model,
        "weights": weights,
        "channel_dim": model.channel_dim,
        "batch_dim": model.batch_dim,
        "videos": sorted({Path(str(source)).name for source in pairs.sources}),
        "styles": [Path(style).name for style in pairs.styles],
        "pairs": args.pairs,
        "clip_frames": pairs.clip_frames,
        "frame_size": list(pairs.frame_size),
        "batch_size": args.batch_size,
        "seed": args.seed,
        "kind": args.kind,
        "threshold": args.threshold,
        "processes": world,
    }
