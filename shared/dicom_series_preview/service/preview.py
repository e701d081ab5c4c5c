"""A request -> a result: the only orchestration, and every door calls it."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from dicom_series_preview.contrast import (
    COLOUR,
    Applied,
    AutoWindow,
    ContrastSpec,
    needs_statistics,
    padding_mask,
    render,
    resolve,
)
from dicom_series_preview.decode import Decoded, decode_frame, is_colour, to_rgb
from dicom_series_preview.encode import ImageFormat, encode
from dicom_series_preview.errors import (
    DecodeError,
    NoImageError,
    ObjectChangedError,
    ObjectError,
    PreviewError,
    RequestError,
    StorageError,
)
from dicom_series_preview.frames import fetch_frames
from dicom_series_preview.layout import failed_tile, fitted_size, grid, resize, tile_size
from dicom_series_preview.selection import at_position, in_range, normalised_positions, spread
from dicom_series_preview.series import OpenedSeries, SeriesOpener
from dicom_series_preview.service.report import AppliedContrast, Report, ReportedTile, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from dicom_series_preview.index import Slice
    from dicom_series_preview.requests import (
        ContrastRequest,
        ImageRequest,
        IndexRequest,
        MosaicRequest,
        Picture,
    )
    from dicom_series_preview.selection import SortedStack
    from dicom_series_preview.series import IndexCache, SeriesName
    from dicom_series_preview.settings import Limits
    from dicom_series_preview.storage import Storage

    Tile = NDArray[np.uint8]

_REFRESHES = 2


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture.

    Attributes:
        data: The file's bytes.
        image_format: Their format.
        report: What it shows, left out and cost.
    """

    data: bytes = field(repr=False)
    image_format: ImageFormat
    report: Report = field(repr=False)


