"""Files of trained weights: `adapter.safetensors`, with a checksum of all that is in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from petl_bench.errors import UserError
from petl_bench.machine import errors_of_machine

ENTRY = "petl_bench"  # one of the header: several would be written in an order that changes from run to run


@dataclass(frozen=True)
class Adapter:
    """Trained weights: the state of an `AdaptedViT`, and which method made it."""

    method: str
    label: str
    state: Mapping[str, Tensor]


def adapter_bytes(adapter: Adapter) -> bytes:
    """The file of trained weights."""
    state = {k: v.detach().cpu().contiguous() for k, v in adapter.state.items()}
    about = {"method": adapter.method, "label": adapter.label}
    header = {**about, "sha256": _sha256(about, state)}
    return save(state, metadata={ENTRY: json.dumps(header)})


def read_adapter(file: Path) -> Adapter:
    """Trained weights, on the CPU. Raises UserError for a file that is not the one that was written."""
    try:
        with errors_of_machine(file), safe_open(file, framework="pt") as opened:
            header = json.loads((opened.metadata() or {})[ENTRY])
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        expected = header.pop("sha256")
        if _sha256(header, state) != expected:
            raise ValueError("it is damaged, its checksum is wrong")
        return Adapter(header["method"], header["label"], state)
    except KeyError as error:
        why = f"it has no {error} in its header"
    except (OSError, ValueError, TypeError, AttributeError, SafetensorError) as error:
        why = str(error)
    raise UserError(f"{file} cannot be used: {why}. Train the run again, or copy the file again.")


def _sha256(about: Mapping[str, str], state: Mapping[str, Tensor]) -> str:
    """Of names, types, shapes and values, whatever their order in the file."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, value in sorted(state.items()):
        digest.update(f"\n{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
