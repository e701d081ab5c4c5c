"""Plan a picture: choose its slices, grid and tiles, and digest everything that decides them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import PIL

from dicom_series_preview._version import __version__
from dicom_series_preview.archive.index.index import NO_IMAGE
from dicom_series_preview.base.errors import Advice, LimitError, NoImageError, RequestError, counted
from dicom_series_preview.base.geometry import MOST_UNEQUAL
from dicom_series_preview.base.selection import normalised_positions
from dicom_series_preview.base.settings import picture_bytes
from dicom_series_preview.pixels.codecs.colour import is_colour
from dicom_series_preview.pixels.contrast.resolve import needs_statistics
from dicom_series_preview.pixels.contrast.spec import DEFAULT
from dicom_series_preview.products.pictures.labels import SMALLEST_SIDE, Label, directions_of, place_of
from dicom_series_preview.products.pictures.layout import fitted_size, largest_width, tile_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from dicom_series_preview.archive.catalogue.choose import Choice
    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.base.selection import SortedStack
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.pixels.contrast.spec import ContrastSpec
    from dicom_series_preview.products.pictures.cost import Cost, Stopwatch
    from dicom_series_preview.products.pictures.request_parts import Picture
    from dicom_series_preview.products.pictures.requests import PictureRequest

# Increases when pictures look different between releases.
RENDERER = 7
# Pictures of one version of code and encoder are the same byte for byte.
CACHEABLE_VERSION = f"{__version__} {RENDERER} {PIL.__version__}"

# Every image, however small, may have this width: one width for all series of an archive.
_ALWAYS_WIDE = 512


@dataclass(frozen=True, slots=True)
class Shape:
    """A picture's grid.

    Attributes:
        columns: Cells side by side.
        rows: Cells one below the other.
        contrasts: The contrasts of each slice, cell by cell.
    """

    columns: int
    rows: int
    contrasts: tuple[ContrastSpec, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The slices of a picture and the place of each.

    Attributes:
        request: The request.
        shape: The grid.
        opened: The series.
        index: Its index; with `untile`, the index of the mosaics' slices.
        stack: The shown stack.
        choice: The chosen places on the stack's further dimensions; None where it has none.
        slices: The chosen slices, in order.
        positions: 0 (first slice of the stack) to 1, or None, by row of the index.
        tile: Width and height of a tile in pixels.
        watch: Measures the cost.
        warnings: Warnings known so far, for viewers.
    """

    request: PictureRequest
    shape: Shape
    opened: OpenedSeries
    index: Index
    stack: SortedStack
    slices: list[Slice]
    positions: dict[int, float | None]
    tile: tuple[int, int]
    watch: Stopwatch = field(repr=False)
    warnings: tuple[str, ...] = ()
    choice: Choice | None = None

    @property
    def picture(self) -> Picture:
        """The form of the picture."""
        return self.request.picture

    @property
    def identity(self) -> str:
        """A digest of everything that decides the picture's bytes: slices and versions, parameters, code."""
        digest = hashlib.sha256(CACHEABLE_VERSION.encode())
        picture = self.picture
        parts: list[object] = [
            self.opened.storage.url,
            self.opened.name,
            *(["uid", self.opened.uid, self.opened.folders] if self.opened.uid else []),
            (picture.image_format.name, picture.quality),
            (self.shape.columns, self.shape.rows, *self.tile),
            [str(spec) for spec in self.shape.contrasts],
            *(["overlays"] if picture.overlays else []),
            *(["labels", *self.labels] if self.is_labelled else []),
            *_further(picture, _PARTS_OF_PICTURES),
            *_further(self.request, _PARTS_OF_REQUESTS),
            # Cached pictures have the number of their warnings, and these come from the places.
            *(["gone"] if self.opened.gone else []),
            *((place.text, place.which) for place in (self.choice.places if self.choice else ())),
            [_version(item) for item in self.slices],
            [
                (item.pixels.rows, item.pixels.columns, part.top, part.left, _version(part.frame))
                for item in self.slices
                for part in self.index.parts(item)
            ],
        ]
        digest.update(repr(parts).encode())
        return digest.hexdigest()[:40]

    @property
    def is_labelled(self) -> bool:
        """True where labels are requested, and fit on the tiles."""
        return self.picture.labels and min(self.tile) >= SMALLEST_SIDE

    @property
    def labels(self) -> list[Label]:
        """The label of each tile, in order."""
        names = self.request.contrast_names
        is_only_object = self.index.object_count(self.picture.stack) == 1
        labels = []
        for item in self.slices:
            is_many = self.index.is_whole_mosaic(item)
            place = place_of(item, is_only_object=is_only_object, is_many=is_many)
            directions = directions_of(self.index, item)
            # Contrasts have no effect on colour.
            shown = [""] * len(names) if is_colour(item.pixels) else names
            labels += [Label.of(place, directions, name) for name in shown]
        return labels

    def size(self, item: Slice) -> tuple[int, int]:
        """Return the width and height of a shown slice: the tile's, or the largest that fits into it."""
        width, height = self.tile
        own = tile_size(item.pixels.rows, item.pixels.columns, width, *item.pixel_shape)
        return own if own[1] == height else fitted_size(*own, width, height)

    @property
    def bytes(self) -> int:
        """An estimate of the memory to paint it."""
        frames = [item.pixels for item in self.slices]
        frame = max(
            one.rows * one.columns * one.samples_per_pixel * one.bits_allocated // 8 for one in frames
        )
        return picture_bytes(self.shape.columns * self.shape.rows * self.tile[0] * self.tile[1], frame)

    @property
    def pooled(self) -> list[Slice]:
        """The slices whose values are pooled: every grey one, if a contrast depends on them."""
        grey = [item for item in self.slices if not is_colour(item.pixels)]
        specs = self.shape.contrasts
        return grey if any(needs_statistics(spec, item.contrast) for item in grey for spec in specs) else []

    def facts(self) -> dict[str, Any]:
        """Return the facts of the shown stack as JSON values; it may take seconds of 100,000 slices."""
        from dicom_series_preview.archive.catalogue.facts import facts_document  # noqa: PLC0415 - few pictures need it

        return facts_document(self.index, self.picture.stack)

    def cost(self) -> Cost:
        """Return the cost so far."""
        return self.watch.cost()

    def check(self, limits: Limits) -> None:
        """Refuse a picture that is too large, or that shows too large a level of a slide.

        Raises:
            LimitError: The picture is too large.
        """
        for item in self.slices:
            rows, columns = item.pixels.rows, item.pixels.columns
            if item.part_rows and rows * columns > limits.matrix_pixels:
                level = (
                    f"{item.stack} is a level of {columns} x {rows} pixels, more than {limits.matrix_pixels}"
                )
                raise LimitError("stack", f"{level}; choose a smaller one")
        width, height = self.shape.columns * self.tile[0], self.shape.rows * self.tile[1]
        self.picture.image_format.check_size(width, height, limits.output_pixels)


