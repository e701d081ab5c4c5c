"""What is asked for: frozen values, validated, built from strings. Every door builds them this way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import CombinedRequestError, RequestError, cut, quoted
from dicom_series_preview.base.selection import at_position, in_range, spread
from dicom_series_preview.base.settings import plain_digits
from dicom_series_preview.pixels.contrast.spec import DEFAULT, ContrastSpec, parse_contrast
from dicom_series_preview.products.pictures.encode import ImageFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.base.selection import SortedStack

DEFAULT_IMAGE_WIDTH = 128
DEFAULT_TILES = 6
DEFAULT_CONTRAST_ROWS = 2
MOST_CONTRASTS = 16
NO_FILE = "-"
"""An output that is no file, whose format the option `format` names."""
T = TypeVar("T")
_LARGEST_SIDE = max(image_format.largest_side for image_format in ImageFormat)


@dataclass(frozen=True, slots=True)
class Picture:
    """The form of a picture: its file, the size of its tiles, and what is drawn on them.

    Attributes:
        image_format: WebP, JPEG or PNG.
        quality: 0 (smallest) to 100 (best); 100 of PNG.
        image_width: Width of one tile in pixels; its height follows the image's proportions.
        stack: The stack that is shown, 0 the main one.
        untile: Siemens mosaics are shown as the slices in them.
        overlays: Overlay planes are drawn into the images.
        labels: Each tile's position, contrast and directions are written on it.
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
        picture: How it is written.
        position: 0 (first slice) to 1 (last slice).
        slice_offset: Slices to move on from there.
        contrast: The contrast; where none is asked for the file's own, else by what the image shows.
    """

    series: SeriesName
    picture: Picture
    position: float
    slice_offset: int = 0
    contrast: ContrastSpec = DEFAULT

    @classmethod
    def from_strings(cls, series: str, output: str, options: Mapping[str, Sequence[str]]) -> ImageRequest:
        """Build the request from options as they are written.

        Args:
            series: The series' name.
            output: A file name whose extension is the format; or `NO_FILE`.
            options: By snake_case name, the values given for each.

        Raises:
            RequestError: An option is wrong; all that are, in one error.
        """
        reader = _Reader(options)
        position = reader.number("position", None, 0, 1)
        if position is None and "position" not in reader.named:
            reader.problem(
                RequestError("position", "is needed; give 0 (first) to 1 (last), e.g. 0.5 for the middle")
            )
        request = cls(
            series=reader.series(series),
            picture=reader.picture(output),
            position=0.0 if position is None else position,
            slice_offset=reader.integer("slice_offset", 0, None, None),
            contrast=reader.contrast(),
        )
        reader.finish()
        return request

    def grid(self, _slices: int | None = None) -> tuple[int, int]:
        """Columns and rows: one image."""
        return 1, 1

    @property
    def contrasts(self) -> tuple[ContrastSpec, ...]:
        """The contrasts of each slice: one."""
        return (self.contrast,)

    @property
    def contrast_names(self) -> tuple[str, ...]:
        """The name of each contrast on a label: none, as there is nothing to tell apart."""
        return ("",)

    @property
    def whole_series_frames(self) -> int:
        """The number of frames that the picture shows of any series: at least one."""
        return 1

    def choose(self, stack: SortedStack) -> list[int]:
        """Return the one slice, as its place in the stack; RequestError where there is none."""
        return [at_position(stack, self.position, self.slice_offset)]


@dataclass(frozen=True, slots=True)
class MosaicRequest:
    """A grid of images of a series.

    Attributes:
        series: The series.
        picture: How it is written.
        columns: Tiles side by side, or None: 6, or fewer where those hold all slices.
        rows: Tiles one below the other, or None: as many as `columns`, or fewer where those hold all slices.
        start: First position shown, 0 to 1.
        end: Last position shown, 0 to 1.
        contrast: The contrast; where none is asked for the file's own, else by what the image shows.
    """

    series: SeriesName
    picture: Picture
    columns: int | None = None
    rows: int | None = None
    start: float = 0.0
    end: float = 1.0
    contrast: ContrastSpec = DEFAULT

    @classmethod
    def from_strings(cls, series: str, output: str, options: Mapping[str, Sequence[str]]) -> MosaicRequest:
        """Build the request from options as they are written; see `ImageRequest.from_strings`."""
        reader = _Reader(options)
        columns = reader.optional_integer("tile_width", 1, _LARGEST_SIDE)
        start, end = reader.range()
        request = cls(
            series=reader.series(series),
            picture=reader.picture(output),
            columns=columns,
            rows=reader.optional_integer("tile_height", 1, _LARGEST_SIDE),
            start=start,
            end=end,
            contrast=reader.contrast(),
        )
        reader.finish()
        return request

    def grid(self, slices: int | None = None) -> tuple[int, int]:
        """Columns and rows.

        Args:
            slices: How many slices there are to show: what was not asked for is as small as holds them. None
                where that is not known: the most there may be.
        """
        columns = self.columns or DEFAULT_TILES
        rows = self.rows or columns
        if slices is None or slices >= columns * rows:
            return columns, rows
        if self.columns is None and self.rows is None:
            # Of those without an empty row the one with the fewest empty tiles, the squarest of several.
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
        """The most frames that the picture shows; 1 of a range, which may hold fewer than the grid."""
        return math.prod(self.grid()) if (self.start, self.end) == (0.0, 1.0) else 1

    def choose(self, stack: SortedStack) -> list[int]:
        """Return the slices, as their places in the stack, in order; RequestError where there are none."""
        return _spread(stack, self.start, self.end, math.prod(self.grid()))


@dataclass(frozen=True, slots=True)
class ContrastRequest:
    """The same images under several contrasts: a row an image, a column a contrast.

    Attributes:
        series: The series.
        picture: How it is written.
        contrasts: The columns.
        position: One image, 0 to 1; or None for a range.
        slice_offset: Slices to move on from the position.
        rows: Images of the range, or None: 2, or one where the range has no more.
        start: First position of the range.
        end: Last position of the range.
    """

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
        """Build the request from options as they are written; see `ImageRequest.from_strings`."""
        reader = _Reader(options)
        position = reader.number("position", None, 0, 1)
        start, end = reader.range()
        one_image = "position" in reader.named
        for name in ("start", "end", "tile_height"):
            if one_image and name in reader.named:
                reader.problem(
                    RequestError(name, "chooses several images and cannot go with `position`, which is one")
                )
        if not one_image and "slice_offset" in reader.named:
            reader.problem(RequestError("slice_offset", "moves on from `position`, which is not given"))
        contrasts = reader.contrasts()
        if not contrasts and not reader.problems:
            reader.problem(
                RequestError("contrast", "is needed at least once, such as lung, auto or 1500/-500")
            )
        request = cls(
            series=reader.series(series),
            picture=reader.picture(output),
            contrasts=contrasts,
            position=position,
            slice_offset=reader.integer("slice_offset", 0, None, None),
            rows=reader.optional_integer("tile_height", 1, _LARGEST_SIDE),
            start=start,
            end=end,
        )
        reader.finish()
        return request

    def grid(self, slices: int | None = None) -> tuple[int, int]:
        """Columns and rows; see `MosaicRequest.grid`."""
        if self.position is not None:
            return len(self.contrasts), 1
        most = self.rows or DEFAULT_CONTRAST_ROWS
        return len(self.contrasts), most if self.rows or slices is None else min(most, slices)

    @property
    def contrast_names(self) -> tuple[str, ...]:
        """The name of each contrast on a label: its own, as the columns have to be told apart."""
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


PictureRequest: TypeAlias = MosaicRequest | ImageRequest | ContrastRequest
"""A request for any picture: each kind knows its grid, its contrasts and its choice of slices."""


def _spread(stack: SortedStack, start: float, end: float, most: int) -> list[int]:
    """Return no more slices than asked for, spread evenly over a range of a stack."""
    chosen = in_range(stack, start, end)
    return [int(chosen[i]) for i in spread(len(chosen), most)]


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """The index of a series.

    Attributes:
        series: The series.
        limit: Read no more than this many objects, or None for all.
    """

    series: SeriesName
    limit: int | None = None

    @classmethod
    def from_strings(cls, series: str, options: Mapping[str, Sequence[str]]) -> IndexRequest:
        """Build the request from options as they are written; see `ImageRequest.from_strings`."""
        reader = _Reader(options)
        request = cls(
            series=reader.series(series),
            limit=reader.integer("limit", 0, 1, None) if "limit" in reader.named else None,
        )
        reader.finish()
        return request


@dataclass(slots=True)
class _Reader:
    """Reads options one by one and keeps what is wrong, so that all of it is said at once.

    Attributes:
        options: By name, the values given.
        named: The names given.
        read: The names that something asked for.
        problems: What is wrong so far.
    """

    options: Mapping[str, Sequence[str]]
    named: set[str] = field(init=False)
    read: set[str] = field(default_factory=set)
    problems: list[RequestError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.named = {name for name, values in self.options.items() if values}

    def problem(self, error: RequestError) -> None:
        self.problems.append(error)

    def finish(self) -> None:
        """Raise what is wrong."""
        for name in sorted(self.named - self.read):
            self.problem(RequestError(cut(name), "is not an option here"))
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            raise CombinedRequestError(tuple(self.problems))

    def text(self, name: str) -> str | None:
        """An option's one value, or None where it is not given."""
        self.read.add(name)
        values = self.options.get(name) or ()
        if len(values) > 1:
            self.problem(RequestError(name, "is given more than once"))
        return values[0] if values else None

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        number = self.integer(name, 0, low, high)
        return number if name in self.named else None

    def integer(self, name: str, default: int, low: int | None, high: int | None) -> int:
        text = self.text(name)
        if text is None:
            return default
        try:
            number = int(plain_digits(text))
        except ValueError:
            self.problem(RequestError(name, f"{quoted(text)} is no whole number"))
            return default
        if (low is not None and number < low) or (high is not None and number > high):
            span = f"{low} or more" if high is None else f"{low} to {high}"
            self.problem(RequestError(name, f"{cut(text.strip())} is out of range; give {span}"))
            return default
        return number

    def number(self, name: str, default: float | None, low: float, high: float) -> float | None:
        text = self.text(name)
        if text is None:
            return default
        try:
            number = float(plain_digits(text))
        except ValueError:
            self.problem(RequestError(name, f"{quoted(text)} is no number"))
            return default
        if not (math.isfinite(number) and low <= number <= high):
            self.problem(RequestError(name, f"{cut(text)} is out of range; give {low:g} to {high:g}"))
            return default
        return number

    def flag(self, name: str) -> bool:
        text = self.text(name)
        if text is not None and text.lower() not in ("true", "false"):
            self.problem(RequestError(name, f"{quoted(text)} is neither true nor false"))
        return text is not None and text.lower() == "true"

    def range(self) -> tuple[float, float]:
        """`start` and `end`."""
        before = len(self.problems)
        start, end = self.number("start", 0.0, 0, 1) or 0.0, self.number("end", 1.0, 0, 1)
        end = 1.0 if end is None else end
        if start > end and len(self.problems) == before:
            self.problem(RequestError("start", f"{start:g} is greater than `end`, {end:g}"))
        return start, end

    def series(self, text: str) -> SeriesName:
        return self._try(lambda: SeriesName.parse(text), SeriesName(""))

    def picture(self, output: str) -> Picture:
        image_format = self._format(output)
        if image_format.lossless and "quality" in self.named:
            name = image_format.pillow_name
            self.problem(RequestError("quality", f"{name} loses nothing and has none; leave it out"))
        return Picture(
            image_format=image_format,
            quality=self.integer("quality", image_format.default_quality, 0, 100),
            image_width=self.integer("image_width", DEFAULT_IMAGE_WIDTH, 1, _LARGEST_SIDE),
            stack=self.integer("stack", 0, 0, None),
            untile=self.flag("untile"),
            overlays=self.flag("overlays"),
            labels=self.flag("labels"),
        )

    def _format(self, output: str) -> ImageFormat:
        """The format that a file's extension asks for; of standard output the one named, else WebP."""
        text = self.text("format")
        named = None if text is None else self._try(lambda: ImageFormat.from_name(text, "format"), None)
        if output == NO_FILE:
            return named or ImageFormat.WEBP
        image_format = self._try(lambda: ImageFormat.from_path(output), ImageFormat.WEBP)
        if named not in (None, image_format):
            self.problem(RequestError("format", f"{text} is another one than that of `output`, {output}"))
        return image_format

    def contrast(self) -> ContrastSpec:
        """The one contrast."""
        contrasts = self.contrasts()
        if len(contrasts) > 1:
            self.problem(
                RequestError("contrast", "is given more than once; contrast-mosaic compares several")
            )
        return contrasts[0] if contrasts else DEFAULT

    def contrasts(self) -> tuple[ContrastSpec, ...]:
        """The contrasts: `contrast`, or the earlier `contrast_preset`, or `window_width` and `_center`."""
        self.read.add("contrast")
        texts = list(self.options.get("contrast") or ())
        preset, width, center = (
            self.text(name) for name in ("contrast_preset", "window_width", "window_center")
        )
        ways = [bool(texts), preset is not None, width is not None or center is not None]
        if len(texts) > MOST_CONTRASTS:
            self.problem(
                RequestError("contrast", f"is given {len(texts)} times; give {MOST_CONTRASTS} at most")
            )
            return ()
        if sum(ways) > 1:
            self.problem(
                RequestError(
                    "contrast", "give `contrast`, `contrast_preset`, or `window_width` with `window_center`"
                )
            )
            return ()
        if preset is not None:
            texts = [preset]
        elif width is not None and center is not None:
            texts = [f"{width}/{center}"]
        elif width is not None or center is not None:
            missing = "window_center" if center is None else "window_width"
            self.problem(RequestError(missing, "is needed too: a window has a width and a center"))
        parsed = [self._try(partial(parse_contrast, text), None) for text in texts]
        return tuple(spec for spec in parsed if spec is not None)

    def _try(self, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except RequestError as error:
            self.problem(error)
            return otherwise
