"""Mixed precision: where training runs in bfloat16, the monitor looks at the same features; its sums are exact."""

import torch
from bars import make_batch, make_model, make_pairs
from torch import nn

import sdfast
from sdfast.training import BiasMonitor, run_with_permuted

torch.manual_seed(0)
model = make_model()
monitor = BiasMonitor(model, make_pairs(), ["0", "2"], every=10, batch_size=64)
optimizer = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(50):
    clips, labels = make_batch()
    with torch.autocast("cpu", torch.bfloat16):
        logits, _, feats = run_with_permuted(model, clips, "2")
        loss = nn.functional.cross_entropy(logits, labels) + 0.3 * sdfast.bias_penalty(*feats["2"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.autocast("cpu", torch.bfloat16):
        monitor.step()
torch.save({"model": model.state_dict(), "monitor": monitor.state_dict()}, "checkpoint.pt")
