"""Take a stack apart into parts that are volumes, and order the frames of each into a grid.

What has a meaning of its own (a complex component, an echo time, an inversion time, a flip angle, a kernel)
tells parts apart. What still shares a location is the fourth axis: diffusion, time, cardiac phase, or the
order of InstanceNumber.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.archive.catalogue.axes import AXES, Element
from dicom_series_preview.archive.catalogue.choose import label
from dicom_series_preview.archive.catalogue.elements import Elements
from dicom_series_preview.archive.index.declared import column_name
from dicom_series_preview.base.errors import RequestError, counted, quoted
from dicom_series_preview.products.volumes.refusal import Refusal
from dicom_series_preview.sources.headers.dictionary import dictionary_vr, tag_of
from dicom_series_preview.sources.headers.elements import all_values, creator_tag, is_in_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.catalogue.dimensions import Dimension
    from dicom_series_preview.products.volumes.frames import StackFrames

    IntArray = NDArray[np.int64]

# The dimensions of a stack that make parts, in the order of their names.
_PART_AXES = ("image type", "echo time", "inversion time", "flip angle", "stack id", "segment")
# Elements that make parts, too, where slices of one location differ in them.
_PART_ELEMENTS = (("ConvolutionKernel", 0x00181210), ("ReconstructionDiameter", 0x00181100))
_COMPONENTS = {
    "M": "",
    "MAGNITUDE": "",
    "P": "ph",
    "PHASE": "ph",
    "R": "re",
    "REAL": "re",
    "I": "im",
    "IMAGINARY": "im",
}
_DIFFUSION = ("b-value", "direction")
# GE and United Imaging keep directions in the image's own axes, whose signs depend on the protocol.
_IN_THE_IMAGE = (":GEMS_ACQU_01", ":Image Private Header")
# Clocks in milliseconds.
_MILLISECONDS = frozenset(("TriggerTime", "NominalCardiacTriggerDelayTime", "FrameReferenceTime"))
_FOURTH = {"trigger time": "time", "time": "time", "acquisition": "time", "cardiac phase": "phase"}
# Numbers of moments, the same at all locations.
_MOMENTS = (("TemporalPositionIndex", 0x00209128), ("TemporalPositionIdentifier", 0x00200100))
_PATIENT_GROUP = 0x0010
_UNSAFE = re.compile("[^A-Za-z0-9.+-]+")


@dataclass(frozen=True, slots=True)
class FourthAxis:
    """The axis that the volumes of a four-dimensional array follow each other on.

    Attributes:
        name: `diffusion`, `time`, `phase` or `instance`.
        values: Each volume's value: seconds since the first (time), per cent (phase), its number (instance).
        unit: The unit of the values, or empty.
        element: The element that tells the volumes apart, or empty.
        b_values: s/mm2, of diffusion.
        directions: Unit vectors in RAS, of diffusion; None for a volume without one. Empty where the headers
            give them in the image's own axes.
    """

    name: str
    values: tuple[float, ...]
    unit: str = ""
    element: str = ""
    b_values: tuple[float, ...] = ()
    directions: tuple[tuple[float, float, float] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """The frames of a stack that one volume is made of.

    Attributes:
        suffix: What tells its name from other parts', such as `_e2`; empty where there are none.
        words: The same in words, such as `echo time 40 ms`.
        members: int64 (n,): the slices' places in the stack, in display order.
    """

    suffix: str
    words: str
    members: IntArray


@dataclass(frozen=True, slots=True)
class Grid:
    """The frames of a volume.

    Attributes:
        members: int64 (t, z): the slices' places in the stack.
        axis: The fourth axis; None where no two slices share a location.
        duplicates: The same instance again, left out.
        dropped: Slices of volumes left out because others of them are missing.
    """

    members: IntArray
    axis: FourthAxis | None
    duplicates: int = 0
    dropped: int = 0


def parts_of(frames: StackFrames, split: Sequence[str]) -> list[Part]:
    """Take a stack apart.

    Args:
        frames: The stack.
        split: Keywords of further elements whose values tell parts apart.

    Raises:
        RequestError: A keyword is no element, or the series has none such.
    """
    count = len(frames.rows)
    placed = np.flatnonzero(frames.locations >= 0)
    keys: list[list[Any]] = []
    names: list[tuple[str, str, str]] = []
    if len(np.unique(frames.locations[placed])) < len(placed):
        for one in _part_dimensions(frames):
            keys.append([label(one, number) if number >= 0 else "" for number in one.coordinates])
            names.append((one.axis.name, one.axis.keyword, one.axis.unit))
        for keyword, tag in _PART_ELEMENTS:
            values = frames.values(keyword, tag)
            if _differs_at_a_location(values, frames.locations):
                keys.append([_told(value) for value in values])
                names.append((keyword, keyword, ""))
    for keyword in split:
        values = frames.values(keyword, _tag(keyword))
        if all(value is None for value in values):
            raise RequestError("split", f"the series has no {keyword}")
        keys.append([_told(value) for value in values])
        names.append((keyword, keyword, ""))
    if not keys:
        return [Part("", "", np.arange(count, dtype=np.int64))]
    found: dict[tuple[str, ...], list[int]] = {}
    for member, key in enumerate(zip(*keys, strict=True)):
        found.setdefault(key, []).append(member)
    ordered = sorted(found, key=lambda key: [_rank(one) for one in key])
    parts = [
        Part(_suffix(key, names, ordered), _words(key, names), np.array(found[key], np.int64))
        for key in ordered
    ]
    return _unlike(parts) if len(parts) > 1 else [Part("", "", np.arange(count, dtype=np.int64))]


def grid_of(frames: StackFrames, part: Part, incomplete: str) -> Grid | Refusal:
    """Order the frames of a part: the k-th of each location make volume k.

    Args:
        frames: The stack.
        part: The part.
        incomplete: `drop` leaves out the last volumes that lack slices; else they are a refusal.
    """
    members, duplicates = _once(frames, part.members)
    locations = frames.locations[members]
    places = np.unique(locations, return_inverse=True)[1]
    counts = np.bincount(places)
    order = np.lexsort((frames.order[members], places))
    members, places = members[order], places[order]
    ranks = np.arange(len(members)) - np.searchsorted(places, places)
    volumes = int(counts.min())
    dropped = 0
    if counts.max() > volumes:
        if incomplete != "drop":
            return _incomplete(counts)
        dropped = int((ranks >= volumes).sum())
        kept = ranks < volumes
        members, places, ranks = members[kept], places[kept], ranks[kept]
    grid = np.empty((volumes, len(counts)), np.int64)
    grid[ranks, places] = members
    if volumes == 1:
        return Grid(grid, None, duplicates, dropped)
    dimensions = [one for one in frames.dimensions if one.axis.name not in _PART_AXES]
    ordered = _in_agreement(grid, dimensions, is_incomplete=dropped > 0)
    if ordered is None:
        names = " and ".join(one.axis.name for one in dimensions)
        return Refusal(
            "incomplete_grid",
            f"its volumes cannot be told: the slices of each location differ in {names} in another way",
        )
    if _mixes_moments(frames, ordered):
        problem = (
            "its locations lack different moments: TemporalPositionIdentifier differs within its volumes"
        )
        return Refusal("incomplete_grid", problem)
    return Grid(ordered, _fourth_axis(frames, ordered, dimensions), duplicates, dropped)


def _mixes_moments(frames: StackFrames, grid: IntArray) -> bool:
    """Return True where slices of a volume have different temporal positions, which others have, too."""
    for keyword, tag in _MOMENTS:
        values = frames.values(keyword, tag)
        numbers = [[values[member] for member in volume] for volume in grid.tolist()]
        known = {number for volume in numbers for number in volume}
        if None not in known and len(known) < grid.size:
            return any(len(set(volume)) > 1 for volume in numbers)
    return False


def _part_dimensions(frames: StackFrames) -> list[Dimension]:
    return [one for name in _PART_AXES for one in frames.dimensions if one.axis.name == name]


def _differs_at_a_location(values: Sequence[Any], locations: IntArray) -> bool:
    """Return True where slices of one location have different values."""
    first: dict[int, Any] = {}
    return any(
        location >= 0 and first.setdefault(location, value) != value
        for location, value in zip(locations.tolist(), values, strict=True)
    )


def _tag(keyword: str) -> int:
    """Return the tag of an element to split by.

    Raises:
        RequestError: There is none, or it says who the patient is: its value would stand in names of files.
    """
    try:
        tag = tag_of(keyword)
    except KeyError as error:
        problem = f"{quoted(keyword)} is no keyword of DICOM's dictionary, such as SliceThickness"
        raise RequestError("split", problem) from error
    if tag >> 16 == _PATIENT_GROUP or dictionary_vr(tag) == "PN":
        raise RequestError("split", f"{keyword} says who someone is, and would stand in the names of outputs")
    return tag


def _told(value: Any) -> str:  # noqa: ANN401 - a cell
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "\\".join(map(_told, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value).strip()


def _rank(text: str) -> tuple[bool, float, str]:
    """Order numbers as numbers, and texts after them."""
    try:
        return False, float(text), ""
    except ValueError:
        return True, 0.0, text


def _suffix(
    key: Sequence[str], names: Sequence[tuple[str, str, str]], all_keys: Sequence[Sequence[str]]
) -> str:
    """Return what tells a part's name from the others'."""
    found = []
    for number, (value, (name, keyword, _)) in enumerate(zip(key, names, strict=True)):
        different = sorted({one[number] for one in all_keys}, key=_rank)
        if len(different) == 1:
            continue
        if name == "echo time":
            found.append(f"e{different.index(value) + 1}")
        elif name == "image type" and set(value.upper().split("\\")) & _COMPONENTS.keys():
            word = next(word for word in value.upper().split("\\") if word in _COMPONENTS)
            found.append(_COMPONENTS[word])
        else:
            short = _UNSAFE.sub("-", value).strip("-.") or "none"
            title = "".join(word.capitalize() for word in name.split()) if " " in name else keyword
            found.append(f"{title}-{short}")
    return "".join(f"_{one}" for one in found if one)


def _words(key: Sequence[str], names: Sequence[tuple[str, str, str]]) -> str:
    told = [
        f"{name} {value or 'none'}{f' {unit}' if unit else ''}"
        for value, (name, _, unit) in zip(key, names, strict=True)
    ]
    return ", ".join(told)


def _unlike(parts: Sequence[Part]) -> list[Part]:
    """Return parts with names of their own, compared without case."""
    taken: set[str] = set()
    found = []
    for number, part in enumerate(parts):
        suffix = part.suffix
        if suffix.casefold() in taken:
            suffix = f"{suffix}_{number}"
        taken.add(suffix.casefold())
        found.append(Part(suffix, part.words, part.members))
    return found


def _once(frames: StackFrames, members: IntArray) -> tuple[IntArray, int]:
    """Return members without further copies of one instance's frame at one location."""
    seen: set[tuple[str, int, int]] = set()
    kept = []
    for member in members.tolist():
        uid, name, number = frames.names[member]
        key = (uid or name, number, int(frames.locations[member]))
        if key not in seen:
            seen.add(key)
            kept.append(member)
    return np.array(kept, np.int64), len(members) - len(kept)


