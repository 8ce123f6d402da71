"""The order of a stream's frames, proven from its packets alone: without it a file must be decoded to know it.

The times of packets are no proof. Many containers (AVI, ASF, MXF) hold none but those of decoding, from which FFmpeg
makes up the others, and such times outlive a change of the container. So they must agree with what the pictures
themselves say of their order.

Sources: ITU-T H.264, 7.3 and 8.2.1 (picture order count); ITU-T H.265, 7.4.2.2; RFC 6386, 9.1 (VP8); VP9 bitstream
specification, 6.2; ISO/IEC 14496-15 (how MP4 and Matroska hold H.264 and H.265).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

HIGH_PROFILES = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}
SLICE_BYTES = 40  # of a slice: more than the part of its header that is read

# of a packet: whether decoding can begin there, and its place among the pictures since; 0 where it is not read
Picture = tuple[bool, int]


@dataclass(frozen=True)
class FrameOrder:
    """What is known of the frames before any is decoded; one item for each packet.

    numbers: of the frame of a packet; -1 for one that is decoded and not shown (cut off by an edit list).
    groups: packets of a group can be decoded without those of another; frames of a later group come later.
    counted: the order inside a group is only what the times say: frames must be counted as they are decoded.
    """

    numbers: tuple[int, ...]
    groups: tuple[int, ...]
    counted: bool


def proven_order(stream: Any, packets: Sequence[Any]) -> FrameOrder | None:
    """The order of the frames of a PyAV stream in MP4 or Matroska; None where it cannot be told."""
    times = [packet.pts for packet in packets]
    if None in times or len(set(times)) < len(times):
        return None
    codec = stream.codec_context.codec
    name = "intra" if getattr(codec, "intra_only", False) else codec.canonical_name
    if name not in _READERS:
        return None
    try:
        pictures = list(_READERS[name](bytes(stream.codec_context.extradata or b""), packets))
    except (ValueError, IndexError):
        return None
    if not pictures or not pictures[0][0]:
        return None
    groups: list[int] = []
    for begins, _ in pictures:
        groups.append((groups[-1] if groups else -1) + begins)
    places = sorted(range(len(packets)), key=times.__getitem__)
    if name in ("h264", "hevc"):
        if places != sorted(places) and not stream.codec_context.has_b_frames:
            return None  # the decoder will find out as it goes, and may drop frames until then
        order = [(groups[place], pictures[place][1]) for place in places]
    else:
        order = [(place, 0) for place in places]
    if order != sorted(order) or (name == "h264" and len(set(order)) < len(order)):
        return None
    numbers, shown = [-1] * len(packets), 0
    for place in places:
        if not packets[place].is_discard:
            numbers[place] = shown
            shown += 1
    return FrameOrder(tuple(numbers), tuple(groups), counted=name != "h264")


class _Bits:
    """Reads numbers from the start of a NAL unit. Raises ValueError at its end."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("cut off")
        return self._value >> self._left & ((1 << count) - 1)

    def unsigned(self) -> int:
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        value = self.unsigned()
        return (value + 1) // 2 if value % 2 else -(value // 2)


def _units(packet: Any, length_size: int) -> Iterator[memoryview]:
    """The NAL units of a packet."""
    data = memoryview(packet)
    at = 0
    while at < len(data):
        start = at + length_size
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data) or start >= at:
            raise ValueError("no NAL units")
        yield data[start:at]


@dataclass(frozen=True)
class _Sequence:
    """What H.264's sequence parameters say of the headers of slices. lsb_bits: 0 where pictures are not reordered."""

    frame_number_bits: int
    lsb_bits: int


