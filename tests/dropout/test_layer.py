"""StaticDropout and the static mask: a drop-in for nn.Dropout that a context guides, compiled and in threads too."""

import copy
import re
import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import sdfast
from sdfast.dropout import context
from tests import truth
from tests.support.moments import with_corr

LEFT = torch.tensor([[1.0, 0.0]])


def ones(n=1, c=3, p=4):
    return torch.ones(n, c, p)


def test_without_guidance_it_is_nn_dropout():
    x = torch.ones(50, 40, 30)
    y = sdfast.StaticDropout(p=0.25)(x)
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert abs((y == 0).double().mean() - 0.25) < 4 * (0.25 * 0.75 / x.numel()) ** 0.5
    assert torch.equal(sdfast.StaticDropout(p=0.0)(x), x) and (sdfast.StaticDropout(p=1.0)(x) == 0).all()
    assert sdfast.StaticDropout().p == nn.Dropout().p


def test_eval_is_the_identity():
    layer = sdfast.StaticDropout(p=1.0, inplace=True).eval()
    x = ones()
    with sdfast.static_mask(LEFT):
        assert layer(x) is x and (x == 1).all()


def test_in_place_writes_to_the_input():
    x = ones()
    assert sdfast.StaticDropout(p=1.0, inplace=True)(x) is x and (x == 0).all()


def test_what_guides_decides_the_granularity():
    x, weight = torch.ones(64, 6, 5), torch.full((6,), 0.5)
    plain = sdfast.StaticDropout()(x)
    assert not (plain == plain[..., :1]).all()
    by_channel = sdfast.StaticDropout(channel_weight=weight)(x)
    assert (by_channel == by_channel[..., :1]).all() and not (by_channel == by_channel[:, :1]).all()
    with sdfast.static_mask(torch.ones(64, 1)):
        for layer in (sdfast.StaticDropout(), sdfast.StaticDropout(channel_weight=torch.ones(6))):
            by_region = layer(x)
            assert (by_region == by_region[:, :1, :1]).all() and set(by_region.unique().tolist()) == {0.0, 1.0}
        element = sdfast.StaticDropout(granularity="element", rescale=True)(x)
        assert not (element == element[..., :1]).all() and set(element.unique().tolist()) == {0.0, 2.0}


def test_layers_of_one_block_share_the_region_draws_and_nothing_else():
    x, mask = torch.ones(200, 3, 4), torch.ones(200, 2)
    layers = [sdfast.StaticDropout(), sdfast.StaticDropout(), sdfast.StaticDropout(p=0.7)]
    with sdfast.static_mask(mask):
        first, second, more = (layer(x) for layer in layers)
        assert torch.equal(first, second) and torch.equal(layers[0](x), first)
        assert (more[first == 0] == 0).all(), "what falls at p=0.5 falls at 0.7"
        element = sdfast.StaticDropout(granularity="element")
        assert not torch.equal(element(x), element(x))
    with sdfast.static_mask(mask):
        assert not torch.equal(layers[0](x), first)
    torch.manual_seed(0)
    with sdfast.static_mask(mask):
        one = layers[0](x)
    torch.manual_seed(0)
    with sdfast.static_mask(mask):
        assert torch.equal(layers[1](x), one)


def test_blocks_nest_and_end_after_exceptions():
    layer, x = sdfast.StaticDropout(p=1.0), ones()
    right = 1 - LEFT
    with sdfast.static_mask(LEFT):
        seed = context.current()[1]
        with pytest.raises(KeyError), sdfast.static_mask(right):
            assert (layer(x)[..., :2] == 1).all() and (layer(x)[..., 2:] == 0).all()
            raise KeyError
        assert (layer(x)[..., :2] == 0).all() and (layer(x)[..., 2:] == 1).all()
        assert context.current()[1] is seed
        with sdfast.static_mask(None):
            assert (layer(x) == 0).all() and context.current() == (None, None)
    assert context.current() == (None, None)


