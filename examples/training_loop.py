"""A plain training loop with a monitor and a penalty."""

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
    logits, _, feats = run_with_permuted(model, clips, "2")
    loss = nn.functional.cross_entropy(logits, labels) + 0.3 * sdfast.bias_penalty(*feats["2"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if monitor.step():
        shares = {name: monitor.scalars()[f"2/percent/{name}"] for name in ("dynamic", "static", "residual")}
        print(f"step {monitor.steps}: loss {loss.item():.2f}, layer 2 in percent: {shares}")
print(f"the static score settles after step {monitor.curve.settled('2').step}")
torch.save({"model": model.state_dict(), "monitor": monitor.state_dict()}, "checkpoint.pt")
