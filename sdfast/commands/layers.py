"""`sdfast layers`: the layers of a model, what they return, and where a measurement finds clips and channels."""

import argparse

from sdfast.commands.arguments import Subparsers
from sdfast.commands.settings import MODEL_HELP, add_input, prepared_model
from sdfast.measurement import LayerOutput, layouts_text, list_layers
from sdfast.report import aligned


def register(subparsers: Subparsers) -> None:
    """Add `layers` to the subcommands."""
    command = subparsers.add_parser(
        "layers",
        help="list the layers of a model, and where their outputs have clips and channels",
        description="List the layers of a model: names, types, shapes of their outputs for a pair of clips, and which "
        "dimensions a measurement takes for the clips and for the channels. It runs on random clips of the model's own "
        "size, with random weights unless others are given.",
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("model", metavar="MODEL", help=MODEL_HELP)
    add("--weights", default="random", metavar="FILE", help="a state_dict, as for measure (default: random)")
    add_input(add)
    add("--seed", type=int, default=0, help=argparse.SUPPRESS)
    add("--json", action="store_true", help="print the layers as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the model on one pair of random clips and print what its layers return."""
    model = prepared_model(args, args.weights)
    clip_a, clip_b = (model.random_clips(1, args.clip_frames, seed) for seed in range(2))
    dims = {"channel_dim": model.channel_dim, "batch_dim": model.batch_dim}
    found = list_layers(model.module, clip_a, clip_b, args.layers or "**", **dims, forward=model.forward)
    if args.json:
        print(layouts_text(found))
        return
    rows = [["layer", "type", "output", "clips", "channels", "in dimension"], *map(_cells, found)]
    print("\n".join(aligned(rows)))
    if model.layers and not args.layers:
        print(f"\nmeasured unless --layers says otherwise: {', '.join(model.layers)}")
    for layer in found:
        if layer.shape is not None and layer.refused:
            print(f"{layer.name}: {layer.refused}")


def _cells(layer: LayerOutput) -> list[str]:
    shape = "-" if layer.shape is None else str(layer.shape)
    if layer.refused:
        return [layer.name, layer.type, shape, "-", "-", layer.refused if layer.shape is None else "refused, see below"]
    clips = f"{layer.batch_dim}" + f", {layer.positions} positions each" * (layer.positions > 1)
    return [layer.name, layer.type, shape, clips, str(layer.channels), str(layer.channel_dim)]
