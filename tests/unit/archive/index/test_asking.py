import itertools

import pytest

from dicom_series_preview.archive.index.asking import LearnedRange, Pace, is_read_whole
from dicom_series_preview.archive.index.collect import HeaderReader
from indexing import FOLDER, KIB, LIMITS, memory, padded


def test_the_learned_range_follows_the_series():
    """The first range is what headers need and a little more: 5 KiB at least, and 16 before any is known."""
    learned = LearnedRange()
    assert learned.first_range() == 16 * KIB
    learned.lengths.extend([900] * 5)
    assert learned.first_range() == 5 * KIB
    learned.lengths.append(12_000)
    assert 12_000 < learned.first_range() <= 13_500
    learned.lengths.extend([100_000] * 50)
    assert 100_000 < learned.first_range() <= 115_000
    assert learned.next_end(16 * KIB, 17 * KIB) == learned.first_range()
    assert learned.next_end(16 * KIB, 300_000) >= 300_000


def test_objects_that_take_seconds_are_not_asked_for_ahead() -> None:
    """Of headers that take two seconds each, three are under way; of those that take none as many as ever."""
    objects = {f"{i}.dcm": padded(i, 2 * KIB) for i in range(40)}
    most = {}
    for seconds in (0, 2):
        storage = memory(objects, concurrency=20)
        seconds_passed = itertools.count(step=seconds) if seconds else itertools.repeat(0)
        pace = Pace(clock=lambda passed=seconds_passed: next(passed))
        reader = HeaderReader(storage, FOLDER, LIMITS, pace=pace)
        under_way = [pace.under_way for _ in reader.read(storage.list_objects(FOLDER))]
        assert len(under_way) == 40
        assert pace.under_way == 0
        most[seconds] = max(under_way[20:])
    assert most == {0: 19, 2: 2}


@pytest.mark.parametrize(
    ("sizes", "frames", "whole"),
    [
        ([200_000] * 4, 36, True),
        ([300_000] * 4, 36, False),
        ([30_000] * 70, 36, True),
        ([30_000] * 72, 36, False),
        ([1_000, 200_000], 1, True),
        ([250_000] * 140, 200, False),
        ([200_000, None], 36, False),
        ([200_000] * 4, 0, False),
        ([], 1, False),
    ],
)
def test_when_objects_are_read_whole(sizes, frames, whole):
    """Objects are read whole where all are small, a megabyte is not shown at most, and they can be kept."""
    assert is_read_whole(sizes, frames) == whole