def _incomplete(counts: IntArray) -> Refusal:
    sizes, times = np.unique(counts, return_counts=True)
    told = ", ".join(
        f"{counted(int(many), 'location')} {'has' if many == 1 else 'have'} {counted(int(size), 'slice')}"
        for size, many in list(zip(sizes, times, strict=True))[:4]
    )
    more = f" and {counted(len(sizes) - 4, 'other count')}" if len(sizes) > 4 else ""
    remedy = "`incomplete` drop leaves out the volumes that lack some, `split` takes them apart by an element"
    problem = f"its locations have unequal numbers of slices: {told}{more}; {remedy}"
    return Refusal("incomplete_grid", problem)


def _in_agreement(grid: IntArray, dimensions: Sequence[Dimension], *, is_incomplete: bool) -> IntArray | None:
    """Return the grid with one value of each dimension in each volume; None where there is no such grid.

    As a rule the k-th of each location agree. Where they do not, the values order each location, if all
    locations have the same. What only ranks slices, such as a time of day, need not agree where no slice
    lacks: some files have ties.
    """
    has_ties = not dimensions
    fewer = [] if is_incomplete else [[one for one in dimensions if one.axis.has_meaning]]
    for chosen in (dimensions, *fewer):
        if not chosen:
            return grid if has_ties else None
        coordinates = np.stack([np.array(one.coordinates, np.int64) for one in chosen], axis=1)
        found = coordinates[grid]
        if (found == found[:, :1]).all():
            return grid
        order = np.stack([np.lexsort(found[:, place].T[::-1]) for place in range(grid.shape[1])], axis=1)
        sorted_grid = np.take_along_axis(grid, order, axis=0)
        agreed = coordinates[sorted_grid]
        # Places that all differ and are others elsewhere are slices that lack, not ties.
        has_ties |= bool((agreed[1:] == agreed[:-1]).all(axis=-1).any())
        if (agreed == agreed[:, :1]).all():
            # The volumes stay in the order in which the first location's slices came.
            return sorted_grid[np.argsort(order[:, 0], kind="stable")]
    return None


