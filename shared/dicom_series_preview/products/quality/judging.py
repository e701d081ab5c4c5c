"""Judge the quality of a series: choose slices, stream them, and judge each by its modality values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dicom_series_preview._version import __version__
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.index.schema import MOSAIC_COLUMNS
from dicom_series_preview.archive.siemens import untiled
from dicom_series_preview.base.errors import (
    NoImageError,
    ObjectChangedError,
    ObjectError,
    ObjectNotFoundError,
    StorageError,
)
from dicom_series_preview.base.image import PixelDescription
from dicom_series_preview.pixels.codecs.colour import is_colour
from dicom_series_preview.pixels.contrast.modality import modality_values, padding_mask
from dicom_series_preview.pixels.contrast.render import is_inverted
from dicom_series_preview.pixels.frames import FetchOptions
from dicom_series_preview.pixels.quality.rules import UNREADABLE, judge
from dicom_series_preview.pixels.quality.series import SeriesQuality, chosen
from dicom_series_preview.pixels.slices import FailedSlice
from dicom_series_preview.pixels.stream import SliceReader, read_slices
from dicom_series_preview.products.quality.findings import Finding, findings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.records import Skipped
    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.archive.index.stacks import Stack
    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.pixels.quality.rules import SliceQuality
    from dicom_series_preview.pixels.quality.thresholds import Thresholds
    from dicom_series_preview.pixels.slices import DecodedSlice

QUALITY_SCHEMA = 1
_REFRESHES = 2
# What the rules do not fit: labels and doses are no shades, and a slide is no slice.
_NO_SHADES = {"SEG": "segments", "RTDOSE": "doses", "SM": "slides"}


@dataclass(frozen=True, slots=True)
class Judging:
    """What judging needs beside the series.

    Attributes:
        thresholds: Returns the thresholds of a modality.
        limits: The bounds of work.
        check: Called for each frame on arrival; raises to end the work.
        progress: Called with the slices judged and in all.
        damaged: Called with a series and the reason when its index is damaged and read anew.
    """

    thresholds: Callable[[str], Thresholds]
    limits: Limits
    check: Callable[[], None] = lambda: None
    progress: Callable[[int, int], None] = lambda _done, _total: None
    damaged: Callable[[str, str], None] = lambda _series, _reason: None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Slices that the rules say nothing of.

    Attributes:
        what: What they are: `localizers`, `colour`, `segments`, `doses` or `slides`.
        slices: How many.
    """

    what: str
    slices: int


