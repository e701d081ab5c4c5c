"""Remarks on slices whose header contradicts its pixels or itself, or lacks numbers.

A remark names elements and counts, but no value of a header. Building the index makes the remarks that its
columns cannot show (`object_remarks`, `number_remark`), reading it makes the rest (`contradictions`).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.archive.index.offsets import unplaced
from dicom_series_preview.base.errors import counted
from dicom_series_preview.base.geometry import FARTHEST_MM, MOST_UNEQUAL, orientation_fault
from dicom_series_preview.base.image import WINDOW_FUNCTIONS
from dicom_series_preview.sources.headers.elements import all_values
from dicom_series_preview.sources.headers.transfer_syntaxes import NATIVE_TRANSFER_SYNTAXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dicom_series_preview.archive.index.records import Record
    from dicom_series_preview.base.image import Contrast, LookupTable, PixelDescription
    from dicom_series_preview.sources.headers.elements import Element

_ROWS, _COLUMNS, _NUMBER_OF_FRAMES = 0x00280010, 0x00280011, 0x00280008
_TRANSFER_SYNTAX_UID, _PHOTOMETRIC = 0x00020010, 0x00280004
_WINDOW_CENTER, _WINDOW_WIDTH = 0x00281050, 0x00281051
_PROPORTIONS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
_SHAPES = frozenset(("", "IDENTITY", "INVERSE"))
_MOST_LUT_BITS = 16
_POSITION, _ORIENTATION, _SPACING = 0x00200032, 0x00200037, 0x00280030
_NO_PAIR = "is not two positive numbers: it is not used"
NUMBERS = {
    0x00281053: "RescaleSlope is no number: 1 is used",
    0x00281052: "RescaleIntercept is no number: 0 is used",
    _WINDOW_CENTER: "WindowCenter is no number: that window is not used",
    _WINDOW_WIDTH: "WindowWidth is no number: that window is not used",
    _POSITION: "ImagePositionPatient is no number: the slice is not placed by it",
    _ORIENTATION: "ImageOrientationPatient is no number: it is not used",
    _SPACING: "PixelSpacing is no number: it is not used",
    _NUMBER_OF_FRAMES: "NumberOfFrames is no number: it is not used",
}
"""The remark for each element that pictures depend on, where it holds no number."""
# The required count of such numbers, and the remark where there are others.
_COUNTS = {
    _POSITION: (3, "ImagePositionPatient is not three numbers: the slice is not placed by it"),
    _ORIENTATION: (6, "ImageOrientationPatient is not six numbers: it is not used"),
    _SPACING: (2, f"PixelSpacing {_NO_PAIR}"),
}


def object_remarks(record: Record) -> tuple[str, ...]:
    """Return the remarks on an object as a whole."""
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
    elif surplus > 1:  # one byte makes an odd length even
        longer = f"its pixel data are {counted(surplus, 'byte')} longer than its header says"
        remarks.append(f"{longer}: what is shown may be wrong")
    elif record.pixel_surplus is not None and _says_compressed(record.elements):
        remarks.append("its transfer syntax says that its pixel data are compressed, and they are not")
    remarks.append(unplaced(record.elements, record.number_of_frames))
    if not record.text(_PHOTOMETRIC):
        remarks.append("it has no PhotometricInterpretation: shown as its samples suggest")
    if record.number_of_frames > 1 and not _count(record.elements, _NUMBER_OF_FRAMES):
        frames = record.number_of_frames
        remarks.append(f"its pixel data are as long as {frames} frames, and it has no NumberOfFrames")
    return tuple(filter(None, remarks))


def number_remark(tag: int, element: Element | None) -> str:
    """Return the remark on one of `NUMBERS` whose text is no number, or an empty text."""
    values = all_values(element)
    if any(isinstance(value, str) for value in values):
        return NUMBERS[tag]
    count, remark = _COUNTS.get(tag, (len(values), ""))
    is_empty = all(value is None for value in values)
    return "" if is_empty or (len(values) == count and None not in values) else remark


def contradictions(cells: Mapping[str, Any], pixels: PixelDescription, contrast: Contrast) -> Iterator[str]:
    """Yield the remarks on a slice whose elements contradict each other, or are missing.

    Args:
        cells: Its row of the index, by column.
        pixels: The pixel layout from them.
        contrast: The contrast from them.
    """
    if pixels.pixel_keyword == "PixelData":
        yield from _of_bits(cells, pixels)
    if (cells["NumberOfFrames"] or 0) < 0:
        yield "NumberOfFrames is below 0: it is not used"
    if pixels.is_monochrome and contrast.presentation_lut_shape.upper() not in _SHAPES:
        yield "PresentationLUTShape is neither IDENTITY nor INVERSE: it is not used"
    if cells["RescaleSlope"] == 0:
        yield "RescaleSlope is 0: 1 is used"
    yield from _of_tables(cells, contrast)
    yield from _of_windows(cells, contrast)
    yield from _of_place(cells)
    yield from _of_proportions(cells)
    kind = pixels.pixel_keyword.removesuffix("PixelData")
    value, limit = f"{kind}PixelPaddingValue", f"{kind}PixelPaddingRangeLimit"
    if cells[value] is None and cells[limit] is not None:
        yield f"{limit} without {value}: nothing is taken for padding"


def _of_tables(cells: Mapping[str, Any], contrast: Contrast) -> Iterator[str]:
    """Yield the remarks on lookup tables that are broken, or contradict their descriptors."""
    modality = () if contrast.modality_lut is None else (contrast.modality_lut,)
    for name, tables in (("ModalityLUTSequence", modality), ("VOILUTSequence", contrast.voi_luts)):
        items = len(json.loads(cells[name] or "[]"))
        if items > len(tables) and (name == "VOILUTSequence" or not tables):
            yield f"{name} has {counted(items - len(tables), 'item')} without a table: it is not used"
    if any(map(_has_wrong_bits, contrast.voi_luts)):
        yield "VOILUTSequence has entries of other bits than its LUTDescriptor says: the entries' are used"


def _of_windows(cells: Mapping[str, Any], contrast: Contrast) -> Iterator[str]:
    """Yield the remarks on windows that cannot be used as they are."""
    if contrast.voi_lut_function not in WINDOW_FUNCTIONS:
        yield "VOILUTFunction is none that DICOM defines: LINEAR is used"
    centers, widths = (len(cells[name] or ()) for name in ("WindowCenter", "WindowWidth"))
    told = {NUMBERS[tag] for tag in (_WINDOW_CENTER, _WINDOW_WIDTH)}
    if centers != widths and told.isdisjoint(cells["Remarks"] or ()):
        yield "WindowCenter and WindowWidth are unequal in number: they are paired as far as they go"


def _of_place(cells: Mapping[str, Any]) -> Iterator[str]:
    """Yield the remarks on an image with an impossible place in its header."""
    cosines = cells["ImageOrientationPatient"]
    fault = orientation_fault(cosines) if cosines else ""
    if fault:
        yield f"ImageOrientationPatient {fault}"
    for name in ("ImagePositionPatient", "SliceLocation"):
        if not all(value is None or abs(value) <= FARTHEST_MM for value in np.ravel(cells[name] or 0)):
            yield f"{name} is farther away than any patient: the slice is not placed by it"


def _of_proportions(cells: Mapping[str, Any]) -> Iterator[str]:
    """Yield the remarks on pixels with impossible sides."""
    for name in _PROPORTIONS:
        values = cells[name] or ()
        if all(value is None for value in values):
            continue
        if not _is_pair(values):
            yield f"{name} {_NO_PAIR}"
        elif max(values) > MOST_UNEQUAL * min(values):
            yield f"{name} says that pixels are more than {MOST_UNEQUAL} times as long one way as the other"


def _of_bits(cells: Mapping[str, Any], pixels: PixelDescription) -> Iterator[str]:
    """Yield the remarks on an image with impossible bits (PS3.5 8.1.1, PS3.3 C.7.6.3)."""
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


def _is_pair(values: Sequence[float | None]) -> bool:
    return len(values) == 2 and all(value is not None and 0 < value < math.inf for value in values)


def _has_wrong_bits(table: LookupTable) -> bool:
    """Return True where declared bits are impossible, or too few for an entry (PS3.3 C.11.2.1.1)."""
    words = np.frombuffer(table.data, "<u2", min(table.entries, len(table.data) // 2))
    # 8-bit entries can be packed two a word.
    is_packed = len(table.data) < 2 * table.entries
    largest = 0 if is_packed else int(words.max(initial=0))
    return not 1 <= table.bits <= _MOST_LUT_BITS or largest.bit_length() > table.bits


def _count(elements: Mapping[int, Element], tag: int) -> int:
    values = all_values(elements.get(tag))
    return values[0] if values and isinstance(values[0], int) and values[0] > 0 else 0


def _says_compressed(elements: Mapping[int, Element]) -> bool:
    declared = str((*all_values(elements.get(_TRANSFER_SYNTAX_UID)), "")[0])
    return declared.startswith(("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8."))
