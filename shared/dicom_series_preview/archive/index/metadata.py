"""The metadata of an index's table: its provenance, and the elements that all objects share."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from dicom_series_preview._version import __version__
from dicom_series_preview.archive.index.damage import check_provenance
from dicom_series_preview.archive.index.records import Duplicate, Provenance, Skipped
from dicom_series_preview.archive.index.schema import SCHEMA_VERSION
from dicom_series_preview.sources.headers.dicom_json import from_json, to_json

if TYPE_CHECKING:
    import pyarrow as pa

    from dicom_series_preview.sources.headers.elements import Item

PROVENANCE_KEY = b"dicom_series_preview"
CONSTANTS_KEY = b"dicom_series_preview.constant_elements"


def provenance_of(table: pa.Table) -> Provenance:
    """Read an index's facts about itself.

    Raises:
        DamagedIndexError: The metadata hold other types than an index writes.
    """
    document = json.loads(table.schema.metadata[PROVENANCE_KEY])
    found = Provenance(
        series=document["series"],
        root=document["root"],
        fingerprint=document["fingerprint"],
        listed=document["listed"],
        limit=document["limit"],
        skipped=tuple(Skipped(**skipped) for skipped in document["skipped"]),
        notes=tuple(document["notes"]),
        duplicates=tuple(Duplicate(**one) for one in document["duplicates"]),
        series_instance_uids=document["series_instance_uids"],
        patient_ids=document["patient_ids"],
        warnings=tuple(document["warnings"]),
    )
    check_provenance(found)
    return found


def constants_of(table: pa.Table) -> Item:
    """Read the elements with the same value in every object of an index."""
    return from_json(json.loads(table.schema.metadata[CONSTANTS_KEY]))


def metadata_of(provenance: Provenance, constants: Item) -> dict[bytes, str]:
    """Build the metadata of an index's table."""
    document = {"schema_version": SCHEMA_VERSION, "product_version": __version__, **asdict(provenance)}
    return {
        PROVENANCE_KEY: json.dumps(document, ensure_ascii=False),
        CONSTANTS_KEY: json.dumps(to_json(constants), ensure_ascii=False),
    }


def saying(table: pa.Table, **changes: object) -> pa.Table:
    """Return the same table with other facts about the index."""
    metadata = dict(table.schema.metadata)
    document = {**json.loads(metadata[PROVENANCE_KEY]), **changes}
    text = json.dumps(document, ensure_ascii=False)
    return table.replace_schema_metadata({**metadata, PROVENANCE_KEY: text})
