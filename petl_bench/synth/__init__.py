"""Rendered videos for the embedded benchmark: two tasks, drawn by the package itself."""

from petl_bench.synth.classes import class_names, pairs, short_names
from petl_bench.synth.renderer import RENDERER_VERSION
from petl_bench.synth.video import render_video

__all__ = ["RENDERER_VERSION", "class_names", "pairs", "render_video", "short_names"]
