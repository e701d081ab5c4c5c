from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import make_dicom
from dicom_series_preview.archive.index.slices import Part, Slice
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.image import LookupTable, Palette
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.decoded import Decoded
from dicom_series_preview.pixels.reduced import (
    aligned_reduction,
    area_of,
    frame_reduction,
    halved,
    level_reduction,
    reduced_length,
)
from dicom_series_preview.sources.storage.memory import MemoryStorage

SIDE = 64
TABLE = LookupTable(256, 0, 8, bytes(256))


def level(**contrast: Any) -> tuple[Slice, list[Part]]:
    """A colour level of 4 x 4 tiles, and its parts."""
    data = make_dicom.encode(make_dicom.level(np.zeros((1, 1, SIDE, SIDE, 3), np.uint8), (16, 16)))
    index = SeriesIndexer(MemoryStorage({"S/1": data}), None, Limits()).open(SeriesName("S")).index
    (item,) = index.slices(index.stacks[0].tolist())
    return replace(item, contrast=replace(item.contrast, **contrast)), list(index.parts(item))


def laid_out(item: Slice, **pixels: Any) -> Slice:
    """A slice of another layout."""
    return replace(item, pixels=replace(item.pixels, **pixels))


@pytest.mark.parametrize(
    ("shrink", "reduction"), [(1, 1), (7.9, 1), (8, 2), (15.9, 2), (16, 4), (63.9, 4), (64, 8), (1000, 8)]
)
def test_each_pixel_of_the_tile_has_four_by_four_reduced_ones_or_more(shrink, reduction):
    """A level is reduced by 2 from 1/8 of its size on, by 4 from 1/16, by 8 from 1/64."""
    item = laid_out(level()[0], rows=round(shrink * 10), columns=round(shrink * 10))
    assert level_reduction(item, (10, 10)) == reduction
    # The direction that is shrunk less decides.
    assert level_reduction(item, (10, 1)) == level_reduction(item, (1, 10)) == reduction


@pytest.mark.parametrize(
    "changes",
    [
        {"samples_per_pixel": 1, "photometric_interpretation": "MONOCHROME2"},
        {
            "samples_per_pixel": 1,
            "photometric_interpretation": "PALETTE COLOR",
            "palette": Palette(TABLE, TABLE, TABLE),
        },
        {"bits_allocated": 1},
    ],
)
def test_only_colours_are_reduced(changes):
    """Grey is decoded whole, as its window clips after the mean; indices and single bits have no mean."""
    item = level()[0]
    assert level_reduction(item, (1, 1)) == 8
    assert level_reduction(laid_out(item, **changes), (1, 1)) == 1


@pytest.mark.parametrize("contrast", [{"pixel_padding_value": 0.0}, {"modality_lut": TABLE}])
def test_padding_and_lookup_tables_are_not_averaged(contrast):
    """A mean with padding, or of values that a table gives any meaning, is no value of the picture."""
    assert level_reduction(level(**contrast)[0], (1, 1)) == 1


@pytest.mark.parametrize(("left", "reduction"), [(16, 8), (12, 4), (-6, 2), (5, 1)])
def test_no_frame_begins_inside_of_a_sample(left, reduction):
    """Where a frame begins at a pixel that the reduction does not divide, it is less for all."""
    parts = level()[1]
    assert aligned_reduction(parts, 8) == 8
    assert aligned_reduction([*parts, replace(parts[0], left=left)], 8) == reduction


def test_a_frame_that_is_cut_off_inside_of_a_sample_is_decoded_whole():
    """What is seen of a frame ends with the frame, or between two samples; else it is decoded whole."""
    pixels = replace(level()[0].pixels, rows=33, columns=32)
    assert frame_reduction(pixels, (33, 32), 4) == 4
    assert frame_reduction(pixels, (32, 28), 4) == 4
    assert frame_reduction(pixels, (33, 30), 4) == 1
    assert frame_reduction(pixels, (31, 32), 4) == 1


def test_halved_are_means_of_two_by_two():
    """Each halving takes the mean of 2 x 2 samples, half to even; a last row or column stands alone."""
    samples = np.arange(15, dtype=np.uint8).reshape(3, 5)
    assert halved(samples, 1) is samples
    assert halved(samples, 2).tolist() == [[3, 5, 6], [10, 12, 14]]
    assert halved(np.full((8, 8, 3), 200, np.uint16), 8).tolist() == [[[200] * 3]]
    assert [reduced_length(5, n) for n in (1, 2, 4, 8)] == [5, 3, 2, 1]


def test_the_area_is_what_the_slice_covers_of_the_samples():
    """Reduced samples reach beyond the slice, and may begin before it; whole ones are shown all."""
    item = laid_out(level()[0], rows=61, columns=47)
    assert area_of(Decoded(np.zeros((61, 47)), "RGB"), item) is None
    assert area_of(Decoded(np.zeros((16, 12)), "RGB", 4, 0.375), item) == (0.375, 0.375, 12.125, 15.625)
