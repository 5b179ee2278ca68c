"""Clips and their permuted selves in one pass: the same frames in another order, and what the layers made of them."""

import pytest
import torch
from torch import nn

from sdfast.training import run_with_permuted


class Recorder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.idle = nn.Conv3d(2, 3, 1), nn.Identity()
        self.seen = []

    def forward(self, clips):
        self.seen.append(clips)
        return self.inner(clips).mean((2, 3, 4))


def test_permutes_every_clip_and_none_the_same(seed=0):
    model, clips = Recorder(), torch.rand(40, 2, 3, 4, 4)
    output, permuted, feats = run_with_permuted(model, clips, "inner", generator=torch.Generator().manual_seed(seed))
    (both,) = model.seen
    assert torch.equal(both[:40], clips)
    for clip, other in zip(clips, both[40:], strict=True):
        frames = [[torch.equal(x, y) for y in other.unbind(1)] for x in clip.unbind(1)]
        assert sorted(map(sum, frames)) == [1, 1, 1] and not all(row[i] for i, row in enumerate(frames))
    torch.testing.assert_close(output, model(clips))
    torch.testing.assert_close(permuted, model(both[40:]))
    torch.testing.assert_close(feats["inner"][1], model.inner(both[40:]))
    assert feats["inner"][0].requires_grad and not model.inner._forward_hooks
    again = run_with_permuted(model, clips, "inner", generator=torch.Generator().manual_seed(seed))
    assert torch.equal(again[1], permuted)


def test_frames_may_be_anywhere():
    clips = torch.rand(4, 5, 3)
    _, permuted, _ = run_with_permuted(nn.Sequential(nn.Identity()), clips, "0", time_dim=1)
    assert torch.equal(permuted.sort(1).values, clips.sort(1).values) and not torch.equal(permuted, clips)


def test_what_does_not_fit_is_named():
    model, clips = Recorder(), torch.rand(4, 2, 3, 4, 4)
    for layers, given, message in (
        ("idle", clips, "layers: the forward pass does not call 'idle'"),
        ("none", clips, "layers: "),
        ("inner", clips[:, :, :1], "clips: expected two frames or more along dimension 2"),
    ):
        with pytest.raises(ValueError, match=message):
            run_with_permuted(model, given, layers)
    folded = nn.Sequential(nn.Flatten(0, 1))
    with pytest.raises(ValueError, match="layer '0': expected 8 rows, one a clip, got shape"):
        run_with_permuted(folded, clips, "0")
    assert not folded[0]._forward_hooks
