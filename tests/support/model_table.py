"""Models of all families, tiny and with random weights: what their code says of the outputs of layers.

`python -m tests.support.model_table` writes docs/models.md from it.
"""

from typing import Any, NamedTuple

import pytest

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "models.md"
CLIPS, FRAMES = 2, 8  # of a pair, and of a clip that a model of images is given


class Output(NamedTuple):
    """The output of a layer for two clips: its shape, where the clips are, positions of each there, channels' place."""

    shape: tuple[int, ...]
    batch_dim: int
    positions: int
    channel_dim: int


class Model(NamedTuple):
    """A model by the configuration of transformers that it is made from, or by its `--model`."""

    title: str
    spec: str
    layers: dict[str, Output]
    settings: dict[str, Any] | None = None
    slow: bool = False

    def named(self, folder) -> str:
        """Return what `--model` takes, for which a folder may get a config.json; skip where a package is missing."""
        if self.settings is not None:
            transformers = pytest.importorskip("transformers")
            getattr(transformers, f"{self.spec}Config")(**self.settings).save_pretrained(folder)
            return f"hf:{folder}"
        family = self.spec.partition(":")[0]
        if family in ("timm", "torchvision", "pytorchvideo"):
            pytest.importorskip(family, exc_type=ImportError)
        return self.spec


def tokens(number, channels):
    """(N, tokens, C)"""
    return Output((CLIPS, number, channels), 0, 1, 2)


def images_of_tokens(number, channels, frames=FRAMES):
    """(N * T, tokens, C)"""
    return Output((CLIPS * frames, number, channels), 0, frames, 2)


def images(channels, height, width=None, frames=FRAMES):
    """(N * T, C, H, W)"""
    return Output((CLIPS * frames, channels, height, width or height), 0, frames, 1)


def images_last(channels, side):
    """(N * T, H, W, C)"""
    return Output((CLIPS * FRAMES, side, side, channels), 0, FRAMES, 3)


def videos(channels, frames, height, width=None):
    """(N, C, T, H, W)"""
    return Output((CLIPS, channels, frames, height, width or height), 0, 1, 1)


def packed(number, channels):
    """(N * tokens, C)"""
    return Output((CLIPS * number, channels), 0, number, 1)


def tokens_first(number, channels):
    """(tokens, N, C)"""
    return Output((number, CLIPS, channels), 1, 1, 2)


# Images of 32 x 32 in patches of 8 x 8: 16 a frame. Videos of 4 frames in tubelets of 2: 32.
SIZES = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
VIT = SIZES | {"image_size": 32, "patch_size": 8}
VIDEO = VIT | {"num_frames": 4}
JEPA = VIT | {"crop_size": 32, "frames_per_clip": 4} | {f"pred_{name}": SIZES[name] for name in list(SIZES)[:3]}
STAGES = {"hidden_sizes": [12, 20], "depths": [1, 1], "num_stages": 2, "image_size": 32}
SWIN = dict(embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4, patch_size=2, image_size=32)
# Frames of 224 x 224 in patches of 56 x 56 and 2 frames: 4 * 4 * 4 of 8 frames, and merged 2 x 2 in the end 4 * 2 * 2.
PATCHES = dict(depth=2, embed_dim=24, hidden_size=24, num_heads=2, intermediate_size=48, patch_size=56, mlp_ratio=2)
TEXT = dict(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, intermediate_size=48)
QWEN_2_5 = PATCHES | {"out_hidden_size": 16, "fullatt_block_indexes": [1], "window_size": 224}
QWEN_3 = PATCHES | {"out_hidden_size": 16, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}
XCLIP = VIDEO | {f"mit_{name}": size for name, size in SIZES.items()}
SEGFORMER = dict(num_encoder_blocks=2, num_attention_heads=[1, 2], sr_ratios=[2, 1], patch_sizes=[3, 3], strides=[2, 2])
PVT = dict(num_encoder_blocks=2, num_attention_heads=[1, 2], sequence_reduction_ratios=[2, 1], patch_sizes=[4, 2])
HIERA = dict(image_size=[32, 32], embed_dim=12, num_heads=[1, 2], depths=[1, 1], num_query_pool=1, query_stride=[2, 2])
HIERA |= dict(masked_unit_size=[8, 8], patch_stride=[4, 4])
STEPS = dict(depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"])
BACKBONE = {"model_type": "swin"} | SWIN | STEPS
MASKS = dict(backbone_config=BACKBONE, mask_feature_size=32, image_size=32)
MASK2 = MASKS | dict(feature_size=32, hidden_dim=32, encoder_feedforward_dim=16, encoder_layers=1, decoder_layers=2)
HALVES = dict(encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16)
DETR = HALVES | dict(d_model=32, encoder_layers=1, decoder_layers=2, num_queries=5)
RESNET = dict(model_type="resnet", embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1])

