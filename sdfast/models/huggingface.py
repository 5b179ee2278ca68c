"""Models of Hugging Face: of videos, of images on frames, and the vision towers of video-language models."""

import contextlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
from torch import nn

from sdfast.foundation import read_json, require
from sdfast.models.clips import frames_as_batch
from sdfast.models.inputs import PackedPatches
from sdfast.models.stages import spread
from sdfast.models.video_model import ClipToTensor, VideoModel
from sdfast.models.weights import RANDOM, load_state, seeded

# What a model of images, or a tower of another, is given where its configuration does not say.
_CLIP_FRAMES, _SIDE = 8, 224
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5,) * 3, (0.5,) * 3)
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
# Mean and standard deviation where no configuration of a processor lies beside the weights.
_NORMALISATION = {
    "timesformer": ((0.45,) * 3, (0.225,) * 3),
    **dict.fromkeys(("vivit", "vit", "beit", "siglip_vision_model", "qwen3_vl_vision", "qwen3_vl_moe_vision"), _HALF),
    **dict.fromkeys(("clip_vision_model", "xclip_vision_model", "qwen2_vl_vision", "qwen2_5_vl_vision"), _CLIP),
}
# Vision towers that take the patches of all clips in one row, cut as Qwen2-VL cuts them.
_PACKED = ("qwen2_vl_vision", "qwen2_5_vl_vision", "qwen3_vl_vision", "qwen3_vl_moe_vision")
# Models of frames whose configuration has a number of frames nevertheless.
_OF_FRAMES = ("xclip_vision_model",)
_PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json")


def load(source: str, weights: str | None, seed: int, trust_remote_code: bool) -> VideoModel:
    """Load a model, or the vision tower of one, by its name on the hub or from a folder with a config.json."""
    transformers = require("transformers")
    trust = {"trust_remote_code": trust_remote_code}  # where it is not given, transformers asks on stdin
    with _errors_in_one_line(source):
        config = transformers.AutoConfig.from_pretrained(source, **trust)
    vision = getattr(config, "vision_config", config)
    clip_frames, frame_size, of_frames = _input_shape(transformers, vision, source)
    with _errors_in_one_line(source), seeded(seed):
        if weights is None:
            module = transformers.AutoModel.from_pretrained(source, config=config, **trust)
        elif type(vision) in transformers.MODEL_MAPPING:
            module = transformers.AutoModel.from_config(vision, **trust)
        else:
            module = transformers.AutoModel.from_config(config, **trust)
        mean, std = _normalisation(transformers, vision, source)
    module = next(part for part in module.modules() if type(getattr(part, "config", None)) is type(vision))
    if weights not in (None, RANDOM):
        load_state(module, weights)
    prepare: Callable[[np.ndarray], Any] = ClipToTensor(mean, std, time_first=vision.model_type not in _PACKED)
    if vision.model_type in _PACKED:
        prepare = PackedPatches(prepare, vision.patch_size, vision.temporal_patch_size, vision.spatial_merge_size)
    forward = frames_as_batch if of_frames else None
    return VideoModel(f"hf:{source}", module, prepare, clip_frames, frame_size, _layers(module), forward=forward)


@contextlib.contextmanager
def _errors_in_one_line(source: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code=True" in str(error):
            raise ValueError(
                f"model: hf:{source} brings code of its own; --trust-remote-code, load_model(..., "
                "trust_remote_code=True), lets it run"
            ) from error
        raise OSError(f"model: cannot load hf:{source}: {str(error).strip().splitlines()[0]}") from error


def _input_shape(transformers: ModuleType, config: Any, source: str) -> tuple[int, tuple[int, int], bool]:
    """Return the number of frames, (H, W), and whether the frames of a clip are the images of a batch."""
    frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)  # the latter of V-JEPA 2
    size = getattr(config, "image_size", None) or getattr(config, "crop_size", None)
    packed = config.model_type in _PACKED
    of_frames = not packed and (not frames or config.model_type in _OF_FRAMES)
    if of_frames and config.model_type not in _OF_FRAMES and not _takes_images(transformers, config):
        raise ValueError(
            f"model: hf:{source} is a {config.model_type} model, whose configuration has no number of frames and which "
            "takes no images; expected a model of videos or images such as VideoMAE, ViViT or DINOv2"
        )
    if packed:
        unit = config.patch_size * config.spatial_merge_size
        size = max(1, _SIDE // unit) * unit
    size = size or _SIDE
    height, width = (size, size) if isinstance(size, int) else size
    return int(frames or _CLIP_FRAMES), (int(height), int(width)), of_frames


def _takes_images(transformers: ModuleType, config: Any) -> bool:
    if type(config) not in transformers.MODEL_MAPPING:
        return False
    model = transformers.MODEL_MAPPING[type(config)]
    return getattr(model[0] if isinstance(model, tuple) else model, "main_input_name", "") == "pixel_values"


def _normalisation(transformers: ModuleType, config: Any, source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (mean, std) from the configuration of a processor beside the weights, or those of the architecture."""
    mean, std = _NORMALISATION.get(config.model_type, _IMAGENET)
    found = (
        transformers.utils.cached_file(source, name, _raise_exceptions_for_missing_entries=False)
        for name in _PROCESSORS
    )
    path = next((path for path in found if path is not None), None)
    if path is None:
        return mean, std
    with _errors_in_one_line(source):
        stated = read_json(path)
    if not stated.get("do_normalize", True):
        mean, std = (0.0,) * 3, (1.0,) * 3
    else:
        mean, std = stated.get("image_mean") or mean, stated.get("image_std") or std
    # The processor computes (pixel * rescale_factor - offset - mean) / std; ClipToTensor starts from pixel / 255.
    scale = 255 * stated.get("rescale_factor", 1 / 255) if stated.get("do_rescale", True) else 255
    offset = 1.0 if stated.get("offset") else 0.0
    return tuple((x + offset) / scale for x in mean), tuple(x / scale for x in std)


def _layers(module: nn.Module) -> tuple[str, ...]:
    """Return up to four blocks of the longest stack that is in no other, evenly spread, the last one included."""
    stacks: dict[str, nn.ModuleList] = {}
    for name, part in module.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in stacks)
        if isinstance(part, nn.ModuleList) and len(part) and not inside:
            stacks[name] = part
    if not stacks:
        return ()
    # Of stages and what lies between them, as many, the stages have more weights.
    longest = max(stacks, key=lambda name: (len(stacks[name]), sum(x.numel() for x in stacks[name].parameters())))
    return spread([_last(f"{longest}.{number}", part) for number, part in enumerate(stacks[longest])])


def _last(name: str, part: nn.Module) -> str:
    """Return the name of a layer, or of the last one in a list of layers."""
    return _last(f"{name}.{len(part) - 1}", part[-1]) if isinstance(part, nn.ModuleList) else name
