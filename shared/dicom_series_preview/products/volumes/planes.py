"""The three planes through the middle of a volume as one picture, as a radiologist reads them.

Axial and coronal planes have the patient's right on the left, sagittal ones the front; heads are on top, and
in axial planes the front. Planes are those of the array, never resampled: a sheared volume looks sheared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dicom_series_preview.products.volumes.placement import closest_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.products.volumes.extents import Slab

    FloatArray = NDArray[np.float64]
    Levels = NDArray[np.uint8]

SIDE = 256
"""Pixels of the longest side of a volume in a picture."""
_NAMES = ("sagittal", "coronal", "axial")
_ENDS = ("RL", "AP", "SI")
# The patient's axes along columns and along rows of a picture, by the axis across it.
_COLUMNS_ROWS = ((1, 2), (0, 2), (0, 1))
# A direction's letters are the axes that it follows by more than 5 degrees.
_LEAST_COSINE = 0.087
_TEXT, _INK, _GAP = 13, 230, 10
_SMALLEST = 24


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A plane through the middle of a volume, turned as it is looked at.

    Attributes:
        name: `axial`, `coronal` or `sagittal`: the closest; empty of an image without a place.
        values: (rows, columns), or (rows, columns, 3) of colour.
        spacing_mm: Between rows, and between columns.
        right: The letters of the direction at the right edge, the closest axis first; empty if unknown.
        bottom: Those at the lower edge.
    """

    name: str
    values: NDArray[Any]
    spacing_mm: tuple[float, float]
    right: str = ""
    bottom: str = ""