def _h264_sequence(unit: bytes) -> _Sequence:
    """Raises ValueError for what is not read here: fields, colour planes of their own, orders by type 1."""
    bits = _Bits(unit[1:])
    profile, _ = bits.read(8), bits.read(16)
    bits.unsigned()
    if profile in HIGH_PROFILES:
        chroma = bits.unsigned()
        if chroma == 3 and bits.read(1):
            raise ValueError("colour planes of their own")
        bits.unsigned(), bits.unsigned(), bits.read(1)
        if bits.read(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _pass_scaling_list(bits, 16 if index < 6 else 64)
    frame_number_bits = bits.unsigned() + 4
    kind = bits.unsigned()
    if kind == 1:
        raise ValueError("order by type 1")
    lsb_bits = 0 if kind else bits.unsigned() + 4
    bits.unsigned(), bits.read(1), bits.unsigned(), bits.unsigned()
    if not bits.read(1):
        raise ValueError("fields")
    return _Sequence(frame_number_bits, lsb_bits)


def _pass_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _h264(extradata: bytes, packets: Sequence[Any]) -> Iterator[Picture]:
    if extradata[0] != 1 or extradata[5] & 31 != 1:
        raise ValueError("not as in MP4, or several sequence parameters")
    unit = extradata[8 : 8 + int.from_bytes(extradata[6:8], "big")]
    sequence, length_size = _h264_sequence(unit), (extradata[4] & 3) + 1
    top, last_msb, last_lsb = 1 << sequence.lsb_bits, 0, 0
    for place, packet in enumerate(packets):
        slices = []
        for nal in _units(packet, length_size):
            kind = nal[0] & 31
            if kind == 7 and bytes(nal) != unit:
                raise ValueError("other sequence parameters on the way")
            if kind in (1, 5) and nal[1] & 128:  # the first slice of a picture
                slices.append(bytes(nal[:SLICE_BYTES]))
        (first,) = slices
        begins, referred = first[0] & 31 == 5, first[0] & 96
        if not sequence.lsb_bits:
            yield begins, place
            continue
        bits = _Bits(first[1:])
        bits.unsigned(), bits.unsigned(), bits.unsigned(), bits.read(sequence.frame_number_bits)
        if begins:
            bits.unsigned()
            last_msb = last_lsb = 0
        lsb, msb = bits.read(sequence.lsb_bits), last_msb
        if last_lsb - lsb >= top // 2:
            msb += top
        elif lsb - last_lsb > top // 2:
            msb -= top
        if referred:
            last_msb, last_lsb = msb, lsb
        yield begins, msb + lsb


def _hevc(extradata: bytes, packets: Sequence[Any]) -> Iterator[Picture]:
    if extradata[0] != 1:
        raise ValueError("not as in MP4")
    length_size = (extradata[21] & 3) + 1
    for packet in packets:
        kinds = [nal[0] >> 1 & 63 for nal in _units(packet, length_size) if nal[0] < 64 and nal[2] & 128]
        (kind,) = kinds  # of the first slice of the one picture
        if kind in (16, 17, 18):
            raise ValueError("broken links: some pictures are not shown")
        yield kind in (19, 20), 0


def _vp8(extradata: bytes, packets: Sequence[Any]) -> Iterator[Picture]:
    for packet in packets:
        first = memoryview(packet)[0]
        if not first & 16:
            raise ValueError("a hidden frame")
        yield not first & 1, 0


def _vp9(extradata: bytes, packets: Sequence[Any]) -> Iterator[Picture]:
    for packet in packets:
        data = memoryview(packet)
        profile = (data[0] >> 5 & 1) + 2 * (data[0] >> 4 & 1)
        again, later, shown = (data[0] >> bit - (profile == 3) & 1 for bit in (3, 2, 1))
        several = data[-1] & 0xE0 == 0xC0  # hidden ones and the one that is shown
        if data[0] >> 6 != 2 or not (again or shown or several):
            raise ValueError("a hidden frame")
        yield not (again or later), 0


def _as_flagged(extradata: bytes, packets: Sequence[Any]) -> Iterator[Picture]:
    """AV1: a packet holds one shown frame by definition, whatever else."""
    yield from ((bool(packet.is_keyframe), 0) for packet in packets)


def _intra(extradata: bytes, packets: Sequence[Any]) -> Iterator[Picture]:
    yield from ((True, 0) for _ in packets)


_READERS = {"h264": _h264, "hevc": _hevc, "vp8": _vp8, "vp9": _vp9, "av1": _as_flagged, "intra": _intra}
