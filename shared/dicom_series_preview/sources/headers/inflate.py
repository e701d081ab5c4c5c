"""Inflate a deflated data set (PS3.5 A.5), or a part of it, within a limit."""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import HeaderError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEFLATED_AT_ONCE, _INFLATED_AT_ONCE = 2**16, 2**20


def inflate(data: bytes | memoryview, limit: int) -> Iterator[bytes]:
    """Inflate a raw deflate stream (PS3.5 A.5), a part at a time.

    Raises:
        HeaderError: The stream is broken, cut off, or inflates to more than `limit` bytes.
    """
    stream, total = zlib.decompressobj(wbits=-zlib.MAX_WBITS), 0
    for at in range(0, len(data), _DEFLATED_AT_ONCE):
        rest = bytes(data[at : at + _DEFLATED_AT_ONCE])
        is_full = True
        while is_full and not stream.eof:
            try:
                chunk = stream.decompress(rest, _INFLATED_AT_ONCE)
            except zlib.error as error:
                raise HeaderError(f"the deflated data set is broken: {error}") from error
            rest, total = stream.unconsumed_tail, total + len(chunk)
            # A full chunk can leave something behind, in the input or inside zlib.
            is_full = len(chunk) == _INFLATED_AT_ONCE
            if total > limit:
                raise HeaderError(f"its deflated data set inflates to more than {limit} bytes")
            yield chunk
        if stream.eof:
            return
    raise HeaderError("cut off: the deflated data set has no end")


def inflated_part(data: bytes | memoryview, start: int, end: int) -> bytes:
    """Return bytes `start` to `end` of an inflated raw deflate stream; fewer where it ends before.

    Raises:
        HeaderError: The stream is broken, or cut off before `end`.
    """
    kept, position = bytearray(), 0
    for chunk in inflate(data, sys.maxsize):
        kept += chunk[max(0, start - position) : max(0, end - position)]
        position += len(chunk)
        if position >= end:
            break
    return bytes(kept)
