"""Plan the volumes of a series from its index: which there are, which not and why. No object is read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.archive.siemens import untiled
from dicom_series_preview.base.errors import NoImageError, RequestError, counted
from dicom_series_preview.pixels.codecs.colour import is_colour
from dicom_series_preview.pixels.frames import request_count
from dicom_series_preview.products.volumes.extents import JOINED_BYTES, extents_of
from dicom_series_preview.products.volumes.frames import StackFrames
from dicom_series_preview.products.volumes.parts import Grid, Part, grid_of, parts_of
from dicom_series_preview.products.volumes.placement import ROUNDED_MM, FramePlanes, placed
from dicom_series_preview.products.volumes.refusal import Refusal, called
from dicom_series_preview.products.volumes.values import (
    ValueType,
    described_without_labels,
    has_one_rule,
    padding_value,
    value_type_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.archive.index.stacks import Stack
    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.products.volumes.options import VolumeOptions
    from dicom_series_preview.products.volumes.parts import FourthAxis
    from dicom_series_preview.products.volumes.placement import Placement

# What is no volume of measured values, by SOPClassUID (PS3.4 B.5).
_UNSUPPORTED = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "an RT dose",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "a whole slide image",
}
# Modalities whose images are projections, each for itself.
PROJECTIONS = frozenset(("DX", "DR", "CR", "MG"))
_SPACING_BETWEEN_SLICES, _SLICE_THICKNESS = (
    ("SpacingBetweenSlices", 0x00180088),
    ("SliceThickness", 0x00180050),
)
_REPETITION_TIME = ("RepetitionTime", 0x00180080)
_SOP_CLASS_UID, _UNITS = ("SOPClassUID", 0x00080016), ("Units", 0x00541001)
_FRAME_OF_REFERENCE = ("FrameOfReferenceUID", 0x00200052)
_RESCALE_REMARKS = ("RescaleSlope is", "RescaleIntercept is")
# No pixel of a patient's image is a metre wide.
_WIDEST_MM = 1000.0
# How far rows and columns may be from right angles: files round cosines to few digits.
_STRAIGHT = 0.01
_COLOUR_BITS = 8
# Steps in time within this share of each other are even.
_EVEN = 0.01
# RescaleType is free text; what it defines are short codes.
_UNIT = re.compile("[A-Z0-9_/%]{1,16}")
# Elements by which two spacings of one stack are often told apart.
_TELLING = (
    ("SliceThickness", 0x00180050),
    ("AcquisitionNumber", 0x00200012),
    ("ConvolutionKernel", 0x00181210),
    ("ReconstructionDiameter", 0x00181100),
)


@dataclass(frozen=True, slots=True)
class RefusedPart:
    """A part of a series that is no volume.

    Attributes:
        stack: The stack's number.
        words: Which part of the stack it is; empty where it is all.
        slices: Its slices.
        refusal: Why.
    """

    stack: int
    words: str
    slices: int
    refusal: Refusal

    @property
    def told(self) -> str:
        """The part in words."""
        return f"stack {self.stack}" + (f", {self.words}" if self.words else "")


@dataclass(frozen=True)
class PlannedVolume:
    """A volume to be made.

    Attributes:
        suffix: What its name has after the series'; empty where there is one.
        stack: The stack's number.
        words: Which part of the stack it is; empty where it is all.
        frames: The stack's slices.
        grid: Its frames.
        placement: Its place; None of a projection image.
        values: The type of its values.
        slices: Its slices, (t, z) row by row.
        units: The unit of its values, or empty.
        warnings: What its user should know: (code, one line).
        modality: Modality (0008,0060).
        repetition_time_s: RepetitionTime (0018,0080) in seconds, or None.
    """

    suffix: str
    stack: int
    words: str
    frames: StackFrames = field(repr=False)
    grid: Grid = field(repr=False)
    placement: Placement | None
    values: ValueType
    slices: tuple[Slice, ...] = field(repr=False)
    units: str
    warnings: tuple[tuple[str, str], ...]
    modality: str
    repetition_time_s: float | None = None

    @property
    def axis(self) -> FourthAxis | None:
        """The fourth axis."""
        return self.grid.axis

    @property
    def shape(self) -> tuple[int, ...]:
        """(t, z, y, x), or (t, z, y, x, 3) of colour; t is 1 where there is no fourth axis."""
        volumes, count = self.grid.members.shape
        pixels = self.slices[0].pixels
        return (volumes, count, pixels.rows, pixels.columns, *([3] if self.values.is_colour else []))

    @cached_property
    def padding(self) -> float | None:
        """The value of padding, where all slices have the same."""
        found = {padding_value(item, self.values) for item in self.slices}
        return found.pop() if len(found) == 1 else None

    @property
    def bytes(self) -> int:
        """The size of its array in the first type that is tried."""
        return int(np.prod(self.shape)) * self.values.dtype.itemsize

    @property
    def source_bytes(self) -> int:
        """The bytes of its frames as the objects hold them, as far as the index knows."""
        places = {
            (one.file_name, one.location.offset): one.location.length for one in self.sources if one.location
        }
        whole = {one.file_name: one.object_size for one in self.sources if not one.location}
        return sum(places.values()) + sum(whole.values())

    @property
    def requests(self) -> int:
        """How many ranges of objects are read, slab by slab."""
        are_mosaics = bool(self.slices[0].part_rows)
        count = self.shape[1]
        extents = extents_of(self.shape, self.values.dtype.itemsize, whole_volumes=are_mosaics)
        return sum(
            request_count(
                self._sources_of(self.slices[t * count + z] for t in range(*one.t) for z in range(*one.z)),
                JOINED_BYTES,
            )
            for one in extents
        )

    def _sources_of(self, slices: Iterable[Slice]) -> list[Slice]:
        """Return the frames that slices are made of, those of a mosaic once."""
        found = {}
        for item in slices:
            for frame in [part.frame for part in self.frames.index.parts(item)] or [item]:
                found[frame.row] = frame
        return list(found.values())

    @cached_property
    def sources(self) -> list[Slice]:
        """The frames that it is made of: those of mosaics once for all their slices."""
        return self._sources_of(self.slices)

    @property
    def step_s(self) -> float:
        """The seconds from volume to volume where they are even, else RepetitionTime, else 0."""
        times = self.axis.values if self.axis is not None and self.axis.unit == "s" else ()
        steps = np.diff(times)
        if len(steps) and steps.min() > 0 and np.ptp(steps) <= _EVEN * steps.mean():
            return float(steps.mean())
        return self.repetition_time_s or 0.0

    @property
    def has_one_rule(self) -> bool:
        """One slope and intercept hold for all its slices."""
        return has_one_rule(self.slices)


@dataclass(frozen=True, slots=True)
class VolumesPlan:
    """The volumes of a series.

    Attributes:
        opened: The series.
        index: Its index, mosaics taken apart.
        volumes: Those that can be made.
        refused: The parts of which none can be made.
        localizers: Slices of localizers, which are left out.
        derived: Slices of derived stacks that were left out.
        warnings: What a viewer of any of it should know.
    """

    opened: OpenedSeries
    index: Index = field(repr=False)
    volumes: tuple[PlannedVolume, ...]
    refused: tuple[RefusedPart, ...]
    localizers: int = 0
    derived: int = 0
    warnings: tuple[str, ...] = ()


def plan_volumes(opened: OpenedSeries, options: VolumeOptions, *, single_images: bool = False) -> VolumesPlan:
    """Find the volumes of a series.

    Args:
        opened: The series.
        options: What to make.
        single_images: Each image of a projection modality is an output of its own.

    Raises:
        NoImageError: The series has no image.
        RequestError: The stack does not exist, or an element to split by.
    """
    index, warnings = untiled(opened.index)
    # That there is no mosaic is as it should be.
    warnings = () if index is opened.index else warnings
    if not index.stacks:
        raise NoImageError(opened.title, opened.storage.url, "it has no image")
    stacks = index.described_stacks()
    if options.stack is not None and options.stack not in index.stacks:
        numbers = ", ".join(map(str, index.stacks))
        raise RequestError("stack", f"{options.stack} is none of this series' stacks: {numbers}")
    chosen = [one for one in stacks if options.stack in (None, one.stack)]
    localizers = [one for one in chosen if one.localizer]
    derived = [one for one in chosen if _is_derived(one) and options.exclude_derived and not one.localizer]
    kept = [one for one in chosen if one not in localizers and one not in derived]
    found: list[PlannedVolume | RefusedPart] = []
    for one in kept:
        found += _of_stack(index, one, options, single_images=single_images)
    if not found and localizers:
        refusal = Refusal("localizer", "it holds localizers only, which are no volume")
        found += [RefusedPart(one.stack, "", one.slices, refusal) for one in localizers]
    volumes = [one for one in found if isinstance(one, PlannedVolume)]
    lacking = _withheld(index)
    if lacking is not None:
        # Any of them may be a slice.
        found = [RefusedPart(one.stack, "", one.slices, lacking) for one in kept]
        volumes = []
    aside = _left_out(index)
    volumes = [replace(one, warnings=(*one.warnings, *aside)) for one in volumes]
    return VolumesPlan(
        opened,
        index,
        tuple(_named(volumes)),
        tuple(one for one in found if isinstance(one, RefusedPart)),
        sum(one.slices for one in localizers),
        sum(one.slices for one in derived),
        (*opened.warnings, *warnings, *(text for _, text in aside)),
    )


def _withheld(index: Index) -> Refusal | None:
    """Refuse a series of which the storage withholds an object."""
    withheld = [one for one in index.provenance.skipped if one.transient]
    if not withheld:
        return None
    many = f"{counted(len(withheld), 'object')} of the series cannot be read now: {withheld[0].reason}"
    return Refusal("not_found", many)


def _left_out(index: Index) -> tuple[tuple[str, str], ...]:
    """Return warnings of objects that are no part of any volume, and could be a slice."""
    skipped = [one for one in index.provenance.skipped if not one.transient]
    without = index.without_image()
    found = []
    if skipped:
        many = f"{counted(len(skipped), 'object')} of the series could not be read: {skipped[0].reason}"
        found.append(("skipped_objects", f"{many}; if one was a slice at an end, the volume lacks it"))
    if without:
        many = f"{counted(len(without), 'object')} of the series without an image left out"
        found.append(("without_image", many))
    return tuple(found)


def _is_derived(stack: Stack) -> bool:
    return stack.image_type[:1] == ("DERIVED",)


def _named(volumes: list[PlannedVolume]) -> Iterator[PlannedVolume]:
    """Yield volumes with suffixes that tell them apart."""
    several = len({one.stack for one in volumes}) > 1
    for one in volumes:
        stack = f"_s{one.stack}" if several else ""
        yield replace(one, suffix=stack + one.suffix)


def _of_stack(
    index: Index, stack: Stack, options: VolumeOptions, *, single_images: bool
) -> Iterator[PlannedVolume | RefusedPart]:
    """Yield the volumes of a stack."""
    frames = StackFrames(index, stack.stack)
    unsupported = _unsupported(frames)
    if unsupported:
        yield RefusedPart(stack.stack, "", stack.slices, Refusal("unsupported", unsupported))
        return
    if single_images and stack.modality in PROJECTIONS:
        yield from _images(frames, stack, options)
        return
    refusal = _without_geometry(frames, stack)
    if refusal is not None:
        yield RefusedPart(stack.stack, "", stack.slices, refusal)
        return
    for part in parts_of(frames, options.split):
        yield _of_part(frames, part, stack, options)


def _unsupported(frames: StackFrames) -> str:
    uid = frames.cells.values([int(frames.rows[0])], *_SOP_CLASS_UID)[0]
    kind = _UNSUPPORTED.get(str(uid or ""))
    return f"it is {kind}, of which no volume is made" if kind else ""


def _without_geometry(frames: StackFrames, stack: Stack) -> Refusal | None:
    """Say what slices lack to lie in the patient."""
    lacking = (
        np.isnan(frames.positions).any(axis=1)
        | np.isnan(frames.orientations).any(axis=1)
        | np.isnan(frames.spacings).any(axis=1)
        | (frames.locations < 0)
        | ~((frames.spacings > 0) & (frames.spacings < _WIDEST_MM)).all(axis=1)
        | ~_are_planes(frames.orientations)
    )
    if not lacking.any():
        return None
    which = (
        "its frames have"
        if lacking.all()
        else f"{int(lacking.sum())} of its {counted(len(lacking), 'slice')} have"
    )
    name = "" if lacking.all() else f", the first is {_called(frames, int(np.argmax(lacking)))}"
    what = "no position, orientation or pixel spacing in the patient, or an impossible one"
    hint = "; each image alone can be NIfTI or NPZ" if stack.modality in PROJECTIONS else ""
    return Refusal("no_geometry", f"{which} {what}{name}{hint}")


def _are_planes(cosines: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return True for rows and columns at right angles, however long their cosines are."""
    rows, columns = np.split(np.nan_to_num(cosines), 2, axis=1)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(columns, axis=1)
    straight = np.abs((rows * columns).sum(axis=1)) <= _STRAIGHT * lengths
    found: NDArray[np.bool_] = straight & (lengths > 0)
    return found


