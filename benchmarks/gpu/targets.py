"""What a GPU is to reach: fractions of its copy bandwidth, ratios over compiled torch, launches.

The bars of accuracy are those of the CPU.
"""

from benchmarks.targets import ERROR, Target

LARGE = 1_000_000_000  # bytes of features from which on bandwidth is judged

_REACH, _AIM = 0.85, 0.93


def _of_copy(label: str) -> Target:
    return Target(f"{label}: of the copy bandwidth", _REACH, _AIM)


def _over_compiled(label: str) -> Target:
    return Target(f"{label}: over torch.compile", 1.5, 1.5, unit="x")


COMOMENTS = {
    name: _of_copy(f"co-moments, {name}")
    for name in (
        "contiguous float32",
        "contiguous bfloat16",
        "contiguous float16",
        "channels-last float32",
        "channels-last bfloat16",
        "rows float32",
        "labelled float32",
    )
}
POOLED = {name: _of_copy(f"pool-then-co-moments, {name}") for name in ("float32", "bfloat16")}
COMOMENTS_OVER_COMPILED = {
    name: _over_compiled(f"co-moments, {name}")
    for name in ("contiguous float32", "contiguous bfloat16", "channels-last float32", "rows float32")
}
POOLED_OVER_COMPILED = _over_compiled("pool-then-co-moments, float32")
IN_PLACE = {
    name: _of_copy(f"StaticDropout in place, {name}")
    for name in ("plain float32", "rescaled float32", "rescaled bfloat16", "guided float32")
}
GUIDED_OVER_COMPILED = _over_compiled("StaticDropout, guided float32")
LAUNCHES = Target("channel_bias on (32, 512): launches", 1, 1, less=True)

# In the order in which they are printed.
TARGETS = (
    *COMOMENTS.values(),
    *POOLED.values(),
    *IN_PLACE.values(),
    *COMOMENTS_OVER_COMPILED.values(),
    POOLED_OVER_COMPILED,
    GUIDED_OVER_COMPILED,
    LAUNCHES,
    ERROR,
)
