"""Requests for pictures and indices: frozen values, built by every door from strings or Python's values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.base.selection import at_position, in_range, spread
from dicom_series_preview.pixels.contrast.spec import DEFAULT, ContrastSpec, parse_contrast
from dicom_series_preview.products.pictures.formats import ImageFormat
from dicom_series_preview.products.pictures.options import (
    CONTRAST_MOSAIC,
    DEFAULT_CONTRAST_ROWS,
    DEFAULT_IMAGE_WIDTH,
    DEFAULT_TILES,
    EARLIER,
    IMAGE,
    INDEX,
    MOSAIC,
    MOST_CONTRASTS,
    Option,
)
from dicom_series_preview.products.pictures.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.base.selection import SortedStack

NO_FILE = "-"
"""The output that is no file; the option `format` names its format."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The form of a picture.

    Attributes:
        image_format: WebP, JPEG or PNG.
        quality: 0 (smallest) to 100 (best); 100 for PNG.
        image_width: Width of one tile in pixels; its height follows the image's proportions.
        stack: The stack to show, 0 for the main one.
        untile: Siemens mosaics are shown as the slices in them.
        overlays: Overlay planes are drawn into the images.
        labels: Each tile shows its position, contrast and directions.
    """

    image_format: ImageFormat
    quality: int
    image_width: int = DEFAULT_IMAGE_WIDTH
    stack: int = 0
    untile: bool = False
    overlays: bool = False
    labels: bool = False


@dataclass(frozen=True, slots=True)
class ImageRequest:
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
    def from_strings(cls, series: str, output: str, options: Mapping[str, Sequence[str]]) -> ImageRequest:
        """Build the request from options as strings.

        Args:
            series: The series' name.
            output: A file name with the format's extension; or `NO_FILE`.
            options: The values given for each, by snake_case name.

        Raises:
            RequestError: An option is wrong; one error has all reasons.
        """
        return cls._read(series, output, Reader.of_strings((*cls.table, *EARLIER), options))

    @classmethod
    def from_values(cls, series: str, options: Mapping[str, Any]) -> ImageRequest:
        """Build the request from Python's values.

        Args:
            series: The series' name.
            options: The value of each in the option's type, by keyword; None counts as missing.

        Raises:
            RequestError: An option is wrong; one error has all reasons.
        """
        return cls._read(series, NO_FILE, Reader.of_values(cls.table, options))

    @classmethod
    def _read(cls, series: str, output: str, reader: Reader) -> ImageRequest:
        position = reader.value("position")
        if position is None and "position" not in reader.named:
            reader.problem(
                RequestError("position", "is needed; give 0 (first) to 1 (last), e.g. 0.5 for the middle")
            )
        request = cls(
            series=_series(reader, series),
            picture=_picture(reader, output),
            position=0.0 if position is None else position,
            slice_offset=reader.value("slice_offset"),
            contrast=_contrast(reader),
        )
        reader.finish()
        return request

    def grid(self, _slices: int | None = None) -> tuple[int, int]:
        """Return columns and rows: one image."""
        return 1, 1

    @property
    def contrasts(self) -> tuple[ContrastSpec, ...]:
        """The contrasts of each slice: one."""
        return (self.contrast,)

    @property
    def contrast_names(self) -> tuple[str, ...]:
        """The name of each contrast on a label: none, as there is only one."""
        return ("",)

    @property
    def whole_series_frames(self) -> int:
        """The least number of frames that the picture shows for any series."""
        return 1

    def choose(self, stack: SortedStack) -> list[int]:
        """Return the one slice, as its place in the stack; raise RequestError if there is none."""
        return [at_position(stack, self.position, self.slice_offset)]


@dataclass(frozen=True, slots=True)
class MosaicRequest:
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
    def from_strings(cls, series: str, output: str, options: Mapping[str, Sequence[str]]) -> MosaicRequest:
        """Build the request from options as strings; see `ImageRequest.from_strings`."""
        return cls._read(series, output, Reader.of_strings((*cls.table, *EARLIER), options))

    @classmethod
    def from_values(cls, series: str, options: Mapping[str, Any]) -> MosaicRequest:
        """Build the request from Python's values; see `ImageRequest.from_values`."""
        return cls._read(series, NO_FILE, Reader.of_values(cls.table, options))

    @classmethod
    def _read(cls, series: str, output: str, reader: Reader) -> MosaicRequest:
        columns = reader.value("tile_width")
        start, end = _range(reader)
        request = cls(
            series=_series(reader, series),
            picture=_picture(reader, output),
            columns=columns,
            rows=reader.value("tile_height"),
            start=start,
            end=end,
            contrast=_contrast(reader),
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
    def contrasts(self) -> tuple[ContrastSpec, ...]:
        """The contrasts of each slice: one."""
        return (self.contrast,)

    @property
    def contrast_names(self) -> tuple[str, ...]:
        """See `ImageRequest.contrast_names`."""
        return ("",)

    @property
    def whole_series_frames(self) -> int:
        """The most frames that the picture shows; 1 for a range, which can hold fewer than the grid."""
        return math.prod(self.grid()) if (self.start, self.end) == (0.0, 1.0) else 1

    def choose(self, stack: SortedStack) -> list[int]:
        """Return the slices in order, as their places in the stack; raise RequestError if there are none."""
        return _spread(stack, self.start, self.end, math.prod(self.grid()))


@dataclass(frozen=True, slots=True)
class ContrastRequest:
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
    def from_strings(cls, series: str, output: str, options: Mapping[str, Sequence[str]]) -> ContrastRequest:
        """Build the request from options as strings; see `ImageRequest.from_strings`."""
        return cls._read(series, output, Reader.of_strings((*cls.table, *EARLIER), options))

    @classmethod
    def from_values(cls, series: str, options: Mapping[str, Any]) -> ContrastRequest:
        """Build the request from Python's values; see `ImageRequest.from_values`."""
        return cls._read(series, NO_FILE, Reader.of_values(cls.table, options))

    @classmethod
    def _read(cls, series: str, output: str, reader: Reader) -> ContrastRequest:
        position = reader.value("position")
        start, end = _range(reader)
        one_image = "position" in reader.named
        for name in ("start", "end", "tile_height"):
            if one_image and name in reader.named:
                reader.problem(
                    RequestError(name, "chooses several images and cannot go with `position`, which is one")
                )
        if not one_image and "slice_offset" in reader.named:
            reader.problem(RequestError("slice_offset", "moves on from `position`, which is not given"))
        contrasts = _contrasts(reader)
        if not contrasts and not reader.problems:
            reader.problem(
                RequestError("contrast", "is needed at least once, such as lung, auto or 1500/-500")
            )
        request = cls(
            series=_series(reader, series),
            picture=_picture(reader, output),
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
            return [at_position(stack, self.position, self.slice_offset)]
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
        request = cls(series=_series(reader, series), limit=reader.value("limit"))
        reader.finish()
        return request


PictureRequest: TypeAlias = MosaicRequest | ImageRequest | ContrastRequest
PICTURES: dict[str, type[PictureRequest]] = {
    "mosaic": MosaicRequest,
    "image": ImageRequest,
    "contrast-mosaic": ContrastRequest,
}
"""The class of each picture's request, by its name in a URL."""


def _spread(stack: SortedStack, start: float, end: float, most: int) -> list[int]:
    """Return at most so many slices, spread evenly over a range of a stack."""
    chosen = in_range(stack, start, end)
    return [int(chosen[i]) for i in spread(len(chosen), most)]


def _series(reader: Reader, text: str) -> SeriesName:
    return reader.tried(lambda: SeriesName.parse(text), SeriesName(""))


def _picture(reader: Reader, output: str) -> Picture:
    image_format = _format(reader, output)
    if image_format.lossless and "quality" in reader.named:
        name = image_format.pillow_name
        reader.problem(RequestError("quality", f"{name} loses nothing and has none; leave it out"))
    quality = reader.value("quality")
    return Picture(
        image_format=image_format,
        quality=image_format.default_quality if quality is None else quality,
        image_width=reader.value("image_width"),
        stack=reader.value("stack"),
        untile=reader.value("untile"),
        overlays=reader.value("overlays"),
        labels=reader.value("labels"),
    )


def _format(reader: Reader, output: str) -> ImageFormat:
    """Return the format of a file's extension; for standard output the named one, else WebP."""
    text = reader.raw("format")
    named = None
    if text is not None:
        named = reader.tried(lambda: ImageFormat.from_name(str(text), reader.called("format")), None)
    if output == NO_FILE:
        return named or ImageFormat.WEBP
    image_format = reader.tried(lambda: ImageFormat.from_path(output), ImageFormat.WEBP)
    if named not in (None, image_format):
        reader.problem(RequestError("format", f"{text} is another one than that of `output`, {output}"))
    return image_format


def _range(reader: Reader) -> tuple[float, float]:
    """Read `start` and `end`."""
    before = len(reader.problems)
    start, end = reader.value("start"), reader.value("end")
    if start > end and len(reader.problems) == before:
        reader.problem(RequestError("start", f"{start:g} is greater than `end`, {end:g}"))
    return start, end


def _contrast(reader: Reader) -> ContrastSpec:
    """Read the one contrast."""
    contrasts = _contrasts(reader)
    if len(contrasts) > 1:
        reader.problem(RequestError("contrast", "is given more than once; contrast-mosaic compares several"))
    return contrasts[0] if contrasts else DEFAULT


def _contrasts(reader: Reader) -> tuple[ContrastSpec, ...]:
    """Read the contrasts: `contrast`, or the earlier `contrast_preset` or `window_width`, `window_center`."""
    texts = _contrast_texts(reader)
    parsed = [reader.tried(partial(_parsed, reader, text), None) for text in texts]
    return tuple(spec for spec in parsed if spec is not None)


def _parsed(reader: Reader, text: Any) -> ContrastSpec:  # noqa: ANN401 - a text, or what Python was given
    return parse_contrast(reader.read_one(reader.table["contrast"], text))


def _contrast_texts(reader: Reader) -> list[Any]:
    """Return the contrasts as given, in any of their forms."""
    reader.read.add("contrast")
    texts = list(reader.given.get("contrast") or ())
    preset, width, center = (reader.raw(option.name) for option in EARLIER)
    ways = [bool(texts), preset is not None, width is not None or center is not None]
    if len(texts) > MOST_CONTRASTS:
        reader.problem(
            RequestError("contrast", f"is given {len(texts)} times; give {MOST_CONTRASTS} at most")
        )
        return []
    if sum(ways) > 1:
        reader.problem(
            RequestError(
                "contrast", "give `contrast`, `contrast_preset`, or `window_width` with `window_center`"
            )
        )
        return []
    if preset is not None:
        return [preset]
    if width is not None and center is not None:
        return [f"{width}/{center}"]
    if width is not None or center is not None:
        missing = "window_center" if center is None else "window_width"
        reader.problem(RequestError(missing, "is needed too: a window has a width and a center"))
    return texts