def _called(frames: StackFrames, member: int) -> str:
    uid, name, number = frames.names[member]
    frame = f", frame {number}" if number > 1 else ""
    return f"{uid or name}{frame}"


def _of_part(
    frames: StackFrames, part: Part, stack: Stack, options: VolumeOptions
) -> PlannedVolume | RefusedPart:
    def refused(refusal: Refusal) -> RefusedPart:
        return RefusedPart(stack.stack, part.words, len(part.members), refusal)

    locations = len(np.unique(frames.locations[part.members]))
    thickness = _thickness(frames, part) if locations == 1 else None
    if locations < max(options.min_slices, 1) or (locations == 1 and thickness is None):
        return refused(_too_few(locations, options, thickness))
    grid = grid_of(frames, part, options.incomplete)
    if isinstance(grid, Refusal):
        return refused(grid)
    sizes = {tuple(size) for size in frames.sizes[grid.members.ravel()].tolist()}
    rows, columns = sizes.pop()
    if sizes:
        return refused(Refusal("mixed_spacing", "its frames have different numbers of rows and columns"))
    planes = planes_of(frames, grid, (rows, columns))
    placement = placed(planes, thickness)
    if isinstance(placement, Refusal):
        if placement.code == "nonuniform_spacing":
            placement = _with_remedy(placement, frames, grid)
        return refused(placement)
    slices = _slices(frames, grid.members)
    fault = _mixed(slices, options) or _unknown(frames, grid, slices)
    if fault is not None:
        return refused(fault)
    return _volume(frames, part, stack, options, (grid, placement, slices))