def test_each_thread_has_its_own_mask():
    layer, results = sdfast.StaticDropout(p=1.0), {}
    inside, leave = threading.Barrier(3), threading.Event()

    def work(name, mask):
        with sdfast.static_mask(mask):
            inside.wait()
            results[name] = layer(ones())[0, 0].tolist()
            leave.wait()

    threads = [threading.Thread(target=work, args=args) for args in (("left", LEFT), ("right", 1 - LEFT))]
    with sdfast.static_mask(torch.zeros(1, 2)):
        for thread in threads:
            thread.start()
        inside.wait()
        results["main"] = layer(ones())[0, 0].tolist()
        leave.set()
        for thread in threads:
            thread.join()
    assert results == {"left": [0, 0, 1, 1], "right": [1, 1, 0, 0], "main": [1, 1, 1, 1]}


def test_a_mask_is_a_tensor_that_fits():
    with pytest.raises(TypeError, match=r"mask: expected a torch\.Tensor or None, got list"), sdfast.static_mask([1]):
        pass
    with sdfast.static_mask(torch.ones(2, 2)), pytest.raises(ValueError, match="mask: expected a batch of 1 like x"):
        sdfast.StaticDropout()(ones())


# Compiled models.


def small_model(**kwargs):
    return nn.Sequential(nn.Conv3d(2, 4, 1), sdfast.StaticDropout(**kwargs), nn.Conv3d(4, 4, 1, bias=False))


@pytest.mark.parametrize("inplace", [False, True])
def test_a_compiled_model_sees_every_mask_and_compiles_once_for_all(inplace):
    model, x = small_model(p=1.0, inplace=inplace), torch.randn(2, 2, 4, 6, 6)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert (compiled(x) == 0).all()  # without a mask
    masks = torch.rand(4, 2, 2, 3, 3, generator=torch.Generator().manual_seed(0)).round()
    with sdfast.static_mask(masks[0]):
        compiled(x)
    with torch.compiler.set_stance("fail_on_recompile"):
        for mask in masks:
            with sdfast.static_mask(mask):
                torch.testing.assert_close(compiled(x), model(x))
        assert (compiled(x) == 0).all()


def test_a_compiled_model_in_a_thread_sees_that_threads_mask():
    layer, results = sdfast.StaticDropout(p=1.0), []
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with sdfast.static_mask(LEFT):
        assert compiled(ones())[0, 0].tolist() == [0, 0, 1, 1]

        def work():
            results.append(compiled(ones())[0, 0].tolist())
            with sdfast.static_mask(1 - LEFT):
                results.append(compiled(ones())[0, 0].tolist())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert compiled(ones())[0, 0].tolist() == [0, 0, 1, 1]
    assert results == [[0, 0, 0, 0], [1, 1, 0, 0]]


def test_a_block_inside_a_compiled_function():
    layer = sdfast.StaticDropout(p=1.0)

    def function(x, mask):
        with sdfast.static_mask(mask):
            inside = layer(x)
        return inside, layer(x)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for mask, kept in ((LEFT, [0, 0, 1, 1]), (1 - LEFT, [1, 1, 0, 0])):
        inside, outside = compiled(ones(), mask)
        assert inside[0, 0].tolist() == kept and (outside == 0).all()
    assert context.current() == (None, None)


def test_a_trained_compiled_model_has_the_gradients_of_the_eager_one():
    model, x, mask = small_model(p=1.0), torch.randn(2, 2, 4, 6, 6), torch.rand(2, 2, 3, 3).round()
    twin = copy.deepcopy(model)
    for run, weights in ((torch.compile(model, fullgraph=True), model), (twin, twin)):
        with sdfast.static_mask(mask):
            run(x).square().sum().backward()
        assert weights[0].weight.grad.abs().sum() > 0
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)


# Gradient checkpointing.


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_inside_the_block_recomputes_the_same(reentrant):
    layer, mask = sdfast.StaticDropout(), torch.rand(40, 3)
    x = torch.randn(40, 4, 6, requires_grad=True)
    with sdfast.static_mask(mask):
        y = checkpoint(lambda x: layer(x.exp()), x, use_reentrant=reentrant)
        y.sum().backward()
    assert torch.equal(x.grad, y.detach()) and (y == 0).any()


