"""Decoded frames as they are to be shown: RGB, turned and mirrored as the file says."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

CHROMA = "BICUBIC"  # how colours come to full resolution where no fast path does it (odd sizes): as in decord


def upright(reformatter: VideoReformatter, frame: Any) -> NDArray[np.uint8]:
    """A PyAV frame as (height, width, 3), RGB, by its display matrix."""
    image: Any = reformatter.reformat(frame, format="rgb24", interpolation=CHROMA).to_ndarray()
    matrix = display_matrix(frame)
    turned: NDArray[np.uint8] = image if matrix is None else shown(image, matrix)
    return turned


def display_matrix(frame: Any) -> NDArray[np.int32] | None:
    """Nine fixed-point numbers that take places in the file to places on the screen; None where the file has none."""
    data = next((side for side in frame.side_data if side.type == Type.DISPLAYMATRIX), None)
    return None if data is None else np.frombuffer(bytes(data), np.int32)


def shown(image: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """(H, W, 3) or (W, H, 3): the image turned by a multiple of 90 degrees and mirrored, whatever is nearest.

    A place (x, y) comes to (a x + c y, b x + d y), where `matrix` begins with a, b, u, c, d. Source: ISO/IEC 14496-12,
    8.2.2.
    """
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, right, down = image.swapaxes(0, 1), c, b
    else:
        right, down = a, d
    return image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