MODELS = [
    Model(
        "VideoMAE",
        "VideoMAE",
        {"embeddings": tokens(32, 24), "encoder.layer.1": tokens(32, 24)},
        VIDEO,
    ),
    Model(
        "V-JEPA 2",
        "VJEPA2",
        {
            "encoder.embeddings": tokens(32, 24),
            "encoder.layer.1": tokens(32, 24),
            "predictor.embeddings": tokens(64, 24),  # what is seen, and what is to be foretold: all of it
        },
        JEPA,
    ),
    Model(
        "TimeSformer",
        "Timesformer",
        {
            "embeddings.patch_embeddings": images_of_tokens(16, 24, frames=4),
            "encoder.layer.1": tokens(1 + 4 * 16, 24),
            "encoder.layer.0.temporal_attention": Output((CLIPS * 16, 4, 24), 0, 16, 2),  # (N * patches, T, C)
        },
        VIDEO,
    ),
    Model(
        "ViViT",
        "Vivit",
        {"embeddings": tokens(33, 24), "layers.1": tokens(33, 24)},
        VIDEO | {"tubelet_size": [2, 8, 8]},
    ),
    Model(
        "Qwen2-VL, its vision tower",
        "Qwen2VL",
        {"patch_embed": packed(64, 24), "blocks.1": packed(64, 24), "merger": packed(16, 24)},
        {"vision_config": PATCHES, "text_config": TEXT},
    ),
    Model(
        "Qwen2.5-VL, its vision tower",
        "Qwen2_5_VL",
        {"patch_embed": packed(64, 24), "blocks.1": packed(64, 24), "merger": packed(16, 16)},
        {"vision_config": QWEN_2_5, "text_config": TEXT},
    ),
    Model(
        "Qwen3-VL, its vision tower",
        "Qwen3VL",
        {"patch_embed": packed(64, 24), "blocks.1": packed(64, 24), "merger": packed(16, 16)},
        {"vision_config": QWEN_3, "text_config": TEXT},
    ),
    Model(
        "X-CLIP, its vision tower",
        "XCLIP",
        {
            "encoder.layers.1": images_of_tokens(17, 24, frames=4),
            "encoder.layers.1.message_attn": tokens(4, 24),  # a message a frame
        },
        {"vision_config": XCLIP, "text_config": TEXT},
    ),
    Model(
        "LLaVA-NeXT-Video, its vision tower",
        "LlavaNextVideo",
        {"encoder.layers.1": images_of_tokens(17, 24)},
        {"vision_config": VIT | {"model_type": "clip_vision_model"}, "text_config": TEXT | {"model_type": "llama"}},
    ),
    Model("CLIP, its vision tower", "CLIP", {"encoder.layers.1": images_of_tokens(17, 24)}, {"vision_config": VIT}),
    Model("SigLIP, its vision tower", "SiglipVision", {"encoder.layers.1": images_of_tokens(16, 24)}, VIT),
    Model("ViT", "ViT", {"layers.1": images_of_tokens(17, 24), "pooler": packed(FRAMES, 24)}, VIT),
    Model("DeiT", "DeiT", {"layers.1": images_of_tokens(18, 24)}, VIT),
    Model("BEiT", "Beit", {"layers.1": images_of_tokens(17, 24)}, VIT),
    Model("DINOv2", "Dinov2", {"encoder.layer.1": images_of_tokens(17, 24)}, VIT),
    Model(
        "Swin",
        "Swin",
        {
            "encoder.layers.0.blocks.0": images_of_tokens(256, 12),
            "encoder.layers.0.blocks.0.attention": Output((CLIPS * FRAMES * 16, 16, 12), 0, FRAMES * 16, 2),  # windows
            "encoder.layers.1": images_of_tokens(64, 24),
        },
        SWIN,
    ),
    Model("Swin V2", "Swinv2", {"encoder.layers.0": images_of_tokens(64, 24)}, SWIN),
    Model(
        "Hiera",
        "Hiera",
        {"encoder.stages.1": images_of_tokens(16, 24)},
        HIERA,
    ),
    Model(
        "PVT",
        "Pvt",
        {"encoder.block.0.0": images_of_tokens(64, 12), "encoder.block.1.0": images_of_tokens(17, 20)},
        PVT | STAGES | {"strides": [4, 2], "mlp_ratios": [2, 2]},
    ),
    Model(
        "SegFormer",
        "Segformer",
        {"stages.0": images(12, 16), "stages.1": images(20, 8)},
        SEGFORMER | STAGES | {"mlp_ratios": [2, 2]},
    ),
    Model("ConvNeXt", "ConvNext", {"encoder.stages.0": images(12, 8), "encoder.stages.1": images(20, 4)}, STAGES),
    Model("ConvNeXt V2", "ConvNextV2", {"encoder.stages.1": images(20, 4)}, STAGES),
    Model(
        "ResNet",
        "ResNet",
        {
            "encoder.stages.0": images(12, 8),
            "encoder.stages.0.layers.0.layer.2": images(12, 8),  # to which the block adds in place
        },
        STAGES | {"embedding_size": 8},
    ),
    Model("RegNet", "RegNet", {"encoder.stages.1": images(20, 4)}, STAGES | {"embedding_size": 8, "groups_width": 4}),
    Model(
        "MobileNet V2",
        "MobileNetV2",
        {"layer.3": images(8, 4), "layer.15": images(80, 1)},
        {"depth_multiplier": 0.25, "image_size": 32},
    ),
    Model(
        "Mask2Former",
        "Mask2Former",
        {
            "pixel_level_module.encoder": images(12, 16),
            "pixel_level_module.encoder.swin.encoder.layers.3": images_of_tokens(4, 96),
            "pixel_level_module.decoder.encoder.layers.0": images_of_tokens(4 + 16 + 64, 32),  # of three scales
            "transformer_module.decoder.layers.0": Output((5, CLIPS * FRAMES, 32), 1, FRAMES, 2),  # queries first
        },
        MASK2 | {"num_queries": 5, "num_attention_heads": 2, "dim_feedforward": 16},
    ),
    Model(
        "MaskFormer",
        "MaskFormer",
        {
            "pixel_level_module.encoder.model.encoder.layers.0": images_of_tokens(64, 24),
            "pixel_level_module.decoder": images(32, 16),
            "transformer_module.decoder.layers.1": images_of_tokens(5, 32),
        },
        MASKS | {"decoder_config": DETR | {"model_type": "detr"}, "fpn_feature_size": 32},
    ),
    Model(
        "DETR",
        "Detr",
        {
            "backbone.model.encoder.stages.3": images(20, 2),
            "encoder": images_of_tokens(4, 32),
            "decoder.layers.1": images_of_tokens(5, 32),
        },
        DETR | {"use_timm_backbone": False, "backbone_config": RESNET | {"out_features": ["stage4"]}, "image_size": 64},
    ),
    Model(
        "TransNet V2",
        "transnetv2",
        {"SDDCNN.0": videos(64, 16, 13, 24), "SDDCNN.2": videos(256, 16, 3, 6)},
    ),
    Model(
        "SlowFast, small",
        "tests.support.nets:slow_fast",
        {"slow": videos(8, 2, 16), "fast": videos(2, 8, 16), "joined": videos(6, 2, 16)},
    ),
    Model(
        "two streams, small",
        "tests.support.nets:two_stream",
        {"flow": images(4, 8, 12, frames=4), "fused": images(5, 8, 12, frames=4)},
    ),
    Model(
        "nn.TransformerEncoder and nn.LSTM, tokens first",
        "tests.support.nets:tokens",
        {"encoder.layers.0": tokens_first(6, 12), "encoder": tokens_first(6, 12), "recurrent": tokens_first(6, 10)},
    ),
    Model(
        "R3D",
        "torchvision:r3d_18",
        {"layer1": videos(64, 16, 56), "layer4": videos(512, 2, 7)},
        slow=True,
    ),
    Model(
        "ViT of timm",
        "timm:test_vit",
        {"patch_embed": images_last(64, 10), "blocks.5": images_of_tokens(101, 64)},
        slow=True,
    ),
    Model(
        "ResNet of timm",
        "timm:test_resnet",
        {"layer1": images(32, 40), "layer4": images(96, 5)},
        slow=True,
    ),
    Model(
        "ConvNeXt of timm",
        "timm:test_convnext",
        {"stages.0": images(24, 40), "stages.3": images(64, 5)},
        slow=True,
    ),
    Model(
        "X3D",
        "pytorchvideo:x3d_xs",
        {"blocks.1": videos(24, 4, 46), "blocks.4": videos(192, 4, 6)},
        slow=True,
    ),
    Model(
        "SlowFast",
        "pytorchvideo:slowfast_r50",
        {
            "blocks.1.multipathway_blocks.0": videos(256, 8, 64),
            "blocks.1.multipathway_blocks.1": videos(32, 32, 64),
            "blocks.4.multipathway_blocks.1": videos(256, 32, 8),
        },
        slow=True,
    ),
]


