"""Weights of a model: a state_dict from a file, or random ones that every process draws alike."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sdfast.foundation import read_torch, require

RANDOM = "random"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch inside the block; leave its CPU generator as it was."""
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed: expected an integer from 0 to 2**63 - 1, got {seed}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def load_state(module: nn.Module, path: str) -> None:
    """Load a state_dict file into a module; raise ValueError in one line where it does not fit."""
    state = _read(path)
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items() if torch.is_tensor(value)}
    faults = [
        *_fault("missing", [name for name in expected if name not in state]),
        *_fault("unexpected", [name for name in state if name not in expected]),
        *_fault(
            "of another shape",
            [
                f"{name} {tuple(state[name].shape)} instead of {shape}"
                for name, shape in expected.items()
                if name in state and tuple(state[name].shape) != shape
            ],
        ),
    ]
    if faults:
        raise ValueError(f"weights: {path} does not fit {type(module).__name__}: {'; '.join(faults)}")
    try:
        module.load_state_dict(state)
    except Exception as error:  # what a file says of its modules, beside their tensors, may be anything
        raise ValueError(f"weights: {path} does not fit {type(module).__name__} ({type(error).__name__})") from error


def _read(path: str) -> dict[str, Tensor]:
    try:
        state = _read_safetensors(path) if os.fspath(path).endswith(".safetensors") else read_torch(path)
    except FileNotFoundError:
        raise FileNotFoundError(f'weights: expected "random" or the path of a state_dict, got {path!r}') from None
    except OSError as error:
        raise OSError(f"weights: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"weights: {path} is no state_dict ({error})") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # a training checkpoint with its optimizer beside the weights
    if not isinstance(state, dict) or not all(isinstance(name, str) and _is_plain(x) for name, x in state.items()):
        raise ValueError(f"weights: expected a state_dict of tensors in {path}, got {type(state).__name__}")
    # as saved from DistributedDataParallel
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    return state


def _read_safetensors(path: str) -> dict[str, Tensor]:
    safetensors = require("safetensors")
    try:
        tensors: dict[str, Tensor] = require("safetensors.torch").load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"no tensors of safetensors: {str(error).splitlines()[0]}") from error
    return tensors


def _is_plain(value: object) -> bool:
    """Tell whether a value is a tensor with an element for each place; a file may have others."""
    if not isinstance(value, Tensor) or value.is_nested:
        return False
    return value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized


def _fault(kind: str, names: list[str]) -> list[str]:
    return [f"{len(names)} {kind} ({names[0]}{', ...' if len(names) > 1 else ''})"] if names else []
