"""The first tensor of what layers return: found, and changed without touching what held it."""

from collections import OrderedDict
from typing import NamedTuple

import pytest
import torch

from sdfast.models import change_first_tensor, first_tensor

X, Y = torch.ones(2), torch.zeros(3)


class Pair(NamedTuple):
    feats: torch.Tensor
    other: object


OUTPUTS = {
    "tensor": X,
    "parameter": torch.nn.Parameter(X),
    "tuple": (None, X, Y),
    "list": ["text", [], X, Y],
    "named": Pair(X, Y),
    "named, later": Pair("text", X),
    "dict": {"n": 3, "feats": X, "other": Y},
    "ordered": OrderedDict(n=None, feats=X),
    "nested": ((), [{"none": ()}, Pair(1, {"deep": (X, Y)})], Y),
}
NOTHING = {"none": None, "number": 3, "text": "xy", "set": {1}, "array": X.numpy(), "empty": [(), {}, [None]]}


def leaves(output):
    """Return the path and value of everything in an output that holds nothing."""
    if isinstance(output, dict):
        inside = output.items()
    elif isinstance(output, tuple | list):
        inside = enumerate(output)
    else:
        return [((), output)]
    return [((type(output), key, *path), leaf) for key, value in inside for path, leaf in leaves(value)]


@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_first_tensor_is_found_as_it_is(kind):
    assert torch.equal(first_tensor(OUTPUTS[kind]), X)
    tensors = [leaf for _, leaf in leaves(OUTPUTS[kind]) if isinstance(leaf, torch.Tensor)]
    assert first_tensor(OUTPUTS[kind]) is tensors[0], "no copy"


@pytest.mark.parametrize("kind", OUTPUTS)
def test_only_the_first_tensor_is_changed_and_only_in_a_copy(kind):
    output, before = OUTPUTS[kind], leaves(OUTPUTS[kind])
    changed, found = change_first_tensor(output, lambda x: x + 5)
    after = leaves(changed)
    assert found
    assert [path for path, _ in after] == [path for path, _ in before], "the same kinds of things hold it"
    first = next(i for i, (_, leaf) in enumerate(before) if isinstance(leaf, torch.Tensor))
    assert torch.equal(after[first][1], X + 5)
    assert all(new is old for i, ((_, new), (_, old)) in enumerate(zip(after, before, strict=True)) if i != first)
    assert all(now is then for (_, now), (_, then) in zip(leaves(output), before, strict=True)), "what was given stays"


@pytest.mark.parametrize("kind", NOTHING)
def test_an_output_without_a_tensor_stays_as_it_is(kind):
    assert first_tensor(NOTHING[kind]) is None
    changed, found = change_first_tensor(NOTHING[kind], lambda x: pytest.fail("there is nothing to change"))
    assert changed is NOTHING[kind] and not found


def test_a_model_output_stays_one():
    """Its fields and its items are the same thing; copies have to keep them so."""
    modeling_outputs = pytest.importorskip("transformers").modeling_outputs
    output = modeling_outputs.BaseModelOutput(last_hidden_state=X, hidden_states=(Y, Y))
    assert first_tensor(output) is X
    changed, found = change_first_tensor(output, lambda x: x * 2)
    assert found and type(changed) is type(output)
    assert torch.equal(changed.last_hidden_state, 2 * X) and changed["last_hidden_state"] is changed.last_hidden_state
    assert output.last_hidden_state is X and changed.hidden_states is output.hidden_states
