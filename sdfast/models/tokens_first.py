"""Layers of torch that are told to return (tokens, N, C), the batch second."""

from torch import nn

_TRANSFORMERS = (
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)


def tokens_first(model: nn.Module) -> set[nn.Module]:
    """Return the modules of a model whose outputs have tokens first, by `batch_first` of them or of what they hold.

    What a transformer of torch holds is laid out as the transformer is.

    >>> model = nn.ModuleDict({"lstm": nn.LSTM(4, 2), "gru": nn.GRU(4, 2, batch_first=True)})
    >>> tokens_first(model) == {model["lstm"]}
    True
    """
    found: set[nn.Module] = set()
    for module in reversed(list(model.modules())):  # what a Sequential holds before itself
        # A transformer says it by its attention only.
        parts = module.modules() if isinstance(module, _TRANSFORMERS) else [module]
        if any(getattr(part, "batch_first", True) is False for part in parts):
            found.update(module.modules())
        elif isinstance(module, nn.Sequential) and len(module) and module[-1] in found:
            found.add(module)
    return found
