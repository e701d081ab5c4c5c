"""Show the catalogue with patients' identifiers dropped, hashed or kept.

PS3.15 Table E.1-1 lists what identifies somebody. Its Basic Profile replaces PatientID, AccessionNumber and
StudyID alike (action Z), and many sites write the accession number into StudyID. Tables are joined by these
three, so that hashes of them are of use; those of a name or a birthday are not. This is no de-identification:
dates, descriptions and UIDs stay.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import pyarrow as pa

from dicom_series_preview.archive.catalogue.columns import COLUMNS
from dicom_series_preview.sources.headers.dictionary import dictionary_vr, tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable

HASHED = ("PatientID", "AccessionNumber", "StudyID")
"""The columns that `hash` replaces, and `drop` leaves out."""

_DROPPED = ("PatientName", "PatientBirthDate")
_OWN = {column.name for column in COLUMNS}
# Of the columns that a site adds, text can hold names; so can anything about the patient or the visit.
# What is left are codes, numbers, dates and UIDs, and some text that technologists never write themselves.
_PLAIN_VRS = {"CS", "DS", "IS", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV", "DA", "TM", "DT", "UI"}
_PLAIN_TEXT = {
    *("SequenceName", "PulseSequenceName", "ReceiveCoilName", "TransmitCoilName", "FilterType"),
    *("ContrastBolusRoute", "Radiopharmaceutical", "CollimatorGridName"),
}
_PLAIN_OF_PATIENTS = {"PatientSize", "PatientWeight", "PatientSexNeutered"}
# Patient, clinical trial, place (GPS), request, visit, interpretation.
_OF_PERSONS = {0x0010, 0x0012, 0x0016, 0x0032, 0x0038, 0x4008}
_HASH_DIGITS = 16


def is_shown(column: str, mode: str) -> bool:
    """Return True where a mode shows a column, or its hashes.

    Args:
        column: The column's name.
        mode: `drop`, `hash` or `keep`.
    """
    if mode == "keep":
        return True
    if column in HASHED:
        return mode == "hash"
    return column not in _DROPPED if column in _OWN else _is_plain(column)


def _is_plain(keyword: str) -> bool:
    """Return True where the element of a column that a site adds identifies nobody."""
    if keyword in _PLAIN_TEXT | _PLAIN_OF_PATIENTS:
        return True
    try:
        tag = tag_of(keyword)
        vrs = set(dictionary_vr(tag).split(" or "))
    except KeyError:
        return False
    return vrs <= _PLAIN_VRS and tag >> 16 not in _OF_PERSONS


def is_frame_column_shown(field: pa.Field, mode: str) -> bool:
    """Return True where a mode shows a column of an index, or its hashes.

    Args:
        field: The column, with the metadata that an index gives it: without a tag it is the product's own.
        mode: `drop`, `hash` or `keep`.
    """
    is_own = (field.metadata or {}).get(b"tag") == b""
    return is_own or is_shown(field.name, mode)


def hashed(values: Iterable[str | None], key: bytes) -> list[str | None]:
    """Replace texts by their HMAC-SHA-256 in 16 hex digits, equal ones by equal ones; None stays."""
    return [
        None if value is None else hmac.digest(key, value.encode(), "sha256").hex()[:_HASH_DIGITS]
        for value in values
    ]


def shown_values(column: str, values: pa.Array, mode: str, key: bytes) -> pa.Array:
    """Return a shown column's values as a mode shows them.

    Args:
        column: The column's name.
        values: Its values; text may be dictionary-encoded.
        mode: `drop`, `hash` or `keep`.
        key: The key of the hashes.
    """
    if mode != "hash" or column not in HASHED:
        return values
    coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    hashes = pa.array(hashed(coded.dictionary.to_pylist(), key), pa.utf8())
    replaced = pa.DictionaryArray.from_arrays(coded.indices, hashes)
    return replaced if pa.types.is_dictionary(values.type) else replaced.cast(pa.utf8())


def shown(table: pa.Table, mode: str, key: bytes = b"", *, frames: bool = False) -> pa.Table:
    """Return the catalogue's rows, or an index's, as a mode shows them.

    Args:
        table: The rows, with any of the catalogue's columns, or those of an index.
        mode: `drop`, `hash` or `keep`.
        key: The key of the hashes.
        frames: They are an index's, a row a frame.

    Returns:
        The table without the columns that the mode does not show.
    """
    names = [
        field.name
        for field in table.schema
        if (is_frame_column_shown(field, mode) if frames else is_shown(field.name, mode))
    ]
    columns = [
        pa.chunked_array(
            [shown_values(name, chunk, mode, key) for chunk in table[name].chunks], table[name].type
        )
        for name in names
    ]
    return pa.table(columns, schema=pa.schema([table.schema.field(name) for name in names]))
