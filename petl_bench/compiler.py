"""torch.compile as this package uses it."""

from __future__ import annotations

import torch

from petl_bench.errors import UserError

VERSIONS = 64  # of a block: every method, in training and in tests, has some of its own


def check_compiler(device: torch.device) -> None:
    """Raises UserError where torch cannot compile: on CPUs it needs a C++ compiler, on GPUs Triton."""
    try:
        torch.compile(torch.nn.functional.silu)(torch.ones(8, device=device))
    except Exception as error:  # of many kinds
        lines = [line.strip()[:200] for line in str(error).splitlines() if line.strip()]
        why = lines[0] if lines else type(error).__name__
        needs = "a C++ compiler (g++)" if device.type == "cpu" else "Triton and a C compiler"
        raise UserError(
            f"recipe.compile: torch cannot compile here, it needs {needs}: {why}. "
            "Install it, or leave recipe.compile=false."
        ) from None


def start_compiling() -> None:
    """Forget what was compiled before, and compile so that dropout masks are those of uncompiled code."""
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = max(VERSIONS, torch._dynamo.config.recompile_limit)
    torch._inductor.config.fallback_random = True