def _fourth_axis(frames: StackFrames, grid: IntArray, dimensions: Sequence[Dimension]) -> FourthAxis:
    names = [one.axis.name for one in dimensions]
    if any(name in _DIFFUSION for name in names):
        return _diffusion(frames, grid, dimensions)
    one = next((one for one in dimensions if one.axis.name in _FOURTH), None)
    if one is None:
        return FourthAxis("instance", tuple(map(float, range(1, len(grid) + 1))), "", "InstanceNumber")
    name, element = _FOURTH[one.axis.name], one.axis.keyword
    places = [one.coordinates[member] for member in grid[:, 0].tolist()]
    if one.axis.kind != "rank":
        values = tuple(float(one.values[place] or 0) for place in places)
        if one.axis.unit == "ms":
            return FourthAxis(name, tuple(value / 1000 for value in values), "s", element)
        return FourthAxis(name, values, one.axis.unit, element)
    seconds = _moments(frames, grid, one.axis.element)
    if seconds is None:
        return FourthAxis(name, tuple(float(place + 1) for place in places), "", element)
    return FourthAxis(name, seconds, "s", element)


def _moments(frames: StackFrames, grid: IntArray, element: Element) -> tuple[float, ...] | None:
    """Return each volume's first moment in seconds since the first; None for an element that is no clock."""
    if not element.name.endswith("Time"):
        return None
    values = Elements(frames.index, frames.rows[grid.ravel()].tolist()).values(element)
    if values is None or None in values:
        return None
    firsts = np.array(values, np.float64).reshape(grid.shape).min(axis=1)
    firsts = firsts / 1000 if element.name in _MILLISECONDS else firsts
    return tuple((firsts - firsts.min()).round(6).tolist())


