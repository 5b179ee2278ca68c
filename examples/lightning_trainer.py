"""Lightning: the monitor is a callback, its scalars go to the logger, and its curve is in every checkpoint."""

import lightning.pytorch as lightning
import torch
from bars import make_batch, make_model, make_pairs
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from sdfast.training import BiasMonitor, LightningMonitor


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = make_model()

    def training_step(self, batch, _):
        clips, labels = batch
        loss = nn.functional.cross_entropy(self.net(clips), labels)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


lightning.seed_everything(0)
module = Classifier()
monitor = BiasMonitor(module.net, make_pairs(), ["0", "2"], every=10, batch_size=64)
batches = torch.utils.data.DataLoader([make_batch() for _ in range(50)], batch_size=None)
trainer = lightning.Trainer(
    max_epochs=1, callbacks=[LightningMonitor(monitor)], logger=TensorBoardLogger("logs"), accelerator="cpu"
)
trainer.fit(module, batches)
trainer.save_checkpoint("checkpoint.ckpt")
monitor.plot("curve.png")
