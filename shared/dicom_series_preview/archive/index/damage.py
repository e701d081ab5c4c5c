"""Checks for damaged index files: anything can have been written into one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.names import LONE_SURROGATE
from dicom_series_preview.base.errors import PreviewError
from dicom_series_preview.sources.storage.base import is_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dicom_series_preview.archive.index.records import Provenance

# The least value of each number that showing a slice requires.
_LEAST = {"ObjectSize": 0, "FrameNumber": 1, "Stack": 0, "Rows": 1, "Columns": 1}
# The least value of each optional number.
_LEAST_IF_ANY = {"FrameOffset": 0, "FrameLength": 0}
_AMONG = {
    "PrimaryAxis": ("X", "Y", "Z", "I"),
    "PixelKeyword": ("PixelData", "FloatPixelData", "DoubleFloatPixelData"),
}
_MOST = 2**63
_LENGTHS = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3}


class DamagedIndexError(PreviewError):
    """The file is no index of this schema."""


@contextmanager
def damage_told(what: str) -> Iterator[None]:
    """Convert errors of reading a damaged value into one that names it.

    Args:
        what: The value's name.

    Raises:
        DamagedIndexError: The value cannot be read.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedIndexError(f"{what} cannot be read: {type(error).__name__}") from error


def check_provenance(found: Provenance) -> None:
    """Check that an index's facts about itself are texts and numbers where they must be.

    Raises:
        DamagedIndexError: The facts have other types.
    """
    texts = [found.series, found.root, found.fingerprint, *found.notes, *found.warnings]
    numbers = [found.listed, found.series_instance_uids, found.patient_ids]
    numbers += [] if found.limit is None else [found.limit]
    flags = []
    for skipped in found.skipped:
        texts += skipped.name, skipped.reason, skipped.version
        numbers += [] if skipped.size is None else [skipped.size]
        flags.append(skipped.transient)
    for duplicate in found.duplicates:
        texts += duplicate.name, duplicate.of, duplicate.version
    is_right = (
        all(isinstance(text, str) and not LONE_SURROGATE.search(text) for text in texts)
        and all(type(number) is int and 0 <= number < _MOST for number in numbers)
        and all(isinstance(flag, bool) for flag in flags)
    )
    if not is_right:
        raise DamagedIndexError("what it says of itself has other types than an index writes")


def check_cells(cells: Mapping[str, Any]) -> None:
    """Check a row's fixed columns: its slice can be shown.

    Raises:
        DamagedIndexError: No undamaged index has such a row.
    """
    wrong = next(_wrong(cells), None)
    if wrong is not None:
        raise DamagedIndexError(f"its column {wrong} holds what no slice has")


def _wrong(cells: Mapping[str, Any]) -> Iterator[str]:
    """Yield the columns with a cell that no slice has."""
    if not is_path(cells["FileName"] or ""):
        yield "FileName"
    if not cells["TransferSyntaxUID"]:
        yield "TransferSyntaxUID"
    yield from (name for name, least in _LEAST.items() if cells[name] is None or cells[name] < least)
    yield from (name for name, least in _LEAST_IF_ANY.items() if (cells[name] or 0) < least)
    yield from (name for name, allowed in _AMONG.items() if cells[name] not in allowed)
    yield from (name for name, length in _LENGTHS.items() if _length(cells[name]) not in (0, length))
    if (cells["FrameOffset"] is None) != (cells["FrameLength"] is None):
        yield "FrameOffset"


def _length(values: Sequence[Any] | None) -> int:
    return 0 if values is None else len(values)
