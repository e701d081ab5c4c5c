"""Requests for pictures and indices: frozen values, built by every door from strings or Python's values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.pixels.contrast.spec import DEFAULT, ContrastSpec
from dicom_series_preview.products.pictures.options import (
    CONTRAST_MOSAIC,
    DEFAULT_CONTRAST_ROWS,
    DEFAULT_TILES,
    IMAGE,
    INDEX,
    MOSAIC,
    Option,
)
from dicom_series_preview.products.pictures.reading import Reader
from dicom_series_preview.products.pictures.request_parts import (
    NO_FILE,
    Picture,
    read_contrast,
    read_contrasts,
    read_picture,
    read_range,
    read_series,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.archive.names import SeriesName
    from dicom_series_preview.base.selection import SortedStack


class _Readable:
    """A request that is read from options, which `table` lists."""

    __slots__ = ()
    table: ClassVar[tuple[Option, ...]]

    @classmethod
    def from_strings(cls, series: str, output: str, options: Mapping[str, Sequence[str]]) -> Self:
        """Build the request from options as strings.

        Args:
            series: The series' name.
            output: A file name with the format's extension; or `NO_FILE`.
            options: The values given for each, by snake_case name.

        Raises:
            RequestError: An option is wrong; one error has all reasons.
        """
        return cls._read(series, output, Reader.of_strings(cls.table, options))

    @classmethod
    def from_values(cls, series: str, options: Mapping[str, Any]) -> Self:
        """Build the request from Python's values.

        Args:
            series: The series' name.
            options: The value of each in the option's type, by keyword; None counts as missing.

        Raises:
            RequestError: An option is wrong; one error has all reasons.
        """
        return cls._read(series, NO_FILE, Reader.of_values(cls.table, options))

    @classmethod
    def _read(cls, series: str, output: str, reader: Reader) -> Self:
        """Build the request from what a reader has."""
        raise NotImplementedError


class _OfOneContrast(_Readable):
    """A request for images under one contrast."""

    __slots__ = ()
    contrast: ContrastSpec

    @property
    def contrasts(self) -> tuple[ContrastSpec, ...]:
        """The contrasts of each slice: one."""
        return (self.contrast,)

    @property
    def contrast_names(self) -> tuple[str, ...]:
        """The name of each contrast on a label: none, as there is only one."""
        return ("",)


@dataclass(frozen=True, slots=True)
class ImageRequest(_OfOneContrast):
    """One image of a series.

    Attributes:
        series: The series.
        picture: Its form.
        position: 0 (first slice) to 1 (last slice).
        slice_offset: Slices to move on from there.
        contrast: The contrast; by default the file's own, else by what the image shows.
    """

    table: ClassVar[tuple[Option, ...]] = IMAGE

    series: SeriesName
    picture: Picture
    position: float
    slice_offset: int = 0
    contrast: ContrastSpec = DEFAULT

    @classmethod
    def _read(cls, series: str, output: str, reader: Reader) -> Self:
        position = reader.value("position")
        if position is None and "position" not in reader.named:
            reader.problem(
                RequestError("position", "is needed; give 0 (first) to 1 (last), e.g. 0.5 for the middle")
            )
        request = cls(
            series=read_series(reader, series),
            picture=read_picture(reader, output),
            position=0.0 if position is None else position,
            slice_offset=reader.value("slice_offset"),
            contrast=read_contrast(reader),
        )
        reader.finish()
        return request

    def grid(self, _slices: int | None = None) -> tuple[int, int]:
        """Return columns and rows: one image."""
        return 1, 1

    @property
    def whole_series_frames(self) -> int:
        """The least number of frames that the picture shows for any series."""
        return 1

    def choose(self, stack: SortedStack) -> list[int]:
        """Return the one slice, as its place in the stack; raise RequestError if there is none."""
        return _nearest(stack, self.position, self.slice_offset)


@dataclass(frozen=True, slots=True)
class MosaicRequest(_OfOneContrast):
    """A grid of images of a series.

    Attributes:
        series: The series.
        picture: Its form.
        columns: Tiles side by side, or None: 6, or fewer if those hold all slices.
        rows: Tiles one below the other, or None: as many as `columns`, or fewer if those hold all slices.
        start: First position shown, 0 to 1.
        end: Last position shown, 0 to 1.
        contrast: The contrast; by default the file's own, else by what the image shows.
    """

    table: ClassVar[tuple[Option, ...]] = MOSAIC

    series: SeriesName
    picture: Picture
    columns: int | None = None
    rows: int | None = None
    start: float = 0.0
    end: float = 1.0
    contrast: ContrastSpec = DEFAULT

    @classmethod
    def _read(cls, series: str, output: str, reader: Reader) -> Self:
        columns = reader.value("tile_width")
        start, end = read_range(reader)
        request = cls(
            series=read_series(reader, series),
            picture=read_picture(reader, output),
            columns=columns,
            rows=reader.value("tile_height"),
            start=start,
            end=end,
            contrast=read_contrast(reader),
        )
        reader.finish()
        return request

    def grid(self, slices: int | None = None) -> tuple[int, int]:
        """Return columns and rows.

        Args:
            slices: The number of slices to show: sides not requested are just large enough for them. None if
                unknown: then these are as large as they can be.
        """
        columns = self.columns or DEFAULT_TILES
        rows = self.rows or columns
        if slices is None or slices >= columns * rows:
            return columns, rows
        if self.columns is None and self.rows is None:
            # Among grids without an empty row, take the one with the fewest empty tiles, then the squarest.
            widest = range(math.ceil(math.sqrt(slices)), min(slices, columns) + 1)
            columns = min(widest, key=lambda width: width * -(-slices // width))
        if self.columns is None and self.rows is not None:
            columns = -(-slices // rows)
        return columns, self.rows or -(-slices // columns)

    @property
    def whole_series_frames(self) -> int:
        """The most frames that the picture shows; 1 for a range, which can hold fewer than the grid."""
        return math.prod(self.grid()) if (self.start, self.end) == (0.0, 1.0) else 1

    def choose(self, stack: SortedStack) -> list[int]:
        """Return the slices in order, as their places in the stack; raise RequestError if there are none."""
        return _spread(stack, self.start, self.end, math.prod(self.grid()))


@dataclass(frozen=True, slots=True)
class ContrastRequest(_Readable):
    """The same images under several contrasts: one row per image, one column per contrast.

    Attributes:
        series: The series.
        picture: Its form.
        contrasts: The columns.
        position: One image, 0 to 1; or None for a range.
        slice_offset: Slices to move on from the position.
        rows: Images of the range, or None: 2, or one if the range has no more.
        start: First position of the range.
        end: Last position of the range.
    """

    table: ClassVar[tuple[Option, ...]] = CONTRAST_MOSAIC

    series: SeriesName
    picture: Picture
    contrasts: tuple[ContrastSpec, ...]
    position: float | None = None
    slice_offset: int = 0
    rows: int | None = None
    start: float = 0.0
    end: float = 1.0

    @classmethod
    def _read(cls, series: str, output: str, reader: Reader) -> Self:
        position = reader.value("position")
        start, end = read_range(reader)
        one_image = "position" in reader.named
        for name in ("start", "end", "tile_height"):
            if one_image and name in reader.named:
                reader.problem(
                    RequestError(name, "chooses several images and cannot go with `position`, which is one")
                )
        if not one_image and "slice_offset" in reader.named:
            reader.problem(RequestError("slice_offset", "moves on from `position`, which is not given"))
        contrasts = read_contrasts(reader)
        if not contrasts and not reader.problems:
            reader.problem(
                RequestError("contrast", "is needed at least once, such as lung, auto or 1500/-500")
            )
        request = cls(
            series=read_series(reader, series),
            picture=read_picture(reader, output),
            contrasts=contrasts,
            position=position,
            slice_offset=reader.value("slice_offset"),
            rows=reader.value("tile_height"),
            start=start,
            end=end,
        )
        reader.finish()
        return request

    def grid(self, slices: int | None = None) -> tuple[int, int]:
        """Return columns and rows; see `MosaicRequest.grid`."""
        if self.position is not None:
            return len(self.contrasts), 1
        most = self.rows or DEFAULT_CONTRAST_ROWS
        return len(self.contrasts), most if self.rows or slices is None else min(most, slices)

    @property
    def contrast_names(self) -> tuple[str, ...]:
        """The name of each contrast on a label, which identifies its column."""
        return tuple(str(spec) for spec in self.contrasts)

    @property
    def whole_series_frames(self) -> int:
        """See `MosaicRequest.whole_series_frames`."""
        return self.grid()[1] if (self.start, self.end) == (0.0, 1.0) else 1

    def choose(self, stack: SortedStack) -> list[int]:
        """See `MosaicRequest.choose`."""
        if self.position is not None:
            return _nearest(stack, self.position, self.slice_offset)
        return _spread(stack, self.start, self.end, self.grid()[1])


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """The index of a series.

    Attributes:
        series: The series.
        limit: The most objects to read, or None for all.
    """

    table: ClassVar[tuple[Option, ...]] = INDEX

    series: SeriesName
    limit: int | None = None

    @classmethod
    def from_strings(cls, series: str, options: Mapping[str, Sequence[str]]) -> IndexRequest:
        """Build the request from options as strings; see `ImageRequest.from_strings`."""
        reader = Reader.of_strings(cls.table, options)
        request = cls(series=read_series(reader, series), limit=reader.value("limit"))
        reader.finish()
        return request


PictureRequest: TypeAlias = MosaicRequest | ImageRequest | ContrastRequest
PICTURES: dict[str, type[PictureRequest]] = {
    "mosaic": MosaicRequest,
    "image": ImageRequest,
    "contrast-mosaic": ContrastRequest,
}
"""The class of each picture's request, by its name in a URL."""


def _nearest(stack: SortedStack, position: float, slice_offset: int) -> list[int]:
    """Return the one slice nearest to a position, moved by an offset."""
    from dicom_series_preview.base.selection import at_position  # noqa: PLC0415 - loads numpy; a series is listed before that

    return [at_position(stack, position, slice_offset)]


def _spread(stack: SortedStack, start: float, end: float, most: int) -> list[int]:
    """Return at most so many slices, spread evenly over a range of a stack."""
    from dicom_series_preview.base.selection import in_range, spread  # noqa: PLC0415 - as in `_nearest`

    chosen = in_range(stack, start, end)
    return [int(chosen[i]) for i in spread(len(chosen), most)]
