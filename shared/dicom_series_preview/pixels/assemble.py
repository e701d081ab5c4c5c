"""Slices that are no frames: put together of the frames that lie on them, each of which is decoded once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import DecodeError, ObjectError, StorageError
from dicom_series_preview.pixels.codecs.colour import is_colour, to_rgb
from dicom_series_preview.pixels.codecs.decoded import Decoded
from dicom_series_preview.pixels.codecs.frame import decode_frame
from dicom_series_preview.pixels.reduced import halve
from dicom_series_preview.pixels.slices import DecodedSlice, FailedSlice, Gaps, reason_of, unended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.read import Part, Slice
    from dicom_series_preview.base.image import PixelDescription
    from dicom_series_preview.pixels.frames import FrameBytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """A slice to be put together.

    Attributes:
        slice: The slice.
        parts: The frames that lie on it.
        reduction: Of colour, the reduction that it may have: it is put together of frames reduced by that.
    """

    slice: Slice
    parts: Sequence[Part]
    reduction: int = 1


def assemble(
    fetch: Callable[[Sequence[Slice]], Iterator[FrameBytes]], wanted: Iterable[Wanted], limit_bytes: int
) -> Iterator[DecodedSlice | FailedSlice]:
    """Put slices together; yields each when its last frame has come.

    No more is held of a frame than what slices show of it.

    Args:
        fetch: Fetches frames, as `fetch_frames` does of one series.
        wanted: The slices; several may show parts of one frame.
        limit_bytes: The largest frame, in decoded bytes.

    Raises:
        ObjectChangedError: An object is not the version that the index describes any more.
        StorageUnavailableError: The storage fails beyond every retry.
    """
    frames: dict[int, Slice] = {}
    users: dict[int, list[tuple[_Canvas, int]]] = {}
    for one in wanted:
        canvas = _Canvas(one)
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
    fetched: FrameBytes, canvases: Sequence[tuple[_Canvas, int]], limit_bytes: int
) -> tuple[Decoded | None, ObjectError | StorageError | None]:
    """A frame's stored values, or why there are none."""
    if fetched.error is not None:
        return None, fetched.error
    decode = partial(
        decode_frame,
        fetched.data,
        bit_offset=fetched.bit_offset,
        limit_bytes=limit_bytes,
        reduction=min(canvas.codec_reduction(number) for canvas, number in canvases),
    )
    pixels = fetched.slice.pixels
    try:
        return decode(pixels), None
    except ObjectError as error:
        cropped = [canvas.cropped(number) for canvas, number in canvases]
        if cropped[0] == pixels or cropped.count(cropped[0]) < len(cropped):
            return None, error
        try:
            # Some writers cut the codestreams of tiles that reach beyond the level.
            return decode(cropped[0]), None
        except ObjectError:
            return None, error


