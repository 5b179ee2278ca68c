"""What makes the inputs of models with several, each against NumPy or the package that it is made for."""

import itertools

import numpy as np
import pytest
import torch

from sdfast.models import ClipToTensor, PackedPatches, Pathways, RgbAndFlow

CLIP = np.random.default_rng(0).integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)


def test_two_streams_are_parted():
    flow = 255 - CLIP
    prepare = RgbAndFlow(ClipToTensor(mean=(0.5,) * 3), ClipToTensor(time_first=True))
    made = prepare(np.concatenate([CLIP, flow], -1))
    assert torch.equal(made[0], ClipToTensor(mean=(0.5,) * 3)(CLIP))
    assert torch.equal(made[1], ClipToTensor(time_first=True)(flow))
    with pytest.raises(ValueError, match=r"clip: expected frames and flow \(T, H, W, 6\), .* got \(5, 8, 12, 3\)"):
        prepare(CLIP)


def test_pathways():
    clip = np.arange(32, dtype=np.uint8).repeat(3).reshape(32, 1, 1, 3)
    slow, fast = Pathways(ClipToTensor(), alpha=4)(clip)
    wanted = [int(frame) for frame in np.linspace(0, 31, 8)]  # as PyTorchVideo does
    assert (255 * slow[0, :, 0, 0]).round().tolist() == wanted and fast.shape == (3, 32, 1, 1)
    with pytest.raises(ValueError, match="clip: expected at least 8 frames, as alpha says, got 5"):
        Pathways(alpha=8)(CLIP)


def test_patches_are_packed_in_the_order_that_qwen_merges_them():
    pytest.importorskip("transformers")
    made = PackedPatches(ClipToTensor(), size=2, frames=2, merge=2)(CLIP)
    assert made["grid_thw"].tolist() == [[3, 4, 6]]  # 5 frames, of which the last comes twice
    pixels = np.concatenate([CLIP, CLIP[-1:]]) / 255
    rows = []
    for t, row, column, down, right in itertools.product(range(3), range(2), range(3), range(2), range(2)):
        y, x = 2 * (2 * row + down), 2 * (2 * column + right)
        rows.append(pixels[2 * t : 2 * t + 2, y : y + 2, x : x + 2].transpose(3, 0, 1, 2).ravel())
    np.testing.assert_allclose(made["hidden_states"].numpy(), rows, atol=1e-6)
    with pytest.raises(ValueError, match="clip: expected height and width in multiples of 6, got 8 x 12"):
        PackedPatches(ClipToTensor(), size=3, frames=2, merge=2)(CLIP)


def test_patches_are_those_of_the_processor():
    pytest.importorskip("torchvision", exc_type=ImportError)
    transformers = pytest.importorskip("transformers")
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    clip = np.random.default_rng(1).integers(0, 256, (6, 56, 84, 3), dtype=np.uint8)
    processor = transformers.Qwen2VLVideoProcessor(do_resize=False)
    wanted = processor(list(clip.transpose(0, 3, 1, 2)), return_tensors="pt")
    made = PackedPatches(ClipToTensor(mean, std), size=14, frames=2, merge=2)(clip)
    assert made["grid_thw"].tolist() == wanted["video_grid_thw"].tolist()
    torch.testing.assert_close(made["hidden_states"], wanted["pixel_values_videos"], rtol=0, atol=1e-5)