@dataclass(frozen=True, slots=True)
class PreviewService:
    """Previews of the series below one storage root.

    Attributes:
        storage: The root.
        cache: Where indices are kept, or None.
        limits: What is refused.
        progress: Called with headers read and headers to read.
    """

    storage: Storage
    cache: IndexCache | None
    limits: Limits
    progress: Callable[[int, int], None] = lambda _done, _total: None

    def mosaic(self, request: MosaicRequest) -> Rendered:
        """A grid of images that are spread evenly over a range.

        Raises:
            PreviewError: It cannot be had; nothing has been written.
        """

        def choose(stack: SortedStack) -> list[int]:
            chosen = in_range(stack, request.start, request.end)
            return [int(chosen[i]) for i in spread(len(chosen), request.columns * request.rows)]

        shape = _Shape(request.columns, request.rows, (request.contrast,), tiles_are_slices=True)
        return self._render(request.series, request.picture, shape, choose)

    def image(self, request: ImageRequest) -> Rendered:
        """One image at a position.

        Raises:
            PreviewError: It cannot be had; nothing has been written.
        """
        shape = _Shape(1, 1, (request.contrast,), tiles_are_slices=True)
        return self._render(
            request.series,
            request.picture,
            shape,
            lambda stack: [at_position(stack, request.position, request.slice_offset)],
        )

    def contrast_mosaic(self, request: ContrastRequest) -> Rendered:
        """Images under several contrasts: a row an image, a column a contrast.

        Raises:
            PreviewError: It cannot be had; nothing has been written.
        """

        def choose(stack: SortedStack) -> list[int]:
            if request.position is not None:
                return [at_position(stack, request.position, request.slice_offset)]
            chosen = in_range(stack, request.start, request.end)
            return [int(chosen[i]) for i in spread(len(chosen), request.rows)]

        rows = 1 if request.position is not None else request.rows
        shape = _Shape(len(request.contrasts), rows, request.contrasts, tiles_are_slices=False)
        return self._render(request.series, request.picture, shape, choose)

    def index(self, request: IndexRequest) -> OpenedSeries:
        """A series' index, built or updated where it is not fresh.

        Raises:
            PreviewError: It cannot be had.
        """
        return self._opener().open(request.series, limit=request.limit)

    def index_path(self, opened: OpenedSeries) -> str:
        """Where a series' index is kept; of a local cache the absolute path."""
        if self.cache is None:
            raise RequestError("cache_dir", "there is no cache, so the index has no path")
        url = self.cache.storage.url
        root = unquote(url.removeprefix("file://")) if url.startswith("file://") else url
        return f"{root}/{self.cache.path(opened.name)}"

    def _opener(self) -> SeriesOpener:
        return SeriesOpener(self.storage, self.cache, self.limits, self.progress)

    def _render(
        self, series: SeriesName, picture: Picture, shape: _Shape, choose: Callable[[SortedStack], list[int]]
    ) -> Rendered:
        # The least height a tile can have: what is too wide is refused before anything is fetched.
        least = (shape.columns * picture.image_width, shape.rows)
        picture.image_format.check_size(*least, self.limits.output_pixels)
        square = picture.image_width * shape.rows
        picture.image_format.check_size(least[0], min(square, least[0]), self.limits.output_pixels)
        watch, before = Stopwatch(), copy(self.storage.usage)
        refresh = False
        for attempt in range(_REFRESHES + 1):
            with watch.phase("index"):
                opened = self._opener().open(series, refresh=refresh)
            try:
                canvas = _Canvas.of(opened, picture, shape, choose)
                self._check(canvas)
                with watch.phase("pixels"):
                    frames = self._decode(canvas)
                break
            except ObjectChangedError:
                # The index is older than the objects: what was fetched is dropped, and the series read anew.
                if attempt == _REFRESHES:
                    raise
                refresh = True
        with watch.phase("render"):
            tiles, reported, warnings = _paint(canvas, frames)
        if all(tile.error is not None for tile in reported):
            raise NoImageError(opened.name, self.storage.url, f"no slice can be shown; {reported[0].error}")
        with watch.phase("encode"):
            image = grid(tiles, shape.columns, shape.rows, *canvas.tile)
            data = encode(image, picture.image_format, picture.quality)
        provenance = opened.index.provenance
        report = Report(
            series=opened.name,
            root=self.storage.url,
            matches=opened.matches,
            index_source=opened.source,
            headers_read=opened.headers_read,
            stack=picture.stack,
            slices=len(canvas.stack),
            stacks=tuple(len(rows) for rows in opened.index.stacks.values()),
            width=image.shape[1],
            height=image.shape[0],
            tile_width=canvas.tile[0],
            tile_height=canvas.tile[1],
            tiles=tuple(reported),
            skipped=provenance.skipped,
            notes=provenance.notes,
            warnings=tuple(warnings),
            cost=watch.cost(before, self.storage.usage),
        )
        return Rendered(data, picture.image_format, report)

    def _check(self, canvas: _Canvas) -> None:
        """Refuse a picture that is too large before its pixels are fetched."""
        width, height = canvas.tile
        shape = canvas.shape
        canvas.picture.image_format.check_size(
            shape.columns * width, shape.rows * height, self.limits.output_pixels
        )

    def _decode(self, canvas: _Canvas) -> dict[int, _Frame]:
        """Fetch and decode the chosen slices; by row of the index."""
        frames = {}
        opened = canvas.opened
        for fetched in fetch_frames(self.storage, opened.name, canvas.slices):
            item = fetched.slice
            if fetched.error is not None:
                frames[item.row] = _Frame(item, None, _reason(fetched.error))
                continue
            try:
                decoded = decode_frame(
                    fetched.data,
                    item.pixels,
                    bit_offset=fetched.bit_offset,
                    limit_bytes=self.limits.frame_bytes,
                )
            except ObjectError as error:
                frames[item.row] = _Frame(item, None, error.reason)
                continue
            frames[item.row] = _Frame(item, decoded)
        return frames


@dataclass(frozen=True, slots=True)
class _Shape:
    """The grid.

    Attributes:
        columns: Cells side by side.
        rows: Cells one below the other.
        contrasts: The contrasts of each slice.
        tiles_are_slices: A cell is a slice; otherwise a row is one, and a column a contrast.
    """

    columns: int
    rows: int
    contrasts: tuple[ContrastSpec, ...]
    tiles_are_slices: bool


@dataclass(frozen=True, slots=True)
class _Canvas:
    """What is to be painted where.

    Attributes:
        opened: The series.
        picture: How it is written.
        shape: The grid.
        stack: The stack that is shown.
        slices: The slices that were chosen, in order.
        positions: By row of the index, 0 (first slice of the stack) to 1, or None.
        tile: Width and height of a tile in pixels.
    """

    opened: OpenedSeries
    picture: Picture
    shape: _Shape
    stack: SortedStack
    slices: list[Slice]
    positions: dict[int, float | None]
    tile: tuple[int, int]

    @classmethod
    def of(
        cls, opened: OpenedSeries, picture: Picture, shape: _Shape, choose: Callable[[SortedStack], list[int]]
    ) -> _Canvas:
        """Choose the slices of a series."""
        index = opened.index
        rows = index.stacks.get(picture.stack)
        if not index.stacks:
            raise NoImageError(opened.name, opened.storage.url, _no_image(opened))
        if rows is None:
            counts = ", ".join(
                f"{number} ({len(members)} slices)" for number, members in index.stacks.items()
            )
            raise RequestError("stack", f"{picture.stack} is none of this series' stacks: {counts}")
        stack = index.sorted_stack(picture.stack)
        chosen = choose(stack)
        normalised = normalised_positions(stack)
        slices = index.slices([int(rows[i]) for i in chosen])
        positions = {
            int(rows[i]): None if normalised[i] != normalised[i] else round(float(normalised[i]), 6)
            for i in chosen
        }
        pixels = slices[0].pixels
        tile = tile_size(pixels.rows, pixels.columns, picture.image_width, *_pixel_shape(slices[0]))
        return cls(opened, picture, shape, stack, slices, positions, tile)


