"""Videos in, pairs of clips out: decoding, styles, video, flow and folder pairs, and evaluation sets."""

from sdfast.pairs import ood
from sdfast.pairs.changed_clips import SHUFFLED, STILL, ChangedClips
from sdfast.pairs.dataset import PairDataset, permute_frames
from sdfast.pairs.finding import demo_videos, find_videos
from sdfast.pairs.flow_pairs import FlowPairs
from sdfast.pairs.folder_pairs import StylisedFolderPairs
from sdfast.pairs.listing import list_videos
from sdfast.pairs.opened import Frames
from sdfast.pairs.probe import ProbeSet
from sdfast.pairs.sources import FrameFolder, Part, Row, Video, VideoFile
from sdfast.pairs.video import VideoError, index_frames, read_clip
from sdfast.pairs.video_pairs import VideoPairs
from sdfast.statistics import DYNAMIC, STATIC

__all__ = [
    "DYNAMIC",
    "SHUFFLED",
    "STATIC",
    "STILL",
    "ChangedClips",
    "FlowPairs",
    "FrameFolder",
    "Frames",
    "PairDataset",
    "Part",
    "ProbeSet",
    "Row",
    "StylisedFolderPairs",
    "Video",
    "VideoError",
    "VideoFile",
    "VideoPairs",
    "demo_videos",
    "find_videos",
    "index_frames",
    "list_videos",
    "ood",
    "permute_frames",
    "read_clip",
]
