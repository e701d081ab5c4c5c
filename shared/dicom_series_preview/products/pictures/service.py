"""Serve the pictures of a series: index, plan, fetch, paint, encode; every door calls this."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from dicom_series_preview.archive.addressing import SeriesOpener
from dicom_series_preview.archive.cache import log_damage
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.errors import (
    ObjectChangedError,
    ObjectError,
    ObjectNotFoundError,
    RequestError,
    UndecodableError,
)
from dicom_series_preview.base.gate import open_gate
from dicom_series_preview.pixels.frames import FetchOptions
from dicom_series_preview.pixels.stream import SliceReader
from dicom_series_preview.pixels.values import read_values
from dicom_series_preview.products.pictures.cost import Stopwatch
from dicom_series_preview.products.pictures.encode import encode
from dicom_series_preview.products.pictures.labels import draw_labels
from dicom_series_preview.products.pictures.layout import failed_tile, grid
from dicom_series_preview.products.pictures.plan import Plan, check_grid, plan_picture
from dicom_series_preview.products.pictures.tell import (
    raise_failure,
    report_of,
    reported_tiles,
    warnings_of,
)
from dicom_series_preview.products.pictures.tiles import paint
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.paths import file_below, path_of_file_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.cache import IndexCache
    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.archive.uids import SeriesPlaces
    from dicom_series_preview.base.gate import Passage
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.products.pictures.formats import ImageFormat
    from dicom_series_preview.products.pictures.layout import Tile
    from dicom_series_preview.products.pictures.report import Report
    from dicom_series_preview.products.pictures.requests import ImageRequest, IndexRequest, PictureRequest
    from dicom_series_preview.products.pictures.tiles import Painted
    from dicom_series_preview.sources.headers.locations import FrameLocation
    from dicom_series_preview.sources.storage.base import Storage

_LOGGER = logging.getLogger(__name__)

_REFRESHES = 2
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture.

    Attributes:
        data: The file's bytes.
        image_format: Their format.
        report: Its tiles, the objects left out, and the cost.
        plan: The painted plan: a new one if the series changed meanwhile.
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
        cache: The cache of indices, or None.
        limits: The bounds of work.
        progress: Called with the headers read and in all.
        single_flight: Of several concurrent callers, only one builds an index; the others wait up to 3 s for
            it.
        deadline: The deadline of this service's one request; see `within`.
        gate: Admits the making of an index or a picture, given the bytes that it may take.
        wait: Pauses for some seconds, or until the event is set; True when it was set. Tests pass their own.
        vanished: See `SeriesIndexer`.
        damaged: Called with a series and the reason when its cached index is damaged and rebuilt.
        places: Knows in which folders a SeriesInstanceUID lies; or None.
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
    places: SeriesPlaces | None = None

    def within(self, deadline: Deadline) -> PreviewService:
        """Return the service for one request, which arrived when the deadline began, with a time limit.

        After that no phase of the work begins, and waits for a storage end: with LimitError, or
        StorageUnavailableError if the storage has kept silent; AbandonedError once nobody waits.
        """
        ends = deadline.limited(self.limits.seconds)
        cache = None if self.cache is None else self.cache.within(ends)
        places = None if self.places is None else self.places.within(ends)
        return replace(self, storage=self.storage.within(ends), cache=cache, places=places, deadline=ends)

    def plan(self, request: PictureRequest) -> Plan:
        """Choose the slices of a picture without fetching pixels; call it on the result of `within`.

        Raises:
            PreviewError: The series, its index, or such slices cannot be read, or the picture is too large.
        """
        check_grid(request, self.limits)
        return self._plan(request, self.watch(), refresh=False)

    def render(self, request: PictureRequest) -> Rendered:
        """Plan a picture, fetch and decode its slices, and encode it.

        Raises:
            PreviewError: There is no picture; nothing has been written.
        """
        service = self._begun()
        return service.render_plan(service.plan(request))

    def render_plan(self, plan: Plan) -> Rendered:
        """Fetch, decode and paint a plan's slices, and encode the picture.

        If an object has changed since it was indexed, or is gone, or the index is damaged, the series is read
        and planned again.

        Raises:
            PreviewError: There is no picture; nothing has been written.
        """
        with self.gate(plan.bytes):
            plan, painted = self._on_current_index(plan, partial(self._painted, plan))
            _LOGGER.info("the frames are fetched and decoded: %s", _requests(plan.watch))
            with plan.watch.phase("render"):
                reported, warnings = reported_tiles(plan, painted), warnings_of(plan, painted)
            if all(tile.error is not None for tile in reported):
                raise_failure(plan, painted, reported)
            image_format = plan.picture.image_format
            with plan.watch.phase("encode"):
                image = _laid_out(plan, painted)
                # The tiles are as large as the picture, and the encoder needs the memory.
                del painted
                if plan.is_labelled:
                    image = draw_labels(image, plan.labels, plan.shape.columns, plan.tile)
                data = encode(image, image_format, plan.picture.quality)
            _LOGGER.info("the picture is encoded: %s, %d bytes", image_format.pillow_name, len(data))
            report = report_of(plan, (image.shape[1], image.shape[0]), reported, warnings)
            return Rendered(data, image_format, report, plan)

    def values(self, request: ImageRequest) -> NDArray[Any]:
        """Return one slice before any window: modality values, (rows, columns), or 8-bit RGB for colour.

        Raises:
            PreviewError: The slice cannot be read.
        """
        service = self._begun()
        plan = service.plan(request)
        with service.gate(plan.bytes):
            return service._on_current_index(plan, service._values)[1]  # noqa: SLF001 - its own kind

    def index(self, request: IndexRequest, *, refresh: bool = False) -> OpenedSeries:
        """Return a series' index, built or updated unless it is fresh.

        Args:
            request: The series.
            refresh: Build it anew, as the cached one is damaged.

        Raises:
            PreviewError: The series cannot be listed or read.
        """
        service = self._begun()
        return SeriesOpener(service._indexer(), service.places).open(  # noqa: SLF001 - its own kind
            request.series, limit=request.limit, refresh=refresh
        )

    def watch(self) -> Stopwatch:
        """Start a stopwatch for one request."""
        return Stopwatch(self.storage, self.deadline)

    def index_paths(self, opened: OpenedSeries) -> list[str]:
        """Return the path of the cached index of each folder of a series; in a local cache absolute paths."""
        if self.cache is None:
            raise RequestError("cache_dir", "there is no cache, so the index has no path")
        url, paths = self.cache.storage.url, map(self.cache.path, opened.folders)
        if not url.startswith("file://"):
            return [f"{url}/{path}" for path in paths]
        return [str(file_below(path_of_file_url(url), path)) for path in paths]

    def _on_current_index(self, plan: Plan, work: Callable[[Plan], _Result]) -> tuple[Plan, _Result]:
        """Do some work on a plan; if its index does not match the objects, read and plan the series again.

        Returns:
            The plan behind the result, and the result.
        """
        for _ in range(_REFRESHES):
            with suppress(ObjectChangedError, ObjectNotFoundError, DamagedIndexError):
                return plan, work(plan)
            plan = self._plan(plan.request, plan.watch, refresh=True)
        return plan, work(plan)

    def _painted(self, first: Plan, plan: Plan) -> dict[int, Painted]:
        """Fetch and paint the slices of a plan, and save the places of their frames.

        Raises:
            ObjectNotFoundError: An object of the first plan is missing: the index can be too old.
        """
        with plan.watch.phase("pixels"):
            located: dict[str, Sequence[FrameLocation]] = {}
            options = FetchOptions(plan.opened.prefetched, located.__setitem__, self.limits)
            painted = paint(self.storage, plan, options)
            self._indexer().keep_locations(plan.opened, located)
        errors = (cell.error for shown in painted.values() for cell in shown.cells)
        if plan is first and any(isinstance(error, ObjectNotFoundError) for error in errors):
            _LOGGER.info("an object of the index is not there: the series is read anew")
            raise ObjectNotFoundError(plan.opened.title)
        return painted

    def _values(self, plan: Plan) -> NDArray[Any]:
        opened, options = plan.opened, FetchOptions(plan.opened.prefetched, limits=self.limits)
        reader = SliceReader(self.storage, opened.name, plan.index, options, plan.watch.check, workers=1)
        try:
            return read_values(reader, plan.slices[0])
        except ObjectError as error:
            problem = f"{plan.slices[0].file_name} cannot be decoded: {error.reason}"
            raise UndecodableError(opened.title, opened.storage.url, problem) from error

    def _begun(self) -> PreviewService:
        """Return the service for a request that starts now, unless it is already one for a request."""
        return self if self.deadline is not None else self.within(Deadline())

    def _indexer(self) -> SeriesIndexer:
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
        """Wait for some seconds; return False if there is no time.

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
            indexer = replace(self._indexer(), next_frames=request.whole_series_frames)
            opener = SeriesOpener(indexer, self.places)
            opened = opener.open(request.series, request.picture.series_uid, refresh=refresh)
        try:
            plan = plan_picture(request, opened, watch)
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
        plan.check(self.limits)
        return plan


def _laid_out(plan: Plan, painted: dict[int, Painted]) -> Tile:
    """Join the tiles of a picture, in the order of the plan."""
    cells = (cell for item in plan.slices for cell in painted[item.row].cells)
    tiles = [failed_tile(*plan.tile) if cell.tile is None else cell.tile for cell in cells]
    return grid(tiles, plan.shape.columns, plan.shape.rows, *plan.tile)


def _requests(watch: Stopwatch) -> str:
    """Say in words what a request has cost so far."""
    cost = watch.cost()
    until = f"{cost.milliseconds['total'] / 1000:.2f} s"
    return f"{cost.list_requests} LIST and {cost.get_requests} GET, {cost.bytes / 1e6:.1f} MB after {until}"
