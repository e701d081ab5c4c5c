"""What a viewer should know of a slice whose header contradicts its pixels or itself, or holds no numbers.

A remark names elements and counts, and no value of a header. What an index's columns cannot tell is said when
it is built (`object_remarks`, `number_remark`), the rest when it is read (`contradictions`).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.errors import counted
from dicom_series_preview.geometry import FARTHEST_MM, MOST_UNEQUAL, span_planes
from dicom_series_preview.headers import NATIVE_TRANSFER_SYNTAXES, all_values
from dicom_series_preview.index.offsets import unplaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dicom_series_preview.headers import Contrast, Element, PixelDescription
    from dicom_series_preview.index.records import Record

_ROWS, _COLUMNS, _NUMBER_OF_FRAMES = 0x00280010, 0x00280011, 0x00280008
_TRANSFER_SYNTAX_UID, _PHOTOMETRIC = 0x00020010, 0x00280004
_WINDOW_CENTER, _WINDOW_WIDTH = 0x00281050, 0x00281051
_PROPORTIONS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
# Of a window (PS3.3 C.11.2.1.3).
_FUNCTIONS = frozenset(("LINEAR", "LINEAR_EXACT", "SIGMOID"))
NUMBERS = {
    0x00281053: "RescaleSlope is no number: 1 is used",
    0x00281052: "RescaleIntercept is no number: 0 is used",
    _WINDOW_CENTER: "WindowCenter is no number: that window is not used",
    _WINDOW_WIDTH: "WindowWidth is no number: that window is not used",
    0x00200032: "ImagePositionPatient is no number: the slice is not placed by it",
    0x00200037: "ImageOrientationPatient is no number: it is not used",
    0x00280030: "PixelSpacing is no number: it is not used",
    _NUMBER_OF_FRAMES: "NumberOfFrames is no number: it is not used",
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


def contradictions(cells: Mapping[str, Any], pixels: PixelDescription, contrast: Contrast) -> Iterator[str]:
    """What is to be known of a slice whose elements contradict each other, or miss each other.

    Args:
        cells: Its row of the index, by column.
        pixels: What was made of them.
        contrast: What was made of them.
    """
    if pixels.pixel_keyword == "PixelData":
        yield from _of_bits(cells, pixels)
    if cells["RescaleSlope"] == 0:
        yield "RescaleSlope is 0: 1 is used"
    if contrast.voi_lut_function not in _FUNCTIONS:
        yield "VOILUTFunction is none that DICOM defines: LINEAR is used"
    modality = () if contrast.modality_lut is None else (contrast.modality_lut,)
    for name, tables in (("ModalityLUTSequence", modality), ("VOILUTSequence", contrast.voi_luts)):
        items = len(json.loads(cells[name] or "[]"))
        if items > len(tables) and (name == "VOILUTSequence" or not tables):
            yield f"{name} has {counted(items - len(tables), 'item')} without a table: it is not used"
    centers, widths = (len(cells[name] or ()) for name in ("WindowCenter", "WindowWidth"))
    told = {NUMBERS[tag] for tag in (_WINDOW_CENTER, _WINDOW_WIDTH)}
    if centers != widths and told.isdisjoint(cells["Remarks"] or ()):
        yield "WindowCenter and WindowWidth are unequal in number: they are paired as far as they go"
    yield from _of_place(cells)
    yield from _of_proportions(cells)
    kind = pixels.pixel_keyword.removesuffix("PixelData")
    value, limit = f"{kind}PixelPaddingValue", f"{kind}PixelPaddingRangeLimit"
    if cells[value] is None and cells[limit] is not None:
        yield f"{limit} without {value}: nothing is taken for padding"


def _of_place(cells: Mapping[str, Any]) -> Iterator[str]:
    """What is to be known of an image whose header says where it lies, and no image lies there."""
    cosines = cells["ImageOrientationPatient"]
    if cosines and not span_planes(np.array([cosines], np.float64)).all():
        yield "ImageOrientationPatient is no pair of perpendicular unit vectors: it is not used"
    for name in ("ImagePositionPatient", "SliceLocation"):
        if not all(value is None or abs(value) <= FARTHEST_MM for value in np.ravel(cells[name] or 0)):
            yield f"{name} is farther away than any patient: the slice is not placed by it"


def _of_proportions(cells: Mapping[str, Any]) -> Iterator[str]:
    """What is to be known of pixels whose sides are none."""
    for name in _PROPORTIONS:
        values = cells[name] or (1, 1)
        if None in values:
            continue
        if len(values) != 2 or not all(0 < value < math.inf for value in values):
            yield f"{name} is not two positive numbers: it is not used"
        elif max(values) > MOST_UNEQUAL * min(values):
            yield f"{name} says that pixels are more than {MOST_UNEQUAL} times as long one way as the other"


def _of_bits(cells: Mapping[str, Any], pixels: PixelDescription) -> Iterator[str]:
    """What is to be known of an image whose word on its bits is none (PS3.5 8.1.1, PS3.3 C.7.6.3)."""
    needed = ["BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"]
    if pixels.samples_per_pixel > 1 and pixels.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES:
        needed.append("PlanarConfiguration")
    missing = [name for name in needed if cells[name] is None]
    if missing:
        yield f"it has no {' and no '.join(missing)}: the usual is taken for it"
    allocated, stored, high_bit = pixels.bits_allocated, pixels.bits_stored, pixels.high_bit
    if cells["BitsStored"] == 0 or not 1 <= stored <= allocated:
        yield "BitsStored and BitsAllocated contradict each other: all bits that are allocated are read"
    elif not stored <= high_bit + 1 <= allocated:
        yield "HighBit contradicts BitsStored and BitsAllocated: BitsStored - 1 is used"
    elif high_bit != stored - 1:
        yield "HighBit is not BitsStored - 1: the bits below it are read"
    if pixels.pixel_representation not in (0, 1):
        yield "PixelRepresentation is neither 0 nor 1: the pixels are read as unsigned"


def _count(elements: Mapping[int, Element], tag: int) -> int:
    values = all_values(elements.get(tag))
    return values[0] if values and isinstance(values[0], int) and values[0] > 0 else 0


def _says_compressed(elements: Mapping[int, Element]) -> bool:
    declared = str((*all_values(elements.get(_TRANSFER_SYNTAX_UID)), "")[0])
    return declared.startswith(("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8."))
