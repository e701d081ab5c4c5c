"""Build an index's table from records.

Elements with the same value in every object stand once, in the metadata. Those that vary become typed
columns. Values that no column can restore exactly go into `OtherElements`; reading every column back finds
them, so that by construction the index alone restores every header.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dicom_series_preview.archive.index.cells import tag_of_field
from dicom_series_preview.archive.index.duplicates import told_apart
from dicom_series_preview.archive.index.fixed_columns import COLUMN_TAGS, fixed_columns
from dicom_series_preview.archive.index.metadata import metadata_of
from dicom_series_preview.archive.index.records import PER_FRAME_FUNCTIONAL_GROUPS, Provenance, Record
from dicom_series_preview.archive.index.rows import Rows, slices_of, varying_tags
from dicom_series_preview.archive.index.sorting import arrangeable_of
from dicom_series_preview.archive.index.varying_columns import varying_columns
from dicom_series_preview.base.arrangement import arrange
from dicom_series_preview.sources.headers.elements import Item, creator_tag, is_in_block, tag_key

if TYPE_CHECKING:
    from collections.abc import Sequence


def build(records: Sequence[Record], provenance: Provenance) -> pa.Table:
    """Build the index.

    Args:
        records: One per object, in any order.
        provenance: The index's facts about itself; building adds its findings.
    """
    records, provenance = told_apart(records, provenance)
    slices = slices_of(records)
    varying = varying_tags([row for members in slices for row in members])
    arrangement = arrange(arrangeable_of(records, [members[0] for members in slices], varying))
    order = arrangement.order.tolist()
    rows = [row for i in order for row in slices[i]]
    slice_of_row = np.repeat(np.arange(len(slices)), [len(slices[i]) for i in order])
    columns = fixed_columns(
        records, Rows.of(rows, varying & COLUMN_TAGS), arrangement, slice_of_row, provenance
    )
    constants = _constants([record.elements for record in records])
    columns += varying_columns(records, rows, constants, columns)
    metadata = metadata_of(replace(provenance, notes=(*provenance.notes, *arrangement.notes)), constants)
    fields = _named_apart([field for field, _ in columns])
    return pa.table([values for _, values in columns], schema=pa.schema(fields, metadata=metadata))


def _constants(headers: Sequence[Item]) -> Item:
    """Return the elements with one value in every object; private ones only if one creator has the block."""
    if not headers:
        return {}
    constants = dict(headers[0])
    constants.pop(PER_FRAME_FUNCTIONAL_GROUPS, None)
    tags, elements = list(constants), list(constants.values())
    for header in headers[1:]:
        others = list(map(header.get, tags))
        if others != elements:
            known = zip(tags, elements, others, strict=True)
            constants = {tag: element for tag, element, other in known if other == element}
            tags, elements = list(constants), list(constants.values())
    blocks = {creator_tag(tag) for tag in constants if is_in_block(tag)} - constants.keys()
    several = {block for block in blocks if any(block in header for header in headers)}
    if not several:
        return constants
    return {tag: e for tag, e in constants.items() if not (is_in_block(tag) and creator_tag(tag) in several)}


def _named_apart(fields: Sequence[pa.Field]) -> list[pa.Field]:
    """Return the fields with unique names: all but the first of a name get their tag appended, repeatedly.

    A private creator can reserve several blocks of a group.
    """
    named: dict[str, pa.Field] = {}
    for field in fields:
        name = field.name
        while name in named:
            name = f"{name}_{tag_key(tag_of_field(field))}"
        named[name] = field if name == field.name else field.with_name(name)
    return list(named.values())
