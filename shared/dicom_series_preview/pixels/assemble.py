"""Assemble slices from frames; each frame is fetched and decoded once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import ObjectError, StorageError
from dicom_series_preview.pixels.canvas import Canvas, Wanted
from dicom_series_preview.pixels.codecs.frame import decode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.pixels.decoded import Decoded
    from dicom_series_preview.pixels.slices import DecodedSlice, FailedSlice, FrameBytes


def assemble(
    fetch: Callable[[Sequence[Slice]], Iterator[FrameBytes]], wanted: Iterable[Wanted], limit_bytes: int
) -> Iterator[DecodedSlice | FailedSlice]:
    """Assemble slices from frames; yield each when its last frame has arrived.

    It keeps only the visible part of a frame.

    Args:
        fetch: Fetches frames of one series, like `fetch_frames`.
        wanted: The slices; several can show parts of one frame.
        limit_bytes: The largest frame, in decoded bytes.

    Raises:
        ObjectChangedError: An object has changed since it was indexed.
        StorageUnavailableError: The storage fails beyond every retry.
    """
    frames: dict[int, Slice] = {}
    users: dict[int, list[tuple[Canvas, int]]] = {}
    for one in wanted:
        canvas = Canvas(one)
        if not one.parts:
            yield canvas.assembled()
        for number, part in enumerate(one.parts):
            frames[part.frame.row] = part.frame
            users.setdefault(part.frame.row, []).append((canvas, number))
    for fetched in fetch(list(frames.values())):
        canvases = users.pop(fetched.slice.row)
        decoded, error = _decoded(fetched, canvases, limit_bytes)
        for canvas, number in canvases:
            canvas.put(number, decoded, error, fetched.remarks)
            if canvas.is_complete:
                yield canvas.assembled()


def _decoded(
    fetched: FrameBytes, canvases: Sequence[tuple[Canvas, int]], limit_bytes: int
) -> tuple[Decoded | None, ObjectError | StorageError | None]:
    """Decode a frame, or return the error."""
    if fetched.error is not None:
        return None, fetched.error
    decode = partial(
        decode_frame,
        fetched.data,
        bit_offset=fetched.bit_offset,
        limit_bytes=limit_bytes,
        reduction=min(canvas.frame_reduction(number) for canvas, number in canvases),
    )
    pixels = fetched.slice.pixels
    try:
        return decode(pixels), None
    except ObjectError as error:
        cropped = [canvas.cropped(number) for canvas, number in canvases]
        if cropped[0] == pixels or cropped.count(cropped[0]) < len(cropped):
            return None, error
        try:
            # Some writers crop the codestreams of tiles that reach beyond the level.
            return decode(cropped[0]), None
        except ObjectError:
            return None, error
