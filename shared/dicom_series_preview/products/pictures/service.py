"""A request -> a result: the only orchestration, and every door calls it."""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event
from typing import TYPE_CHECKING, Any, NoReturn

import PIL

from dicom_series_preview._version import __version__
from dicom_series_preview.archive.cache import log_damage
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.index.records import Skipped
from dicom_series_preview.archive.open import OpenedSeries, SeriesIndexer
from dicom_series_preview.archive.siemens import untiled
from dicom_series_preview.base.errors import (
    LimitError,
    NoImageError,
    ObjectChangedError,
    ObjectError,
    ObjectNotFoundError,
    RequestError,
    StorageError,
    UndecodableError,
    counted,
)
from dicom_series_preview.base.gate import open_gate
from dicom_series_preview.base.geometry import (
    MOST_UNEQUAL,
    patient_orientation,
    possible_orientation,
    unusual_orientation,
)
from dicom_series_preview.base.selection import at_position, in_range, normalised_positions, spread
from dicom_series_preview.base.settings import picture_bytes
from dicom_series_preview.pixels.assemble import reason_of
from dicom_series_preview.pixels.codecs.colour import is_colour
from dicom_series_preview.pixels.contrast.resolve import Applied, needs_statistics
from dicom_series_preview.pixels.contrast.spec import DEFAULT, ContrastSpec
from dicom_series_preview.pixels.frames import FetchOptions
from dicom_series_preview.products.pictures.encode import encode
from dicom_series_preview.products.pictures.labels import SMALLEST_SIDE, Label, draw_labels, place_of
from dicom_series_preview.products.pictures.layout import (
    failed_tile,
    fitted_size,
    grid,
    largest_width,
    tile_size,
)
from dicom_series_preview.products.pictures.report import (
    AppliedContrast,
    Cost,
    Report,
    ReportedTile,
    Stopwatch,
)
from dicom_series_preview.products.pictures.requests import ContrastRequest, ImageRequest, MosaicRequest
from dicom_series_preview.products.pictures.tiles import paint, values
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.paths import file_below, path_of_file_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.cache import IndexCache
    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.base.gate import Passage
    from dicom_series_preview.base.selection import SortedStack
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.products.pictures.formats import ImageFormat
    from dicom_series_preview.products.pictures.layout import Tile
    from dicom_series_preview.products.pictures.requests import IndexRequest, Picture, PictureRequest
    from dicom_series_preview.products.pictures.tiles import Painted
    from dicom_series_preview.sources.headers.locations import FrameLocation
    from dicom_series_preview.sources.storage.base import Storage

_LOGGER = logging.getLogger(__name__)

_REFRESHES = 2
# What every image may be shown in, however small it is: one width for the series of an archive.
_ALWAYS_WIDE = 512

