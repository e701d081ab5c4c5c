"""Convert elements to a pydicom data set; pydicom takes over 60 ms to load."""

from __future__ import annotations

from typing import Any

import pydicom.config
from pydicom import DataElement, Dataset
from pydicom.dataelem import empty_value_for_VR
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence

from dicom_series_preview.sources.headers.elements import Bulk, Element, Item


def to_dataset(item: Item) -> Dataset:
    """Build a pydicom data set from the elements; group 0002 becomes its `file_meta`.

    It omits bulk data whose bytes were not kept.
    """
    dataset = Dataset()
    meta = FileMetaDataset()
    for tag, element in sorted(item.items()):
        if isinstance(element.value, Bulk) and element.value.data is None:
            continue
        (meta if tag >> 16 == 2 else dataset).add(_to_pydicom(element))
    dataset.file_meta = meta
    return dataset


def _to_pydicom(element: Element) -> DataElement:
    value: Any = element.value
    if isinstance(value, Bulk):
        value = value.data
    elif element.vr == "SQ":
        value = Sequence([_item_to_pydicom(item) for item in value])
    elif element.vr == "AT":
        value = [int(tag, 16) for tag in value]
    else:
        value = ["" if part is None else part for part in value]
    if isinstance(value, list) and len(value) < 2:
        value = value[0] if value else empty_value_for_VR(element.vr)
    # A DS or IS that is no number stays text, which pydicom would refuse.
    broken = element.vr in ("DS", "IS") and any(isinstance(part, str) and part for part in element.value)  # type: ignore[union-attr]
    vr, mode = "LO" if broken else element.vr, pydicom.config.IGNORE
    return DataElement(element.tag, vr, value, validation_mode=mode)


def _item_to_pydicom(item: Item) -> Dataset:
    dataset = Dataset()
    for _, element in sorted(item.items()):
        if not (isinstance(element.value, Bulk) and element.value.data is None):
            dataset.add(_to_pydicom(element))
    return dataset
