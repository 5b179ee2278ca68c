"""State dicts of guided models in models without StaticDropout, and back: strict, with a warning, and nothing else."""

import warnings

import pytest
import torch
from torch import nn

import sdfast
from sdfast.dropout import accept_guided

WEIGHT = torch.linspace(0, 1, 4)


def network(*after):
    return nn.Sequential(nn.Linear(3, 4), *after, nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))


def guided(at_end: bool):
    """With layers where others have nn.Dropout, and one inserted."""
    model = network(sdfast.StaticDropout(channel_weight=WEIGHT))
    sdfast.insert_static_dropout(model, "2.0" if at_end else "0", channel_weight=WEIGHT)
    return model


def same(model, other):
    mine, theirs = (
        {key: x for key, x in of.state_dict().items() if "channel_weight" not in key} for of in (model, other)
    )
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


@pytest.mark.parametrize(
    "place", [nn.Dropout(), nn.Identity(), nn.ReLU(), nn.Dropout3d()], ids=lambda x: type(x).__name__
)
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("at_end", [False, True])
def test_a_guided_model_loads_into_one_without_and_back(place, wrapped, at_end):
    model, other = network(place), guided(at_end)
    target = nn.DataParallel(nn.ModuleDict({"net": model})) if wrapped else model
    state = other.state_dict(prefix="module.net." if wrapped else "")
    with pytest.raises(RuntimeError, match=r"Unexpected key.*channel_weight"):
        target.load_state_dict(state)
    handle = accept_guided(target)
    keys = set(state)
    with pytest.warns(UserWarning, match="state_dict: leaves out .* of a guided model") as warned:
        target.load_state_dict(state)
    said = str(warned[0].message)
    assert len(warned) == 1 and "1.channel_weight'" in said and ".static_dropout.channel_weight'" in said
    assert same(model, other) and set(state) == keys
    with pytest.warns(UserWarning, match="keeps the weights that it has"):
        other.load_state_dict(network(place).state_dict())
    assert torch.equal(other[1].channel_weight, WEIGHT) and not same(model, other)
    handle.remove()
    with pytest.raises(RuntimeError, match="Unexpected key"):
        target.load_state_dict(state)


def test_layers_that_can_take_weights_do():
    model = network(sdfast.StaticDropout())
    accept_guided(model)
    with pytest.warns(UserWarning, match=r"leaves out '0\.static_dropout\.channel_weight' of"):
        model.load_state_dict(guided(False).state_dict())
    assert torch.equal(model[1].channel_weight, WEIGHT)


@pytest.mark.parametrize(
    "key", ["1.weight", "2.0.channel_weight", "5.channel_weight", "9.static_dropout.channel_weight"]
)
def test_any_other_key_is_an_error_as_ever(key):
    model = network(nn.Dropout())
    accept_guided(model)
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match=f"Unexpected key.*{key}"):
        warnings.simplefilter("error")
        model.load_state_dict(model.state_dict() | {key: WEIGHT})
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict({key: x for key, x in model.state_dict().items() if key != "0.bias"})
