"""What a viewer should know of a slice whose header contradicts its pixels, or holds numbers that are none.

A remark names elements and counts, and no value of a header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_series_preview.errors import counted
from dicom_series_preview.headers import all_values
from dicom_series_preview.index.offsets import unplaced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.headers import Element
    from dicom_series_preview.index.records import Record

_ROWS, _COLUMNS, _NUMBER_OF_FRAMES = 0x00280010, 0x00280011, 0x00280008
_TRANSFER_SYNTAX_UID, _PHOTOMETRIC = 0x00020010, 0x00280004
NUMBERS = {
    0x00281053: "RescaleSlope is no number: 1 is used",
    0x00281052: "RescaleIntercept is no number: 0 is used",
    0x00281050: "WindowCenter is no number: that window is not used",
    0x00281051: "WindowWidth is no number: that window is not used",
    0x00200032: "ImagePositionPatient is no number: the slice is not placed by it",
    0x00200037: "ImageOrientationPatient is no number: it is not used",
    0x00280030: "PixelSpacing is no number: it is not used",
}
"""By the tags of elements that pictures depend on, what is to be known where they hold no number."""


def object_remarks(record: Record) -> tuple[str, ...]:
    """What is to be known of an object as a whole."""
    if not record.pixel_keyword:
        return ()
    if not record.number_of_frames:
        missing = [
            name for name, tag in (("Rows", _ROWS), ("Columns", _COLUMNS)) if not _count(record.elements, tag)
        ]
        return (f"it has pixel data, and no {' and no '.join(missing)}",) if missing else ()
    remarks = []
    surplus = record.pixel_surplus or 0
    if surplus < 0:
        remarks.append(f"its pixel data are {counted(-surplus, 'byte')} shorter than its header says")
    elif surplus > 1:  # one makes an odd length even
        longer = f"its pixel data are {counted(surplus, 'byte')} longer than its header says"
        remarks.append(f"{longer}: what is shown may be wrong")
    elif record.pixel_surplus is not None and _says_compressed(record.elements):
        remarks.append("its transfer syntax says that its pixel data are compressed, and they are not")
    remarks.append(unplaced(record.elements, record.number_of_frames))
    if _PHOTOMETRIC not in record.elements:
        remarks.append("it has no PhotometricInterpretation: shown as its samples suggest")
    if record.number_of_frames > 1 and not _count(record.elements, _NUMBER_OF_FRAMES):
        frames = record.number_of_frames
        remarks.append(f"its pixel data are as long as {frames} frames, and it has no NumberOfFrames")
    return tuple(filter(None, remarks))


def number_remark(tag: int, element: Element | None) -> str:
    """What is to be known of one of `NUMBERS`, or nothing: what is no number stays text."""
    return NUMBERS[tag] if any(isinstance(value, str) for value in all_values(element)) else ""


def _count(elements: Mapping[int, Element], tag: int) -> int:
    values = all_values(elements.get(tag))
    return values[0] if values and isinstance(values[0], int) and values[0] > 0 else 0


def _says_compressed(elements: Mapping[int, Element]) -> bool:
    declared = str((*all_values(elements.get(_TRANSFER_SYNTAX_UID)), "")[0])
    return declared.startswith(("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8."))
