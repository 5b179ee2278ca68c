"""Heads after an output projection, which are none: refused where it is sure, said where it looks like it."""

import warnings

import pytest
import torch
from torch import nn

import sdfast
from sdfast.measurement.heads import check_heads


class Parts(nn.Module):
    def __init__(self, /, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


class SelfAttention(Parts):
    pass


def model():
    """As torch, timm, transformers, diffusers and Llama's kin build attention and what is around it."""
    linear = nn.Linear(4, 4)
    return Parts(
        timm=Parts(attn=Parts(qkv=linear, proj=linear), mlp=Parts(proj=linear)),
        bert=Parts(
            attention=Parts(self=SelfAttention(query=linear), output=Parts(dense=linear)), output=Parts(dense=linear)
        ),
        llama=Parts(self_attn=Parts(v_proj=linear, o_proj=linear)),
        diffusers=Parts(attn1=Parts(to_v=linear, to_out=nn.ModuleList([linear]))),
        own=SelfAttention(values=linear, wo=linear),
        patches=Parts(proj=nn.Conv2d(3, 4, 2)),
        torch=nn.MultiheadAttention(4, 2, batch_first=True),
    )


@pytest.mark.parametrize(
    ("layer", "projection"),
    [
        ("timm.attn.proj", "timm.attn.proj"),
        ("timm.attn", "timm.attn.proj"),
        ("bert.attention.output.dense", "bert.attention.output.dense"),
        ("bert.attention.output", "bert.attention.output"),
        ("bert.attention", "bert.attention.output"),
        ("llama.self_attn.o_proj", "llama.self_attn.o_proj"),
        ("diffusers.attn1.to_out", "diffusers.attn1.to_out"),
        ("diffusers.attn1", "diffusers.attn1.to_out"),
        ("own", "own.wo"),
    ],
)
def test_what_looks_like_an_output_projection_is_said(layer, projection):
    with pytest.warns(UserWarning, match=f"heads: '{projection}' looks like an output projection") as warned:
        assert check_heads(model(), {layer: 2}) == {layer: 2}
    assert len(warned) == 1 and f"the parts of '{layer}' are no heads" in str(warned[0].message)


def test_what_runs_before_it_is_fine():
    before = ("timm.attn.qkv", "timm.mlp.proj", "bert.attention.self", "bert.attention.self.query", "bert.output.dense",
              "llama.self_attn.v_proj", "diffusers.attn1.to_v", "own.values", "patches.proj")  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_heads(model(), dict.fromkeys(before, 2)) == dict.fromkeys(before, 2)


def test_multihead_attention_is_refused_before_it_runs():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            raise AssertionError("it ran")

    pairs = [(torch.rand(3, 4), torch.rand(3, 4), i % 2) for i in range(4)]
    with pytest.raises(ValueError, match=r"heads: 'attn' is an nn\.MultiheadAttention, whose output projection mixes"):
        sdfast.measure(Net(), pairs, "attn", heads=2, progress=False)
