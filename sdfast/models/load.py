"""A video model by its name."""

import difflib
import re

from sdfast.models import huggingface, own, pytorchvideo, timm, torchvision, transnetv2
from sdfast.models.video_model import VideoModel

# Each loads a model by its name, its weights and the seed of random ones.
_FAMILIES = {
    "torchvision": torchvision.load,
    "timm": timm.load,
    "pytorchvideo": pytorchvideo.load,
}
_NAMED = ("transnetv2", "torchvision:NAME", "hf:NAME_OR_PATH", "timm:NAME", "pytorchvideo:NAME")
FORMS = (*_NAMED, "package.module:factory")
_OWN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def load_model(spec: str, weights: str | None = None, *, seed: int = 0, trust_remote_code: bool = False) -> VideoModel:
    """Load a video model and what it takes to feed it.

    Args:
        spec: `transnetv2`, trained weights included in its package; `torchvision:NAME` for a name in
            torchvision.models.video; `hf:NAME_OR_PATH` for a Hugging Face model of videos (VideoMAE, V-JEPA 2, ...),
            of images, or with a vision tower (Qwen2.5-VL, ...), a folder with a config.json included; `timm:NAME` for
            a model of images; `pytorchvideo:NAME`, SlowFast for example; `package.module:factory` for your own, where
            `factory()` returns a VideoModel, or a Module that takes float (B, 3, 16, 112, 112) in [0, 1]. Your own
            is imported, from the working directory where it is nowhere else on the Python path: its code runs.
        weights: path of a state_dict, .safetensors or of torch.save; "random"; or None for the family's trained weights
            (your own stays as the factory made it, also with "random").
        seed: draws the random weights, so that every process of a run has the same.
        trust_remote_code: whether code that lies beside a Hugging Face model may run; without, it is refused.

    Returns:
        The model on the CPU, in eval mode. `layers` is empty for your own Module: name them yourself. Models of images
        have `forward=frames_as_batch`, which `sdfast.measure` is to be told.

    Raises:
        ValueError: the family or model is unknown, or the weights do not fit.
        OSError: weights or a configuration cannot be read.
        ImportError: the family's package is missing; the message says how to get it.

    >>> from sdfast.models import load_model
    >>> model = load_model("transnetv2")
    >>> model.layers, model.frame_size
    (('SDDCNN.0', 'SDDCNN.1', 'SDDCNN.2'), (27, 48))
    """
    family, colon, name = spec.partition(":")
    if spec == transnetv2.NAME:
        model = transnetv2.load(weights, seed)
    elif family == "hf" and name:
        model = huggingface.load(name, weights, seed, trust_remote_code)
    elif family in _FAMILIES and name:
        model = _FAMILIES[family](name, weights, seed)
    elif colon and family not in ("hf", *_FAMILIES, transnetv2.NAME) and _OWN.fullmatch(spec):
        model = own.load(family, name, weights, seed)
    else:
        raise ValueError(_unknown(spec))
    model.module.eval()
    return model


def _unknown(spec: str) -> str:
    known = {form.partition(":")[0]: form for form in _NAMED}
    near = difflib.get_close_matches(spec.partition(":")[0], known, n=1, cutoff=0.5)
    hint = f"; did you mean {known[near[0]]}?" if near else ""
    return f"model: expected one of {', '.join(FORMS)}, got {spec!r}{hint}"