def page() -> str:
    """Return docs/models.md."""
    lines = []
    for model in MODELS:
        for index, (name, found) in enumerate(model.layers.items()):
            spec = f"`hf:` {model.spec}Config" if model.settings is not None else f"`{model.spec}`"
            clips = f"{found.batch_dim}" + f", {found.positions} positions each" * (found.positions > 1)
            shape = ", ".join(map(str, found.shape))
            channels = f"{found.shape[found.channel_dim]} in dimension {found.channel_dim}"
            head = [model.title, spec] if index == 0 else ["", ""]
            lines.append(f"| {' | '.join([*head, f'`{name}`', f'({shape})', clips, channels])} |")
    return TEMPLATE.format(number=len(MODELS), rows="\n".join(lines))


TEMPLATE = """# Models

What `sdfast layers MODEL` finds in {number} models, small ones with random weights: for two clips, the shape of a
layer's output, which dimension has the clips and which the channels. Each line says what the code of the model says; a
test holds that this is found, and that the mean of each channel over each clip is that of the clip alone.

| model | `--model` | layer | output | clips in dimension | channels |
|---|---|---|---|---|---|
{rows}

Models of images are given the frames of a clip, which become positions. Those with a configuration of transformers were
loaded from a folder with a config.json, `--model hf:FOLDER`; the small SlowFast and the two streams are in
`tests/support/nets.py`.
"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
