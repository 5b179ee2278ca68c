"""The Trainer of transformers: the monitor is a callback, and `trainer.log` hands its scalars to every tracker."""

from bars import make_batch, make_model, make_pairs
from torch import nn
from transformers import Trainer, TrainingArguments, set_seed

from sdfast.training import BiasMonitor, TrainerMonitor


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = make_model()

    def forward(self, clips, labels):
        logits = self.net(clips)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


set_seed(0)
model = Classifier()
monitor = BiasMonitor(model.net, make_pairs(), ["0", "2"], every=10, batch_size=64)
clips, labels = make_batch(1200)
dataset = [{"clips": clip, "labels": label} for clip, label in zip(clips, labels, strict=True)]
arguments = TrainingArguments(
    "output", num_train_epochs=1, per_device_train_batch_size=24, learning_rate=0.01, logging_steps=10, save_steps=50,
    report_to="tensorboard", use_cpu=True,
)  # fmt: skip
trainer = Trainer(model, arguments, train_dataset=dataset)
trainer.add_callback(TrainerMonitor(monitor, trainer.log))
trainer.train()
