"""The loops that methods are compared with overlook nothing."""

from __future__ import annotations

import numpy as np
import torch
from test_methods_reference import CASES, clips, logits, made


@torch.no_grad()
def test_the_loops_see_every_weight() -> None:
    """A reference that overlooks a weight cannot find a mistake in it."""
    g = torch.Generator().manual_seed(4)
    for name, settings in dict(reversed(CASES)).items():
        model = made("average", name, settings)  # here patches of the last block matter too
        clip = clips()[0, :2].numpy()
        before = logits("average", name, settings, model, clip)
        for key, p in model.named_parameters():
            kept = p.clone()
            p += 0.3 * torch.randn(p.shape, generator=g, dtype=p.dtype)
            after = logits("average", name, settings, model, clip)
            p.copy_(kept)
            assert np.abs(after - before).max() > 1e-4, f"{name}: {key}"
