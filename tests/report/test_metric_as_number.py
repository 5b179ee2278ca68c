"""BiasMetric as one number: in Lightning's log, in MetricTracker and in BootStrapper, which take no reports."""

import pytest
import torch
from torch import nn
from torchmetrics.wrappers import BootStrapper, MetricTracker

import sdfast

VALUE = "percent/static"


def batches(number=6, size=16, noise=1.0):
    generator = torch.Generator().manual_seed(0)
    for _ in range(number):
        a, b = torch.randn(2, size, 5, generator=generator)
        yield a, a + noise * b, torch.arange(size) % 2, torch.arange(size) // 2


def whole(**settings):
    metric = sdfast.BiasMetric(5, **settings)
    for batch in batches():
        metric.update(*batch)
    return metric.compute()


@pytest.mark.parametrize("value", ["percent/static", "score/dynamic", "channels/undetermined", "score_low/static"])
def test_it_is_that_number_of_the_report(value):
    found = whole(value=value)
    assert found.shape == () and found.dtype == torch.float64
    assert found == whole().scalars()[value]


def test_forward_returns_that_of_the_batch():
    metric, batch = sdfast.BiasMetric(5, value=VALUE), next(batches())
    alone = sdfast.BiasMetric(5)
    alone.update(*batch)
    assert metric(*batch) == metric(*batch) == alone.compute().scalars()[VALUE]


def test_tracker_knows_the_best_epoch():
    tracker = MetricTracker(sdfast.BiasMetric(5, value=VALUE), maximize=False)
    expected = []
    for noise in (0.3, 3.0, 1.0):
        tracker.increment()
        metric = sdfast.BiasMetric(5)
        for batch in batches(noise=noise):
            tracker.update(*batch)
            metric.update(*batch)
        expected.append(metric.compute().scalars()[VALUE])
    assert tracker.compute_all().tolist() == expected
    best, epoch = tracker.best_metric(return_step=True)
    assert (best, epoch) == (min(expected), 1)


def test_bootstrapper_resamples_the_pairs():
    metric = BootStrapper(sdfast.BiasMetric(5, value="score/static"), num_bootstraps=30, mean=True, std=True, raw=True)
    torch.manual_seed(0)
    for batch in batches():
        metric.update(*batch)
    found = metric.compute()
    report = whole()
    low, high = report.layer_interval()[:, 1].tolist()
    assert len(found["raw"].unique()) == 30
    assert low < found["mean"] < high and 0 < found["std"] < (high - low)


def test_a_number_that_no_report_has_is_said_at_once():
    with pytest.raises(ValueError, match=r"value: expected None or one of channels/joint, .* got 'share/static'"):
        sdfast.BiasMetric(5, value="share/static")
    with pytest.raises(ValueError, match="value: expected None to plot the report, got 'percent/static'"):
        sdfast.BiasMetric(5, value=VALUE).plot()


@pytest.mark.slow
def test_lightning_logs_it(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer, self.bias = nn.Linear(5, 5), sdfast.BiasMetric(5, value=VALUE)

        def training_step(self, batch, _):
            a, b, factor, source = batch
            self.bias(a, b, factor, source)
            self.log("bias", self.bias, on_step=True, on_epoch=True)
            return self.layer(a).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    trainer.fit(Module(), torch.utils.data.DataLoader(list(batches()), batch_size=None))
    assert trainer.callback_metrics["bias_epoch"].item() == pytest.approx(whole().scalars()[VALUE])
    assert trainer.callback_metrics["bias_step"].item() != trainer.callback_metrics["bias_epoch"].item()