def check_grid(request: PictureRequest, limits: Limits) -> None:
    """Refuse a picture that is too large for any slices, before anything is read.

    It assumes square tiles, or lower ones where the picture would be upright.

    Raises:
        LimitError: The picture is too large.
    """
    columns, rows = request.grid()
    width = columns * request.picture.image_width
    height = max(rows, min(rows * request.picture.image_width, width))
    request.picture.image_format.check_size(width, height, limits.output_pixels)
    if columns * rows > limits.tiles:
        tiles = f"{columns} x {rows} tiles, more than {limits.tiles} in all"
        problem = f"the picture would have {tiles}; lower `tile_width` or `tile_height`"
        raise LimitError("tile_width", problem)


def plan_picture(request: PictureRequest, opened: OpenedSeries, watch: Stopwatch) -> Plan:
    """Choose the slices of a series and lay them out.

    Raises:
        NoImageError: The series has no image.
        RequestError: The stack or a slice does not exist, or images would be enlarged more than four times.
        LimitError: The images' pixels are too wide for any picture.
        DamagedIndexError: The index contradicts itself.
    """
    picture = request.picture
    index, warnings = _untiled(opened.index) if picture.untile else (opened.index, ())
    rows = _rows_of_stack(picture.stack, index, opened)
    stack = index.sorted_stack(picture.stack)
    choice = _choice(index, picture, stack) if picture.at or stack.shares_locations else None
    shown = stack if choice is None else stack.only(choice.slices)
    rows = rows if choice is None else rows[choice.slices]
    chosen = request.choose(shown)
    normalised = normalised_positions(shown)
    slices = index.slices([int(rows[i]) for i in chosen], overlays=picture.overlays)
    positions = {
        int(rows[i]): None if math.isnan(normalised[i]) else round(float(normalised[i]), 6) + 0.0
        for i in chosen
    }
    tile = _tile(picture, slices[0])
    shape = Shape(*request.grid(len(slices)), request.contrasts)
    warnings = (
        *opened.warnings,
        *warnings,
        *([] if choice is None else _not_shown(choice)),
        *_warnings(picture, shape, slices, tile),
    )
    return Plan(request, shape, opened, index, stack, slices, positions, tile, watch, warnings, choice)


