"""Arguments that do not fit: each is refused by an error that names it, and nothing is written."""

import numpy as np
import torch

import sdfast
from tests.fuzz.drawing import DTYPES, Draw

GOOD = (TypeError, ValueError)


def refused(draw: Draw, isas) -> str | None:
    """Call with one argument that does not fit."""
    shape = draw.shape(200)
    x = torch.from_numpy(draw.numbers(shape)).to(draw.one(*DTYPES))
    factor = torch.arange(shape[0]) % 2
    wide = x.reshape(*x.shape, *[1] * (17 - x.ndim))
    pairs = [
        ("feats_b", (x, x[..., :0]), {}),
        ("feats_b", (x, torch.cat([x, x], dim=draw.below(x.ndim))), {}),
        ("feats_b", (x, x.to(torch.float64 if x.dtype != torch.float64 else torch.float32)), {}),
        ("feats_a", (x.int(), x), {}),
        ("feats_a", (x[:0], x[:0]), {}),
        ("feats_a", (wide, wide), {}),
        ("feats_a", (x.to_sparse(), x), {}),
        ("channel_dim", (x, x), {"channel_dim": draw.one(0, x.ndim, -x.ndim, -x.ndim - 1, 99)}),
        ("channel_dim", (x, x), {"channel_dim": draw.one(1.5, "1")}),
        ("factor", (x, x, factor[1:]), {}),
        ("factor", (x, x, factor.double()), {}),
        ("factor", (x, x, factor + draw.one(2, -2, 2**40, 2**62)), {}),
        ("factor", (x, x, factor[None]), {}),
        ("num_factors", (x, x, factor), {"num_factors": draw.one(0, -1, 2**31, 2**62)}),
        ("kind", (x, x), {"kind": "spearman"}),
        ("feats_b", (x.double().numpy(), x), {}),
        ("feats_a", (np.ma.masked_array(x.double().numpy()), x.double().numpy()), {}),
    ]
    p = {"p": draw.one(-1e-9, 1 + 1e-12, 2.0, float("nan"))}
    mask = torch.ones(shape[0], *shape[2:])
    drops = [
        ("x", (x.long(),), {}),
        ("x", (wide,), {}),
        ("p", (x,), p),
        ("p", (x,), {**p, "mask": mask}),
        ("mask", (x,), {"mask": mask[1:]}),
        ("mask", (x,), {"mask": mask[..., None, None]}),
        ("mask", (x,), {"mask": mask.long()}),
        ("mask", (x,), {"mask": mask * draw.one(1.5, -1, float("nan"))}),
        ("mask", (x,), {"mask": (mask * 255).byte()}),
        ("channel_weight", (x,), {"channel_weight": torch.ones(shape[1] + 1)}),
        ("channel_weight", (x,), {"channel_weight": torch.full((shape[1],), 1.5)}),
        ("channel_weight", (x,), {"channel_weight": torch.ones(shape[1], dtype=torch.int64)}),
        ("channel_dim", (x,), {"channel_dim": draw.one(0, x.ndim, -x.ndim)}),
        ("granularity", (x,), {"granularity": "pixel"}),
        ("seed", (x,), {"seed": draw.one(2**63, torch.zeros(2, dtype=torch.int64), torch.tensor(0.5))}),
    ]
    operation, cases = draw.one((sdfast.channel_bias, pairs), (sdfast.static_dropout, drops))
    name, args, settings = draw.one(*cases)
    before = x.clone()
    for _ in isas:
        try:
            operation(*args, **settings)
        except GOOD as error:
            if not str(error).startswith(f"{name}:"):
                return f"{operation.__name__} says of {name}: {error}"
        else:
            return f"{operation.__name__} takes {name}: {settings}, {[getattr(x, 'shape', x) for x in args]}"
        if not torch.equal(x, before) and not x.isnan().any():
            return f"{operation.__name__} has written"
    return None
