"""Drop duplicate instances from records, and count the folder's series and patients."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from dicom_series_preview.archive.index.records import Duplicate, Provenance
from dicom_series_preview.base.errors import counted
from dicom_series_preview.sources.headers.dicom_json import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_series_preview.archive.index.records import Record

_SOP_INSTANCE_UID, _SERIES_INSTANCE_UID, _PATIENT_ID = 0x00080018, 0x0020000E, 0x00100020


def told_apart(records: Sequence[Record], provenance: Provenance) -> tuple[list[Record], Provenance]:
    """Drop all but the first, by name, of identical objects, and note what the folder holds.

    Objects are identical if they share SOPInstanceUID, header, size and transfer syntax; their pixels are not
    read. Objects that share only the UID are separate images.

    Returns:
        The records that get rows, and the provenance with the duplicates, the numbers of SeriesInstanceUIDs
        and PatientIDs, and warnings about them.
    """
    once, duplicates, differing = _duplicates(records)
    patients_of: dict[str, set[str]] = {}
    for record in records:
        series, patient = (record.text(tag) for tag in (_SERIES_INSTANCE_UID, _PATIENT_ID))
        patients_of.setdefault(series, set()).update({patient} - {""})
    mixed = sum(len(patients) > 1 for patients in patients_of.values())
    warnings = []
    if mixed:
        verb = "has" if mixed == 1 else "have"
        warnings.append(
            f"{counted(mixed, 'SeriesInstanceUID')} {verb} objects of more than one PatientID: "
            "they may show different patients"
        )
    if differing:
        warnings.append(
            f"{differing} objects share a SOPInstanceUID with another and differ from it: all are shown"
        )
    return once, replace(
        provenance,
        duplicates=tuple(duplicates),
        series_instance_uids=len(patients_of.keys() - {""}),
        patient_ids=len(set[str]().union(*patients_of.values())),
        warnings=tuple(warnings),
    )


def _duplicates(records: Sequence[Record]) -> tuple[list[Record], list[Duplicate], int]:
    """Return each instance once, the duplicates, and how many different objects share a SOPInstanceUID."""
    same_uid: dict[str, list[Record]] = {}
    for record in records:
        same_uid.setdefault(record.text(_SOP_INSTANCE_UID), []).append(record)
    duplicates: list[Duplicate] = []
    differing = 0
    for uid, members in same_uid.items():
        if not uid or len(members) == 1:
            continue
        firsts: dict[tuple[object, ...], str] = {}
        for record in sorted(members, key=lambda member: member.name):
            first = firsts.setdefault(_content(record), record.name)
            if first != record.name:
                duplicates.append(Duplicate(record.name, first, record.version))
        differing += len(firsts) if len(firsts) > 1 else 0
    if not duplicates:
        return list(records), duplicates, differing
    left_out = {one.name for one in duplicates}
    duplicates.sort(key=lambda one: one.name)
    return [record for record in records if record.name not in left_out], duplicates, differing


def _content(record: Record) -> tuple[object, ...]:
    """Return the properties that identical objects share."""
    # As text, because NaN equals itself there.
    header = json.dumps(to_json(record.elements), sort_keys=True).encode()
    digest = hashlib.sha256(header).digest()
    return record.size, record.transfer_syntax_uid, record.pixel_keyword, record.number_of_frames, digest