def test_checkpointing_beyond_the_block_keeps_the_mask_or_says_how():
    layer, mask = sdfast.StaticDropout(), torch.rand(40, 3)
    for reentrant in (False, True):
        x = torch.randn(40, 4, 6, requires_grad=True)
        with sdfast.static_mask(mask):
            y = checkpoint(lambda x: layer(x.exp()), x, use_reentrant=reentrant)
        with pytest.raises(RuntimeError, match=r"context_fn=sdfast\.keep_static_mask"):
            y.sum().backward()
    x = torch.randn(40, 4, 6, requires_grad=True)
    with sdfast.static_mask(mask):
        y = checkpoint(lambda x: layer(x.exp()), x, use_reentrant=False, context_fn=sdfast.keep_static_mask)
    with sdfast.static_mask(1 - mask):  # the next batch
        y.sum().backward()
    assert torch.equal(x.grad, y.detach()) and (y == 0).any()
    # A later pass without a mask is nothing to complain of.
    x = torch.randn(4, 4, 6, requires_grad=True)
    checkpoint(lambda x: layer(x.exp()), x, use_reentrant=True).sum().backward()


# Weights.


def report(dynamic, static):
    return sdfast.BiasReport(with_corr(dynamic, static))


def test_guidance_comes_from_a_report():
    layer = sdfast.StaticDropout(p=1.0, granularity="channel").guide(report([0.9, 0.1, 0.5], [0.1, 0.9, 0.5]))
    assert layer.channel_weight.tolist() == [0.0, 1.0, 0.5] and layer.channel_weight.dtype == torch.float32
    y = layer(torch.ones(400, 3))
    assert (y[:, 0] == 1).all() and (y[:, 1] == 0).all() and 0 < y[:, 2].mean() < 1
    held = layer.channel_weight
    layer.guide(report([0.1, 0.9, 0.5], [0.9, 0.1, 0.5]))
    assert layer.channel_weight is held and held.tolist() == [1.0, 0.0, 0.5]
    assert len(layer.guide(report([0.1] * 5, [0.9] * 5)).channel_weight) == 5


def test_guiding_a_compiled_layer_takes_effect():
    layer = sdfast.StaticDropout(p=1.0).guide(report([0.9, 0.1], [0.1, 0.9]))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert compiled(torch.ones(1, 2)).tolist() == [[1, 0]]
    layer.guide(report([0.1, 0.9], [0.9, 0.1]))
    assert compiled(torch.ones(1, 2)).tolist() == [[0, 1]]


def test_state_dict_holds_the_weights():
    guided, fresh = sdfast.StaticDropout(channel_weight=torch.tensor([0.25, 1.0])), sdfast.StaticDropout()
    assert list(guided.state_dict()) == ["channel_weight"] and not fresh.state_dict()
    fresh.load_state_dict(guided.state_dict())
    assert fresh.channel_weight.tolist() == [0.25, 1.0]
    assert fresh.channel_weight is not guided.channel_weight
    sdfast.StaticDropout(channel_weight=torch.ones(7)).load_state_dict(guided.state_dict())
    with pytest.warns(UserWarning, match="no 'channel_weight', of a model that was not guided; the layer keeps"):
        guided.load_state_dict(sdfast.StaticDropout().state_dict())
    assert guided.channel_weight.tolist() == [0.25, 1.0]
    model = nn.Sequential(sdfast.StaticDropout())
    model.load_state_dict({"0.channel_weight": torch.tensor([0.5])})
    assert model[0].channel_weight.tolist() == [0.5] and not list(model.parameters())


def test_weights_move_with_the_layer():
    layer = sdfast.StaticDropout().to("meta")
    layer.guide(report([0.1, 0.2], [0.3, 0.4]))
    assert layer.channel_weight.device.type == "meta"
    half = sdfast.StaticDropout(p=1.0, channel_weight=torch.tensor([1.0, 0.0])).half()
    assert half(torch.ones(2, 2)).tolist() == [[0, 1], [0, 1]]


