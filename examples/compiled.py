"""torch.compile: StaticDropout and its masks are in the graph, and the monitor runs the model inside it uncompiled."""

import torch
from bars import make_batch, make_model, make_pairs
from torch import nn

import sdfast
from sdfast.training import BiasMonitor

torch.manual_seed(0)
model, pairs = make_model(), make_pairs()
sdfast.insert_static_dropout(model, "2", p=0.3)
monitor = BiasMonitor(model, pairs, ["0", "2"], every=10, batch_size=64)
compiled = torch.compile(model, fullgraph=True)
optimizer = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(50):
    clips, labels = make_batch()
    with sdfast.static_mask(sdfast.masks.from_motion(clips)):
        loss = nn.functional.cross_entropy(compiled(clips), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    monitor.step()
torch.save({"model": model.state_dict(), "monitor": monitor.state_dict()}, "checkpoint.pt")
