"""The report of a picture: its tiles, the objects left out, and the cost."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dicom_series_preview._version import __version__
from dicom_series_preview.archive.index.stacks import told
from dicom_series_preview.base.errors import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.archive.index.held import HeldSeries
    from dicom_series_preview.archive.index.records import Duplicate, Skipped
    from dicom_series_preview.archive.index.stacks import Stack
    from dicom_series_preview.products.pictures.cost import Cost

REPORT_SCHEMA = 2
# So many series of a folder are told of after a picture.
_LISTED = 20


@dataclass(frozen=True, slots=True)
class AppliedContrast:
    """The contrast of one tile.

    Attributes:
        kind: `preset`, `custom`, `auto`, `embedded`, `default` if the image's content decides, or `none` for
            colour.
        name: The name of the preset or of the default window, or the embedded view's explanation.
        function: `LINEAR`, `LINEAR_EXACT`, `SIGMOID`, `LUT` or `NONE`.
        center: In modality units, if the function has one.
        width: In modality units, if the function has one.
    """

    kind: str
    name: str
    function: str
    center: float | None
    width: float | None


@dataclass(frozen=True, slots=True)
class ReportedTile:
    r"""One tile of a picture.

    Attributes:
        row: Row of the grid, from 0.
        column: Column of the grid, from 0.
        index: Row of the index.
        file_name: The object below the series' folder.
        sop_instance_uid: Its SOPInstanceUID.
        frame_number: 1-based.
        axis: `X`, `Y`, `Z` or `I`.
        primary_position: Coordinate on the axis in mm, InstanceNumber on `I`.
        position: 0 (first slice of the stack) to 1 (last), or None where the slice has no place.
        patient_orientation: The directions of its rows and columns, like `L\P` (PS3.3 C.7.6.1.1.1), from
            ImageOrientationPatient, else from PatientOrientation; empty without either, and for an animal on
            four legs.
        contrast: The applied contrast; None for a tile that could not be shown.
        error: Why it could not be shown, or None.
        area: For a slice that is a part of its frame: the part's first row and column there, from 0, then its
            rows and columns. None for any other.
        frames: The number of the slice's frames; `frame_number` is the first.
        failed_frames: The number of frames that could not be shown and are crossed out.
    """

    row: int
    column: int
    index: int
    file_name: str
    sop_instance_uid: str
    frame_number: int
    axis: str
    primary_position: float | None
    position: float | None
    patient_orientation: str
    contrast: AppliedContrast | None
    error: str | None = None
    area: tuple[int, int, int, int] | None = None
    frames: int = 1
    failed_frames: int = 0


@dataclass(frozen=True, slots=True)
class ReportedPlace:
    """The place that is shown on one of the stack's dimensions beside its locations.

    Attributes:
        name: The dimension's name, such as `echo time`.
        element: The element that tells the place, by keyword or as `gggg,ee:CREATOR`.
        text: The place as one asks for it, such as `echo time=20`.
        number: Its number among the dimension's values, from 1.
        of: The number of these.
        asked: It was asked for; else it is the first.
        which: Which it is of those that could be shown, such as `the first of 3`; empty if there is no other.
    """

    name: str
    element: str
    text: str
    number: int
    of: int
    asked: bool
    which: str


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a picture.

    Attributes:
        series: The series' folder; its SeriesInstanceUID where it lies in several.
        folders: The folders that it lies in. Names of objects are below the one around them.
        series_uid: The one SeriesInstanceUID that is shown of what they hold; empty where it is all.
        root: The storage root's URL.
        asked_uid: The SeriesInstanceUID by which it was found; empty where a folder has the name.
        matches: The number of series that a prefix matched.
        index_source: `cache`, `updated` or `built`.
        headers_read: The number of headers read for this.
        stack: The shown stack.
        slices: The number of its slices.
        at: The places that are shown on its further dimensions.
        stacks: Descriptions of the series' stacks.
        held_series: Descriptions of the folder's series by SeriesInstanceUID, the largest first.
        series_instance_uids: The number of different SeriesInstanceUIDs in the folder.
        patient_ids: The number of different PatientIDs.
        width: The picture's width in pixels.
        height: The picture's height in pixels.
        tile_width: A tile's width in pixels.
        tile_height: A tile's height in pixels.
        tiles: The tiles, row by row.
        skipped: The series' objects that cannot be shown, and why.
        duplicates: The objects identical to others, which are shown instead.
        notes: Remarks on the order.
        warnings: Warnings for viewers of the picture.
        cost: The cost.
    """

    series: str
    folders: tuple[str, ...]
    series_uid: str
    asked_uid: str
    root: str
    matches: int
    index_source: str
    headers_read: int
    stack: int
    slices: int
    at: tuple[ReportedPlace, ...]
    stacks: tuple[Stack, ...]
    held_series: tuple[HeldSeries, ...]
    series_instance_uids: int
    patient_ids: int
    width: int
    height: int
    tile_width: int
    tile_height: int
    tiles: tuple[ReportedTile, ...]
    skipped: tuple[Skipped, ...]
    duplicates: tuple[Duplicate, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    cost: Cost

    def to_json(self, facts: Mapping[str, Any] | None = None) -> str:
        """Return the report as a JSON document.

        Args:
            facts: The facts of the shown stack, from `Plan.facts`.
        """
        document: dict[str, Any] = {
            "report_schema": REPORT_SCHEMA,
            "product_version": __version__,
            **asdict(self),
            **({} if facts is None else {"facts": facts}),
        }
        document["skipped"] = [{"name": item.name, "reason": item.reason} for item in self.skipped]
        document["duplicates"] = [{"name": one.name, "of": one.of} for one in self.duplicates]
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    @property
    def shown(self) -> int:
        """The number of shown slices."""
        return len({(tile.index, tile.area) for tile in self.tiles if tile.error is None})

    def in_short(self) -> dict[str, Any]:
        """Return the contents of `summary` and `choice`, and the warnings, as values."""
        return {
            "series": self.series,
            "folders": list(self.folders),
            "series_uid": self.series_uid,
            "asked_uid": self.asked_uid,
            "root": self.root,
            "matches": self.matches,
            "index": self.index_source,
            "width": self.width,
            "height": self.height,
            "stack": self.stack,
            "stacks": len(self.stacks),
            "held_series": [asdict(one) for one in self.held_series],
            "series_instance_uids": self.series_instance_uids,
            "patient_ids": self.patient_ids,
            "slices": self.slices,
            "at": [place.text for place in self.at],
            "shown": self.shown,
            "failed_tiles": sum(tile.error is not None or tile.failed_frames > 0 for tile in self.tiles),
            "skipped": len(self.skipped),
            "duplicates": len(self.duplicates),
            "warnings": list(self.warnings),
            "cost": asdict(self.cost),
        }

    def summary(self) -> str:
        """Return the report in one line."""
        shown, cost = self.shown, self.cost
        skipped = f", {counted(len(self.skipped), 'object')} skipped" if self.skipped else ""
        skipped += f", {counted(len(self.duplicates), 'duplicate')}" if self.duplicates else ""
        first = self.asked_uid or self.series
        where = "" if first == self.series else f" in {self.series}"
        prefix = f"{first} (the first of {self.matches}){where}, " if self.matches > 1 else ""
        places = "".join(map(_in_summary, self.at))
        slices = f"{shown} of {counted(self.slices, 'slice')}"
        picture = f"{prefix}{self.width} x {self.height}, {slices}{places}{skipped}"
        requests = f"{cost.list_requests} LIST and {cost.get_requests} GET, {cost.bytes / 1e6:.1f} MB"
        return f"{picture}, index {self.index_source}; {requests}, {cost.milliseconds['total'] / 1000:.2f} s"

    def choice(self) -> list[str]:
        """Say what else the folder holds, and how to see it, and list its series; nothing of one stack."""
        if len(self.stacks) < 2:
            return []
        found = told(len(self.stacks), self.series_instance_uids, self.patient_ids)
        numbers = f"{self.stacks[0].stack} to {self.stacks[-1].stack}"
        line = (
            f"{self.series} holds {found}: this is stack {self.stack}; --stack N ({numbers}) shows another, "
            "--report FILE lists them"
        )
        if len(self.held_series) < 2:
            return [line]
        left = len(self.held_series) - _LISTED
        more = [f"  and {left} more"] if left > 0 else []
        return [line, *map(_listed, self.held_series[:_LISTED]), *more]


def _listed(one: HeldSeries) -> str:
    """Describe a series in a line that begins with the option for it."""
    option = f"--series-uid {one.series_instance_uid}" if one.series_instance_uid else "without a UID"
    number = "" if one.series_number is None else f"SeriesNumber {one.series_number}, "
    description = f": {one.description}" if one.description else ""
    return f"  {option}  {number}{counted(one.slices, 'slice')}{description}"


def _in_summary(place: ReportedPlace) -> str:
    """Say in a summary which place is shown, and how to see another unless this one was asked for."""
    other = f" ({place.which}; --at shows another)" if place.which and not place.asked else ""
    return f", {place.text}{other}"
