"""Values that a slice's pixels travel in: its frame's bytes; decoded, with what is known of it; or failed."""

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
        slice: The slice it is; its transfer syntax is what its codestream tells.
        data: Native: the frame's bytes. Encapsulated: its codestream, fragments joined.
        bit_offset: Native pixels: bits of `data` before the frame's first sample, see `NativeLayout`.
        header: The object's first bytes, at least up to its pixels, where overlays lie in them; else empty.
        error: Why there are no bytes, or None.
        remarks: What a viewer should know of them.
    """

    slice: Slice
    data: bytes = field(repr=False)
    bit_offset: int = 0
    header: bytes = field(default=b"", repr=False)
    error: ObjectError | StorageError | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gaps:
    """The parts of a slice that are missing, where it was put together of frames.

    Attributes:
        absent: (rows, columns) bool, True where no frame lies or the one that does cannot be shown.
        failed: The rows and columns of each frame that cannot be shown.
        reason: Why the first of them cannot, or empty.
        tiles: How many tiles' places have no frame, in whole or in part.
        of_tiles: How many places for tiles there are.
        background: The level, 0..255, of what no frame shows.
    """

    absent: NDArray[np.bool_] = field(repr=False)
    failed: tuple[tuple[slice, slice], ...]
    reason: str
    tiles: int
    of_tiles: int
    background: int = 0

    def known(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Return the samples that frames have given, one after the other."""
        return samples[~self.absent]

    def warnings(self, name: str) -> Iterator[str]:
        """Yield what a viewer of the slice should know."""
        if self.tiles:
            yield f"{name}: {self.tiles} of {self.of_tiles} tiles are missing and shown as background"
        if self.failed:
            failed = f"{len(self.failed)} of its tiles cannot be shown and are crossed out"
            yield f"{name}: {failed}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Overlay:
    """The pixels of one slice that its overlay planes mark.

    Attributes:
        packed: uint8, eight pixels a byte, row by row; None where no pixel is marked.
        warnings: Which planes are left out, and why.
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
        slice: The slice, as its codestream describes it; of colour that was put together of frames the
            pixels are RGB of 8 bits now.
        decoded: Its stored values.
        overlay: The pixels that its overlay planes mark.
        gaps: What is missing in it, or None.
        remarks: What a viewer should know of its codestreams, each once.
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
    """Return why one object fails, without its name."""
    return error.reason if isinstance(error, ObjectError) else error.problem


def unended(item: Slice, decoded: Decoded) -> tuple[str, ...]:
    """Return what a viewer should know of a frame whose codestream has no end marker."""
    if decoded.is_ended:
        return ()
    return (f"{item.name}: its codestream has no end marker: part of the picture may be missing",)
