"""The forms of a slice's pixels on their way: a frame's bytes, decoded values, or a failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import ObjectError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.pixels.decoded import Decoded


@dataclass(frozen=True, slots=True)
class FrameBytes:
    """One frame's bytes, ready to be decoded; or why there are none.

    Attributes:
        slice: The slice; its transfer syntax is its codestream's.
        data: Native: the frame's bytes. Encapsulated: its codestream, fragments joined.
        bit_offset: Native pixels: bits of `data` before the frame's first sample, see `NativeLayout`.
        header: The object's first bytes, at least up to its pixels, if overlays lie there; else empty.
        error: Why there are no bytes, or None.
        remarks: Remarks on them, for viewers.
    """

    slice: Slice
    data: bytes = field(repr=False)
    bit_offset: int = 0
    header: bytes = field(default=b"", repr=False)
    error: ObjectError | StorageError | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gaps:
    """The missing parts of an assembled slice.

    Attributes:
        absent: (rows, columns) bool, True where there is no frame, or one that cannot be shown.
        failed: The rows and columns of each frame that cannot be shown.
        reason: Why the first of them cannot be shown, or empty.
        tiles: The number of tile places without a frame, in whole or in part.
        of_tiles: The number of tile places.
        background: The level, 0..255, of areas without a frame.
    """

    absent: NDArray[np.bool_] = field(repr=False)
    failed: tuple[tuple[slice, slice], ...]
    reason: str
    tiles: int
    of_tiles: int
    background: int = 0

    def known(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Return the samples that come from frames, flattened."""
        return samples[~self.absent]

    def warnings(self, name: str) -> Iterator[str]:
        """Yield the warnings for viewers of the slice."""
        if self.tiles:
            yield f"{name}: {self.tiles} of {self.of_tiles} tiles are missing and shown as background"
        if self.failed:
            failed = f"{len(self.failed)} of its tiles cannot be shown and are crossed out"
            yield f"{name}: {failed}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Overlay:
    """The pixels of one slice that its overlay planes mark.

    Attributes:
        packed: uint8, eight pixels a byte, row by row; None if no pixel is marked.
        warnings: The planes left out, and why.
    """

    packed: NDArray[np.uint8] | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()

    def mask(self, rows: int, columns: int) -> NDArray[np.bool_]:
        """Return (rows, columns) bool, True where a pixel is marked."""
        if self.packed is None:
            return np.zeros((rows, columns), np.bool_)
        return np.unpackbits(self.packed, count=rows * columns).view(np.bool_).reshape(rows, columns)


@dataclass(frozen=True, slots=True)
class DecodedSlice:
    """A slice's stored values.

    Attributes:
        slice: The slice, as its codestream describes it; an assembled colour slice is now 8-bit RGB.
        decoded: Its stored values.
        overlay: The pixels that its overlay planes mark.
        gaps: Its missing parts, or None.
        remarks: Remarks on its codestreams for viewers, each once.
    """

    slice: Slice
    decoded: Decoded = field(repr=False)
    overlay: Overlay = field(default_factory=Overlay, repr=False)
    gaps: Gaps | None = field(default=None, repr=False)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedSlice:
    """A slice without stored values.

    Attributes:
        slice: The slice.
        error: Why there are none.
    """

    slice: Slice
    error: ObjectError | StorageError


def reason_of(error: ObjectError | StorageError) -> str:
    """Return why an object failed, without its name."""
    return error.reason if isinstance(error, ObjectError) else error.problem


def unended(item: Slice, decoded: Decoded) -> tuple[str, ...]:
    """Return the remark on a frame whose codestream has no end marker."""
    if decoded.is_ended:
        return ()
    return (f"{item.name}: its codestream has no end marker: part of the picture may be missing",)