def planes_of(frames: StackFrames, grid: Grid, size: tuple[int, int]) -> FramePlanes:
    """Return the planes of a grid's frames.

    Args:
        frames: The stack.
        grid: Its frames.
        size: Rows and columns of each frame.
    """
    return FramePlanes(
        frames.positions[grid.members],
        frames.orientations[grid.members],
        frames.spacings[grid.members],
        *size,
        [_called(frames, member) for member in grid.members[0].tolist()],
    )


def _volume(
    frames: StackFrames,
    part: Part,
    stack: Stack,
    options: VolumeOptions,
    found: tuple[Grid, Placement | None, tuple[Slice, ...]],
) -> PlannedVolume:
    grid, placement, slices = found
    units = {_units(frames, item, stack.modality) for item in _unlike_units(slices)}
    mixed = [("mixed_units", "its frames have values in different units")] if len(units) > 1 else []
    rows = frames.rows[grid.members.ravel()].tolist()
    if len({one or "" for one in frames.cells.values(rows, *_FRAME_OF_REFERENCE)}) > 1:
        several = "its frames have several FrameOfReferenceUIDs, and are taken as if they had one"
        mixed.append(("frames_of_reference", several))
    kind = value_type_of(slices, stored=options.values == "stored", invert=options.monochrome1 == "invert")
    return PlannedVolume(
        part.suffix,
        stack.stack,
        part.words,
        frames,
        grid,
        placement,
        kind,
        slices,
        units.pop() if len(units) == 1 and not (kind.is_colour or kind.is_stored) else "",
        (*_warnings(grid, placement, slices, _copies(frames, slices)), *mixed),
        stack.modality,
        _repetition_time(frames, slices[0]),
    )