class Middle:
    """The planes through the middle of an array, taken from its slabs as they pass.

    Args:
        shape: (t, z, y, x), or with 3 colours. Of several volumes it is the middle one.
        dtype: The type of its values.
    """

    def __init__(self, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        (volumes, slices, rows, columns), colour = shape[:4], tuple(shape[4:])
        self._volume = volumes // 2
        self._at = slices // 2, rows // 2, columns // 2
        self._slice = np.zeros((rows, columns, *colour), dtype)
        self._row = np.zeros((slices, columns, *colour), dtype)
        self._column = np.zeros((slices, rows, *colour), dtype)

    def add(self, slab: Slab) -> None:
        """Take what a slab has of the planes."""
        first, last = slab.extent.t
        if not first <= self._volume < last:
            return
        data, (low, high) = slab.data[self._volume - first], slab.extent.z
        slice_, row, column = self._at
        if low <= slice_ < high:
            self._slice[...] = data[slice_ - low]
        self._row[low:high] = data[:, row]
        self._column[low:high] = data[:, :, column]

    def planes(self, affine: FloatArray | None, pixel_mm: tuple[float, float] = (1.0, 1.0)) -> list[Plane]:
        """Return the axial, the coronal and the sagittal plane; one plane of an image without a place.

        Args:
            affine: (4, 4): takes (column, row, slice) to RAS millimetres; or None.
            pixel_mm: Of an image without a place: the spacing between rows, and between columns.
        """
        if affine is None:
            return [Plane("", self._slice, pixel_mm)]
        # By the index that stays the same: each with its indices along rows and along columns of the array.
        found = ((2, 1, 0, self._slice), (1, 2, 0, self._row), (0, 2, 1, self._column))
        planes = [_turned(affine, *one) for one in found]
        return sorted(planes, key=lambda plane: _NAMES.index(plane.name), reverse=True)


def _turned(affine: FloatArray, fixed: int, down: int, across: int, values: NDArray[Any]) -> Plane:
    """Turn a plane of the array by flips and a swap, as it is looked at.

    Args:
        affine: Takes (column, row, slice) to RAS.
        fixed: The index (0 column, 1 row, 2 slice) that is the same in all of the plane.
        down: The index along its first axis.
        across: The index along its second axis.
        values: The plane.
    """
    axes, signs = closest_axes(affine)
    if axes[across] != _COLUMNS_ROWS[axes[fixed]][0]:
        values = np.swapaxes(values, 0, 1)
        down, across = across, down
    # All pictures lead to the left, the back, the feet: against right, anterior, superior.
    values = values[:: -signs[down], :: -signs[across]]
    steps = affine[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    return Plane(
        _NAMES[axes[fixed]],
        values,
        (float(spacing[down]), float(spacing[across])),
        direction_letters(-signs[across] * steps[:, across]),
        direction_letters(-signs[down] * steps[:, down]),
    )


def direction_letters(direction: FloatArray) -> str:
    """Return the letters (R L A P S I) of the axes that a direction in RAS follows, the closest first."""
    cosines = direction / np.linalg.norm(direction)
    ranked = sorted(range(3), key=lambda axis: -abs(cosines[axis]))
    leading = [axis for axis in ranked if abs(cosines[axis]) >= _LEAST_COSINE]
    return "".join(_ENDS[axis][int(cosines[axis] < 0)] for axis in leading)


def opposite_letters(letters: str) -> str:
    """Return the letters of the opposite direction: `LA` for `RP`."""
    return letters.translate(str.maketrans("RLAPSI", "LRPAIS"))


def picture_of(
    planes: Sequence[Plane], levels: Callable[[NDArray[Any]], Levels], side: int = SIDE
) -> Image.Image:
    """Draw planes side by side in one scale, in true proportions, with the patient's directions around each.

    Args:
        planes: The planes.
        levels: Turns values into 0..255.
        side: Pixels of the longest side of any plane.
    """
    from PIL import ImageDraw, ImageFont  # noqa: PLC0415 - loads FreeType, which few outputs need

    pixels_a_mm = side / max(max(_extent(plane)) for plane in planes)
    font = ImageFont.load_default(_TEXT)
    drawn = [_scaled(plane, levels, pixels_a_mm) for plane in planes]
    letters = [text for plane in planes for text in (plane.right, opposite_letters(plane.right))]
    wide = max(int(font.getlength(text)) for text in letters) + 8
    high = _TEXT + 8 if any(letters) else 8
    # A thin plane still has room for its letters.
    widths = [max(one.width, _SMALLEST) + 2 * wide for one in drawn]
    height = max(max(one.height, _SMALLEST) for one in drawn) + 2 * high
    size = (sum(widths) + _GAP * (len(drawn) - 1), height)
    page = Image.new("RGB" if any(one.mode == "RGB" for one in drawn) else "L", size)
    draw = ImageDraw.Draw(page)
    ink = _INK if page.mode == "L" else (_INK,) * 3
    left = 0
    for plane, one, width in zip(planes, drawn, widths, strict=True):
        x, y = left + (width - one.width) // 2, (height - one.height) // 2
        page.paste(one, (x, y))
        middle_x, middle_y = x + one.width // 2, y + one.height // 2
        for text, at, anchor in (
            (plane.right, (x + one.width + 4, middle_y), "lm"),
            (opposite_letters(plane.right), (x - 4, middle_y), "rm"),
            (plane.bottom, (middle_x, y + one.height + 3), "ma"),
            (opposite_letters(plane.bottom), (middle_x, y - 4), "md"),
        ):
            draw.text(at, text, fill=ink, font=font, anchor=anchor)
        left += width + _GAP
    return page


def _extent(plane: Plane) -> Iterator[float]:
    """Yield the height and the width of a plane in mm."""
    for length, spacing in zip(plane.values.shape[:2], plane.spacing_mm, strict=True):
        yield length * spacing


def _scaled(plane: Plane, levels: Callable[[NDArray[Any]], Levels], pixels_a_mm: float) -> Image.Image:
    height, width = (max(1, round(extent * pixels_a_mm)) for extent in _extent(plane))
    picture = Image.fromarray(np.ascontiguousarray(levels(plane.values)))
    return picture.resize((width, height), Image.Resampling.BILINEAR)
