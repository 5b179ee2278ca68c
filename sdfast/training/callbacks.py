"""The monitor as a callback of Lightning and of the Trainer of transformers, each made when it is asked for."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from sdfast.foundation import read_torch, require, write_atomically
from sdfast.training.monitor import BiasMonitor


class _Callback:
    def __init__(self, monitor: BiasMonitor, prefix: str = "bias/") -> None:
        self.monitor, self.prefix = monitor, prefix


class _LightningCallback(_Callback):
    """Let Lightning call a `BiasMonitor`, log what it finds, and keep its curve in checkpoints.

    Scalars go to every logger of the trainer at the step of the measurement, whatever `log_every_n_steps` is, and to
    `trainer.callback_metrics`, so that other callbacks may look at them. The module is left as `BiasMonitor` says.

        monitor = BiasMonitor(module.backbone, pairs, "layer*")
        trainer = lightning.Trainer(callbacks=[LightningMonitor(monitor)])

    Args:
        monitor: of the LightningModule or a part of it.
        prefix: put before the names of scalars; two monitors in one trainer need two.

    Raises:
        ImportError: neither lightning nor pytorch_lightning is installed.

    Source: `lightning.pytorch.Callback`; a class of the one of the two packages that is in use.
    """

    @property
    def state_key(self) -> str:
        """Return the name under which checkpoints keep the state."""
        return f"LightningMonitor({self.prefix!r})"

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Measure if it is time to."""
        if self.monitor(trainer.global_step):
            found = self.monitor.scalars(self.prefix)
            pl_module.log_dict(found, on_step=True, on_epoch=False, logger=False)
            for logger in trainer.loggers:
                logger.log_metrics(found, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the monitor."""
        return self.monitor.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the curve of a checkpoint."""
        self.monitor.load_state_dict(state_dict)


class _TrainerCallback(_Callback):
    """Let the Trainer of transformers call a `BiasMonitor`, log what it finds, and keep its curve in checkpoints.

        monitor = BiasMonitor(model, pairs, "encoder.layer.*")
        trainer.add_callback(TrainerMonitor(monitor, trainer.log))

    A run that resumes from a checkpoint in the same `output_dir` goes on with its curve.

    Args:
        monitor: of the trainer's model, or of a part of it that is called with clips alone.
        log: what takes the scalars; `trainer.log` hands them to TensorBoard, W&B and others. Default: they are added
            to `trainer.state.log_history` only.
        prefix: put before the names of scalars; two monitors in one trainer need two.

    Raises:
        ImportError: transformers is missing.

    Source: `transformers.TrainerCallback`.
    """

    def __init__(
        self, monitor: BiasMonitor, log: Callable[[dict[str, float]], Any] | None = None, prefix: str = "bias/"
    ) -> None:
        super().__init__(monitor, prefix)
        self.log = log

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure if it is time to."""
        if not self.monitor(state.global_step):
            return
        found = self.monitor.scalars(self.prefix)
        if self.log is None:
            state.log_history.append({**found, "step": state.global_step})
            return
        due = control.should_log
        self.log(found)
        control.should_log = due  # logging takes back what says that the loss is to be logged at this step, too

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the curve into the checkpoint that has just been written."""
        if state.is_world_process_zero:
            path = self._path(args, state)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda part: torch.save(self.monitor.state_dict(), part))

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Go on with the curve, if this is a checkpoint's training."""
        if state.global_step > 0 and (path := self._path(args, state)).is_file():
            try:
                kept = read_torch(path)
            except ValueError as error:
                raise ValueError(f"{path}: expected the curve of a monitor, {error}") from error
            self.monitor.load_state_dict(kept)

    def _path(self, args: Any, state: Any) -> Path:
        name = self.prefix.replace("/", "_").strip("_")
        return Path(args.output_dir, f"checkpoint-{state.global_step}", f"sdfast_{name}.pt")


def _lightning() -> ModuleType:
    """Return the package that the user trains with: both may be installed, and each has its own classes."""
    for name in ("lightning.pytorch", "pytorch_lightning"):
        if (package := sys.modules.get(name)) is not None:
            return package
    try:
        return require("lightning.pytorch")
    except ImportError as missing:
        try:
            return importlib.import_module("pytorch_lightning")
        except ImportError:
            raise missing from None


if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from transformers import TrainerCallback

    class LightningMonitor(_LightningCallback, Callback): ...

    class TrainerMonitor(_TrainerCallback, TrainerCallback): ...


_MADE_OF: dict[str, tuple[type[_Callback], Callable[[], type]]] = {
    "LightningMonitor": (_LightningCallback, lambda: _lightning().Callback),
    "TrainerMonitor": (_TrainerCallback, lambda: require("transformers").TrainerCallback),
}


def __getattr__(name: str) -> Any:
    # Their base classes are in packages that are optional, and slow to import.
    if name not in _MADE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    own, base = _MADE_OF[name]
    made = type(name, (own, base()), {"__module__": __name__, "__doc__": own.__doc__})
    globals()[name] = made  # one class however often it is asked for, which can be pickled by its name
    return made
