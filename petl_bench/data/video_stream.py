"""Which of the video streams of a file is the video."""

from __future__ import annotations

from typing import Any

from av.stream import Disposition

PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


def choose_stream(container: Any) -> tuple[Any, list[Any]]:
    """The video stream that players choose, and its packets: no cover picture, marked as the default, the largest.

    A stream of one frame beside longer ones counts as a picture. Raises ValueError where there is none.
    """
    streams = [s for s in container.streams.video if not s.disposition & PICTURES]
    if not streams:
        raise ValueError("no video stream" + (" but pictures" if container.streams.video else ""))
    packets: dict[int, list[Any]] = {s.index: [] for s in streams}
    for packet in container.demux(*streams):
        if packet.size:
            packets[packet.stream.index].append(packet)
    streams = [s for s in streams if len(packets[s.index]) > 1] or streams
    chosen = max(
        streams, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height, -s.index)
    )
    return chosen, packets[chosen.index]