@dataclass(frozen=True, slots=True)
class _Frame:
    """A slice's stored values, or why there are none."""

    slice: Slice
    decoded: Decoded | None
    error: str | None = None


def _reason(error: PreviewError) -> str:
    """Why one object fails, without its name."""
    if isinstance(error, ObjectError):
        return error.reason
    return error.problem if isinstance(error, StorageError) else str(error)


def _no_image(opened: OpenedSeries) -> str:
    provenance = opened.index.provenance
    text = f"none of its {provenance.listed} objects has an image"
    return f"{text}; {len(provenance.skipped)} could not be read" if provenance.skipped else text


def _pixel_shape(item: Slice) -> tuple[float, float]:
    """Vertical and horizontal size of a pixel, in mm or relative to each other."""
    return item.pixel_spacing_mm or item.pixel_aspect_ratio or (1.0, 1.0)


def _paint(canvas: _Canvas, frames: dict[int, _Frame]) -> tuple[list[Tile], list[ReportedTile], list[str]]:
    """Every cell's tile, what to report of it, and warnings."""
    shape = canvas.shape
    pooled = {id(spec): _pool(spec, frames.values()) for spec in shape.contrasts}
    tiles: list[Tile] = []
    reported: list[ReportedTile] = []
    warnings: Counter[str] = Counter()
    for item in canvas.slices:
        frame = frames[item.row]
        for spec in shape.contrasts:
            tile, contrast, error = _tile(canvas, frame, spec, pooled[id(spec)], warnings)
            row, column = divmod(len(tiles), shape.columns)
            tiles.append(tile)
            reported.append(
                ReportedTile(
                    row=row,
                    column=column,
                    index=item.row,
                    file_name=item.file_name,
                    sop_instance_uid=item.sop_instance_uid,
                    frame_number=item.frame_number,
                    axis=item.primary_axis,
                    primary_position=item.primary_position,
                    position=canvas.positions[item.row],
                    contrast=contrast,
                    error=error,
                )
            )
        if error is not None:
            number = f", frame {item.frame_number}" if item.pixels.number_of_frames > 1 else ""
            warnings[f"{item.file_name}{number} cannot be shown: {error}"] += 1
    return (
        tiles,
        reported,
        [f"{text} ({count} times)" if count > 1 else text for text, count in warnings.items()],
    )


def _pool(spec: ContrastSpec, frames: Any) -> AutoWindow:  # noqa: ANN401 - a view of a dict's values
    """The statistics of the slices shown, where the contrast depends on them."""
    pooled = AutoWindow()
    grey = [f for f in frames if f.decoded is not None and not is_colour(f.slice.pixels)]
    if any(needs_statistics(spec, frame.slice.contrast) for frame in grey):
        for frame in grey:
            # A broken lookup table has no values to pool; rendering the slice says so.
            with suppress(DecodeError):
                pooled.add(frame.decoded.samples, frame.slice.contrast)
    return pooled


def _tile(
    canvas: _Canvas, frame: _Frame, spec: ContrastSpec, pooled: AutoWindow, warnings: Counter[str]
) -> tuple[Tile, AppliedContrast | None, str | None]:
    """One slice under one contrast."""
    item, decoded = frame.slice, frame.decoded
    if decoded is None:
        return failed_tile(*canvas.tile), None, frame.error
    width, height = canvas.tile
    own = tile_size(item.pixels.rows, item.pixels.columns, width, *_pixel_shape(item))
    size = own if own[1] == height else fitted_size(*own, width, height)
    try:
        if is_colour(item.pixels):
            applied, padding = COLOUR, None
            shown = to_rgb(decoded, item.pixels)
        else:
            applied = resolve(spec, item.contrast, pooled)
            padding = padding_mask(decoded.samples, item.contrast)
            shown = render(decoded, item.pixels, item.contrast, applied)
    except DecodeError as error:
        return failed_tile(*canvas.tile), None, error.reason
    if applied.warning:
        warnings[applied.warning] += 1
    return resize(shown, size, padding), _reported(applied), None


def _reported(applied: Applied) -> AppliedContrast:
    has_window = applied.function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    return AppliedContrast(
        kind=applied.kind,
        name=applied.name or applied.explanation,
        function=applied.function,
        center=applied.center if has_window else None,
        width=applied.width if has_window else None,
    )
