"""Find the series of a root in its listing: which folders they are, and which objects lie in each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_series_preview.archive.query import is_passed_over

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.sources.storage.base import ObjectInfo


@dataclass(frozen=True, slots=True)
class Discovered:
    """The series of a root.

    Attributes:
        series: The objects of each, by its folder below the root, in the order of the listing.
        loose: Objects right in the root: they lie in no series' folder.
    """

    series: Mapping[str, list[ObjectInfo]] = field(repr=False)
    loose: Sequence[ObjectInfo] = field(repr=False)


def discover(listing: Sequence[ObjectInfo]) -> Discovered:
    """Sort a root's objects into series.

    A series is a folder that holds an object whose name allows an instance. It takes all below it, as its
    index does: so a folder above another one takes that one's objects, too.

    Args:
        listing: All objects below the root, sorted by path.
    """
    holders = {info.path.rpartition("/")[0] for info in listing if not is_passed_over(info.path)}
    tops: dict[str, str] = {}
    series: dict[str, list[ObjectInfo]] = {}
    for info in listing:
        folder = info.path.rpartition("/")[0]
        if folder not in tops:
            tops[folder] = _top(folder, holders)
        if tops[folder]:
            series.setdefault(tops[folder], []).append(info)
    loose = [info for info in listing if "/" not in info.path and not is_passed_over(info.path)]
    return Discovered(series, loose)


def _top(folder: str, holders: set[str]) -> str:
    """Return the highest folder at or above this one that holds instances; empty without one."""
    found = ""
    while folder:
        if folder in holders:
            found = folder
        folder = folder.rpartition("/")[0]
    return found