@dataclass(frozen=True, slots=True)
class QualityReport:
    """What came of judging a series.

    Attributes:
        series: Its folder; its SeriesInstanceUID where it lies in several.
        folders: The folders that it lies in.
        series_uid: The one SeriesInstanceUID that it is of what they hold; empty where it is all.
        root: The storage root's URL.
        modality: The main stack's Modality, or empty.
        quality: What the rules say of its slices.
        thresholds: The thresholds by modality.
        slices: The judged slices, by their numbers in `quality`.
        errors: Why a slice has no values, by its number.
        left_out: The slices that were not judged.
        findings: What the headers say.
        skipped: The objects that cannot be shown, and why.
        warnings: Warnings for viewers of the series.
    """

    series: str
    folders: tuple[str, ...]
    series_uid: str
    root: str
    modality: str
    quality: SeriesQuality
    thresholds: Mapping[str, Thresholds] = field(repr=False)
    slices: Mapping[int, Place] = field(repr=False)
    errors: Mapping[int, str]
    left_out: tuple[LeftOut, ...]
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        places = {
            number: {**place.document(), "error": self.errors.get(number)}
            for number, place in self.slices.items()
        }
        return {
            "quality_schema": QUALITY_SCHEMA,
            "product_version": __version__,
            "series": self.series,
            "folders": list(self.folders),
            "series_uid": self.series_uid,
            "root": self.root,
            "status": "not judged" if self.quality.low_quality is None else "judged",
            "modality": self.modality,
            **self.quality.document(places),
            "not_judged": [{"what": one.what, "slices": one.slices} for one in self.left_out],
            "thresholds": {name: one.document() for name, one in self.thresholds.items()},
            "findings": [one.document() for one in self.findings],
            "skipped": [{"name": one.name, "reason": one.reason} for one in self.skipped],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Which slice of a series it is.

    Attributes:
        stack: Its stack.
        slice: Its number in the stack, from 0 in display order.
        item: The slice.
    """

    stack: int
    slice: int
    item: Slice = field(repr=False)

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "stack": self.stack,
            "slice": self.slice,
            "file_name": self.item.file_name,
            "sop_instance_uid": self.item.sop_instance_uid,
            "frame_number": self.item.frame_number,
        }


def judge_series(open_series: Callable[[bool], OpenedSeries], judging: Judging) -> QualityReport:
    """Judge a series; if its index does not match its objects, read it anew.

    Args:
        open_series: Opens the series; called with True where its index must be built anew.
        judging: What else is needed.

    Raises:
        NoImageError: The series has no image.
        RequestError: A threshold is wrong, or a limit is passed.
        StorageError: An object cannot be fetched.
        PreviewError: Opening the series raises it.
    """
    opened = open_series(False)  # noqa: FBT003 - the one argument
    for _ in range(_REFRESHES):
        try:
            return judge_opened(opened, judging)
        except (ObjectChangedError, ObjectNotFoundError):
            pass
        except DamagedIndexError as error:
            judging.damaged(opened.name, str(error))
        opened = open_series(True)  # noqa: FBT003 - likewise
    return judge_opened(opened, judging)


def judge_opened(opened: OpenedSeries, judging: Judging) -> QualityReport:
    """Judge an opened series.

    Up to 200 slices are all judged, of more the middle one and three on either side. Memory holds a few
    frames at a time.

    Raises:
        NoImageError: The series has no image.
        ObjectChangedError: An object has changed since it was indexed.
        DamagedIndexError: The index contradicts itself.
        RequestError: A threshold is wrong, or a limit is passed.
        StorageError: An object cannot be fetched.
    """
    index, warnings = _apart(opened.index)
    choice = _choice(index)
    if not choice.stacks:
        raise NoImageError(opened.title, opened.storage.url, "no object of it has an image to judge")
    places = _places(index, choice.grey)
    found = _judged(opened, index, places, judging)
    modalities = dict.fromkeys([place.item.contrast.content.modality for place in places.values()])
    thresholds = {name: judging.thresholds(name) for name in modalities}
    main = choice.stacks[0].modality
    return QualityReport(
        series=opened.title,
        folders=opened.folders,
        series_uid=opened.uid,
        root=opened.storage.url,
        modality=main,
        quality=SeriesQuality(
            {number: one.quality for number, one in found.items()},
            sum(map(len, choice.grey.values())),
            (thresholds.get(main) or judging.thresholds(main)).series_low_quality_ratio,
        ),
        thresholds=thresholds,
        slices=places,
        errors={number: one.error for number, one in found.items() if one.error},
        left_out=tuple(LeftOut(what, slices) for what, slices in choice.left_out.items() if slices),
        findings=findings_of(index, choice.stacks),
        skipped=(*opened.index.provenance.skipped, *opened.index.without_image()),
        warnings=(*opened.warnings, *warnings),
    )


def _apart(index: Index) -> tuple[Index, tuple[str, ...]]:
    """Take Siemens mosaics apart, so that each slice is judged; and return warnings."""
    has_mosaics = MOSAIC_COLUMNS[0].name in index.table.column_names
    return untiled(index) if has_mosaics else (index, ())


@dataclass(frozen=True, slots=True)
class _Choice:
    """What of a series is judged.

    Attributes:
        stacks: The stacks that count: those that are no localizers; all, if all are.
        grey: By stack, the numbers of its slices that the rules fit.
        left_out: What the rules do not fit, and how many slices.
    """

    stacks: tuple[Stack, ...]
    grey: Mapping[int, Sequence[int]]
    left_out: Counter[str]


def _choice(index: Index) -> _Choice:
    described = index.described_stacks()
    stacks = tuple(stack for stack in described if not stack.localizer) or tuple(described)
    slices = sum(stack.slices for stack in stacks)
    left_out = Counter({"localizers": sum(stack.slices for stack in described) - slices})
    grey: dict[int, list[int]] = {}
    for stack in stacks:
        if what := _NO_SHADES.get(stack.modality):
            left_out[what] += stack.slices
        else:
            grey[stack.stack] = _grey(index, stack.stack)
            left_out["colour"] += stack.slices - len(grey[stack.stack])
    return _Choice(stacks, grey, left_out)


def _grey(index: Index, stack: int) -> list[int]:
    """Return the numbers of a stack's slices that are not in colour."""
    columns = ["SamplesPerPixel", "PhotometricInterpretation"]
    cells = index.table.select(columns).take(pa.array(index.stacks[stack])).to_pydict()
    kinds = list(zip(*(cells[name] for name in columns), strict=True))
    colour = {(samples, name) for samples, name in set(kinds) if is_colour(_pixels(samples, name))}
    return [number for number, kind in enumerate(kinds) if kind not in colour]


def _pixels(samples: int | None, photometric: str | None) -> PixelDescription:
    name = (photometric or "").strip().upper()
    return PixelDescription("", 0, 0, samples_per_pixel=samples or 1, photometric_interpretation=name)


def _places(index: Index, grey: Mapping[int, Sequence[int]]) -> dict[int, Place]:
    """Return the slices to judge, by their numbers in the series.

    Args:
        index: The series' index.
        grey: By stack, the numbers of its slices that can be judged.
    """
    at = [(stack, number) for stack, numbers in grey.items() for number in numbers]
    numbers = chosen([len(one) for one in grey.values()])
    rows = [int(index.stacks[stack][number]) for stack, number in (at[one] for one in numbers)]
    items = index.slices(rows)
    return {number: Place(*at[number], item) for number, item in zip(numbers, items, strict=True)}


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of one slice.

    Attributes:
        quality: Its quality.
        error: Why it has no values, or empty.
    """

    quality: SliceQuality
    error: str = ""


def _judged(
    opened: OpenedSeries, index: Index, places: Mapping[int, Place], judging: Judging
) -> dict[int, _Found]:
    """Fetch, decode and judge slices, a few at a time."""
    options = FetchOptions(opened.prefetched, limits=judging.limits)
    reader = SliceReader(opened.storage, opened.name, index, options, judging.check)
    numbers = {place.item.row: number for number, place in places.items()}

    def work(found: DecodedSlice | FailedSlice) -> _Found:
        return _of_slice(found, judging)

    judged: dict[int, _Found] = {}
    for arrived, found in read_slices(reader, [place.item for place in places.values()], work):
        judged[numbers[arrived.slice.row]] = found
        judging.progress(len(judged), len(places))
    # They arrive in any order.
    return dict(sorted(judged.items()))


def _of_slice(found: DecodedSlice | FailedSlice, judging: Judging) -> _Found:
    """Judge one slice.

    Raises:
        StorageError: It cannot be fetched, which says nothing of its quality.
    """
    if isinstance(found, FailedSlice):
        if isinstance(found.error, StorageError):
            raise found.error
        return _Found(UNREADABLE, found.error.reason)
    item, samples = found.slice, found.decoded.samples
    try:
        values = modality_values(samples, item.contrast)
    except ObjectError as error:
        return _Found(UNREADABLE, error.reason)
    padding = padding_mask(samples, item.contrast)
    if found.gaps is not None:
        absent = found.gaps.absent
        padding = absent if padding is None else padding | absent
    modality, inverted = item.contrast.content.modality, is_inverted(item.pixels, item.contrast)
    return _Found(judge(values, padding, modality, judging.thresholds(modality), inverted=inverted))
