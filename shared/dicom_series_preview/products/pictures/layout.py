"""Lay out tiles: choose their size, resize without invented values, and join them to a grid.

Pictures are uint8 arrays, (rows, columns) grey or (rows, columns, 3) RGB. Sizes are (width, height), as in
Pillow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.pixels.reduced import Area

    FloatArray = NDArray[np.float32 | np.float64]
    Tile: TypeAlias = NDArray[np.uint8]
    """uint8, (rows, columns) grey or (rows, columns, 3) RGB."""


# It invents no value, and shrinking keeps a bright point's weight: docs/decisions/0006.
_FILTER = Image.Resampling.BILINEAR
# Below this shrink factor, Pillow samples the filter too coarsely: we repeat pixels first.
_FINE_ENOUGH = 3
_MOST_FINE_PIXELS = 2**24

# No picture is so long, and every limit refuses it.
_LONGEST_SIDE = 2.0**31
# A larger image would show nothing more.
_MOST_ENLARGED = 4

_FAILED_GREY = 48
_FAILED_CROSS_GREY = 144


def tile_size(
    rows: int, columns: int, width: int, pixel_height: float, pixel_width: float
) -> tuple[int, int]:
    """Return the size of a tile that shows rows x columns pixels in true proportions.

    Args:
        rows: Rows (0028,0010).
        columns: Columns (0028,0011).
        width: The tile's width in pixels.
        pixel_height: Vertical distance between pixel centres, above 0; in mm, or relative to the other one.
        pixel_width: Horizontal distance, above 0.

    Returns:
        Width and height; the height is rounded half up, and at least 1. It can exceed any picture's.
    """
    height = width * rows / columns * (pixel_height / pixel_width)
    return width, max(1, _round_half_up(min(height, _LONGEST_SIDE)))


def fitted_size(width: int, height: int, largest_width: int, largest_height: int) -> tuple[int, int]:
    """Return the largest size with the same proportions that fits; fitting again changes nothing."""
    scale = min(largest_width / width, largest_height / height)
    return (
        min(largest_width, max(1, _round_half_up(width * scale))),
        min(largest_height, max(1, _round_half_up(height * scale))),
    )


def largest_width(columns: int, pixel_height: float, pixel_width: float) -> int:
    """Return the largest width of a tile: an image is enlarged at most four times, in true proportions.

    For pixels that are not square, the shorter side counts: the proportions decide the other direction.

    Args:
        columns: Columns (0028,0011).
        pixel_height: Vertical distance between pixel centres, above 0; in mm, or relative to the other one.
        pixel_width: Horizontal distance, above 0.
    """
    return math.floor(_MOST_ENLARGED * columns * max(1.0, pixel_width / pixel_height))


def resize(
    image: Tile,
    size: tuple[int, int],
    padding: NDArray[np.bool_] | None = None,
    area: Area | None = None,
) -> Tile:
    """Resize a picture, antialiased, without values outside its pixels' range.

    Padding is excluded: a pixel of the result is the weighted mean of the pixels that are not padding. If its
    area is all padding, it is 0; up to half covered by picture, it fades in with the cover, so that padding
    does not darken the rim of tissue, and structures thinner than half a pixel do not vanish.

    Args:
        image: uint8 (r, c) or (r, c, 3), display values.
        size: Width and height of the result.
        padding: bool (r, c), True where a pixel is padding.
        area: The part to show, whole pixels or not; beyond the right and lower edge the last pixels repeat.
            None for all. Not together with padding.

    Returns:
        uint8 (height, width) or (height, width, 3), a new array.

    Raises:
        ValueError: The picture or the mask has another shape or type.
    """
    _require_picture(image)
    if area is not None:
        if padding is not None:
            raise ValueError("a part of a picture cannot have padding")
        return np.array(_resample(Image.fromarray(_reaching(image, area)), size, area))
    if padding is None or not padding.any():
        return np.array(_resample(Image.fromarray(image), size))
    if padding.shape != image.shape[:2]:
        raise ValueError(f"a mask of {padding.shape} for a picture of {image.shape}")
    valid = ~padding
    covered = _covered(valid, size)
    weight = _resample_float(valid, size)
    result = np.zeros((size[1], size[0], *image.shape[2:]), np.uint8)
    for channel in np.ndindex(image.shape[2:]):
        total = _resample_float(np.where(valid, image[(..., *channel)], 0), size)
        mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        result[(..., *channel)] = np.clip(np.rint(mean * np.minimum(2 * covered, 1)), 0, 255)
    return result


def overlay_opacity(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the opacity of an overlay in each pixel: the covered area, and more for thin lines.

    Up to 1:4 a half-covered pixel is hidden, like one at the rim of padding is shown (see `resize`). Beyond,
    a line one pixel wide would fade away; so at any size it hides half of what it crosses.

    Args:
        mask: bool (r, c), the pixels of the image that the overlay marks.
        size: Width and height of the tile.

    Returns:
        float32 (height, width), 0 (nothing) to 1.
    """
    covered = _covered(mask, size)
    shrink = max(mask.shape[0] / size[1], mask.shape[1] / size[0])
    return np.asarray(np.minimum(max(2.0, shrink / 2) * covered, 1), np.float32)


def draw_overlay(tile: Tile, opacity: NDArray[np.float32]) -> Tile:
    """Draw an overlay in full white.

    Args:
        tile: uint8 (height, width) or (height, width, 3).
        opacity: float32 (height, width), from `overlay_opacity`.

    Returns:
        The tile with overlay, a new array.
    """
    share = opacity if tile.ndim == 2 else opacity[..., np.newaxis]
    return np.asarray(np.rint(tile + (255 - tile) * share), np.uint8)


