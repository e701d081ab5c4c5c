"""Describe a picture: its report, its warnings, and the reason if there is none."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NoReturn

from dicom_series_preview.archive.index.held import held_series
from dicom_series_preview.base.errors import StorageError, UndecodableError
from dicom_series_preview.base.geometry import unusual_orientation
from dicom_series_preview.base.image import WINDOW_FUNCTIONS
from dicom_series_preview.pixels.slices import reason_of
from dicom_series_preview.products.pictures.labels import directions_of
from dicom_series_preview.products.pictures.report import AppliedContrast, Report, ReportedPlace, ReportedTile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dicom_series_preview.archive.catalogue.choose import Choice
    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.pixels.contrast.resolve import Applied
    from dicom_series_preview.products.pictures.plan import Plan
    from dicom_series_preview.products.pictures.tiles import Cell, Painted

_NEARLY_ALL = 0.99


def reported_tiles(plan: Plan, painted: Mapping[int, Painted]) -> tuple[ReportedTile, ...]:
    """Describe each tile of a picture, in the order of the plan."""
    cells = ((item, cell) for item in plan.slices for cell in painted[item.row].cells)
    return tuple(
        _reported(plan, number, item, cell, painted[item.row].failed_frames)
        for number, (item, cell) in enumerate(cells)
    )


def warnings_of(plan: Plan, painted: Mapping[int, Painted]) -> tuple[str, ...]:
    """List the warnings for viewers of a picture, each once with its count."""
    counts: Counter[str] = Counter()
    for item in plan.slices:
        counts.update(_slice_warnings(item, painted[item.row]))
    texts = [f"{text} ({count} times)" if count > 1 else text for text, count in counts.items()]
    return (*plan.warnings, *texts, *_nothing_to_see(painted.values()), *_unusual_orientation(plan))


def report_of(
    plan: Plan, size: tuple[int, int], tiles: tuple[ReportedTile, ...], warnings: tuple[str, ...]
) -> Report:
    """Build the report of a picture.

    Args:
        plan: The painted plan.
        size: Width and height of the picture in pixels.
        tiles: From `reported_tiles`.
        warnings: From `warnings_of`.
    """
    opened, provenance = plan.opened, plan.opened.index.provenance
    return Report(
        series=opened.title,
        folders=opened.folders,
        series_uid=opened.uid,
        asked_uid=opened.asked_uid,
        root=opened.storage.url,
        matches=opened.matches,
        index_source=opened.source,
        headers_read=opened.headers_read,
        stack=plan.picture.stack,
        slices=len(plan.stack),
        at=_places(plan.choice),
        stacks=tuple(plan.index.described_stacks()),
        held_series=tuple(held_series(opened.index)),
        series_instance_uids=provenance.series_instance_uids,
        patient_ids=provenance.patient_ids,
        width=size[0],
        height=size[1],
        tile_width=plan.tile[0],
        tile_height=plan.tile[1],
        tiles=tiles,
        skipped=(*provenance.skipped, *opened.index.without_image()),
        duplicates=provenance.duplicates,
        notes=plan.index.provenance.notes,
        warnings=warnings,
        cost=plan.cost(),
    )


def _places(choice: Choice | None) -> tuple[ReportedPlace, ...]:
    """Describe the shown places on a stack's further dimensions."""
    return tuple(
        ReportedPlace(
            name=one.dimension.axis.name,
            element=one.dimension.axis.keyword,
            text=one.text,
            number=one.number + 1,
            of=len(one.dimension.values),
            asked=one.asked,
            which=one.which,
        )
        for one in (() if choice is None else choice.places)
    )


def raise_failure(plan: Plan, painted: Mapping[int, Painted], reported: Sequence[ReportedTile]) -> NoReturn:
    """Raise why no tile is left: the storage withholds all slices, or they cannot be decoded.

    Raises:
        StorageError: The storage withholds the first slice.
        UndecodableError: The first slice cannot be decoded.
    """
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
    raise UndecodableError(plan.opened.title, plan.opened.storage.url, problem)


def _reported(plan: Plan, number: int, item: Slice, cell: Cell, failed_frames: int) -> ReportedTile:
    """Describe one tile of a picture, by its number in the order of the plan."""
    row, column = divmod(number, plan.shape.columns)
    return ReportedTile(
        row=row,
        column=column,
        index=plan.index.table["Index"][item.row].as_py(),
        file_name=item.file_name,
        sop_instance_uid=item.sop_instance_uid,
        frame_number=item.frame_number,
        axis=item.primary_axis,
        primary_position=item.primary_position,
        position=plan.positions[item.row],
        patient_orientation=directions_of(plan.index, item),
        contrast=None if cell.applied is None else _applied(cell.applied),
        error=None if cell.error is None else reason_of(cell.error),
        area=_area(plan.index, item),
        frames=max(1, len(item.part_rows)),
        failed_frames=failed_frames,
    )


def _applied(applied: Applied) -> AppliedContrast:
    """Describe the contrast of one tile."""
    has_window = applied.function in WINDOW_FUNCTIONS
    return AppliedContrast(
        kind=applied.kind,
        name=applied.name or applied.explanation,
        function=applied.function,
        center=applied.center if has_window else None,
        width=applied.width if has_window else None,
    )


def _area(index: Index, item: Slice) -> tuple[int, int, int, int] | None:
    """Return the part of its frame that a slice is; None for a whole frame, or several."""
    parts, rows, columns = index.parts(item), item.pixels.rows, item.pixels.columns
    if len(parts) != 1:
        return None
    frame = parts[0].frame.pixels
    is_part = rows < frame.rows or columns < frame.columns
    return (max(0, -parts[0].top), max(0, -parts[0].left), rows, columns) if is_part else None


def _slice_warnings(item: Slice, painted: Painted) -> Iterator[str]:
    """Yield the warnings for viewers of one slice."""
    yield from (*item.remarks, *painted.remarks)
    yield from (cell.applied.warning for cell in painted.cells if cell.applied and cell.applied.warning)
    error = painted.cells[-1].error
    if error is not None:
        yield f"{item.name} cannot be shown: {reason_of(error)}"
    yield from painted.overlay_warnings


def _nothing_to_see(painted: Iterable[Painted]) -> list[str]:
    """Warn if the files' own views show nearly all of their pixels black, or white."""
    ends = [cell.ends for slice_ in painted for cell in slice_.cells]
    pixels, *counts = map(sum, zip(*ends, strict=True))
    return [
        f"more than 99 % of the pixels are {end} in the files' own view; the contrast auto shows more"
        for end, count in zip(("black", "white"), counts, strict=True)
        if count > _NEARLY_ALL * pixels
    ]


def _unusual_orientation(plan: Plan) -> list[str]:
    """Warn if the common orientation of a stack's slices is unusual."""
    item = plan.slices[0]
    cosines = item.image_orientation_patient
    if cosines is None or plan.index.is_of_a_quadruped(item):
        return []
    unusual = unusual_orientation(cosines)
    return [unusual] if unusual else []