def test_the_weights_given_are_copied():
    weight = torch.ones(2)
    layer = sdfast.StaticDropout(channel_weight=weight)
    weight.zero_()
    assert layer.channel_weight.tolist() == [1, 1]
    assert copy.deepcopy(layer).channel_weight.tolist() == [1, 1]


def test_repr_names_the_settings():
    assert repr(sdfast.StaticDropout()) == "StaticDropout(p=0.5, inplace=False)"
    layer = sdfast.StaticDropout(
        0.3, channel_weight=torch.ones(8), granularity="element", rescale=True, inplace=True, channel_dim=-1
    )
    assert repr(layer) == (
        "StaticDropout(p=0.3, inplace=True, channel_weight=(8,), granularity='element', rescale=True, channel_dim=-1)"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(p=1.1), ValueError, "p: expected a probability from 0 to 1, got 1.1"),
        (dict(p=float("nan")), ValueError, "p: .* got nan"),
        (dict(p=None), TypeError, "p: expected a number"),
        (dict(granularity="pixel"), ValueError, "granularity: expected one of element, channel, region"),
        (dict(channel_weight=torch.tensor([0.5, 2.0])), ValueError, "channel_weight: expected values from 0 to 1"),
        (dict(channel_weight=torch.ones(2, 2)), TypeError, r"channel_weight: expected .* \(C,\), got .* \(2, 2\)"),
        (dict(channel_weight=torch.ones(2).long()), TypeError, "channel_weight: expected floating-point"),
    ],
)
def test_bad_settings_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        sdfast.StaticDropout(**arguments)


def test_tokens_have_their_channels_last():
    tokens = torch.ones(2, 5, 3)
    mask = torch.tensor([[0.0, 1.0, 0.0, 1.0, 1.0]]).expand(2, 5)
    with sdfast.static_mask(mask):
        y = sdfast.StaticDropout(p=1.0, channel_dim=-1)(tokens)
    assert torch.equal(y, (1 - mask)[..., None].expand_as(tokens))


def test_the_shared_draws_are_those_of_the_blocks_seed():
    with sdfast.static_mask(torch.ones(30, 1)):
        y = sdfast.StaticDropout()(torch.ones(30, 2, 3))
        seed = int(context.current()[1])
    gone, _ = truth.dropped((30, 2, 3), seed, 0.5, torch.ones(30, 1).numpy(), granularity="region")
    assert torch.equal(y == 0, torch.from_numpy(gone.copy()))


@pytest.mark.parametrize(
    ("shape", "mask", "channel_dim", "fits"),
    [
        ((2, 9, 6), (2, 9), 1, -1),
        ((2, 9, 6), (2, 1, 9), 1, -1),
        ((2, 9, 6), (2, 6), -1, 1),
        ((2, 4, 5, 6), (2, 4, 5), 1, -1),
        ((2, 8, 3, 4, 5), (2, 3, 4, 5), 4, 1),
    ],
)
def test_a_mask_with_channels_at_the_other_end_is_refused(shape, mask, channel_dim, fits):
    layer = sdfast.StaticDropout(p=1.0, channel_dim=channel_dim)
    message = rf"mask: expected the positions .* got {re.escape(str(mask))}, which fits channel_dim={fits}$"
    with sdfast.static_mask(torch.ones(mask)), pytest.raises(ValueError, match=message):
        layer(torch.ones(shape))
    layer.channel_dim = fits
    with sdfast.static_mask(torch.ones(mask)):
        assert (layer(torch.ones(shape)) == 0).all()


@pytest.mark.parametrize(("shape", "mask"), [((2, 6, 6), (2, 6)), ((2, 1, 6), (2, 1)), ((2, 4, 5, 6), (2, 3, 3))])
def test_masks_of_other_grids_are_taken(shape, mask):
    with sdfast.static_mask(torch.ones(mask)):
        assert (sdfast.StaticDropout(p=1.0)(torch.ones(shape)) == 0).all()