def _unlike_units(slices: tuple[Slice, ...]) -> list[Slice]:
    """Return a slice of each object, whose units may differ."""
    return list({one.file_name: one for one in slices}.values())


def _copies(frames: StackFrames, slices: tuple[Slice, ...]) -> int:
    """Return how many objects the index left out as copies of those of some slices."""
    names = {one.file_name for one in slices}
    return sum(one.of in names for one in frames.index.provenance.duplicates)


def _slices(frames: StackFrames, members: NDArray[np.int64]) -> tuple[Slice, ...]:
    found = frames.index.slices(frames.rows[members.ravel()].tolist())
    return tuple(described_without_labels(one) if one.contrast.content.is_labelmap else one for one in found)


def _mixed(slices: tuple[Slice, ...], options: VolumeOptions) -> Refusal | None:
    """Refuse colour among grey, and stored values that mean different things."""
    if len({one.pixels.samples_per_pixel == 3 or one.pixels.palette is not None for one in slices}) > 1:
        return Refusal("unsupported", "some of its frames are colour and others are grey")
    if len({one.pixels.photometric_interpretation for one in slices if one.pixels.is_monochrome}) > 1:
        return Refusal("unsupported", "some of its frames are MONOCHROME1 and others MONOCHROME2")
    if options.values == "stored" and not has_one_rule(slices):
        problem = "slope and intercept differ from frame to frame, or are a table; give `values` modality"
        return Refusal("unsupported", problem)
    return None