# Counts the changes of what pictures look like between releases.
RENDERER = 7
# Pictures of one version of the code and of the encoder are the same byte for byte.
CACHEABLE_VERSION = f"{__version__} {RENDERER} {PIL.__version__}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture.

    Attributes:
        data: The file's bytes.
        image_format: Their format.
        report: What it shows, left out and cost.
        plan: What was painted: another one than was asked for where the series changed meanwhile.
    """

    data: bytes = field(repr=False)
    image_format: ImageFormat
    report: Report = field(repr=False)
    plan: Plan = field(repr=False)


@dataclass(frozen=True, slots=True)
class PreviewService:
    """Previews of the series below one storage root.

    Attributes:
        storage: The root.
        cache: Where indices are kept, or None.
        limits: What is refused.
        progress: Called with headers read and headers to read.
        single_flight: Of several that ask for an index that has to be built, let one build it; the others
            wait up to 3 s for it.
        deadline: Of the one request that this is the service for; see `within`.
        gate: What making an index and a picture passes through, with the bytes that it may take.
        wait: Pauses for some seconds, or until the event is set; True when it was set. Tests pass their own.
        vanished: See `SeriesIndexer`.
        damaged: Called with a series and the reason when its kept index is damaged and another one is built.
    """

    storage: Storage
    cache: IndexCache | None
    limits: Limits
    progress: Callable[[int, int], None] = lambda _done, _total: None
    single_flight: bool = False
    deadline: Deadline | None = field(default=None, repr=False)
    gate: Passage = open_gate
    wait: Callable[[Event, float], bool] = Event.wait
    vanished: Callable[[str], None] | None = field(default=None, repr=False)
    damaged: Callable[[str, str], None] = log_damage

    def within(self, deadline: Deadline) -> PreviewService:
        """The service for one request, that came when the deadline began; it takes no longer than its limit.

        What waits for a storage, and no phase of the work, goes on after that: LimitError is raised, or
        StorageUnavailableError where the storage has kept silent; AbandonedError once nobody waits.
        """
        ends = deadline.limited(self.limits.seconds)
        cache = None if self.cache is None else self.cache.within(ends)
        return replace(self, storage=self.storage.within(ends), cache=cache, deadline=ends)

    def mosaic(self, request: MosaicRequest) -> Rendered:
        """A grid of images that are spread evenly over a range.

        Raises:
            PreviewError: It cannot be had; nothing has been written.
        """
        service = self._begun()
        return service.render(service.plan(request))

    def image(self, request: ImageRequest) -> Rendered:
        """One image at a position.

        Raises:
            PreviewError: It cannot be had; nothing has been written.
        """
        service = self._begun()
        return service.render(service.plan(request))

    def values(self, request: ImageRequest) -> NDArray[Any]:
        """One slice before it is windowed: modality values, (rows, columns); of colour RGB of 8 bits.

        Raises:
            PreviewError: It cannot be had.
        """
        service = self._begun()
        plan = service.plan(request)
        with service.gate(plan.bytes):
            for _ in range(_REFRESHES):
                with suppress(ObjectChangedError, ObjectNotFoundError, DamagedIndexError):
                    return service._values(plan)  # noqa: SLF001 - its own kind
                plan = service._plan(request, plan.watch, refresh=True)  # noqa: SLF001 - its own kind
            return service._values(plan)  # noqa: SLF001 - its own kind

    def contrast_mosaic(self, request: ContrastRequest) -> Rendered:
        """Images under several contrasts: a row an image, a column a contrast.

        Raises:
            PreviewError: It cannot be had; nothing has been written.
        """
        service = self._begun()
        return service.render(service.plan(request))

    def plan(self, request: PictureRequest) -> Plan:
        """Choose the slices of a picture; no pixel is fetched. Whoever calls this calls `within` before.

        Raises:
            PreviewError: The series, its index, or such slices cannot be had, or the picture is too large.
        """
        # With square tiles, or lower ones where the picture would be upright: what is too large is refused
        # before it costs.
        shape = _shape(request)
        width = shape.columns * request.picture.image_width
        height = max(shape.rows, min(shape.rows * request.picture.image_width, width))
        request.picture.image_format.check_size(width, height, self.limits.output_pixels)
        if shape.columns * shape.rows > self.limits.tiles:
            tiles = f"{shape.columns} x {shape.rows} tiles, more than {self.limits.tiles} in all"
            problem = f"the picture would have {tiles}; lower `tile_width` or `tile_height`"
            raise LimitError("tile_width", problem)
        return self._plan(request, self.watch(), refresh=False)

    def render(self, plan: Plan) -> Rendered:
        """Fetch, decode and paint what was planned.

        Where an object has changed since it was indexed, or is not there, or the index is damaged, the series
        is read anew and planned again.

        Raises:
            PreviewError: It cannot be had; nothing has been written.
        """
        with self.gate(plan.bytes):
            return self._render(plan)

    def _render(self, plan: Plan) -> Rendered:
        watch = plan.watch
        for attempt in range(_REFRESHES + 1):
            try:
                with watch.phase("pixels"):
                    located: dict[str, Sequence[FrameLocation]] = {}
                    options = FetchOptions(plan.opened.prefetched, located.__setitem__, self.limits)
                    painted = paint(self.storage, plan, options)
                    self._opener().keep_locations(plan.opened, located)
                if attempt or not _is_one_gone(painted):
                    break
                _LOGGER.info("an object of the index is not there: the series is read anew")
                plan = self._plan(plan.request, watch, refresh=True)
            except (ObjectChangedError, DamagedIndexError):
                if attempt == _REFRESHES:
                    raise
                # The index is not of these objects: what was painted is dropped, and the series read anew.
                plan = self._plan(plan.request, watch, refresh=True)
        opened, shape, picture = plan.opened, plan.shape, plan.picture
        _LOGGER.info("the frames are fetched and decoded: %s", _requests(watch))
        with watch.phase("render"):
            tiles, reported, warnings = _tell(plan, painted)
        if all(tile.error is not None for tile in reported):
            _raise_failure(plan, painted, reported)
        watch.check()
        with watch.phase("encode"):
            image = grid(tiles, shape.columns, shape.rows, *plan.tile)
            # The tiles are as large as the picture, and the encoder needs the memory.
            del tiles, painted
            if plan.is_labelled:
                image = draw_labels(image, plan.labels, shape.columns, plan.tile)
            data = encode(image, picture.image_format, picture.quality)
        _LOGGER.info("the picture is encoded: %s, %d bytes", picture.image_format.pillow_name, len(data))
        provenance = opened.index.provenance
        report = Report(
            series=opened.name,
            root=self.storage.url,
            matches=opened.matches,
            index_source=opened.source,
            headers_read=opened.headers_read,
            stack=picture.stack,
            slices=len(plan.stack),
            stacks=tuple(plan.index.described_stacks()),
            series_instance_uids=provenance.series_instance_uids,
            patient_ids=provenance.patient_ids,
            width=image.shape[1],
            height=image.shape[0],
            tile_width=plan.tile[0],
            tile_height=plan.tile[1],
            tiles=tuple(reported),
            skipped=(*provenance.skipped, *_without_image(opened.index)),
            duplicates=provenance.duplicates,
            notes=plan.index.provenance.notes,
            warnings=(*plan.warnings, *warnings, *_unusual_orientation(plan)),
            cost=watch.cost(),
        )
        return Rendered(data, picture.image_format, report, plan)

    def index(self, request: IndexRequest) -> OpenedSeries:
        """A series' index, built or updated where it is not fresh.

        Raises:
            PreviewError: It cannot be had.
        """
        return self._begun()._opener().open(request.series, limit=request.limit)  # noqa: SLF001 - its own kind

    def watch(self) -> Stopwatch:
        """A stopwatch for one request, that starts now."""
        return Stopwatch(self.storage, self.deadline)

    def index_path(self, opened: OpenedSeries) -> str:
        """Where a series' index is kept; of a local cache the absolute path."""
        if self.cache is None:
            raise RequestError("cache_dir", "there is no cache, so the index has no path")
        url, path = self.cache.storage.url, self.cache.path(opened.name)
        return str(file_below(path_of_file_url(url), path)) if url.startswith("file://") else f"{url}/{path}"

    def _values(self, plan: Plan) -> NDArray[Any]:
        try:
            return values(self.storage, plan, FetchOptions(plan.opened.prefetched, limits=self.limits))
        except ObjectError as error:
            problem = f"{plan.slices[0].file_name} cannot be decoded: {error.reason}"
            raise UndecodableError(plan.opened.name, plan.opened.storage.url, problem) from error

    def _begun(self) -> PreviewService:
        """The service of a request that comes now, where it is not one's already."""
        return self if self.deadline is not None else self.within(Deadline())

    def _opener(self) -> SeriesIndexer:
        return SeriesIndexer(
            self.storage,
            self.cache,
            self.limits,
            self.progress,
            single_flight=self.single_flight,
            gate=self.gate,
            pause=self._pause,
            vanished=self.vanished,
            damaged=self.damaged,
        )

    def _pause(self, seconds: float) -> bool:
        """Wait for so long, and whether there was time for it.

        Raises:
            AbandonedError: Nobody waits any more.
        """
        deadline = self.deadline or Deadline()
        if seconds >= deadline.left_s:
            return False
        self.wait(deadline.abandoned, seconds)
        deadline.check()
        return True

    def _plan(self, request: PictureRequest, watch: Stopwatch, *, refresh: bool) -> Plan:
        with watch.phase("index"):
            opener = replace(self._opener(), next_frames=_next_frames(request))
            opened = opener.open(request.series, refresh=refresh)
        try:
            plan = Plan.of(request, opened, watch)
        except DamagedIndexError as error:
            if refresh:
                raise
            self.damaged(opened.name, str(error))
            return self._plan(request, watch, refresh=True)
        _LOGGER.info(
            "the index is %s, %d headers were read: %s; %d of its %d slices are shown",
            {"cache": "kept already", "updated": "brought up to date"}.get(opened.source, opened.source),
            opened.headers_read,
            _requests(watch),
            len(plan.slices),
            len(plan.stack),
        )
        plan.check_levels(self.limits.matrix_pixels)
        columns, rows = plan.shape.columns, plan.shape.rows
        request.picture.image_format.check_size(
            columns * plan.tile[0], rows * plan.tile[1], self.limits.output_pixels
        )
        return plan


