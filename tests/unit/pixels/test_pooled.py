import numpy as np
import pytest
from stream_bench import reader_of, series

import doubles
from dicom_series_preview.pixels.pooled import pool
from dicom_series_preview.pixels.slices import DecodedSlice, FailedSlice, FrameBytes
from dicom_series_preview.sources.storage.memory import MemoryStorage

SIDE = 32
FRAMES = [np.full((SIDE, SIDE), 100 * number) for number in range(6)]
DECODED = 2 * SIDE**2


@pytest.mark.parametrize("workers", [1, 3])
def test_the_statistics_are_those_of_all_slices(workers):
    """Each slice counts once, whatever of it is kept."""
    for room in (10 * DECODED, 2 * DECODED, 0):
        reader, slices = reader_of(MemoryStorage(series(FRAMES, SIDE, SIDE)), workers=workers)
        statistics, _ = pool(reader, slices, room)
        first, last = (float(end) * slices[0].contrast.rescale_slope for end in (0, 500))
        intercept = slices[0].contrast.rescale_intercept
        assert statistics.percentiles(0, 100) == (first + intercept, last + intercept)


@pytest.mark.parametrize(
    ("room", "native", "kept"),
    [
        (6 * DECODED, True, {DecodedSlice: 6}),
        (6 * DECODED - 1, True, {DecodedSlice: 5}),
        (DECODED, True, {DecodedSlice: 1}),
        (0, True, {}),
        (6 * DECODED, False, {DecodedSlice: 6}),
        (6 * DECODED - 1, False, {FrameBytes: 6}),
        (0, False, {}),
    ],
)
def test_slices_wait_decoded_or_in_their_smaller_form_within_the_room(room, native, kept):
    """All wait decoded where there is room for all, else as they came where that is smaller; the rest not."""
    storage = doubles.CountingStorage(MemoryStorage(series(FRAMES, SIDE, SIDE, native=native)))
    reader, slices = reader_of(storage)
    storage.reset()
    _, waiting = pool(reader, slices, room)
    kinds = [type(one) for one in waiting]
    assert {kind: kinds.count(kind) for kind in kinds} == kept
    assert len(storage.ranges) == 6


def test_what_failed_waits_too():
    """A slice that failed is not fetched again: its failure is kept, in whatever room."""
    reader, slices = reader_of(MemoryStorage(series([FRAMES[0], b"rubbish!"], SIDE, SIDE)))
    statistics, waiting = pool(reader, slices, 0)
    assert [type(one) for one in waiting] == [FailedSlice]
    assert statistics.percentiles(50) is not None
