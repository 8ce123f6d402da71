"""petl-bench: parameter-efficient image-to-video transfer, compared in one fair loop."""

import os

# Threads that wait for each other spin, by default so long that a run beside other work takes twice as long or more.
# GNU OpenMP reads this when torch is imported (`tests/speed/threads.py`).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
