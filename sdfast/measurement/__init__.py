"""The job: hooks, batches, processes and state files."""

from sdfast.measurement.capture import untouched
from sdfast.measurement.checkpoint import CheckpointError
from sdfast.measurement.dataset import dataset_bias, video_labels
from sdfast.measurement.job import check_estimator, check_settings, measure
from sdfast.measurement.journal import STATES, forget_states
from sdfast.measurement.processes import PeerError
from sdfast.measurement.stopping import percent, ran_out, widest_share

__all__ = [
    "STATES",
    "CheckpointError",
    "PeerError",
    "check_estimator",
    "check_settings",
    "dataset_bias",
    "forget_states",
    "measure",
    "percent",
    "ran_out",
    "untouched",
    "video_labels",
    "widest_share",
]
