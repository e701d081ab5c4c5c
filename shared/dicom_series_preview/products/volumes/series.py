"""Convert a series: each of its volumes, and say of each what became of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dicom_series_preview.base.errors import (
    NoImageError,
    ObjectChangedError,
    ObjectNotFoundError,
    OutputError,
)
from dicom_series_preview.products.volumes.plan import plan_volumes
from dicom_series_preview.products.volumes.refusal import Refusal
from dicom_series_preview.products.volumes.slabs import RefusedVolumeError
from dicom_series_preview.products.volumes.targets import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.products.volumes.convert import Converter
    from dicom_series_preview.products.volumes.plan import PlannedVolume, VolumesPlan
    from dicom_series_preview.products.volumes.targets import Size, Target

Status = Literal["made", "exists", "refused", "failed"]
# A series that changes while it is read is planned anew so often.
_TRIES = 3
# Formats that hold images without a place in the patient.
SINGLE_IMAGES = frozenset(("nifti", "nii", "npz"))


@dataclass(frozen=True, slots=True)
class VolumeOutcome:
    """What became of one volume, or of a part of the series that is none.

    Attributes:
        status: `made`, `exists` (the same was there), `refused` or `failed`.
        part: Which part of the series it is.
        path: Its file or folder; None without one on this machine.
        receipt: Its receipt; empty without one.
        refusal: Why there is none.
        seconds: By phase.
        size: How much it holds.
        place: Its path or URL; empty without one.
    """

    status: Status
    part: str
    path: Path | None = None
    receipt: Mapping[str, Any] = field(default_factory=dict, repr=False)
    refusal: Refusal | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    size: Size = NOTHING
    place: str = ""


@dataclass(frozen=True, slots=True)
class SeriesOutcome:
    """What became of a series.

    Attributes:
        series: What it is called.
        volumes: Its volumes and the parts that are none.
        localizers: Slices of localizers, left out.
        derived: Slices of derived stacks, left out.
        skipped: Objects that could not be read.
        warnings: What its user should know.
    """

    series: str
    volumes: tuple[VolumeOutcome, ...]
    localizers: int = 0
    derived: int = 0
    skipped: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """True where every part is a volume."""
        return all(one.status in ("made", "exists") for one in self.volumes)

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "series": self.series,
            "volumes": [_document(one) for one in self.volumes],
            "localizers_skipped": self.localizers,
            "derived_skipped": self.derived,
            "skipped_objects": self.skipped,
            "warnings": list(self.warnings),
        }


def convert_series(
    opening: Callable[[bool], OpenedSeries],
    converter: Converter,
    place: Callable[[VolumesPlan, PlannedVolume], Path | Target],
) -> SeriesOutcome:
    """Convert the volumes of a series.

    Args:
        opening: Opens it; True reads it anew, as its index does not match its objects.
        converter: Converts one.
        place: Names each volume's output.

    Raises:
        PreviewError: The series cannot be opened.
    """
    for attempt in range(_TRIES):
        opened = opening(attempt > 0)
        try:
            plan = plan_volumes(
                opened, converter.options, single_images=converter.format.name in SINGLE_IMAGES
            )
        except NoImageError as error:
            refused = VolumeOutcome("refused", "", refusal=Refusal("no_image", error.problem))
            return SeriesOutcome(opened.title, (refused,), skipped=len(opened.index.provenance.skipped))
        with suppress(_StaleError):
            return _converted(plan, converter, place, is_last=attempt == _TRIES - 1)
    raise AssertionError("unreachable")


class _StaleError(Exception):
    """The index does not match the objects."""


def _converted(
    plan: VolumesPlan,
    converter: Converter,
    place: Callable[[VolumesPlan, PlannedVolume], Path | Target],
    *,
    is_last: bool,
) -> SeriesOutcome:
    outcomes = [VolumeOutcome("refused", one.told, refusal=one.refusal) for one in plan.refused]
    for volume in plan.volumes:
        part = f"stack {volume.stack}" + (f", {volume.words}" if volume.words else "")
        try:
            made = converter.convert(plan, volume, place(plan, volume))
        except RefusedVolumeError as error:
            if error.refusal.code in ("changed", "not_found") and not is_last:
                raise _StaleError from error
            outcomes.append(VolumeOutcome("refused", part, refusal=error.refusal))
        except (ObjectChangedError, ObjectNotFoundError) as error:
            if not is_last:
                raise _StaleError from error
            code: Literal["changed", "not_found"] = (
                "changed" if isinstance(error, ObjectChangedError) else "not_found"
            )
            outcomes.append(VolumeOutcome("refused", part, refusal=Refusal(code, str(error))))
        except OutputError as error:
            outcomes.append(VolumeOutcome("failed", part, refusal=Refusal("output", str(error))))
        else:
            status: Status = "exists" if made.status == "exists" else "made"
            outcomes.append(
                VolumeOutcome(
                    status,
                    part,
                    made.path,
                    made.receipt,
                    seconds=made.seconds,
                    size=made.size,
                    place=made.place,
                )
            )
    return SeriesOutcome(
        plan.opened.title,
        tuple(outcomes),
        plan.localizers,
        plan.derived,
        len(plan.index.provenance.skipped),
        plan.warnings,
    )


def _document(one: VolumeOutcome) -> dict[str, Any]:
    found: dict[str, Any] = {"status": one.status, "part": one.part}
    if one.place:
        found["path"] = one.place
    if one.refusal is not None:
        found |= {"code": one.refusal.code, "problem": one.refusal.problem}
    if one.seconds:
        found["seconds"] = dict(one.seconds)
    if one.receipt:
        found["receipt"] = dict(one.receipt)
    return found


def in_words(receipt: Mapping[str, Any]) -> str:
    """Return a volume in one line, such as `512 x 512 x 60 int16, 0.7 x 0.7 x 2.5 mm, LPI`."""
    volume = receipt["volume"]
    dims = " x ".join(map(str, volume["dims_xyzt"]))
    spacing = volume["spacing_mm"]
    told = [f"{dims} {volume['dtype']}"]
    if spacing is not None:
        told.append(" x ".join(f"{one:.4g}" for one in spacing) + " mm")
        told.append(volume["orientation"])
    if volume["fourth_axis"]:
        told.append(f"by {volume['fourth_axis']['name']}")
    if volume["min"] is not None:
        unit = f" {volume['units']}" if volume["units"] else ""
        told.append(f"{volume['min']:g} to {volume['max']:g}{unit}")
    return ", ".join(told)
