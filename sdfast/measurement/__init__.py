"""The job: hooks, batches, processes and state files."""

from sdfast.measurement.accumulation import Forward
from sdfast.measurement.capture import untouched
from sdfast.measurement.checkpoint import CheckpointError
from sdfast.measurement.dataset import DATASET_STATES, dataset_bias, forget_dataset_states, video_labels
from sdfast.measurement.job import check_estimator, check_settings, measure
from sdfast.measurement.journal import STATES, forget_states
from sdfast.measurement.layouts import dims_of, layouts_text, load_layouts, save_layouts
from sdfast.measurement.listing import LayerOutput, list_layers
from sdfast.measurement.processes import PeerError, Processes
from sdfast.measurement.stopping import percent, ran_out, widest_share

__all__ = [
    "DATASET_STATES",
    "STATES",
    "CheckpointError",
    "Forward",
    "LayerOutput",
    "PeerError",
    "Processes",
    "check_estimator",
    "check_settings",
    "dataset_bias",
    "dims_of",
    "forget_dataset_states",
    "forget_states",
    "layouts_text",
    "list_layers",
    "load_layouts",
    "measure",
    "percent",
    "ran_out",
    "save_layouts",
    "untouched",
    "video_labels",
    "widest_share",
]