def _requests(watch: Stopwatch) -> str:
    """What it has taken until now, in words."""
    cost = watch.cost()
    until = f"{cost.milliseconds['total'] / 1000:.2f} s"
    return f"{cost.list_requests} LIST and {cost.get_requests} GET, {cost.bytes / 1e6:.1f} MB after {until}"


@dataclass(frozen=True, slots=True)
class Shape:
    """The grid.

    Attributes:
        columns: Cells side by side.
        rows: Cells one below the other.
        contrasts: The contrasts of each slice, cell by cell.
    """

    columns: int
    rows: int
    contrasts: tuple[ContrastSpec, ...]


def _shape(request: PictureRequest, slices: int | None = None) -> Shape:
    """The grid of so many slices, or the largest that there may be."""
    contrasts = request.contrasts if isinstance(request, ContrastRequest) else (request.contrast,)
    return Shape(*request.grid(slices), contrasts)


def _next_frames(request: PictureRequest) -> int:
    """How many frames a picture of a whole series shows; of a part of one there may be fewer."""
    if isinstance(request, ImageRequest) or (request.start, request.end) != (0.0, 1.0):
        return 1
    return _most_slices(request)


def _most_slices(request: MosaicRequest | ContrastRequest) -> int:
    """The slices that a picture shows where there are as many."""
    columns, rows = request.grid()
    return rows * (columns if isinstance(request, MosaicRequest) else 1)


