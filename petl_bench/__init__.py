"""petl-bench: parameter-efficient image-to-video transfer, compared in one fair loop."""

__version__ = "0.1.0"
