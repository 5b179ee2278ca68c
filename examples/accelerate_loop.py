"""Accelerate: `accelerate launch examples/accelerate_loop.py`, on one process or many; TensorBoard or W&B by a word."""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from bars import make_batch, make_model, make_pairs
from torch import nn

from sdfast.training import BiasMonitor

set_seed(0)
accelerator = Accelerator(log_with="tensorboard", project_dir="logs")  # or "wandb"
accelerator.init_trackers("bars")
pairs, batches = make_pairs(), [make_batch() for _ in range(50)]
model = make_model()
optimizer = torch.optim.Adam(model.parameters(), 0.01)
loader = torch.utils.data.DataLoader(batches, batch_size=None)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
monitor = BiasMonitor(model, pairs, ["0", "2"], every=10, batch_size=64)
accelerator.register_for_checkpointing(monitor)
for clips, labels in loader:
    loss = nn.functional.cross_entropy(model(clips), labels)
    optimizer.zero_grad()
    accelerator.backward(loss)
    optimizer.step()
    if monitor.step():
        accelerator.log({"loss": loss.item(), **monitor.scalars("bias/")}, step=monitor.steps)
accelerator.save_state("checkpoint")
accelerator.end_training()
