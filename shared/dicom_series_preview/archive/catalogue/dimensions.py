"""Find the dimensions of a stack: which elements tell apart the slices that lie at one location."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.catalogue.elements import Elements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from dicom_series_preview.archive.index.index import Index


@dataclass(frozen=True, slots=True)
class Axis:
    """An element that slices of one location may vary by.

    Attributes:
        name: What a dimension along it is called.
        keyword: The element's keyword.
        tag: Its tag.
        unit: The unit of its values, or empty.
        is_order: It says which came first and no more: a clock, a counter. Only the order at each location
            counts, as clocks differ from location to location.
    """

    name: str
    keyword: str
    tag: int
    unit: str = ""
    is_order: bool = False


AXES = (
    Axis("echo time", "EffectiveEchoTime", 0x00189082, "ms"),
    Axis("echo time", "EchoTime", 0x00180081, "ms"),
    Axis("b-value", "DiffusionBValue", 0x00189087, "s/mm2"),
    Axis("direction", "DiffusionGradientOrientation", 0x00189089),
    Axis("inversion time", "InversionTime", 0x00180082, "ms"),
    Axis("flip angle", "FlipAngle", 0x00181314, "degrees"),
    Axis("image type", "ComplexImageComponent", 0x00089208),
    Axis("image type", "0043,30:GEMS_PARM_01", 0x00431030),
    Axis("image type", "ImageType", 0x00080008),
    Axis("trigger time", "NominalCardiacTriggerDelayTime", 0x00209153, "ms", is_order=True),
    Axis("trigger time", "TriggerTime", 0x00181060, "ms", is_order=True),
    Axis("time", "TemporalPositionIndex", 0x00209128, is_order=True),
    Axis("time", "TemporalPositionIdentifier", 0x00200100, is_order=True),
    Axis("time", "AcquisitionDateTime", 0x0008002A, is_order=True),
    Axis("time", "AcquisitionTime", 0x00080032, is_order=True),
    Axis("acquisition", "AcquisitionNumber", 0x00200012, is_order=True),
    Axis("time", "ContentTime", 0x00080033, is_order=True),
    Axis("repetition", "InstanceNumber", 0x00200013, is_order=True),
)
"""The elements that can be dimensions, those that say most first (PS3.3 C.8.3, C.8.13, C.7.6.16.2)."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension of a stack beside its locations.

    Attributes:
        axis: The element that it runs along.
        values: Its values in ascending order; of one that only orders, 1, 2, 3 ...
        coordinates: Each slice's place along it, in display order.
    """

    axis: Axis
    values: tuple[Any, ...]
    coordinates: tuple[int, ...]


def dimensions_of(index: Index, number: int) -> tuple[Dimension, ...]:
    """Find what tells apart the slices of a stack that share a location.

    Args:
        index: The series' index.
        number: The stack.

    Returns:
        The dimensions that together tell all slices apart, as few as possible; none where every location has
        one slice, and where no element tells them apart.

    Raises:
        KeyError: There is no such stack.
    """
    rows = [int(row) for row in index.stacks[number]]
    locations = index.sorted_stack(number).locations
    if len(set(locations.tolist())) == len(rows):
        return ()
    elements = Elements(index)
    found = [_dimension(axis, elements.values(rows, axis.keyword, axis.tag), locations) for axis in AXES]
    candidates = [one for one in found if one is not None and len(one.values) > 1]
    meaningful = [one for one in candidates if not one.axis.is_order]
    for chosen in _choices(meaningful, [one for one in candidates if one.axis.is_order]):
        if _tells_apart(chosen, locations):
            return chosen
    return ()


def _choices(meaningful: Sequence[Dimension], orders: Sequence[Dimension]) -> Iterator[tuple[Dimension, ...]]:
    """Sets of dimensions to try: those with a meaning before those with an order, few before many."""
    for count in (1, 2, 3):
        yield from combinations(meaningful, count)
    for order in orders:
        for count in (0, 1, 2):
            for chosen in combinations(meaningful, count):
                yield (*chosen, order)


def _dimension(axis: Axis, values: Sequence[Any], locations: np.ndarray[Any, Any]) -> Dimension | None:
    """The dimension along an axis; None where a slice has no value there."""
    if any(value is None for value in values) and axis.name != "direction":
        return None
    if not axis.is_order:
        # Images without diffusion weighting have no direction.
        values = [() if value is None else value for value in values]
        ordered = sorted(set(values))
        return Dimension(axis, tuple(ordered), tuple(ordered.index(value) for value in values))
    at: dict[int, list[Any]] = {}
    for location, value in zip(locations.tolist(), values, strict=True):
        at.setdefault(location, []).append(value)
    ranks = {location: sorted(set(members)) for location, members in at.items()}
    places = tuple(ranks[one].index(value) for one, value in zip(locations.tolist(), values, strict=True))
    return Dimension(axis, tuple(range(1, max(places) + 2)), places)


def _tells_apart(chosen: Sequence[Dimension], locations: np.ndarray[Any, Any]) -> bool:
    """True where no two slices of a location have the same coordinates."""
    keys = list(zip(locations.tolist(), *(one.coordinates for one in chosen), strict=True))
    return len(set(keys)) == len(keys)
