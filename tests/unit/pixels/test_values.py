import numpy as np
import pytest
from stream_bench import reader_of, series

import make_dicom
from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.stream import read_slices
from dicom_series_preview.pixels.values import read_values, values_of
from dicom_series_preview.sources.storage.memory import MemoryStorage

STORED = np.arange(64).reshape(8, 8)


def test_values_are_modality_values():
    """Rescale is applied, no window is, and every pixel is there."""
    objects = series([STORED], 8, 8, native=True, RescaleSlope=2, RescaleIntercept=-1000)
    reader, (item,) = reader_of(MemoryStorage(objects))
    assert np.array_equal(read_values(reader, item), 2.0 * STORED - 1000)


def test_many_slices_give_their_values_as_they_are_decoded():
    """What gives the values of one is work for a stream of many."""
    reader, slices = reader_of(
        MemoryStorage(series([STORED + n for n in range(9)], 8, 8, RescaleIntercept=0)), workers=3
    )
    found = {one.slice.file_name: values for one, values in read_slices(reader, slices, values_of)}
    assert all(np.array_equal(found[f"{n + 1:03}.dcm"], STORED + n) for n in range(9))


def test_colour_is_rgb():
    """Of colour, what is shown is the value."""
    colour = np.arange(192, dtype=np.uint8).reshape(1, 1, 8, 8, 3)
    objects = {"S/1.dcm": make_dicom.encode(make_dicom.level(colour, (8, 8)))}
    reader, slices = reader_of(MemoryStorage(objects))
    assert np.array_equal(read_values(reader, slices[0]), colour[0, 0])


def test_a_slice_that_fails_raises_why():
    """Where there are no values, the slice's own error is raised."""
    reader, (item,) = reader_of(MemoryStorage(series([b"rubbish!"], 8, 8)))
    with pytest.raises(DecodeError):
        read_values(reader, item)