def _exactly(cell: Any) -> Any:  # noqa: ANN401 - a cell
    """Return a cell's vector in full precision; None where it is none."""
    try:
        vector = tuple(float(one) for one in cell)
    except (TypeError, ValueError, OverflowError):
        return None
    length = math.hypot(*vector) if len(vector) == 3 else 0.0
    return tuple(one / length for one in vector) if math.isfinite(length) and length > 0 else None


def _diffusion(frames: StackFrames, grid: IntArray, dimensions: Sequence[Dimension]) -> FourthAxis:
    rows = frames.rows[grid[:, 0]].tolist()
    by_name = {one.axis.name: one.axis.element for one in dimensions}
    b_element, b_cells = _cells_of(frames, rows, "b-value", by_name.get("b-value"))
    read = (lambda _cell: None) if b_element is None else b_element.read
    b_values = [float(read(cell) or 0) for cell in b_cells]
    direction, cells = _cells_of(frames, rows, "direction", by_name.get("direction"))
    directions: list[tuple[float, float, float] | None] = []
    if direction is None or not direction.name.endswith(_IN_THE_IMAGE):
        # DICOM's patient axes lead left and back, RAS's right and front.
        exact = [None if b == 0 else _exactly(cell) for b, cell in zip(b_values, cells, strict=True)]
        directions = [None if one is None else (-one[0], -one[1], one[2]) for one in exact]
    element = by_name.get("b-value", by_name.get("direction"))
    keyword = "" if element is None else element.name
    return FourthAxis("diffusion", tuple(b_values), "s/mm2", keyword, tuple(b_values), tuple(directions))


def _cells_of(
    frames: StackFrames, rows: Sequence[int], name: str, told: Element | None
) -> tuple[Element | None, list[Any]]:
    """Return the first element of an axis that rows have, and its cells: also where all are the same.

    Args:
        frames: The stack.
        rows: The rows.
        name: The axis.
        told: The element that tells volumes apart, if one does.
    """
    elements = Elements(frames.index, rows)
    for axis in AXES:
        if axis.name != name or (told is not None and axis.element != told):
            continue
        plain = replace(axis.element, read=lambda cell: cell)
        cells = elements.values(plain)
        if cells is None:
            columns = [
                frames.cells.values(rows, one, _tag_of_column(frames, plain, one)) for one in plain.columns
            ]
            cells = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        if any(axis.element.read(cell) is not None for cell in cells if cell is not None):
            return axis.element, cells
    return None, [None] * len(rows)


def _tag_of_column(frames: StackFrames, element: Element, column: str) -> int:
    """Return the tag by which the index's constants and functional groups know a column; 0 for neither."""
    if element.group:
        return int(element.group, 16)
    constants = frames.index.constants
    for tag in constants:
        creator = all_values(constants.get(creator_tag(tag))) if is_in_block(tag) else ()
        if column_name(tag, str(creator[0]) if creator else "") == column:
            return tag
    return 0
