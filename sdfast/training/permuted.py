"""Clips and the same clips with their frames in another order, in one forward pass."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdfast.models import first_tensor, match_layers, named_layers


def run_with_permuted(
    model: nn.Module,
    clips: Tensor,
    layers: str | Sequence[str],
    *,
    time_dim: int = 2,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """Run a model on clips and on the same clips with their frames permuted, in one forward pass.

    Args:
        model: any module that is called with one tensor. Its training mode stays; batch norms see both halves.
        clips: (N, C, T, H, W), or with T elsewhere.
        layers: names or glob patterns of `model.named_modules()`.
        time_dim: the dimension of the frames.
        generator: draws the orders, one for each clip and none of them the given one; default torch's own.

    Returns:
        The output of the clips, that of the permuted ones, (N, ...) each, and for each layer the features of the
        static pairs, feats_a and feats_b, as `sdfast.bias_penalty` takes them. With a graph, if gradients are on.

    Raises:
        ValueError: a pattern matches nothing, a layer did not run, clips have no such dimension or fewer than two
            frames, or an output has not as many rows as there were clips.

    >>> import torch, sdfast
    >>> model = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten())
    >>> logits, permuted, feats = run_with_permuted(model, torch.rand(6, 3, 8, 4, 4), "0")
    >>> loss = logits.square().mean() + sdfast.bias_penalty(*feats["0"])
    >>> logits.shape, feats["0"][0].shape
    (torch.Size([6, 4]), torch.Size([6, 4, 8, 4, 4]))
    """
    if clips.ndim < 3 or not -clips.ndim <= time_dim < clips.ndim:
        raise ValueError(f"clips: expected (N, C, T, H, W) with frames along {time_dim}, got {tuple(clips.shape)}")
    frames, number = clips.shape[time_dim], len(clips)
    if frames < 2:
        raise ValueError(f"clips: expected two frames or more along dimension {time_dim}, got {tuple(clips.shape)}")
    modules = named_layers(model)
    names = [name for group in match_layers(model, layers).values() for name in group]
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_: nn.Module, __: Any, output: Any) -> None:
            found[name] = _halves(f"layer {name!r}", first_tensor(output), number)

        return keep

    handles = [modules[name].register_forward_hook(hook(name)) for name in names]
    try:
        output = model(torch.cat([clips, clips.gather(time_dim, _orders(clips, time_dim, generator))]))
    finally:
        for handle in handles:
            handle.remove()
    for name in names:
        if name not in found:
            raise ValueError(f"layers: the forward pass does not call {name!r}")
    return *_halves("output", first_tensor(output), number), found


def _halves(what: str, both: Tensor | None, number: int) -> tuple[Tensor, Tensor]:
    if both is None or len(both) != 2 * number:
        got = "no tensor" if both is None else f"shape {tuple(both.shape)}"
        raise ValueError(f"{what}: expected {2 * number} rows, one a clip, got {got}")
    return both[:number], both[number:]


def _orders(clips: Tensor, time_dim: int, generator: torch.Generator | None) -> Tensor:
    """Return an order of the frames for each clip that is not the given one, as indices of the shape of clips."""
    number, frames = len(clips), clips.shape[time_dim]
    keys = torch.rand(number, frames, generator=generator, device=generator.device if generator else clips.device)
    order = keys.argsort(1)
    given = torch.arange(frames, device=order.device)
    # Where the draw has given the order back, neighbours change places.
    order = torch.where((order == given).all(1, keepdim=True), given.roll(1), order).to(clips.device)
    layout = [1] * clips.ndim
    layout[0], layout[time_dim] = number, frames
    return order.view(layout).expand(clips.shape)
