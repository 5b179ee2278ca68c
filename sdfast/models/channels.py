"""Which dimension of what a layer returns holds its channels, by the types and sizes of the layer."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn
from torch.nn.modules import batchnorm, conv, instancenorm, pooling
from torch.nn.parameter import is_lazy

_LAST, _FIRST = -1, 1
# (types, the attribute that says how many channels, the dimension of these)
_KNOWN = (
    ((nn.Linear, nn.Bilinear), "out_features", _LAST),
    ((nn.LayerNorm, nn.RMSNorm), "normalized_shape", _LAST),
    ((nn.Embedding,), "embedding_dim", _LAST),
    ((nn.MultiheadAttention,), "embed_dim", _LAST),
    ((nn.RNNBase,), "hidden_size", _LAST),
    ((conv._ConvNd,), "out_channels", _FIRST),
    ((batchnorm._NormBase, instancenorm._InstanceNorm), "num_features", _FIRST),
    ((nn.GroupNorm,), "num_channels", _FIRST),
)


class Channels(NamedTuple):
    """What a layer lets know about its channels.

    Attributes:
        of: whose sizes these are, in words.
        sizes: how many channels there may be; empty where nothing is known.
        dims: where the types of the layers put them, 1 or -1, or both.
        ndims: how many dimensions an output has that the types of channels-first layers speak of; empty for any.
        own: "layer" is a layer of torch, "inside" holds such layers, "before" has none and follows one.
        plain: whether the forward method is torch's own, which does not permute.
    """

    of: str
    sizes: tuple[int, ...] = ()
    dims: tuple[int, ...] = ()
    ndims: tuple[int, ...] = ()
    own: str = "inside"
    plain: bool = False

    def find(self, shape: Sequence[int]) -> int:
        """Return the dimension of the channels in an output (N, ...).

        Raises:
            ValueError: sizes and types contradict each other, or fit two dimensions.
        """
        ndim = len(shape)
        position = -1 if ndim == 3 else 1
        by_type = self._by_type(ndim)
        default = position if by_type is None else by_type
        if not self.sizes or (ndim == 2 and self.own != "layer"):
            return default if ndim > 2 else 1
        fitting = [dim for dim in self._ends(ndim) if shape[dim] in self.sizes]
        others = [dim for dim in fitting if dim != default % ndim]
        if default % ndim in fitting:
            trusted = self.plain if self.own == "layer" else self.own == "inside" or by_type == position
            if not others or (trusted and by_type is not None):
                return default
            raise ValueError(self._unclear(shape, f"dimensions {default % ndim} and {others[0]} both fit"))
        if self.own == "before":
            # Of another rank than that of a convolution before it, it is flattened, or follows something else.
            reshaped = by_type is None
            if (self.plain and not reshaped) or shape[position] in self.sizes or not others:
                return position
        elif len(others) == 1 and (self.own == "layer" or len(self.sizes) == 1 or by_type is None):
            return -1 if others[0] == ndim - 1 else others[0]
        elif self.own == "inside" and not others and (by_type == _FIRST or (by_type is not None and ndim == 3)):
            return default  # joined or cut features: their number is none of the sizes
        elif self.own == "inside" and not others and not self.dims:
            return default
        elif self.own == "inside" and not others and len(self.dims) == 1 and ndim == 3:
            return default  # the same, as tokens
        raise ValueError(self._unclear(shape, f"dimension {default % ndim} has {shape[default]}"))

    def are_second(self, shape: Sequence[int]) -> bool:
        """Tell whether types and sizes alike say that an output (N, C, ...) has its channels second."""
        return self._by_type(len(shape)) == _FIRST and (self.own == "layer" or shape[1] in self.sizes)

    def _by_type(self, ndim: int) -> int | None:
        if len(self.dims) != 1 or (self.dims[0] == _FIRST and self.ndims and ndim not in self.ndims):
            return None
        return self.dims[0]

    def _ends(self, ndim: int) -> Sequence[int]:
        """Return where to look: of a layer anywhere, else at both ends, where channels are by custom."""
        return range(1, ndim) if self.own == "layer" else sorted({1, ndim - 1})

    def _unclear(self, shape: Sequence[int], found: str) -> str:
        sizes = " or ".join(map(str, self.sizes[:5])) + (" ..." if len(self.sizes) > 5 else "")
        return (
            f"channel_dim: cannot tell the channels of the output {tuple(shape)}, clips first: {found}, and {self.of} "
            f"has {sizes} channels; pass channel_dim=..., the dimension of the channels"
        )


def known_channels(module: nn.Module, before: nn.Module | None = None) -> Channels:
    """Return what is known of the channels of a layer; `before` is the layer of torch that is registered before it.

    >>> known_channels(nn.Linear(3, 8)).find((2, 5, 5, 8)), known_channels(nn.Conv2d(3, 8, 1)).find((2, 8, 5, 5))
    (-1, 1)
    """
    if (known := _known(module)) is not None:
        return known
    inside = [found for part in module.modules() if part is not module and (found := _known(part)) is not None]
    if inside:
        sizes, dims, ndims = (
            tuple(dict.fromkeys(value for found in inside for value in getattr(found, what)))
            for what in ("sizes", "dims", "ndims")
        )
        return Channels(f"what {type(module).__name__} holds", sizes, dims, ndims)
    made = [x for x in module.parameters(recurse=False) if not is_lazy(x)]
    lengths = dict.fromkeys(len(x) for x in made if x.ndim == 1 and len(x) > 1)
    if lengths:
        return Channels(type(module).__name__, tuple(lengths))
    if type(module).__module__ == pooling.__name__:
        return Channels(type(module).__name__, dims=(_FIRST,))
    if before is not None and (found := _known(before)) is not None:
        plain = type(module).__module__.startswith("torch.nn.")
        return found._replace(of=f"the {type(before).__name__} before it", own="before", plain=plain)
    return Channels(type(module).__name__)


def layers_before(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """Return the layer of torch that is registered last before each module, where there is one."""
    before: dict[nn.Module, nn.Module] = {}
    last = None
    for module in model.modules():
        if last is not None:
            before[module] = last
        if _known(module) is not None:
            last = module
    return before


def _known(module: nn.Module) -> Channels | None:
    row = next((row for row in _KNOWN if isinstance(module, row[0])), None)
    if row is None:
        return None
    _, attribute, dim = row
    size = getattr(module, attribute)
    if attribute == "normalized_shape":
        if len(size) != 1:
            return None  # over several dimensions, it says nothing of channels
        (size,) = size
    elif isinstance(module, nn.RNNBase):
        size = (module.proj_size or size) * (2 if module.bidirectional else 1)
    if not size:  # a lazy layer that has not run
        return None
    plain = next(cls for cls in type(module).__mro__ if "forward" in vars(cls)).__module__.startswith("torch.nn.")
    return Channels(type(module).__name__, (size,), (dim,), _ranks(module), "layer", plain)


def _ranks(module: nn.Module) -> tuple[int, ...]:
    """Return how many dimensions the outputs of a channels-first layer have, by the digit in the name of its type."""
    for cls in type(module).__mro__:
        if cls.__module__.startswith("torch.nn.") and cls.__name__[-2:] in ("1d", "2d", "3d"):
            rank = int(cls.__name__[-2])
            return (2, 3) if rank == 1 else (rank + 2,)
    return ()