class _Canvas:
    """A slice that frames are put on.

    Args:
        wanted: The slice.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._slice, self._parts = wanted.slice, wanted.parts
        self._is_colour = is_colour(wanted.slice.pixels)
        self._reduction = _aligned(wanted) if self._is_colour else 1
        shape = (
            _divided(wanted.slice.pixels.rows, self._reduction),
            _divided(wanted.slice.pixels.columns, self._reduction),
        )
        # Of each sample, the number of the frame that it is from, from 1: of several that overlap the last.
        self._owner = np.zeros(shape, np.min_scalar_type(len(wanted.parts)))
        self._samples: NDArray[Any] | None = None
        self._photometric, self._offset = "RGB", 0.0
        self._errors: dict[int, ObjectError | StorageError] = {}
        self._remarks: dict[str, None] = {}
        self._waiting = len(wanted.parts)

    @property
    def is_complete(self) -> bool:
        """All frames have been put on it."""
        return not self._waiting

    def codec_reduction(self, number: int) -> int:
        """The reduction that a frame may be decoded at: none where it is cut off inside of a sample."""
        pixels = self._parts[number].frame.pixels
        _, bottom, _, right = self._seen(number)
        is_even = all(
            end == length or not end % self._reduction
            for end, length in ((bottom, pixels.rows), (right, pixels.columns))
        )
        return self._reduction if is_even else 1

    def cropped(self, number: int) -> PixelDescription:
        """A frame as large as what is seen of it, where it reaches beyond the right or lower edge."""
        pixels = self._parts[number].frame.pixels
        top, bottom, left, right = self._seen(number)
        return pixels if top or left else replace(pixels, rows=bottom, columns=right)

    def put(
        self,
        number: int,
        decoded: Decoded | None,
        error: ObjectError | StorageError | None,
        remarks: tuple[str, ...],
    ) -> None:
        """Put a frame on it, or note why it cannot be."""
        self._waiting -= 1
        if decoded is None:
            if error is not None:
                self._errors[number] = error
            return
        frame = self._parts[number].frame
        self._remarks.update(dict.fromkeys((*remarks, *decoded.remarks, *unended(frame, decoded))))
        try:
            self._paste(number, decoded)
        except DecodeError as reason:
            self._errors[number] = reason

    def assembled(self) -> DecodedSlice | FailedSlice:
        """The slice, when it is complete."""
        if self._samples is None:
            first = min(self._errors, default=None)
            error = DecodeError("no frame lies on it") if first is None else self._errors[first]
            return FailedSlice(self._slice, error)
        item = self._slice
        if self._is_colour:
            item = replace(item, pixels=_rgb(item.pixels))
        decoded = Decoded(self._samples, self._photometric, self._reduction, self._offset)
        return DecodedSlice(item, decoded, gaps=self._gaps(), remarks=tuple(sorted(self._remarks)))

    def _seen(self, number: int) -> tuple[int, int, int, int]:
        """The pixels of a frame that are seen: first row, row behind the last, and so of its columns."""
        part, whole = self._parts[number], self._slice.pixels
        pixels = part.frame.pixels
        return (
            max(0, -part.top),
            min(pixels.rows, whole.rows - part.top),
            max(0, -part.left),
            min(pixels.columns, whole.columns - part.left),
        )

    def _paste(self, number: int, decoded: Decoded) -> None:
        part = self._parts[number]
        top, bottom, left, right = self._seen(number)
        n = decoded.reduction
        samples = decoded.samples[top // n : _divided(bottom, n), left // n : _divided(right, n)]
        if self._is_colour:
            samples = to_rgb(replace(decoded, samples=samples), part.frame.pixels)
        while n < self._reduction:
            samples, n = halve(samples), 2 * n
        if self._samples is None:
            self._samples = np.zeros((*self._owner.shape, *samples.shape[2:]), samples.dtype)
            self._photometric = "RGB" if self._is_colour else decoded.photometric_interpretation
            self._offset = decoded.offset * decoded.reduction / self._reduction
        if samples.dtype != self._samples.dtype or samples.shape[2:] != self._samples.shape[2:]:
            raise DecodeError("its pixels are not like those of the frames beside it")
        box = self._box(number)
        owner = self._owner[box]
        mine = owner <= number
        np.copyto(self._samples[box], samples, where=mine if samples.ndim == 2 else mine[..., np.newaxis])
        owner[mine] = number + 1

    def _box(self, number: int) -> tuple[slice, slice]:
        """Where a frame lies among the samples."""
        part = self._parts[number]
        top, bottom, left, right = self._seen(number)
        n = self._reduction
        first_row, first_column = (part.top + top) // n, (part.left + left) // n
        return (
            slice(first_row, first_row + _divided(bottom - top, n)),
            slice(first_column, first_column + _divided(right - left, n)),
        )

    def _gaps(self) -> Gaps | None:
        absent = self._owner == 0
        if not absent.any():
            return None
        failed = tuple(self._box(number) for number in sorted(self._errors))
        missing = absent.copy()
        for box in failed:
            missing[box] = False
        first = self._parts[0].frame.pixels
        rows, columns = (
            np.arange(0, length, _divided(tile, self._reduction))
            for length, tile in zip(absent.shape, (first.rows, first.columns), strict=True)
        )
        of_tiles = np.logical_or.reduceat(np.logical_or.reduceat(missing, rows, axis=0), columns, axis=1)
        error = self._errors[min(self._errors)] if self._errors else None
        reason = reason_of(error) if error is not None else ""
        missing_tiles = int(np.count_nonzero(of_tiles))
        return Gaps(absent, failed, reason, missing_tiles, of_tiles.size, self._slice.background)


def _aligned(wanted: Wanted) -> int:
    """The largest reduction up to the one wanted whose samples no frame begins inside of."""
    starts = {abs(start) for part in wanted.parts for start in (part.top, part.left)}
    reduction = wanted.reduction
    while reduction > 1 and any(start % reduction for start in starts):
        reduction //= 2
    return reduction


def _divided(length: int, by: int) -> int:
    return -(-length // by)


def _rgb(pixels: PixelDescription) -> PixelDescription:
    """The layout of colour that was put together."""
    return replace(
        pixels,
        samples_per_pixel=3,
        photometric_interpretation="RGB",
        bits_allocated=8,
        bits_stored=8,
        high_bit=7,
        pixel_representation=0,
        planar_configuration=0,
        palette=None,
    )
