"""Where a number comes from: code, packages, machine. Free of torch until asked for a device."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch", "torchvision", "timm", "open_clip_torch", "decord2", "av", "torchcodec", "pillow", "fvcore", "numpy"
)  # fmt: skip


def now() -> str:
    """ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def package_versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout that this package runs from, and whether its code differs from it.

    (None, None) for an installed package: the folder around it may be anybody's repository.
    """
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None, None

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(
            git("status", "--porcelain", "--", "petl_bench", "methods", "configs")
        )
    except (OSError, subprocess.CalledProcessError):
        return None, None


def python_version() -> str:
    return sys.version.split()[0]


def platform_name() -> str:
    return f"{platform.system()} {platform.machine()}"


def device_name(device: str) -> str:
    """The name of a GPU, or of the processor and its cores."""
    import os

    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{name} ({os.cpu_count()} cores)"
