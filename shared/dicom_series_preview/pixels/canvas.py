"""A slice assembled from frames: it knows each frame's place and visible part, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.codecs.colour import is_colour, to_rgb
from dicom_series_preview.pixels.decoded import Decoded
from dicom_series_preview.pixels.reduced import aligned_reduction, frame_reduction, halved, reduced_length
from dicom_series_preview.pixels.slices import DecodedSlice, FailedSlice, Gaps, reason_of, unended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.slices import Part, Slice
    from dicom_series_preview.base.errors import ObjectError, StorageError
    from dicom_series_preview.base.image import PixelDescription


@dataclass(frozen=True, slots=True)
class Wanted:
    """A slice to assemble.

    Attributes:
        slice: The slice.
        parts: Its frames.
        reduction: The reduction allowed for its frames, see `reduced.level_reduction`.
    """

    slice: Slice
    parts: Sequence[Part]
    reduction: int = 1


class Canvas:
    """A slice that takes frames one after the other.

    Args:
        wanted: The slice.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._slice, self._parts = wanted.slice, wanted.parts
        self._is_colour = is_colour(wanted.slice.pixels)
        self._reduction = aligned_reduction(wanted.parts, wanted.reduction)
        shape = (
            reduced_length(wanted.slice.pixels.rows, self._reduction),
            reduced_length(wanted.slice.pixels.columns, self._reduction),
        )
        # For each sample, the number of its frame, from 1; of overlapping ones the last.
        self._owner = np.zeros(shape, np.min_scalar_type(len(wanted.parts)))
        self._samples: NDArray[Any] | None = None
        self._photometric, self._offset = "RGB", 0.0
        self._errors: dict[int, ObjectError | StorageError] = {}
        self._remarks: dict[str, None] = {}
        self._waiting = len(wanted.parts)

    @property
    def is_complete(self) -> bool:
        """True once all frames are on it."""
        return not self._waiting

    def frame_reduction(self, number: int) -> int:
        """Return the reduction to decode a frame at."""
        _, bottom, _, right = self._seen(number)
        return frame_reduction(self._parts[number].frame.pixels, (bottom, right), self._reduction)

    def cropped(self, number: int) -> PixelDescription:
        """Describe a frame, cropped to its visible part where it reaches beyond right or lower edges."""
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
        """Put a frame on it, or note why the frame is missing."""
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
        """Return the slice, once it is complete."""
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
        """Return the visible part of a frame: first row, end of rows, first column, end of columns."""
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
        samples = decoded.samples[top // n : reduced_length(bottom, n), left // n : reduced_length(right, n)]
        if self._is_colour:
            samples = to_rgb(replace(decoded, samples=samples), part.frame.pixels)
        samples = halved(samples, self._reduction // n)
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
        """Return a frame's place among the samples."""
        part = self._parts[number]
        top, bottom, left, right = self._seen(number)
        n = self._reduction
        first_row, first_column = (part.top + top) // n, (part.left + left) // n
        return (
            slice(first_row, first_row + reduced_length(bottom - top, n)),
            slice(first_column, first_column + reduced_length(right - left, n)),
        )

    def _gaps(self) -> Gaps | None:
        """Count the missing parts, in tiles of the first frame's size."""
        absent = self._owner == 0
        if not absent.any():
            return None
        failed = tuple(self._box(number) for number in sorted(self._errors))
        missing = absent.copy()
        for box in failed:
            missing[box] = False
        first = self._parts[0].frame.pixels
        rows, columns = (
            np.arange(0, length, reduced_length(tile, self._reduction))
            for length, tile in zip(absent.shape, (first.rows, first.columns), strict=True)
        )
        of_tiles = np.logical_or.reduceat(np.logical_or.reduceat(missing, rows, axis=0), columns, axis=1)
        error = self._errors[min(self._errors)] if self._errors else None
        reason = reason_of(error) if error is not None else ""
        missing_tiles = int(np.count_nonzero(of_tiles))
        return Gaps(absent, failed, reason, missing_tiles, of_tiles.size, self._slice.background)


def _rgb(pixels: PixelDescription) -> PixelDescription:
    """Describe the layout of an assembled colour slice."""
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
