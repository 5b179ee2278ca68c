"""The monitor as a callback: of Trainer and Lightning themselves where they are installed, and of what they call."""

import importlib.util
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from sdfast.training import BiasMonitor, callbacks
from tests.support.measuring import make_pairs


class Classifier(nn.Module):
    """What a Trainer calls with clips and labels; its body is what a monitor calls."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv3d(3, 5, 1), nn.BatchNorm3d(5), nn.ReLU())
        self.head = nn.Linear(5, 2)

    def forward(self, clips, labels=None):
        logits = self.head(self.body(clips).mean((2, 3, 4)))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def make_monitor(model, every=2):
    return BiasMonitor(model.body, make_pairs(), "2", every=every)


def clips_and_labels(number=12):
    generator = torch.Generator().manual_seed(0)
    return [{"clips": torch.randn(3, 2, 4, 4, generator=generator), "labels": i % 2} for i in range(number)]


@pytest.fixture
def unmade():
    """The module of callbacks, before and after the test with no class made."""

    def forget():
        for name in ("LightningMonitor", "TrainerMonitor"):
            vars(callbacks).pop(name, None)

    forget()
    yield callbacks
    forget()


def drive(callback, control, steps, folder):
    """Call a callback as the Trainer does, by the handler that it does it with."""
    from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback, TrainerState

    handler = CallbackHandler([DefaultFlowCallback, callback], None, None, None, None)
    args, state = SimpleNamespace(output_dir=str(folder)), TrainerState()
    handler.on_train_begin(args, state, control)
    handler.remove_callback(DefaultFlowCallback)  # which wants a Trainer's arguments
    for state.global_step in steps:
        control.should_log = True
        handler.on_step_end(args, state, control)
        assert control.should_log, "the loss is to be logged, too"
    handler.on_save(args, state, control)
    return state, handler, args


def test_what_the_trainer_calls(tmp_path):
    pytest.importorskip("transformers")
    from transformers.trainer_callback import TrainerControl

    from sdfast.training import TrainerMonitor

    model, control, logged = Classifier(), TrainerControl(), []

    def log(scalars):
        logged.append(scalars)
        control.should_log = False  # as the Trainer's own does

    callback = TrainerMonitor(make_monitor(model), log)
    state, _, _ = drive(callback, control, range(1, 6), tmp_path)
    assert callback.monitor.curve.steps == [2, 4] and state.log_history == []
    assert logged[1] == callback.monitor.scalars("bias/") and "bias/2/percent/static" in logged[1]

    resumed = TrainerMonitor(make_monitor(model))
    state, handler, args = drive(resumed, control, (), tmp_path)
    state.global_step = 5
    handler.on_train_begin(args, state, control)
    assert resumed.monitor.curve.steps == [2, 4] and resumed.monitor.steps == 5
    state.global_step = 6
    handler.on_step_end(args, state, control)
    assert state.log_history == [{**resumed.monitor.scalars("bias/"), "step": 6}]
    assert type(resumed) is pickle.loads(pickle.dumps(TrainerMonitor))

    for kept in tmp_path.rglob("*.pt"):
        kept.write_bytes(kept.read_bytes()[:-50])
    state.global_step = 5
    with pytest.raises(ValueError, match=r"\.pt: expected the curve of a monitor, no tensors of torch\.save"):
        handler.on_train_begin(args, state, control)


def test_weights_and_biases_takes_the_scalars(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monitor = make_monitor(Classifier())
    monitor.measure()
    with wandb.init(mode="offline", dir=tmp_path) as run:
        run.log(monitor.scalars("bias/"), step=1)
    wandb.teardown()  # what writes the file is another process
    (file,) = tmp_path.rglob("*.wandb")
    assert b"bias/2/percent/static" in file.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="the Trainer needs accelerate")
def test_a_trainer(tmp_path):
    transformers = pytest.importorskip("transformers")
    from sdfast.training import TrainerMonitor

    def trained(steps, monitored, resume=None):
        model = Classifier()
        settings = {"save_steps": 4, "logging_steps": 2, "report_to": [], "use_cpu": True, "disable_tqdm": True}
        arguments = transformers.TrainingArguments(
            str(tmp_path / str(monitored)), max_steps=steps, per_device_train_batch_size=4, seed=0, **settings
        )
        trainer = transformers.Trainer(model, arguments, train_dataset=clips_and_labels())
        monitor = make_monitor(model)
        if monitored:
            trainer.add_callback(TrainerMonitor(monitor, trainer.log))
        trainer.train(resume_from_checkpoint=resume)
        return model, monitor, trainer

    plain, _, _ = trained(4, False)
    model, monitor, trainer = trained(4, True)
    assert all(torch.equal(x, y) for x, y in zip(plain.parameters(), model.parameters(), strict=True))
    history = trainer.state.log_history
    assert [line["step"] for line in history if "bias/2/percent/static" in line] == [2, 4] == monitor.curve.steps
    assert [line["step"] for line in history if "loss" in line] == [2, 4], "losses are logged as before"
    _, monitor, _ = trained(8, True, resume=str(tmp_path / "True" / "checkpoint-4"))
    assert monitor.curve.steps == [2, 4, 6, 8]


class Log:
    """A logger, and what a LightningModule has to log with."""

    def __init__(self):
        self.lines, self.metrics = [], {}

    def log_metrics(self, metrics, step):
        self.lines.append((step, metrics))

    def log_dict(self, metrics, **how):
        assert how == {"on_step": True, "on_epoch": False, "logger": False}
        self.metrics |= metrics


def test_what_lightning_calls(monkeypatch, unmade):
    """By a stand-in for Lightning, of which only the name of its base class matters."""
    package = ModuleType("lightning.pytorch")
    package.Callback = type("Callback", (), {})
    monkeypatch.setitem(sys.modules, "lightning.pytorch", package)
    callback = unmade.LightningMonitor(make_monitor(Classifier()))
    assert isinstance(callback, package.Callback)
    log = Log()
    trainer = SimpleNamespace(global_step=0, loggers=[log])
    for trainer.global_step in (0, 1, 1, 2, 2, 3, 4):  # gradients are accumulated: a step takes some batches
        callback.on_train_batch_end(trainer, log, None, None, 0)
    assert [step for step, _ in log.lines] == [2, 4] == callback.monitor.curve.steps
    assert log.lines[1][1] == log.metrics == callback.monitor.scalars("bias/")
    again = type(callback)(make_monitor(Classifier()))
    again.load_state_dict(callback.state_dict())
    assert again.monitor.curve.steps == [2, 4] and again.state_key == "LightningMonitor('bias/')"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="lightning is not installed")
def test_lightning(tmp_path):
    import lightning.pytorch as lightning

    from sdfast.training import LightningMonitor

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.inner = Classifier()

        def training_step(self, batch, _):
            return self.inner(**batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 0.01)

    def trained(steps, monitored, resume=None):
        lightning.seed_everything(0)
        module, log = Module(), lightning.loggers.CSVLogger(tmp_path)
        monitor = make_monitor(module.inner)
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_steps=steps,
            callbacks=[LightningMonitor(monitor)] if monitored else [],
            logger=log,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        loader = torch.utils.data.DataLoader(clips_and_labels(), batch_size=4, shuffle=True)
        trainer.fit(module, loader, ckpt_path=resume)
        return module, monitor, trainer

    plain, _, _ = trained(5, False)
    module, monitor, trainer = trained(5, True)
    assert all(torch.equal(x, y) for x, y in zip(plain.parameters(), module.parameters(), strict=True))
    assert monitor.curve.steps == [2, 4] and "bias/2/percent/static" in trainer.callback_metrics
    first, *rows = Path(trainer.logger.experiment.metrics_file_path).read_text().splitlines()
    assert "bias/2/percent/static" in first.split(",") and len(rows) == 2
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    _, monitor, _ = trained(8, True, resume=tmp_path / "last.ckpt")
    assert monitor.curve.steps == [2, 4, 6, 8]


def test_accelerate_saves_and_resumes_it(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    monitor, resumed = make_monitor(Classifier()), make_monitor(Classifier())
    for _ in range(5):
        monitor.step()
    try:
        for each, work in ((monitor, "save_state"), (resumed, "load_state")):
            accelerator = accelerate.Accelerator(cpu=True)
            accelerator.register_for_checkpointing(each)
            getattr(accelerator, work)(str(tmp_path / "checkpoint"))
    finally:
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    assert resumed.curve.steps == [2, 4] and resumed.steps == 5 and resumed.scalars() == monitor.scalars()
    assert torch.equal(resumed.curve.scores("2"), monitor.curve.scores("2"))


def test_without_the_packages_a_line_says_how_to_get_them(monkeypatch, unmade):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="lightning is missing, which is for callbacks of Lightning: pip install"):
        _ = unmade.LightningMonitor
    with pytest.raises(ImportError, match="transformers is missing"):
        _ = unmade.TrainerMonitor
