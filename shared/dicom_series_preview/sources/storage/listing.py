"""A paged listing, within limits: a server can send pages without end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import LimitError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dicom_series_preview.sources.storage.base import ObjectInfo


PAGE_OBJECTS = 1000
# Folder markers do not count as objects: this many times the limit of objects are allowed.
_MARKERS_FACTOR = 10


def inside(url: str, key: str, start: str) -> str:
    """Return a listing's key, checked to begin as requested.

    Raises:
        StorageError: The key begins otherwise.
    """
    if not key.startswith(start):
        raise StorageError(url, "the server lists a key from elsewhere; it cannot be listed")
    return key


def objects_of(url: str, pages: Iterable[list[ObjectInfo]], most: int | None) -> list[ObjectInfo]:
    """Gather the objects of a listing, sorted by path, without folder markers.

    Args:
        url: The listed folder, for errors.
        pages: The pages, read only until there are more than `most` objects.
        most: How many objects are enough, or None.

    Raises:
        StorageError: A page has nothing new.
        LimitError: There are too many folder markers.
    """
    found: dict[str, ObjectInfo] = {}
    for page in _enough(pages, most):
        _add_page(url, found, page, most)
    return sorted(_without_markers(list(found.values())), key=lambda info: info.path)


def _add_page(url: str, found: dict[str, ObjectInfo], page: list[ObjectInfo], most: int | None) -> None:
    """Add a page of a listing to earlier ones.

    Args:
        url: The storage's root, for errors.
        found: The earlier pages' objects by path.
        page: The page.
        most: How many objects are enough, or None.

    Raises:
        StorageError: The page has nothing new.
        LimitError: There are too many folder markers.
    """
    before = len(found)
    found.update((info.path, info) for info in page)
    if page and len(found) == before:
        raise StorageError(url, "the server repeats a page of its listing; it cannot be listed")
    if most is not None and len(found) > _MARKERS_FACTOR * max(most, PAGE_OBJECTS):
        raise LimitError(
            "series", f"has more than {_MARKERS_FACTOR} times {most} objects, most of them empty"
        )


def _enough(pages: Iterable[list[ObjectInfo]], most: int | None) -> Iterator[list[ObjectInfo]]:
    """Yield the pages of a listing, until there are more than `most` objects.

    Empty objects do not count: they can be mere folder markers.

    Args:
        pages: The pages.
        most: How many objects are enough, or None.
    """
    left = math.inf if most is None else most
    for page in pages:
        yield page
        left -= sum(info.size != 0 for info in page)
        if left < 0:
            return


def _without_markers(found: list[ObjectInfo]) -> list[ObjectInfo]:
    """Return the listing without the empty objects that some tools put in place of folders."""
    folders = set()
    for info in found:
        parent = info.path.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    return [info for info in found if info.size != 0 or info.path not in folders]
