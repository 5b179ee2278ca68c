"""A plain training loop with a monitor and a penalty, on bars that move left or right over a coloured ground."""

import torch
from torch import nn

import sdfast
from sdfast.training import BiasMonitor, run_with_permuted


def make_clips(direction, start, tint):
    place = (start[:, None] + direction[:, None] * torch.arange(8)) % 16
    bars = nn.functional.one_hot(place, 16).float()[:, None, :, None]
    return tint[:, :, None, None, None] + bars.expand(-1, 3, -1, 4, -1)


torch.manual_seed(0)
direction, start, tints = 2 * torch.randint(2, (64,)) - 1, torch.randint(16, (64,)), torch.rand(2, 64, 3)
moving, restyled = (make_clips(direction, start, tint) for tint in tints)
still = torch.stack([clip[:, torch.randperm(8)] for clip in moving])
dynamic = [(a, b, 0, i) for i, (a, b) in enumerate(zip(moving, restyled, strict=True))]
static = [(a, b, 1, i) for i, (a, b) in enumerate(zip(moving, still, strict=True))]

conv = nn.Sequential(nn.Conv3d(3, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU())
model = nn.Sequential(conv, nn.Conv3d(16, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 2))
monitor = BiasMonitor(model, dynamic + static, ["0", "2"], every=10, batch_size=64)
optimizer = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(50):
    direction, tint = 2 * torch.randint(2, (24,)) - 1, torch.rand(24, 3)
    tint[:, 0] += (direction == 1) * 0.3  # the ground's colour tells the direction, too, but not in the probe's clips
    logits, _, feats = run_with_permuted(model, make_clips(direction, torch.randint(16, (24,)), tint), "2")
    loss = nn.functional.cross_entropy(logits, (direction == 1).long()) + 0.3 * sdfast.bias_penalty(*feats["2"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if monitor.step():
        shares = {name: monitor.scalars()[f"2/percent/{name}"] for name in ("dynamic", "static", "residual")}
        print(f"step {monitor.steps}: loss {loss.item():.2f}, layer 2 in percent: {shares}")
torch.save({"model": model.state_dict(), "monitor": monitor.state_dict()}, "training_loop.pt")
