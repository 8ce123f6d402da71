"""Pretraining of the embedded tiny CLIP on rendered stills with captions."""

from petl_bench.pretrain.config import PretrainConfig, load_pretrain_config
from petl_bench.pretrain.run import main
from petl_bench.pretrain.train import Progress, pretrain

__all__ = ["PretrainConfig", "Progress", "load_pretrain_config", "main", "pretrain"]