def _unknown(frames: StackFrames, grid: Grid, slices: tuple[Slice, ...]) -> Refusal | None:
    """Refuse slices whose values or places would be a guess."""
    for item in slices:
        remark = next((one for one in item.remarks if one.startswith(_RESCALE_REMARKS)), "")
        if remark:
            return Refusal(
                "unsupported", f"{called(item)}: {remark.partition(':')[0]}: its values are unknown"
            )
    rows = frames.rows[grid.members.ravel()].tolist()
    if slices[0].part_rows:
        names = frames.index.table.column_names
        normals = frames.index.table["MosaicNormal"] if "MosaicNormal" in names else None
        if normals is None or any(not normals[row].as_py() for row in rows):
            return Refusal("no_geometry", "its mosaics do not say in which direction their slices follow")
        if None in frames.cells.values(rows, *_SPACING_BETWEEN_SLICES):
            return Refusal("no_geometry", "its mosaics do not say how far apart their slices lie")
    return None


def _too_few(locations: int, options: VolumeOptions, thickness: float | None) -> Refusal:
    if locations == 1:
        if thickness is None:
            told = "it has one location, and no header says how thick a slice is"
            return Refusal("single_location", told)
        return Refusal(
            "single_location", "it has one location only; `min_slices` 1 makes a volume of it all the same"
        )
    problem = f"it has {counted(locations, 'location')}, and `min_slices` asks for {options.min_slices}"
    return Refusal("single_location", problem)


def _thickness(frames: StackFrames, part: Part) -> float | None:
    """Return the spacing or thickness in mm that the headers of a single location give."""
    rows = [int(frames.rows[int(part.members[0])])]
    for keyword, tag in (_SPACING_BETWEEN_SLICES, _SLICE_THICKNESS):
        value = frames.cells.values(rows, keyword, tag)[0]
        if isinstance(value, (int, float)) and 0 < value < float("inf"):
            return float(value)
    return None


def _with_remedy(refusal: Refusal, frames: StackFrames, grid: Grid) -> Refusal:
    """Name the element that tells two spacings apart."""
    members = grid.members[0].tolist()
    rows = frames.rows[members].tolist()
    for keyword, tag in _TELLING:
        values = frames.cells.values(rows, keyword, tag)
        changes = sum(one != other for one, other in pairwise(values))
        if 0 < changes < 4 and len(set(values)) <= changes + 1 and None not in values:
            return Refusal(refusal.code, f"{refusal.problem}; `split` {keyword} takes them apart")
    return refusal