def grid(tiles: Sequence[Tile], columns: int, rows: int, tile_width: int, tile_height: int) -> Tile:
    """Join tiles to a grid, row by row.

    A tile of another size is fitted into its cell, proportions kept, and centred on black; cells without a
    tile are black. (A caller that knows a slice's padding resizes it to its `fitted_size` once; then nothing
    is resized here.)

    Returns:
        uint8 (rows * tile_height, columns * tile_width), with a third axis of 3 if any tile is colour.

    Raises:
        ValueError: There are more tiles than cells, or a tile is no picture.
    """
    if len(tiles) > columns * rows:
        raise ValueError(f"{len(tiles)} tiles for {columns} x {rows} cells")
    channels = (3,) if any(tile.ndim == 3 for tile in tiles) else ()
    mosaic = np.zeros((rows * tile_height, columns * tile_width, *channels), np.uint8)
    for cell, tile in enumerate(tiles):
        _require_picture(tile)
        width, height = fitted_size(tile.shape[1], tile.shape[0], tile_width, tile_height)
        fitted = tile if tile.shape[:2] == (height, width) else resize(tile, (width, height))
        top = cell // columns * tile_height + (tile_height - height) // 2
        left = cell % columns * tile_width + (tile_width - width) // 2
        colour = fitted[..., np.newaxis] if channels and fitted.ndim == 2 else fitted
        mosaic[top : top + height, left : left + width] = colour
    return mosaic


def failed_tile(width: int, height: int) -> Tile:
    """Draw the tile of a slice that cannot be shown: dark grey, framed and crossed out, unlike any slice.

    Returns:
        uint8 (height, width).
    """
    from PIL import ImageDraw  # noqa: PLC0415 - loads FreeType, which few pictures need

    image = Image.new("L", (width, height), _FAILED_GREY)
    draw = ImageDraw.Draw(image)
    right, bottom = width - 1, height - 1
    thickness = max(1, min(width, height) // 32)
    draw.line((0, 0, right, bottom), fill=_FAILED_CROSS_GREY, width=thickness)
    draw.line((0, bottom, right, 0), fill=_FAILED_CROSS_GREY, width=thickness)
    draw.rectangle((0, 0, right, bottom), outline=_FAILED_CROSS_GREY, width=thickness)
    return np.array(image)


def _round_half_up(value: float) -> int:
    """Round half up, even where a float ends just below the half (0.3 / 0.1 is not 3)."""
    return math.floor(value + 0.5 + 1e-9)


def _require_picture(image: Tile) -> None:
    if image.dtype != np.uint8 or not image.size or image.shape[2:] not in ((), (3,)) or image.ndim < 2:
        raise ValueError(f"a picture is uint8 (r, c) or (r, c, 3), not {image.dtype} {image.shape}")


def _reaching(image: Tile, area: Area) -> Tile:
    """Repeat a picture's last columns and rows as far as an area reaches."""
    right, below = (max(0, math.ceil(area[2 + i]) - image.shape[1 - i]) for i in (0, 1))
    if not right and not below:
        return image
    rows, columns = image.shape[:2]
    reaching = np.empty((rows + below, columns + right, *image.shape[2:]), np.uint8)
    reaching[:rows, :columns] = image
    reaching[rows:, :columns] = image[-1]
    reaching[:, columns:] = reaching[:, columns - 1 : columns]
    return reaching


def _resample(image: Image.Image, size: tuple[int, int], area: Area | None = None) -> Image.Image:
    """Shrink the axes that become shorter, then enlarge those that become longer."""
    smaller = (min(image.width, size[0]), min(image.height, size[1]))
    box = area or (0.0, 0.0, float(image.width), float(image.height))
    times = tuple(_times(box[axis + 2] - box[axis], smaller[axis]) for axis in (0, 1))
    fine = (image.width * times[0], image.height * times[1])
    if fine != image.size and fine[0] * fine[1] <= _MOST_FINE_PIXELS:
        image = image.resize(fine, Image.Resampling.NEAREST)
        box = (box[0] * times[0], box[1] * times[1], box[2] * times[0], box[3] * times[1])
    return image.resize(smaller, _FILTER, box=box).resize(size, _FILTER)


def _times(length: float, shorter: int) -> int:
    """Return how often to repeat each pixel of an axis, so that the filter has enough samples."""
    return math.ceil(_FINE_ENOUGH * shorter / length) if length > shorter else 1


def _resample_float(values: NDArray[np.bool_] | Tile, size: tuple[int, int]) -> FloatArray:
    return np.asarray(_resample(Image.fromarray(values.astype(np.float32)), size))


def _covered(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the share of each tile pixel that a mask covers: (r, c) -> (height, width)."""
    return _part_means(_part_means(mask, size[1]).T, size[0]).T


def _part_means(values: NDArray[np.bool_] | NDArray[np.float32], parts: int) -> NDArray[np.float32]:
    """Return the means of equal parts of the first axis, by exact area: (count, n) -> (parts, n).

    (Pillow's BOX takes whole pixels, and assigns one on a border to one side. A product with a matrix of
    shares gives the same, but wakes all threads of the linear algebra.)
    """
    count = len(values)
    edges = np.arange(parts + 1) * (count / parts)
    at = np.minimum(edges.astype(np.intp), count - 1)
    # A part has the pixels from its first edge's up to its last edge's, minus the share before the first
    # edge, plus the share before the last; `reduceat` gives the last part its last pixel.
    before = (edges - at).astype(np.float32)[:, np.newaxis] * values[at]
    sums = np.add.reduceat(values, at[:-1], dtype=np.float32)
    sums[:-1][at[:-2] == at[1:-1]] = 0
    sums -= before[:-1]
    sums[:-1] += before[1:-1]
    return np.asarray(sums * np.float32(parts / count))
