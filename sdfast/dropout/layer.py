"""StaticDropout as a module."""

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sdfast.backends import in_backward
from sdfast.dropout.context import current
from sdfast.dropout.static_dropout import default_granularity, granularity_index, static_dropout
from sdfast.models import Channels
from sdfast.ops import FLOAT_DTYPES, check_probability, check_unit_range


class Weighing(Protocol):
    """What tells how static each channel of a layer is, such as its BiasReport."""

    def static_weight(self, how: str) -> Tensor:
        """Return a weight in [0, 1] for each channel, (C,)."""


class StaticDropout(nn.Module):
    """Drop what is static: a drop-in for nn.Dropout that masks and channel weights guide.

    Inside `sdfast.static_mask(mask)` it drops positions where the mask is high, by default the whole static region of
    a sample at once; with channel weights it drops the channels that are more static. With neither it is nn.Dropout.
    In eval mode it returns its input.

    Args:
        p: probability where mask and weight are 1.
        channel_weight: how static each channel is, (C,) in [0, 1]; kept in the state_dict, from which a layer without
            any takes them; where the state_dict has none, a layer keeps its own and warns. See `guide`.
        granularity: "element", "channel" or "region", what shares one draw. By default region with a mask, channel
            with weights only, else element.
        rescale: divide what is kept by the probability of keeping it. By default only without mask and weights.
        inplace: write to the input itself.
        channel_dim: the dimension of the channels, such as -1 for tokens (N, tokens, C).

    Raises:
        ValueError: p, a weight or the granularity is out of range, or at the forward pass a mask has the positions of
            another channel_dim.
        TypeError: p or the weights are of the wrong type.

    Source: after Kowal et al., TPAMI 2024, whose own algorithm we know by its abstract only.

    >>> import torch, sdfast
    >>> layer = sdfast.StaticDropout(p=1.0, channel_weight=torch.tensor([1.0, 0.0]))
    >>> layer(torch.ones(2, 2))
    tensor([[0., 1.],
            [0., 1.]])
    >>> layer.eval()(torch.ones(2, 2))
    tensor([[1., 1.],
            [1., 1.]])
    """

    channel_weight: Tensor | None
    _home: Tensor

    def __init__(
        self,
        p: float = 0.5,
        *,
        channel_weight: Tensor | None = None,
        granularity: str | None = None,
        rescale: bool | None = None,
        inplace: bool = False,
        channel_dim: int = 1,
    ):
        super().__init__()
        check_probability("p", p)
        if granularity is not None:
            granularity_index(granularity)
        self.p = p
        self.granularity = granularity
        self.rescale = rescale
        self.inplace = inplace
        self.channel_dim = channel_dim
        self._channels: Channels | None = None
        self._ran_masked = False
        self.register_buffer("channel_weight", None)
        self.register_buffer("_home", torch.empty(0), persistent=False)  # moves along: where weights belong
        if channel_weight is not None:
            self._set_weight(channel_weight)

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with static elements dropped; in eval mode the input itself."""
        if not self.training:
            return input
        if self._channels is not None:
            self.channel_dim = self._channels.find(input.shape)
        mask, seed = current()
        if not torch.compiler.is_compiling():
            self._check_recomputation(mask)
        if mask is not None:
            _check_grid(mask, input.shape, self.channel_dim)
        granularity = self.granularity
        if granularity is None:
            granularity = default_granularity(mask, self.channel_weight)
        return static_dropout(
            input,
            self.p,
            mask=mask,
            channel_weight=self.channel_weight,
            granularity=granularity,
            rescale=self.rescale,
            inplace=self.inplace,
            seed=seed if granularity == "region" else None,
            channel_dim=self.channel_dim,
        )

    def guide(self, report: Weighing, how: str = "rank") -> "StaticDropout":
        """Take the channel weights from a BiasReport of the layer whose output this drops; return self.

        The weights are `report.static_weight(how)`. Call it again as training goes on: which channels are static
        changes.

        >>> import torch, sdfast
        >>> state = sdfast.CoMoments(num_channels=2)
        >>> x, y = torch.randn(8, 2), torch.randn(8, 2)
        >>> state.update(x, torch.stack([x[:, 0], y[:, 0]], 1), torch.ones(8, dtype=torch.int64))
        >>> state.update(y, torch.stack([x[:, 1], y[:, 1]], 1), torch.zeros(8, dtype=torch.int64))
        >>> sdfast.StaticDropout().guide(sdfast.BiasReport(state.moments)).channel_weight
        tensor([1., 0.])
        """
        self._set_weight(report.static_weight(how))
        return self

    def find_channels(self, channels: Channels) -> None:
        """Take the channel dimension from what is known of the layer before, at each forward pass in training."""
        self._channels = channels
        if channels.own == "layer":
            self.channel_dim = channels.dims[0]

    def extra_repr(self) -> str:
        """Return the settings that differ from nn.Dropout's, after those that it has."""
        shown = [f"p={self.p}", f"inplace={self.inplace}"]
        if self.channel_weight is not None:
            shown.append(f"channel_weight=({len(self.channel_weight)},)")
        if self.granularity is not None:
            shown.append(f"granularity={self.granularity!r}")
        if self.rescale is not None:
            shown.append(f"rescale={self.rescale}")
        if self.channel_dim != 1:
            shown.append(f"channel_dim={self.channel_dim}")
        return ", ".join(shown)

    def _set_weight(self, weight: Tensor) -> None:
        weight = torch.as_tensor(weight).detach()
        if weight.dtype not in FLOAT_DTYPES or weight.ndim != 1:
            raise TypeError(
                "channel_weight: expected floating-point weights of shape (C,), "
                f"got {weight.dtype} of shape {tuple(weight.shape)}"
            )
        check_unit_range("channel_weight", weight)
        old = self.channel_weight
        if old is not None and old.shape == weight.shape:
            old.copy_(weight)  # the same tensor, for compiled graphs and optimisers of state
        else:
            self.channel_weight = weight.to(self._home.device, torch.float32, copy=True)

    def _check_recomputation(self, mask: Tensor | None) -> None:
        if not in_backward():
            self._ran_masked = mask is not None
        elif self._ran_masked and mask is None:
            raise RuntimeError(
                "StaticDropout: recomputed during backward without the mask it had before; call backward() inside the "
                "static_mask block, or pass context_fn=sdfast.keep_static_mask to torch.utils.checkpoint.checkpoint"
            )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, strict: bool, missing: list[str], *args: Any
    ) -> None:
        # A guided layer's weights load into one that has not been guided, or had another number of channels.
        key = prefix + "channel_weight"
        weight = state_dict.get(key)
        if weight is not None and (self.channel_weight is None or self.channel_weight.shape != weight.shape):
            self.channel_weight = torch.empty_like(weight, device=self._home.device)
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, *args)
        if key in missing:
            missing.remove(key)
            warnings.warn(
                f"state_dict: no {key!r}, of a model that was not guided; the layer keeps the weights that it has",
                stacklevel=2,
            )


def _check_grid(mask: Tensor, shape: torch.Size, channel_dim: int) -> None:
    """Raise if a mask has the very positions of the input with its channels at the other end.

    A mask of another grid than the features is read at the nearest positions, and so would be one of tokens or pixels
    over channels.
    """
    ndim = len(shape)
    if ndim < 3 or channel_dim % ndim not in (1, ndim - 1) or mask.ndim < ndim - 1:
        return
    grid, other = mask.shape[2 - ndim :], -1 if channel_dim % ndim == 1 else 1
    first, last = shape[2:], shape[1:-1]
    here, there = (first, last) if other == -1 else (last, first)
    if grid == there and grid != here and any(size > 1 for size in grid):
        raise ValueError(
            f"mask: expected the positions of features {tuple(shape)} with channel_dim={channel_dim}, {tuple(here)}, "
            f"got {tuple(mask.shape)}, which fits channel_dim={other}"
        )
