"""One SeriesInstanceUID as a series, in whichever folders its objects lie.

Its index is built in memory from the indices of these folders, of its objects alone. So its pictures do not
depend on how the archive is laid out. A folder that holds nothing else needs none of this.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dicom_series_preview.archive.index.held import names_of
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Provenance, Record
from dicom_series_preview.archive.opened import name_below
from dicom_series_preview.base.errors import LimitError, counted
from dicom_series_preview.base.gate import open_gate
from dicom_series_preview.base.settings import index_bytes
from dicom_series_preview.sources.storage.prefetched import Prefetched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.archive.index.records import Skipped
    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.base.gate import Passage

_SOURCES = ("built", "updated", "cache")


def outermost(folders: Sequence[str]) -> list[str]:
    """Return the folders that lie in none of the others: an index has all that is below its folder."""
    return [one for one in folders if not any(one.startswith(f"{other}/") for other in folders)]


def only(
    uid: str, parts: Sequence[OpenedSeries], most_rows: int, gate: Passage = open_gate
) -> OpenedSeries | None:
    """Return one SeriesInstanceUID of opened folders as a series; None where none holds it.

    Args:
        uid: The SeriesInstanceUID, without padding.
        parts: Folders of one root, none of which lies in another.
        most_rows: The most frames of an index.
        gate: Admits the making of an index, given the bytes that it may take.

    Raises:
        LimitError: It has more frames in all than an index may have.
    """
    found = _holding(uid, {part.name: part.index for part in parts})
    if not found:
        return None
    holding = [part for part in parts if any(part.name == one.folder for one in found)]
    if len(found) == 1 and found[0].names is None:
        return holding[0]
    return replace(
        holding[0],
        name=_common_folder([one.folder for one in found]),
        index=_joined(uid, found, most_rows, gate),
        source=min((part.source for part in holding), key=_SOURCES.index),
        headers_read=sum(part.headers_read for part in holding),
        prefetched=holding[0].prefetched if len(holding) == 1 else _prefetched(holding),
        kept_version="",
        uid=uid,
        parts=tuple(holding),
    )


def index_only(
    uid: str, indices: Mapping[str, Index], most_rows: int, gate: Passage = open_gate
) -> Index | None:
    """Return the index of one SeriesInstanceUID, of those of folders; None where none holds it.

    Args:
        uid: The SeriesInstanceUID, without padding.
        indices: The indices of folders of one root, none of which lies in another.
        most_rows: The most frames of an index.
        gate: Admits the making of an index, given the bytes that it may take.

    Raises:
        LimitError: It has more frames in all than an index may have.
    """
    found = _holding(uid, indices)
    if len(found) == 1 and found[0].names is None:
        return found[0].index
    return _joined(uid, found, most_rows, gate) if found else None


@dataclass(frozen=True, slots=True)
class _Held:
    """What a folder holds of a SeriesInstanceUID.

    Attributes:
        folder: The folder.
        index: Its index.
        names: Its objects; None where they are all of the index.
    """

    folder: str
    index: Index
    names: Sequence[str] | None


def _holding(uid: str, indices: Mapping[str, Index]) -> list[_Held]:
    """Return the folders that hold a SeriesInstanceUID."""
    found = (_Held(folder, index, names_of(index.table, uid)) for folder, index in indices.items())
    return [one for one in found if one.names is None or one.names]


def _joined(uid: str, found: Sequence[_Held], most_rows: int, gate: Passage) -> Index:
    """Build the index of a SeriesInstanceUID of what folders hold of it.

    Raises:
        LimitError: It has more frames in all than an index may have.
    """
    parent = _common_folder([one.folder for one in found])
    sizes = [row for one in found for row in one.index.table["ObjectSize"].to_pylist()]
    with gate(index_bytes(sizes)):
        records = [
            replace(record, name=name_below(parent, one.folder) + record.name)
            for one in found
            for record in _records(one.index, one.names)
        ]
        return _index(records, _provenance(parent, found, uid, len(records)), most_rows)


def shared_folders(opened: OpenedSeries) -> list[str]:
    """Return the folders of a SeriesInstanceUID that hold other objects, too; none where it is all."""
    parts = opened.parts if opened.uid else ()
    return [part.name for part in parts if names_of(part.index.table, opened.uid) is not None]


def _records(index: Index, names: Sequence[str] | None) -> list[Record]:
    """Return the records of some objects of an index, and of those identical to one of them."""
    if names is None:
        return index.records()
    by_name = {record.name: record for record in index.records(names)}
    same = [one for one in index.provenance.duplicates if one.of in by_name]
    return [
        *by_name.values(),
        *(replace(by_name[one.of], name=one.name, version=one.version) for one in same),
    ]


def _index(records: list[Record], provenance: Provenance, most_rows: int) -> Index:
    from dicom_series_preview.archive.index.build import build  # noqa: PLC0415 - a folder of one series needs none

    if sum(max(1, record.number_of_frames) for record in records) > most_rows:
        limit = counted(most_rows, "frame")
        raise LimitError("series", f"it has more than {limit}, the limit of an index")
    # As where the headers are read: the index must not depend on an order of arrival.
    records.sort(key=lambda record: record.name)
    return Index(build(records, provenance))


def _provenance(parent: str, found: Sequence[_Held], uid: str, objects: int) -> Provenance:
    """Return the facts about the index of one SeriesInstanceUID, which change when a folder does."""
    digest = hashlib.sha256(uid.encode(errors="surrogatepass"))
    skipped: list[Skipped] = []
    for one in found:
        provenance = one.index.provenance
        digest.update(repr((one.folder, provenance.fingerprint)).encode())
        start = name_below(parent, one.folder)
        # What could not be read can be of any series.
        skipped += [replace(item, name=start + item.name) for item in provenance.skipped]
    first = found[0].index.provenance
    return Provenance(
        series=parent,
        root=first.root,
        fingerprint=digest.hexdigest(),
        listed=objects + len(skipped),
        limit=next((limit for one in found if (limit := one.index.provenance.limit) is not None), None),
        skipped=tuple(sorted(skipped, key=lambda item: item.name)),
    )


def _prefetched(parts: Sequence[OpenedSeries]) -> Prefetched:
    together = Prefetched()
    for part in parts:
        together.keep_all(part.prefetched)
    return together


def _common_folder(folders: Sequence[str]) -> str:
    """Return the folder right above some folders, or the one folder; empty for the root itself."""
    if len(folders) == 1:
        return folders[0]
    common = []
    for names in zip(*(folder.split("/") for folder in folders), strict=False):
        if len(set(names)) > 1:
            break
        common.append(names[0])
    return "/".join(common)
