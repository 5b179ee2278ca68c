"""Gradient checkpointing: what is computed again in the backward pass drops what the forward pass did."""

import torch
from bars import make_batch, make_model, make_pairs
from torch import nn
from torch.utils.checkpoint import checkpoint

import sdfast
from sdfast.training import BiasMonitor

torch.manual_seed(0)
model, pairs = make_model(), make_pairs()
sdfast.insert_static_dropout(model, "0", p=0.3)
monitor = BiasMonitor(model, pairs, ["0", "2"], every=10, batch_size=64)
optimizer = torch.optim.Adam(model.parameters(), 0.01)
body, head = model[:3], model[3:]
for _ in range(50):
    clips, labels = make_batch()
    with sdfast.static_mask(sdfast.masks.from_motion(clips)):
        feats = checkpoint(body, clips, use_reentrant=False, context_fn=sdfast.keep_static_mask)
        loss = nn.functional.cross_entropy(head(feats), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    monitor.step()
torch.save({"model": model.state_dict(), "monitor": monitor.state_dict()}, "checkpoint.pt")
