"""Names and patterns of layers, also inside of what is wrapped around them."""

import pytest
import torch
from torch import nn

from sdfast.models import match_dims, match_layers, named_layers, unwrapped


def block():
    return nn.ModuleDict({"attn": nn.ModuleDict({"proj": nn.Linear(2, 2)}), "mlp": nn.Linear(2, 2)})


class Net(nn.Module):
    """Two blocks and a head, which is called twice."""

    def __init__(self, wrap=lambda module: module):
        super().__init__()
        self.blocks = nn.ModuleList([wrap(block()), block()])
        self.module = nn.Linear(2, 2)  # a name that wrappers have, too
        self.head = self.again = nn.Linear(2, 2)


INSIDE = ["attn", "attn.proj", "mlp"]
NAMES = ["blocks", *(name for i in "01" for name in (f"blocks.{i}", *(f"blocks.{i}.{x}" for x in INSIDE)))]
NAMES += ["module", "head", "again"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["blocks", "module", "head", "again"]),
        ("**", NAMES),
        ("blocks.*", ["blocks.0", "blocks.1"]),
        ("blocks.**", NAMES[1:9]),
        ("blocks.*.attn", ["blocks.0.attn", "blocks.1.attn"]),
        ("**.proj", ["blocks.0.attn.proj", "blocks.1.attn.proj"]),
        ("**.head", ["head"]),
        ("blocks.**.proj", ["blocks.0.attn.proj", "blocks.1.attn.proj"]),
        ("blocks.[1-9].m??", ["blocks.1.mlp"]),
        ("head", ["head"]),
        ("h*", ["head"]),
    ],
)
def test_a_star_stands_for_one_name_and_two_for_all_below(pattern, names):
    assert match_layers(Net(), pattern) == {pattern: tuple(names)}


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("*proj", r"a \* does not go past a dot; \*\* does"),
        ("attn", "near names: blocks.0.attn, blocks.1.attn"),
        ("attn.proj", "near names: blocks.0.attn.proj, blocks.1.attn.proj"),
        ("blocks.2", "near names: blocks.*blocks.1"),
        ("hed", "near names: head"),
        ("zzz", "it has: blocks, blocks.0"),
    ],
)
def test_an_unknown_name_shows_what_is_near(pattern, hint):
    with pytest.raises(ValueError, match=rf"matches no layer of Net; .*{hint}"):
        match_layers(Net(), pattern)


def compiled(module):
    return torch.compile(module, backend="eager")


def averaged(module):
    return torch.optim.swa_utils.AveragedModel(module)


@pytest.mark.parametrize("wrap", [compiled, nn.DataParallel, averaged, lambda x: compiled(nn.DataParallel(x))])
def test_what_is_wrapped_around_a_module_adds_nothing_to_its_name(wrap):
    outside = wrap(Net())
    assert list(named_layers(outside)) == NAMES and type(unwrapped(outside)) is Net
    inside = Net(wrap)
    assert list(named_layers(inside)) == NAMES
    assert type(named_layers(inside)["blocks.0"]) is nn.ModuleDict


@pytest.mark.parametrize("name", ["_orig_mod.blocks.0", "module.blocks.0", "module._orig_mod.blocks.0"])
def test_names_that_were_copied_out_of_a_wrapper_are_understood(name):
    assert match_layers(compiled(Net()), name) == {name: ("blocks.0",)}
    assert match_layers(Net(), "module") == {"module": ("module",)}, "a module may be called so"


def test_dimensions_by_pattern():
    model = Net()
    matches = match_layers(model, "**")
    dims = match_dims("channel_dim", model, {"blocks.*.attn": 2, "blocks.**": 1, "head": 3}, matches)
    assert dims == {**dict.fromkeys(NAMES[1:9], 1), "blocks.0.attn": 2, "blocks.1.attn": 2, "head": 3}
