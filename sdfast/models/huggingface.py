"""Video transformers of Hugging Face: VideoMAE, TimeSformer, ViViT and others with a number of frames."""

import contextlib
import json
from collections.abc import Iterator

from torch import nn

from sdfast.foundation import require
from sdfast.models.video_model import ClipToTensor, VideoModel
from sdfast.models.weights import RANDOM, load_state, seeded

_MAX_LAYERS = 4
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Mean and standard deviation where no preprocessor_config.json lies beside the weights.
_NORMALISATION = {"timesformer": ((0.45,) * 3, (0.225,) * 3), "vivit": ((0.5,) * 3, (0.5,) * 3)}


def load(source: str, weights: str | None, seed: int) -> VideoModel:
    """Load a model by its name on the hub or from a folder with a config.json."""
    transformers = require("transformers")
    with _errors_in_one_line(source):
        config = transformers.AutoConfig.from_pretrained(source)
    clip_frames, frame_size = _input_shape(config, source)
    with _errors_in_one_line(source), seeded(seed):
        if weights is None:
            module = transformers.AutoModel.from_pretrained(source, config=config)
        else:
            module = transformers.AutoModel.from_config(config)
        mean, std = _normalisation(transformers, config, source)
    if weights not in (None, RANDOM):
        load_state(module, weights)
    prepare = ClipToTensor(mean, std, time_first=True)
    return VideoModel(f"hf:{source}", module, prepare, clip_frames, frame_size, _layers(module))


@contextlib.contextmanager
def _errors_in_one_line(source: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise OSError(f"model: cannot load hf:{source}: {str(error).strip().splitlines()[0]}") from error


def _input_shape(config, source: str) -> tuple[int, tuple[int, int]]:
    """Return the number of frames and (H, W); the second names are those of V-JEPA 2."""
    frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
    size = getattr(config, "image_size", None) or getattr(config, "crop_size", None)
    if not frames or not size:
        raise ValueError(
            f"model: hf:{source} is a {config.model_type} model, whose configuration has no number of frames "
            "and image size; expected a video model such as VideoMAE, TimeSformer or ViViT"
        )
    height, width = (size, size) if isinstance(size, int) else size
    return int(frames), (int(height), int(width))


def _normalisation(transformers, config, source: str) -> tuple[tuple, tuple]:
    """Return (mean, std) from the preprocessor_config.json beside the weights, or those of the architecture."""
    mean, std = _NORMALISATION.get(config.model_type, _IMAGENET)
    path = transformers.utils.cached_file(
        source, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
    )
    if path is None:
        return mean, std
    with open(path, encoding="utf-8") as file:
        stated = json.load(file)
    if not stated.get("do_normalize", True):
        mean, std = (0.0,) * 3, (1.0,) * 3
    else:
        mean, std = stated.get("image_mean") or mean, stated.get("image_std") or std
    # The processor computes (pixel * rescale_factor - offset - mean) / std; ClipToTensor starts from pixel / 255.
    scale = 255 * stated.get("rescale_factor", 1 / 255) if stated.get("do_rescale", True) else 255
    offset = 1.0 if stated.get("offset") else 0.0
    return tuple((x + offset) / scale for x in mean), tuple(x / scale for x in std)


def _layers(module: nn.Module) -> tuple[str, ...]:
    """Return up to four blocks of the encoder, evenly spread, the last one included."""
    stacks = {name: len(part) for name, part in module.named_modules() if isinstance(part, nn.ModuleList)}
    if not stacks:
        return ()
    encoder = max(stacks, key=stacks.get)
    depth = stacks[encoder]
    count = min(_MAX_LAYERS, depth)
    return tuple(f"{encoder}.{(i + 1) * depth // count - 1}" for i in range(count))
