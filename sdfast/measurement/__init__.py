"""The job: hooks, batches, processes and state files."""

from sdfast.measurement.checkpoint import CheckpointError
from sdfast.measurement.job import measure
from sdfast.measurement.processes import PeerError

__all__ = [
    "CheckpointError",
    "PeerError",
    "measure",
]
