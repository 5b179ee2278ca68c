"""Models whose parameters are no plain tensors: measured as others are, or refused by name."""

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.testing._internal.two_tensor import TwoTensor

import sdfast
from sdfast.measurement.identity import weights_digest
from tests.support.measuring import make_pairs
from tests.support.processes import on_two


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


def measured(rank, shard=False, num_pairs=16, **settings):
    net = model()
    if shard:
        fully_shard(net, mesh=init_device_mesh("cpu", (2,)))
    settings = {"batch_size": 4, "progress": False, "channel_dim": -1, **settings}
    reports = sdfast.measure(net, make_pairs(num_pairs), ["0", "2"], **settings)
    return {name: report.moments.tolist() for name, report in reports.items()}


def in_parallel_parts(rank):
    net, mesh = model(), init_device_mesh("cpu", (2,))
    net[0].weight = nn.Parameter(distribute_tensor(net[0].weight.detach(), mesh, [Shard(0)]))
    sdfast.measure(net, make_pairs(16), ["2"], batch_size=4, progress=False)


def test_a_model_sharded_by_fsdp2_is_measured_as_a_whole_one():
    whole, (first, second) = measured(0), on_two(measured, shard=True)
    assert first == second
    for name, moments in whole.items():
        torch.testing.assert_close(torch.tensor(first[name]), torch.tensor(moments), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_pairs": 20}, "pairs: expected a number of batches that 2 processes share evenly.*got 5"),
        ({"distributed": False}, r"distributed: expected True, as 0\.weight is sharded"),
        ({"resume": "states"}, r"resume: expected None, as 0\.weight is sharded"),
    ],
)
def test_what_would_leave_a_sharded_model_waiting_is_refused(settings, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for error in on_two(measured, shard=True, **settings):
        assert isinstance(error, ValueError)
        with pytest.raises(ValueError, match=says):
            raise error


def test_layers_in_parallel_parts_are_refused():
    for error in on_two(in_parallel_parts):
        assert isinstance(error, ValueError) and "model: 0.weight is a DTensor that is not only FSDP2's" in str(error)


def test_parameters_of_subclasses_have_a_digest(tmp_path):
    net, other = model(), model()
    for one in (net, other):
        one[0].weight = nn.Parameter(TwoTensor(one[0].weight.detach(), one[0].weight.detach().clone()))
    assert weights_digest(net) == weights_digest(other) != weights_digest(model())
    other[0].weight.b.data[0, 0] += 1
    assert weights_digest(net) != weights_digest(other)


@pytest.mark.parametrize(
    ("buffer", "kind"),
    [
        (lambda: torch.zeros(2, device="meta"), "meta"),
        (lambda: torch.zeros(2).to_sparse(), r"torch\.sparse_coo"),
    ],
)
def test_what_has_no_values_is_refused_by_name(buffer, kind):
    net = model()
    net.register_buffer("table", buffer())
    with pytest.raises(TypeError, match=f"model: table: expected a tensor whose values can be read, got a {kind} one"):
        weights_digest(net)
