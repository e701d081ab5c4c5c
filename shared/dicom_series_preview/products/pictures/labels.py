"""Draw a label on each tile of a picture: position, contrast, and the patient's directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dicom_series_preview.base.geometry import opposite, patient_orientation, possible_orientation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.ImageDraw import ImageDraw as Drawing
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.products.pictures.layout import Tile

SMALLEST_SIDE = 64
"""On smaller tiles, labels would hide the picture and be unreadable."""
_SMALLEST_TEXT, _LARGEST_TEXT, _SIDE_A_TEXT = 9, 20, 10
_INK, _OUTLINE = 255, 0


@dataclass(frozen=True, slots=True)
class Label:
    """The text on a tile, with nothing about the patient.

    Attributes:
        lines: In the upper left corner, one below the other.
        right: The patient's direction at the right edge, in letters such as `L`; empty if unknown.
        bottom: The same at the lower edge.
    """

    lines: tuple[str, ...]
    right: str = ""
    bottom: str = ""

    @classmethod
    def of(cls, place: str, directions: str, contrast: str = "") -> Label:
        r"""Build the label of a slice.

        Args:
            place: Its place, see `place_of`, or empty.
            directions: The directions of its rows and columns, like `L\P`, or empty.
            contrast: The name of its contrast, if there are several.
        """
        right, _, bottom = directions.partition("\\")
        return cls(tuple(filter(None, (place, contrast))), right, bottom)


def place_of(item: Slice, *, is_only_object: bool, is_many: bool) -> str:
    """Name a slice's place: mm on its stack's axis, else InstanceNumber, frame, or both: `#5.2`.

    Args:
        item: The slice.
        is_only_object: All slices of its stack are in one object, so that a frame's number is enough.
        is_many: It shows slices of many places side by side.
    """
    position = item.primary_position
    if position is not None and item.primary_axis != "I" and not is_many:
        return f"{round(position, 1) + 0.0:.1f} mm"
    numbers = [] if item.instance_number is None else [str(item.instance_number)]
    if item.pixels.number_of_frames > 1 and not item.part_rows:
        numbers = [*([] if is_only_object else numbers), str(item.frame_number)]
    return f"#{'.'.join(numbers)}" if numbers else ""


def directions_of(index: Index, item: Slice) -> str:
    r"""Return the directions of a slice's rows and columns, like `L\P`; empty if unknown.

    They come from ImageOrientationPatient, else from PatientOrientation. Both mean something else for an
    animal on four legs (PS3.3 C.7.6.1.1.1, C.7.6.2.1.1).
    """
    if index.is_of_a_quadruped(item):
        return ""
    cosines = item.image_orientation_patient
    found = patient_orientation(cosines) if cosines is not None else ""
    return found or possible_orientation(index.patient_orientation(item))


def draw_labels(image: Tile, labels: Sequence[Label], columns: int, tile: tuple[int, int]) -> Tile:
    """Draw labels on the tiles of a picture, white with a black outline.

    Args:
        image: uint8, (r, c) or (r, c, 3).
        labels: Its tiles' labels, row by row.
        columns: Tiles side by side.
        tile: Width and height of a tile, at least `SMALLEST_SIDE` each.

    Returns:
        The picture with labels, a new array.
    """
    from PIL import ImageDraw, ImageFont  # noqa: PLC0415 - loads FreeType, which few pictures need

    size = max(_SMALLEST_TEXT, min(_LARGEST_TEXT, min(tile) // _SIDE_A_TEXT))
    font = ImageFont.load_default(size)
    picture = Image.fromarray(image)
    pen = _Pen(ImageDraw.Draw(picture), font, 1 + size // 16, 2 + min(tile) // 64)
    longest = max((pen.length(line) for label in labels for line in label.lines), default=0)
    widest = max((pen.length(label.bottom) for label in labels), default=0)
    # Long lines leave no room for the letters at the upper edge, which the lower ones imply.
    is_wide = 2 * pen.margin + longest + pen.length("0") + widest / 2 < tile[0] / 2
    for number, label in enumerate(labels):
        row, column = divmod(number, columns)
        pen.write(label, (column * tile[0], row * tile[1]), tile, is_wide=is_wide)
    return np.array(picture)


@dataclass(frozen=True, slots=True)
class _Pen:
    """The pen that draws the labels of one picture.

    Attributes:
        draw: Draws into the picture.
        font: The font, in its size.
        outline: The thickness of the outline in pixels.
        margin: The distance of text from its tile's edges in pixels.
    """

    draw: Drawing
    font: FreeTypeFont | ImageFont
    outline: int
    margin: int

    def length(self, text: str) -> float:
        """Return the width of a text in pixels."""
        return self.draw.textlength(text, self.font)

    def write(self, label: Label, corner: tuple[int, int], tile: tuple[int, int], *, is_wide: bool) -> None:
        """Draw a label into the tile at a corner, with letters at its upper edge if there is room."""
        (left, top), margin = corner, self.margin
        right, bottom = left + tile[0], top + tile[1]
        middle_x, middle_y = left + tile[0] // 2, top + tile[1] // 2
        line_height = int(self.draw.textbbox((0, 0), "0", self.font, "la", stroke_width=self.outline)[3]) + 1
        for line, text in enumerate(label.lines):
            fitting = next(
                n for n in range(len(text), -1, -1) if self.length(text[:n]) <= tile[0] - 2 * margin
            )
            self._text(text[:fitting], (left + margin, top + margin + line * line_height), "la")
        if not label.right:
            return
        self._text(label.right, (right - margin, middle_y), "rm")
        self._text(opposite(label.right), (left + margin, middle_y), "lm")
        self._text(label.bottom, (middle_x, bottom - margin), "md")
        if is_wide:
            self._text(opposite(label.bottom), (middle_x, top + margin), "ma")

    def _text(self, text: str, at: tuple[int, int], anchor: str) -> None:
        grey = self.draw.mode == "L"
        ink, outline = (_INK if grey else (_INK,) * 3), (_OUTLINE if grey else (_OUTLINE,) * 3)
        self.draw.text(
            at,
            text,
            fill=ink,
            font=self.font,
            anchor=anchor,
            stroke_width=self.outline,
            stroke_fill=outline,
        )
