"""Layers of all families are found where the code of the model says, and their features are those of the clip."""

import pytest
import torch

import sdfast
from sdfast.measurement import list_layers
from sdfast.models import first_tensor, load_model, named_layers
from sdfast.models.clips import call_model
from tests.support.model_table import MODELS, PAGE, page

CASES = [pytest.param(model, id=model.title, marks=[pytest.mark.slow] * model.slow) for model in MODELS]


def of_one_clip(model, clip, layers):
    """Return the mean of each channel of the layers when the model sees nothing but one clip."""
    found, handles, modules = {}, [], named_layers(model.module)
    for name, output in layers.items():

        def keep(_, __, feats, name=name, channel_dim=output.channel_dim):
            feats = first_tensor(feats).double()
            found[name] = feats.mean([dim for dim in range(feats.ndim) if dim != channel_dim])

        handles.append(modules[name].register_forward_hook(keep))
    with torch.no_grad():
        (model.forward or call_model)(model.module, clip)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("case", CASES)
def test_layers_are_found_where_the_code_says(case, tmp_path):
    model = load_model(case.named(tmp_path), "random")
    clips = [model.random_clips(1, seed=seed) for seed in range(2)]
    told = {"channel_dim": model.channel_dim, "batch_dim": model.batch_dim, "forward": model.forward}
    listed = {layer.name: layer for layer in list_layers(model.module, *clips, **told)}
    for name, wanted in case.layers.items():
        assert (listed[name].shape, listed[name].batch_dim, listed[name].positions, listed[name].channel_dim) == wanted
    for layer in listed.values():
        assert (layer.channels is None) == bool(layer.refused), layer

    assert model.layers and set(model.layers) <= listed.keys()
    assert not [name for name in model.layers if listed[name].refused]

    batch = [(*clips, torch.zeros(1, dtype=torch.int64))]
    reports = sdfast.measure(model.module, iter(batch), list(case.layers), progress=False, **told)
    for clip, row in zip(clips, (1, 2), strict=True):  # the means of a and of b
        for name, wanted in of_one_clip(model, clip, case.layers).items():
            torch.testing.assert_close(reports[name].moments[row, 0], wanted, rtol=1e-4, atol=1e-5)


def test_the_page_is_made_of_the_table():
    assert len(MODELS) >= 24
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.support.model_table"
