"""Build the contrast of a slice, the meaning of its stored values, from its row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.index.cells import items_of
from dicom_series_preview.archive.index.lookup_tables import LARGEST_WORD, Inputs, tables_of
from dicom_series_preview.archive.index.pixels import is_labelmap, padding, stored_range
from dicom_series_preview.base.image import Content, Contrast, PixelDescription, Window
from dicom_series_preview.sources.headers.transfer_syntaxes import IMPLICIT_LITTLE_ENDIAN

if TYPE_CHECKING:
    from collections.abc import Mapping

_CODE_MEANING = 0x00080104


def contrast_of(cells: Mapping[str, Any], pixels: PixelDescription) -> Contrast:
    """Build the contrast of a row's slice.

    Args:
        cells: The row's fixed columns, by name.
        pixels: The layout of its stored values.
    """
    # A slope of 0 would make all pixels equal: use 1, as others do; a remark says so.
    slope = cells["RescaleSlope"] or 1.0
    intercept = 0.0 if cells["RescaleIntercept"] is None else cells["RescaleIntercept"]
    stored = stored_range(pixels)
    explicit = pixels.transfer_syntax_uid != IMPLICIT_LITTLE_ENDIAN
    modality = tables_of(cells, "ModalityLUTSequence", Inputs(*stored, explicit))
    ends = [end * slope + intercept for end in stored]
    # A modality LUT's output is unsigned.
    voi_inputs = Inputs(0, LARGEST_WORD, explicit) if modality else Inputs(min(ends), max(ends), explicit)
    names = cells["WindowCenterWidthExplanation"] or []
    pairs = zip(cells["WindowCenter"] or [], cells["WindowWidth"] or [], strict=False)
    return Contrast(
        rescale_slope=slope,
        rescale_intercept=intercept,
        modality_lut=modality[0] if modality else None,
        windows=tuple(
            Window(center, width, (names[i] or "") if i < len(names) else "")
            for i, (center, width) in enumerate(pairs)
            if center is not None and width is not None
        ),
        voi_luts=tables_of(cells, "VOILUTSequence", voi_inputs),
        voi_lut_function=(cells["VOILUTFunction"] or "").strip().upper() or "LINEAR",
        # Lossy compression turns some padding into other values, and some of the image into this one
        # (C.7.5.1.1.2).
        pixel_padding_value=None
        if cells["LossyImageCompression"] == "01"
        else padding(cells, "Value", pixels),
        pixel_padding_range_limit=padding(cells, "RangeLimit", pixels),
        presentation_lut_shape=(cells["PresentationLUTShape"] or "").strip(),
        content=_content(cells, pixels),
    )


def _content(cells: Mapping[str, Any], pixels: PixelDescription) -> Content:
    """Describe the content of the slice."""
    regions = items_of("AnatomicRegionSequence", cells["AnatomicRegionSequence"])
    region = regions[0].get(_CODE_MEANING) if regions else None
    return Content(
        modality=(cells["Modality"] or "").strip(),
        image_type=tuple(word for word in (*(cells["ImageType"] or ()), *(cells["FrameType"] or ())) if word),
        body_part=(cells["BodyPartExamined"] or str(region.first if region else None or "")).strip(),
        rescale_type=(cells["RescaleType"] or "").strip(),
        is_rescaled=cells["RescaleIntercept"] is not None,
        stored_range=stored_range(pixels) if pixels.pixel_keyword == "PixelData" else None,
        full_fraction=cells["MaximumFractionalValue"] if cells["SegmentationType"] == "FRACTIONAL" else None,
        is_labelmap=is_labelmap(cells),
    )


def padding_words(contrast: Contrast, pixels: PixelDescription) -> tuple[int, int] | None:
    """Return the range of padding, where stored values have too few bits for it."""
    value, limit = contrast.pixel_padding_value, contrast.pixel_padding_range_limit
    if value is None or pixels.pixel_keyword != "PixelData":
        return None
    ends = int(value), int(value if limit is None else limit)
    lowest, highest = stored_range(pixels)
    return None if lowest <= min(ends) and max(ends) <= highest else (min(ends), max(ends))
