"""Videos: data sets and their splits, decoding, sampling, augmentation, batches."""

from petl_bench.data.batch import Batch
from petl_bench.data.blame import DecodeError
from petl_bench.data.decode import decoder_version
from petl_bench.data.loader import AugmentOn, Loader, TimeOrder, expect_workers
from petl_bench.data.manifest import Clip, Manifest, VideoData
from petl_bench.data.sources import DatasetState, dataset_state, open_data
from petl_bench.dataset_config import data_root

__all__ = [
    "AugmentOn",
    "Batch",
    "Clip",
    "DatasetState",
    "DecodeError",
    "Loader",
    "Manifest",
    "TimeOrder",
    "VideoData",
    "data_root",
    "dataset_state",
    "decoder_version",
    "expect_workers",
    "open_data",
]