def _units(frames: StackFrames, item: Slice, modality: str) -> str:
    """Return the unit of modality values: RescaleType (0028,1054) or Units (0054,1001)."""
    rescale_type = item.contrast.content.rescale_type
    if modality == "CT" and rescale_type in ("", "HU"):
        return "HU"
    units = frames.cells.values([item.row], *_UNITS)[0]
    found = rescale_type if rescale_type and rescale_type != "US" else str(units or "").strip()
    return found if _UNIT.fullmatch(found) else ""


def _repetition_time(frames: StackFrames, item: Slice) -> float | None:
    value = frames.cells.values([item.row], *_REPETITION_TIME)[0]
    return float(value) / 1000 if isinstance(value, (int, float)) and 0 < value < float("inf") else None


def _warnings(
    grid: Grid, placement: Placement | None, slices: tuple[Slice, ...], copies: int
) -> Iterator[tuple[str, str]]:
    if placement is not None and placement.is_sheared:
        off = f"{placement.tilt_deg:.2f} degrees off the slices' normal"
        yield "gantry_tilt", f"the step from slice to slice is {off}: the affine is sheared, and exact"
    if placement is not None and placement.deviation_mm > ROUNDED_MM:
        yield (
            "rounded_positions",
            f"positions in the headers lie up to {placement.deviation_mm:.3f} mm off an even grid",
        )
    if grid.duplicates + copies:
        many = counted(grid.duplicates + copies, "slice")
        yield "duplicate", f"{many} with the SOPInstanceUID of another left out"
    if grid.dropped:
        yield "incomplete", f"{counted(grid.dropped, 'slice')} of volumes that lack others left out"
    if grid.axis is not None and grid.axis.name == "instance":
        yield (
            "no_axis_name",
            "no standard element tells the volumes of the fourth axis apart: they follow InstanceNumber",
        )
    if grid.axis is not None and grid.axis.b_values and not grid.axis.directions:
        yield (
            "no_directions",
            "the headers give directions of diffusion in the image's own axes, not the patient's: left out",
        )
    if is_colour(slices[0].pixels) and any(one.pixels.bits_stored > _COLOUR_BITS for one in slices):
        yield "narrowed", "colours of more than 8 bits are kept with 8"
    if any(one.contrast.pixel_padding_value is not None for one in slices):
        yield "padding", "some values are padding: they stay, and count in no statistic"


def _images(frames: StackFrames, stack: Stack, options: VolumeOptions) -> Iterator[PlannedVolume]:
    """Yield each projection image as a volume of one slice, without a place."""
    count = len(frames.rows)
    for number in range(count):
        suffix = f"_{number + 1:04d}" if count > 1 else ""
        part = Part(suffix, f"image {number + 1}", np.array([number], np.int64))
        grid = Grid(np.array([[number]], np.int64), None)
        yield _volume(frames, part, stack, options, (grid, None, _slices(frames, grid.members)))


def plan_document(plan: VolumesPlan) -> dict[str, Any]:
    """Return a plan as JSON values, units in the names."""
    return {
        "series": plan.opened.title,
        "volumes": [_volume_document(one) for one in plan.volumes],
        "refused": [
            {
                "stack": one.stack,
                "part": one.words,
                "slices": one.slices,
                "code": one.refusal.code,
                "problem": one.refusal.problem,
            }
            for one in plan.refused
        ],
        "localizers_skipped": plan.localizers,
        "derived_skipped": plan.derived,
        "skipped_objects": len(plan.index.provenance.skipped),
        "warnings": list(plan.warnings),
    }


def _volume_document(one: PlannedVolume) -> dict[str, Any]:
    place = one.placement
    return {
        "name": one.suffix,
        "stack": one.stack,
        "part": one.words,
        "shape_tzyx": list(one.shape),
        "dtype": str(one.values.dtype),
        "units": one.units,
        "axis": None if one.axis is None else one.axis.name,
        "affine": None if place is None else place.affine.tolist(),
        "spacing_mm": None if place is None else list(place.spacing_mm),
        "orientation": None if place is None else place.letters,
        "largest_deviation_mm": None if place is None else place.deviation_mm,
        "tilt_deg": None if place is None else place.tilt_deg,
        "bytes": one.bytes,
        "get_requests": one.requests,
        "source_bytes": one.source_bytes,
        "warnings": [{"code": code, "text": text} for code, text in one.warnings],
    }
