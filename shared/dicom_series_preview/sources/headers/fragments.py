"""Join the fragments of an encapsulated frame to its codestream (PS3.5 A.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.sources.headers.codestreams import begins_an_image


@dataclass(frozen=True, slots=True)
class Codestream:
    """One encapsulated frame.

    Attributes:
        data: Its fragments without the items' heads (PS3.5 A.4).
        remark: A warning for viewers, or empty.
    """

    data: bytes = field(repr=False)
    remark: str = ""


def codestream_of(data: bytes, *, one_of_many: bool = False) -> Codestream:
    """Join the fragments of one frame.

    Args:
        data: The bytes from the frame's first item on; they may reach beyond its last.
        one_of_many: The object has other frames too: refuse data that reach into the next.

    Raises:
        HeaderError: An item is cut off, none begins here, or the data belong to several frames.
    """
    parts = []
    position = 0
    while position + 8 <= len(data):
        tag, length = data[position : position + 4], struct.unpack_from("<I", data, position + 4)[0]
        if tag != b"\xfe\xff\x00\xe0":
            if position == 0:
                raise HeaderError("broken: no item begins where the frame should")
            break
        end = position + 8 + length
        if end > len(data):
            raise HeaderError(
                f"cut off: a fragment of {length} bytes, and {len(data) - position - 8} of them are there"
            )
        parts.append(data[position + 8 : end])
        position = end
    if not parts:
        raise HeaderError("cut off: a frame without a fragment")
    images = sum(map(begins_an_image, parts[1:])) + 1
    if one_of_many and images > 1:
        raise HeaderError("broken: the offset table puts several frames in one")
    if images == len(parts) > 1 and begins_an_image(parts[0]):
        return Codestream(parts[0], f"it holds {images} images and declares 1 frame: the first is shown")
    return Codestream(b"".join(parts) if len(parts) > 1 else parts[0])
