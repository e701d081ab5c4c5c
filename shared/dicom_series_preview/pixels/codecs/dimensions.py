"""Compare a codestream's own size with the one that the header declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import DecodeError

if TYPE_CHECKING:
    from dicom_series_preview.base.image import PixelDescription


def check_dimensions(found: tuple[int, int, int], pixels: PixelDescription) -> None:
    """Refuse a codestream with another size than the header's: it is another picture, or a broken one.

    Args:
        found: The codestream's rows, columns and samples per pixel.
        pixels: The header's.

    Raises:
        DecodeError: Rows, columns or samples disagree.
    """
    expected = pixels.rows, pixels.columns, pixels.samples_per_pixel
    if found != expected:
        raise DecodeError(
            "the codestream is {} x {} with {} samples a pixel, the header says {} x {} with {}".format(
                *found, *expected
            )
        )