def _chosen(request: PictureRequest, stack: SortedStack) -> list[int]:
    """The slices of a stack that a request asks for, in order."""
    if isinstance(request, ImageRequest) or (
        isinstance(request, ContrastRequest) and request.position is not None
    ):
        return [at_position(stack, request.position or 0.0, request.slice_offset)]
    chosen = in_range(stack, request.start, request.end)
    return [int(chosen[i]) for i in spread(len(chosen), _most_slices(request))]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be painted where.

    Attributes:
        request: What was asked for.
        shape: The grid.
        opened: The series.
        index: Its index; where mosaics are taken apart, that of their slices.
        stack: The stack that is shown.
        slices: The slices that were chosen, in order.
        positions: By row of the index, 0 (first slice of the stack) to 1, or None.
        tile: Width and height of a tile in pixels.
        watch: Counts what it takes.
        warnings: What a viewer should know already.
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

    @classmethod
    def of(cls, request: PictureRequest, opened: OpenedSeries, watch: Stopwatch) -> Plan:
        """Choose the slices of a series.

        Raises:
            NoImageError: The series has no image.
            RequestError: There is no such stack, or no such slice in it; or its images would be enlarged more
                than four times.
        """
        picture = request.picture
        index, warnings = untiled(opened.index) if picture.untile else (opened.index, ())
        warnings = (*opened.index.provenance.warnings, *warnings)
        if not index.stacks:
            raise NoImageError(opened.name, opened.storage.url, _no_image(opened))
        if picture.stack == 0 and 0 not in index.stacks:
            problem = "a slide's label or overview is all it has; `stack` chooses it"
            raise NoImageError(opened.name, opened.storage.url, problem)
        rows = index.stacks.get(picture.stack)
        if rows is None:
            counts = ", ".join(
                f"{number} ({counted(len(members), 'slice')})" for number, members in index.stacks.items()
            )
            raise RequestError("stack", f"{picture.stack} is none of this series' stacks: {counts}")
        stack = index.sorted_stack(picture.stack)
        chosen = _chosen(request, stack)
        normalised = normalised_positions(stack)
        slices = index.slices([int(rows[i]) for i in chosen], overlays=picture.overlays)
        if any(item.overlays and item.part_rows for item in slices):
            warnings = (*warnings, "overlay planes are left out of slices that are no frames")
        positions = {
            int(rows[i]): None if math.isnan(normalised[i]) else round(float(normalised[i]), 6) + 0.0
            for i in chosen
        }
        pixels, (pixel_height, pixel_width) = slices[0].pixels, slices[0].pixel_shape
        if pixel_width > MOST_UNEQUAL * pixel_height:
            problem = (
                f"its pixels are more than {MOST_UNEQUAL} times as wide as high: no picture can show them"
            )
            raise LimitError("series", problem)
        most = max(_ALWAYS_WIDE, largest_width(pixels.columns, pixel_height, pixel_width))
        if picture.image_width > most:
            problem = f"{picture.image_width} enlarges the images more than four times; give 1 to {most}"
            raise RequestError("image_width", problem)
        tile = tile_size(pixels.rows, pixels.columns, picture.image_width, pixel_height, pixel_width)
        if picture.labels and min(tile) < SMALLEST_SIDE:
            size = f"images of {tile[0]} x {tile[1]} pixels are too small for labels"
            warnings = (
                *warnings,
                f"{size}: give an image-width that makes both sides {SMALLEST_SIDE} or more",
            )
        shape = _shape(request, len(slices))
        if any(is_colour(item.pixels) for item in slices) and shape.contrasts != (DEFAULT,):
            warnings = (*warnings, "contrasts have no effect on colour; it is shown as it is")
        return cls(request, shape, opened, index, stack, slices, positions, tile, watch, warnings)

    def check_levels(self, limit_pixels: int) -> None:
        """Refuse a level of a slide that is too large to be put together.

        Raises:
            LimitError: It is.
        """
        for item in self.slices:
            size = item.pixels.rows * item.pixels.columns
            if item.part_rows and size > limit_pixels:
                problem = f"level of {item.pixels.columns} x {item.pixels.rows} pixels"
                raise LimitError(
                    "stack", f"{item.stack} is a {problem}, more than {limit_pixels}; choose a smaller one"
                )

    @property
    def picture(self) -> Picture:
        """How the picture is written."""
        return self.request.picture

    @property
    def identity(self) -> str:
        """A digest of all that decides the picture's bytes: slices and versions, parameters, code."""
        digest = hashlib.sha256(CACHEABLE_VERSION.encode())
        picture = self.picture
        parts: list[object] = [
            self.opened.storage.url,
            self.opened.name,
            (picture.image_format.name, picture.quality),
            (self.shape.columns, self.shape.rows, *self.tile),
            [str(spec) for spec in self.shape.contrasts],
            *(["overlays"] if picture.overlays else []),
            *(["labels", *self.labels] if self.is_labelled else []),
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
        """Labels are asked for, and fit on its tiles."""
        return self.picture.labels and min(self.tile) >= SMALLEST_SIDE

    @property
    def labels(self) -> list[Label]:
        """What is written on each tile, in their order."""
        index, specs = self.index, self.shape.contrasts
        names = [str(spec) for spec in specs] if isinstance(self.request, ContrastRequest) else [""]
        is_only_object = index.object_count(self.picture.stack) == 1
        labels = []
        for item in self.slices:
            is_many = index.is_whole_mosaic(item)
            place = place_of(item, is_only_object=is_only_object, is_many=is_many)
            directions = _patient_orientation(index, item)
            # No contrast has an effect on colour.
            shown = [""] * len(names) if is_colour(item.pixels) else names
            labels += [Label.of(place, directions, name) for name in shown]
        return labels

    def size(self, item: Slice) -> tuple[int, int]:
        """Width and height that a slice is shown in: the tile's, or what fits into it."""
        width, height = self.tile
        own = tile_size(item.pixels.rows, item.pixels.columns, width, *item.pixel_shape)
        return own if own[1] == height else fitted_size(*own, width, height)

    @property
    def bytes(self) -> int:
        """About how much memory it takes to paint it."""
        frames = [item.pixels for item in self.slices]
        frame = max(
            one.rows * one.columns * one.samples_per_pixel * one.bits_allocated // 8 for one in frames
        )
        return picture_bytes(self.shape.columns * self.shape.rows * self.tile[0] * self.tile[1], frame)

    @property
    def pooled(self) -> list[Slice]:
        """The slices whose values are pooled: every grey one, where a contrast depends on them."""
        grey = [item for item in self.slices if not is_colour(item.pixels)]
        specs = self.shape.contrasts
        return grey if any(needs_statistics(spec, item.contrast) for item in grey for spec in specs) else []

    def cost(self) -> Cost:
        """What it has taken so far."""
        return self.watch.cost()


def _version(item: Slice) -> tuple[object, ...]:
    """What tells a frame from all others, and from itself at other times."""
    return item.file_name, item.object_version, item.object_size, item.frame_number


def _is_one_gone(painted: dict[int, Painted]) -> bool:
    """Whether an object that the index has is not there."""
    errors = (cell.error for shown in painted.values() for cell in shown.cells)
    return any(isinstance(error, ObjectNotFoundError) for error in errors)


def _raise_failure(plan: Plan, painted: dict[int, Painted], reported: list[ReportedTile]) -> NoReturn:
    """Say why no tile is left: the storage withholds all of them, or they cannot be decoded."""
    error = painted[plan.slices[0].row].cells[0].error
    if isinstance(error, StorageError):
        raise error
    count = len(plan.slices)
    text = (
        "the one slice chosen cannot be shown"
        if count == 1
        else f"none of the {count} slices chosen can be shown"
    )
    problem = f"{text}; {reported[0].error}"
    raise UndecodableError(plan.opened.name, plan.opened.storage.url, problem)


_NO_IMAGE = "has no image"
_NEARLY_ALL = 0.99


def _without_image(index: Index) -> list[Skipped]:
    """The objects that are in the index and have no image: reports, structures, states."""
    if not index.table["FrameNumber"].null_count:
        return []
    cells = index.table.select(["FileName", "FrameNumber", "Remarks"]).to_pydict()
    rows = zip(*cells.values(), strict=True)
    return [Skipped(name, (remarks or [_NO_IMAGE])[0]) for name, number, remarks in rows if number is None]


def _no_image(opened: OpenedSeries) -> str:
    provenance = opened.index.provenance
    count = provenance.listed
    text = "its one object has no image" if count == 1 else f"none of its {count} objects has an image"
    reasons = Counter(item.reason for item in _without_image(opened.index) if item.reason != _NO_IMAGE)
    text += "".join(
        f"; {reason}" + (f" ({number} times)" if number > 1 else "") for reason, number in reasons.items()
    )
    return f"{text}; {len(provenance.skipped)} could not be read" if provenance.skipped else text


def _patient_orientation(index: Index, item: Slice) -> str:
    """Where a slice's rows and columns lead, by ImageOrientationPatient, else by PatientOrientation.

    Both mean something else of an animal on four legs (PS3.3 C.7.6.1.1.1, C.7.6.2.1.1).
    """
    if index.is_of_a_quadruped(item):
        return ""
    cosines = item.image_orientation_patient
    found = patient_orientation(cosines) if cosines is not None else ""
    return found or possible_orientation(index.patient_orientation(item))


def _unusual_orientation(plan: Plan) -> list[str]:
    """What a viewer should know of the one orientation that the slices of a stack have."""
    item = plan.slices[0]
    cosines = item.image_orientation_patient
    if cosines is None or plan.index.is_of_a_quadruped(item):
        return []
    unusual = unusual_orientation(cosines)
    return [unusual] if unusual else []


def _tell(plan: Plan, painted: dict[int, Painted]) -> tuple[list[Tile], list[ReportedTile], list[str]]:
    """Every cell's tile, what to report of it, and warnings; in the order of the plan."""
    tiles: list[Tile] = []
    reported: list[ReportedTile] = []
    warnings: Counter[str] = Counter()
    for item in plan.slices:
        shown, error = painted[item.row], None
        warnings.update((*item.remarks, *shown.remarks))
        for cell in shown.cells:
            row, column = divmod(len(tiles), plan.shape.columns)
            error = None if cell.error is None else reason_of(cell.error)
            tiles.append(failed_tile(*plan.tile) if cell.tile is None else cell.tile)
            reported.append(
                ReportedTile(
                    row=row,
                    column=column,
                    index=plan.index.table["Index"][item.row].as_py(),
                    file_name=item.file_name,
                    sop_instance_uid=item.sop_instance_uid,
                    frame_number=item.frame_number,
                    axis=item.primary_axis,
                    primary_position=item.primary_position,
                    position=plan.positions[item.row],
                    patient_orientation=_patient_orientation(plan.index, item),
                    contrast=None if cell.applied is None else _reported(cell.applied),
                    error=error,
                    area=_area(plan.index, item),
                    frames=max(1, len(item.part_rows)),
                    failed_frames=shown.failed_frames,
                )
            )
            if cell.applied is not None and cell.applied.warning:
                warnings[cell.applied.warning] += 1
        if error is not None:
            warnings[f"{item.name} cannot be shown: {error}"] += 1
        warnings.update(shown.overlay_warnings)
    texts = [f"{text} ({count} times)" if count > 1 else text for text, count in warnings.items()]
    return tiles, reported, [*texts, *_nothing_to_see(painted.values())]


def _nothing_to_see(painted: Iterable[Painted]) -> list[str]:
    """A warning where the files' own views show nearly all of their pixels black, or white."""
    ends = [cell.ends for slice_ in painted for cell in slice_.cells]
    pixels, *counts = map(sum, zip(*ends, strict=True))
    return [
        f"more than 99 % of the pixels are {end} in the files' own view; the contrast auto shows more"
        for end, count in zip(("black", "white"), counts, strict=True)
        if count > _NEARLY_ALL * pixels
    ]


def _area(index: Index, item: Slice) -> tuple[int, int, int, int] | None:
    """The part of its frame that a slice is."""
    parts, rows, columns = index.parts(item), item.pixels.rows, item.pixels.columns
    if len(parts) != 1:
        return None
    frame = parts[0].frame.pixels
    is_part = rows < frame.rows or columns < frame.columns
    return (max(0, -parts[0].top), max(0, -parts[0].left), rows, columns) if is_part else None


def _reported(applied: Applied) -> AppliedContrast:
    has_window = applied.function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    return AppliedContrast(
        kind=applied.kind,
        name=applied.name or applied.explanation,
        function=applied.function,
        center=applied.center if has_window else None,
        width=applied.width if has_window else None,
    )
