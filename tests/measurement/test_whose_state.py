"""What makes a state file the file of one job: the pairs' own fingerprint, and which call of a layer a state is of."""

import pytest
import torch
from torch import nn

import sdfast


class Pairs(torch.utils.data.Dataset):
    """Random pairs that say by a fingerprint alone which they are, and may fail at one of them."""

    def __init__(self, seed=0, fails_at=None):
        self._seed, self.fails_at = seed, fails_at

    def __len__(self):
        return 24

    def __getitem__(self, index):
        if index == self.fails_at:
            raise InterruptedError
        clips = torch.randn(2, 4, generator=torch.Generator().manual_seed(1000 * self._seed + index))
        return clips[0], clips[0] + clips[1], index % 2

    def fingerprint(self):
        return f"pairs {self._seed}"


class Twice(nn.Module):
    """Calls its layer twice, the second time on something else."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(5 - self.layer(x).square())


def run(pairs, folder):
    reports = sdfast.measure(Twice(), pairs, ["layer"], batch_size=4, progress=False, resume=folder)
    return {name: report.moments for name, report in reports.items()}


def test_pairs_of_another_fingerprint_are_another_job(tmp_path):
    with pytest.raises(InterruptedError):
        run(Pairs(fails_at=13), tmp_path)
    with pytest.raises(ValueError, match=r'of another job: pairs\.fingerprint was "pairs 0", now "pairs 1"$'):
        run(Pairs(seed=1), tmp_path)
    run(Pairs(), tmp_path)


def test_each_call_of_a_layer_goes_on_with_its_own_state(tmp_path):
    whole = run(Pairs(), tmp_path / "whole")
    assert len(whole) == 2 and not torch.equal(*whole.values())
    with pytest.raises(InterruptedError):
        run(Pairs(fails_at=13), tmp_path / "cut")
    resumed = run(Pairs(), tmp_path / "cut")
    assert list(resumed) == list(whole)
    for name, moments in whole.items():
        torch.testing.assert_close(resumed[name], moments, rtol=1e-12, atol=1e-12)
