"""Released weights: what is known of them, where their files lie on this machine, and how they are fetched.

The list is open_clip's own (`open_clip.pretrained`) and timm's: repositories, file names, sha256 sums, and whether
the weights were trained with QuickGELU.
"""

from __future__ import annotations

import hashlib
import re
import socket
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import open_clip
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

from petl_bench.errors import UserError

Activation = Literal["quick_gelu", "gelu"]

# OpenAI's addresses hold the whole sum; open_clip's end in its first eight digits
SHA256_IN_ADDRESS = re.compile(r"/([0-9a-f]{64})/[^/]+$|-([0-9a-f]{8})\.pth?$")


@dataclass(frozen=True)
class Place:
    """A file that would do, and where it is looked for.

    Attributes:
        name: the file's name. address: where it comes from.
        folder: where it belongs on this machine; of Hugging Face's cache, the folder of its repository.
        repository: on Hugging Face, or None for a plain address.
    """

    name: str
    address: str
    folder: Path
    repository: str | None = None

    def here(self) -> Path | None:
        """The file, if it is on this machine already. Never asks the network."""
        if self.repository is None:
            file = self.folder / self.name
            return file if file.is_file() else None
        found = try_to_load_from_cache(self.repository, self.name)
        return Path(found) if isinstance(found, str) else None

    def fetch(self) -> Path:
        """Download the file to its place. Raises what the client raises."""
        if self.repository is None:
            return Path(open_clip.download_pretrained_from_url(self.address))
        return Path(hf_hub_download(self.repository, self.name))

    @property
    def sha256(self) -> str | None:
        """The published sum, or its first digits, where the address tells it."""
        match = SHA256_IN_ADDRESS.search(self.address) if self.repository is None else None
        return next(filter(None, match.groups())) if match else None


@dataclass(frozen=True)
class Release:
    """One entry of open_clip's list: a tag of a model."""

    model: str  # without "-quickgelu"
    tag: str
    activation: Activation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    places: tuple[Place, ...]

    def __str__(self) -> str:
        return f"{self.model} {self.tag!r}"


def open_clip_release(model: str, tag: str) -> Release | None:
    """The release of a tag. None where the model has no such tag under either activation."""
    for name in (model.removesuffix("-quickgelu"), f"{model.removesuffix('-quickgelu')}-quickgelu"):
        entry: dict[str, Any] = open_clip.get_pretrained_cfg(name, tag)
        if entry:
            repository, _, file = entry.get("hf_hub", "").rpartition("/")
            places = hub_places(repository, (file,) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME))
            if url := entry.get("url"):
                places += (Place(url.rpartition("/")[2], url, Path("~/.cache/clip").expanduser()),)
            return Release(
                model.removesuffix("-quickgelu"),
                tag,
                "quick_gelu" if entry.get("quick_gelu") else "gelu",
                tuple(entry["mean"]),
                tuple(entry["std"]),
                places,
            )
    return None


def hub_places(repository: str, names: tuple[str, ...]) -> tuple[Place, ...]:
    """Files of a repository on Hugging Face, in the order in which they are wanted; none for no repository."""
    if not repository:
        return ()
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    site = f"{constants.ENDPOINT}/{repository}"
    return tuple(Place(name, f"{site}/resolve/main/{name}", folder, repository) for name in names)


def file_sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def release_of(file: Path) -> Release | None:
    """The release that a file is, told by its content; None for any other file."""
    found = file_sha256(file)
    for model, tag in open_clip.list_pretrained():
        release = open_clip_release(model, tag)
        if release and any(p.sha256 and found.startswith(p.sha256) for p in release.places):
            return release
    return None


def has_published_sha256(file: Path) -> bool:
    """Whether open_clip publishes the whole sha256 of this content (of some files it publishes eight digits)."""
    found = file_sha256(file)
    releases = (open_clip_release(model, tag) for model, tag in open_clip.list_pretrained())
    return any(p.sha256 == found for release in releases if release for p in release.places)


def obtain(places: tuple[Place, ...], backbone: str, what: str, hint: str) -> Path:
    """The first of the places' files that is here; else the first that can be fetched.

    Raises:
        UserError: none can be had (says which file to put where), or a file is not what its name says.
    """
    for place in places:
        if file := place.here():
            _check_sum(file, place, backbone)
            return file
    errors = []
    for place in places:
        try:
            _check_reachable(place.address)
            return place.fetch()
        except Exception as error:  # the clients raise many kinds
            errors.append(f"{urlparse(place.address).hostname}: {type(error).__name__}")
    wanted = "".join(f"\n  {p.address}\n    -> {_destination(p)}" for p in places)
    raise UserError(
        f"Backbone {backbone!r}: {what} are not on this machine and could not be fetched "
        f"({'; '.join(dict.fromkeys(errors))}). Any one of these files will do:{wanted}\n"
        f"or name the file wherever it lies: --set backbone.weights=FILE{hint}"
    )


def _destination(place: Place) -> str:
    if place.repository is None:
        return str(place.folder / place.name)
    return f"{place.folder} (the whole folder, as `hf download {place.repository} {place.name}` makes it)"


def _check_sum(file: Path, place: Place, backbone: str) -> None:
    if place.sha256 and not (found := file_sha256(file)).startswith(place.sha256):
        raise UserError(
            f"Backbone {backbone!r}: {file} is damaged or another file: its sha256 is {found}, published is "
            f"{place.sha256}. Remove it, and it is fetched again from {place.address}"
        )


def _check_reachable(address: str) -> None:
    # The hub's client asks six times, for half a minute, where there is no network at all.
    with suppress(KeyError, ValueError):
        if urllib.request.getproxies():
            return
    host = urlparse(address).hostname
    if not constants.HF_HUB_OFFLINE and host:
        socket.getaddrinfo(host, 443)
