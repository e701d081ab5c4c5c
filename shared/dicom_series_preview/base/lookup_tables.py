"""Entries of lookup tables: modality and VOI LUTs, and palettes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.base.errors import DecodeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import LookupTable


def table_entries(table: LookupTable) -> NDArray[np.uint16]:
    """Return a lookup table's entries, whether 8-bit ones are packed two a word or one a word.

    Raises:
        DecodeError: The data hold fewer entries.
    """
    if len(table.data) >= 2 * table.entries:
        return np.frombuffer(table.data, "<u2", table.entries).astype(np.uint16, copy=False)
    if table.bits == 8 and len(table.data) >= table.entries:
        return np.frombuffer(table.data, np.uint8, table.entries).astype(np.uint16)
    raise DecodeError(
        f"a lookup table is cut off: {table.entries} entries expected, {len(table.data)} bytes found"
    )
