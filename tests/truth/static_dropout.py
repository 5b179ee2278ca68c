"""Ground truth of StaticDropout in plain NumPy: Philox4x32-10 and which elements it drops, word for word.

Nothing in the package calls this at run time; tests and benchmarks judge every kernel by it.
"""

import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox(seed: int, offset) -> np.ndarray:
    """Return the four random words of each counter, (..., 4) uint32.

    Key and counter are the low and high 32 bits of the seed and of each offset, (...) int.
    Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
    """
    offset = np.asarray(offset, dtype=np.uint64)
    c0, c1 = offset & LOW, offset >> HALF
    c2 = c3 = np.zeros_like(offset)
    keys = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    for _ in range(10):
        product0, product1 = np.uint64(MULTIPLIERS[0]) * c0, np.uint64(MULTIPLIERS[1]) * c2
        k0, k1 = (np.uint64(key) for key in keys)
        c0, c1, c2, c3 = (
            (product1 >> HALF) ^ c1 ^ k0,
            product1 & LOW,
            (product0 >> HALF) ^ c3 ^ k1,
            product0 & LOW,
        )
        keys = [(key + step) & 0xFFFFFFFF for key, step in zip(keys, KEY_STEPS, strict=True)]
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def draws(seed: int, offset, index) -> np.ndarray:
    """Return draw `index` in [0, 8) of each counter: 16 bits, two a word, the low half first."""
    offset, index = np.broadcast_arrays(offset, index)
    word = np.take_along_axis(philox(seed, offset), (index // 2)[..., None], axis=-1)[..., 0]
    return (word >> (16 * (index % 2)).astype(np.uint32)) & np.uint32(0xFFFF)


def nearest(mask: np.ndarray, sizes) -> np.ndarray:
    """Sample a mask (N, *grid) at the nearest position of features, (N, *sizes)."""
    for axis, size in enumerate(sizes, start=1):
        mask = mask.take((2 * np.arange(size) + 1) * mask.shape[axis] // (2 * size), axis=axis)
    return mask


def dropped(shape, seed, p, mask=None, channel_weight=None, granularity="element", channel_dim=1):
    """Return which elements of features go, and the factor that keeps the mean: bool and float32, both of `shape`."""
    sizes = [size for d, size in enumerate(shape) if d not in (0, channel_dim % len(shape))]
    n_count, c_count, p_count = shape[0], shape[channel_dim], int(np.prod(sizes))
    n, c, pos = np.ogrid[:n_count, :c_count, :p_count]
    if granularity == "region":
        flat = n
    elif granularity == "channel":
        flat = n * c_count + c
    elif p_count == 1:  # the channels take the place of the positions
        flat = n * (-(-c_count // 8) * 8) + c
    else:
        flat = (n * c_count + c) * (-(-p_count // 8) * 8) + pos
    draw = draws(seed, flat // 8, flat % 8)

    weight = np.ones(c_count) if channel_weight is None else np.asarray(channel_weight)
    scale = np.float32(p) * weight.astype(np.float32) * np.float32(65536)
    static = np.ones((n_count, 1)) if mask is None else np.asarray(mask)
    if mask is not None:
        static = static.squeeze(1) if static.ndim > 1 + len(sizes) else static
        static = nearest(static, sizes).reshape(n_count, p_count)
    threshold = np.rint(scale[:, None] * static.astype(np.float32)[:, None])  # (N, C, P) or (N, C, 1)

    full = (n_count, c_count, *sizes)
    gone = np.broadcast_to(draw < threshold, (n_count, c_count, p_count)).reshape(full)
    with np.errstate(divide="ignore"):
        factor = np.float32(65536) / (np.float32(65536) - threshold).astype(np.float32)
    factor = np.broadcast_to(factor, (n_count, c_count, p_count)).reshape(full)
    return np.moveaxis(gone, 1, channel_dim), np.moveaxis(factor, 1, channel_dim)


def static_dropout(x, seed, p, mask=None, channel_weight=None, granularity="element", rescale=False, channel_dim=1):
    """Return x with the dropped elements 0 and, rescaled, the kept ones multiplied in float32 or float64."""
    gone, factor = dropped(x.shape, seed, p, mask, channel_weight, granularity, channel_dim)
    wide = x.astype(np.float64 if x.dtype == np.float64 else np.float32)
    kept = np.multiply(wide, factor, out=wide, where=~gone) if rescale else wide
    return np.where(gone, 0, kept).astype(x.dtype)
