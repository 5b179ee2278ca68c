"""DistributedDataParallel: `torchrun --nproc-per-node 2 examples/ddp.py`. The processes share the pairs, too."""

import torch
import torch.distributed as dist
from bars import make_batch, make_model, make_pairs
from torch import nn

from sdfast.training import BiasMonitor

dist.init_process_group("gloo")
torch.manual_seed(0)  # the same pairs and weights everywhere
model, pairs = nn.parallel.DistributedDataParallel(make_model()), make_pairs()
monitor = BiasMonitor(model, pairs, ["0", "2"], every=10, batch_size=64)
optimizer = torch.optim.Adam(model.parameters(), 0.01)
torch.manual_seed(dist.get_rank())  # other batches
for _ in range(50):
    clips, labels = make_batch()
    loss = nn.functional.cross_entropy(model(clips), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    monitor.step()  # on every process: all end with the same curve
if dist.get_rank() == 0:
    torch.save({"model": model.module.state_dict(), "monitor": monitor.state_dict()}, "checkpoint.pt")
dist.destroy_process_group()