def _choice(index: Index, picture: Picture, stack: SortedStack) -> Choice:
    """Choose the places on a stack's further dimensions."""
    # Few stacks have any.
    from dicom_series_preview.archive.catalogue.choose import choose  # noqa: PLC0415
    from dicom_series_preview.archive.catalogue.dimensions import dimensions_of  # noqa: PLC0415

    return choose(stack.locations, dimensions_of(index, picture.stack), picture.at)


def _not_shown(choice: Choice) -> Iterator[str]:
    """Yield the dimensions of which the first place is shown without being asked for."""
    for place in choice.places:
        if place.which and not place.asked:
            another = f'the option `at` shows another, such as "{place.another}"'
            yield Advice(f"only {place.text} is shown, {place.which}; {another}")


def _untiled(index: Index) -> tuple[Index, tuple[str, ...]]:
    """Take a series' mosaics apart; see `archive.siemens.untiled`."""
    from dicom_series_preview.archive.siemens import untiled  # noqa: PLC0415 - loads what sorts slices, for the few

    return untiled(index)


def _rows_of_stack(number: int, index: Index, opened: OpenedSeries) -> NDArray[np.int64]:
    """Return a stack's rows of the index."""
    if not index.stacks:
        raise NoImageError(opened.title, opened.storage.url, _why_no_image(opened))
    if number == 0 and 0 not in index.stacks:
        problem = "a slide's label or overview is all it has; `stack` chooses it"
        raise NoImageError(opened.title, opened.storage.url, problem)
    rows = index.stacks.get(number)
    if rows is None:
        counts = ", ".join(
            f"{stack} ({counted(len(members), 'slice')})" for stack, members in index.stacks.items()
        )
        raise RequestError("stack", f"{number} is none of this series' stacks: {counts}")
    return rows


def _tile(picture: Picture, first: Slice) -> tuple[int, int]:
    """Return a tile's width and height: the first slice's, in true proportions."""
    pixels, (pixel_height, pixel_width) = first.pixels, first.pixel_shape
    if pixel_width > MOST_UNEQUAL * pixel_height:
        problem = f"its pixels are more than {MOST_UNEQUAL} times as wide as high: no picture can show them"
        raise LimitError("series", problem)
    most = max(_ALWAYS_WIDE, largest_width(pixels.columns, pixel_height, pixel_width))
    if picture.image_width > most:
        problem = f"{picture.image_width} enlarges the images more than four times; give 1 to {most}"
        raise RequestError("image_width", problem)
    return tile_size(pixels.rows, pixels.columns, picture.image_width, pixel_height, pixel_width)


def _warnings(picture: Picture, shape: Shape, slices: list[Slice], tile: tuple[int, int]) -> Iterator[str]:
    """Yield the options that have no effect on these slices."""
    if any(item.overlays and item.part_rows for item in slices):
        yield "overlay planes are left out of slices that are no frames"
    if picture.labels and min(tile) < SMALLEST_SIDE:
        size = f"images of {tile[0]} x {tile[1]} pixels are too small for labels"
        yield Advice(f"{size}: give an `image_width` that makes both sides {SMALLEST_SIDE} or more")
    if any(is_colour(item.pixels) for item in slices) and shape.contrasts != (DEFAULT,):
        yield "contrasts have no effect on colour; it is shown as it is"


# The fields that the other parts of an identity stand for.
_PARTS_OF_PICTURES = {
    *("image_format", "quality", "image_width"),
    *("stack", "series_uid", "untile", "overlays", "labels"),
}
_PARTS_OF_REQUESTS = {
    *("series", "picture", "position", "slice_offset", "contrast", "contrasts"),
    *("columns", "rows", "start", "end"),
}


def _further(value: Picture | PictureRequest, told: set[str]) -> list[tuple[str, object]]:
    """Return every other field that differs from its default, so that no new option is left out."""
    others = [field for field in fields(value) if field.name not in told]
    found = [(field.name, getattr(value, field.name)) for field in others]
    return [pair for pair, field in zip(found, others, strict=True) if pair[1] != field.default]


def _version(item: Slice) -> tuple[object, ...]:
    """Return a key that identifies a frame and its version."""
    return item.file_name, item.object_version, item.object_size, item.frame_number


def _why_no_image(opened: OpenedSeries) -> str:
    provenance = opened.index.provenance
    count = provenance.listed
    text = "its one object has no image" if count == 1 else f"none of its {count} objects has an image"
    reasons = Counter(item.reason for item in opened.index.without_image() if item.reason != NO_IMAGE)
    text += "".join(
        f"; {reason}" + (f" ({number} times)" if number > 1 else "") for reason, number in reasons.items()
    )
    return f"{text}; {len(provenance.skipped)} could not be read" if provenance.skipped else text
