import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from stream_bench import reader_of, series

import doubles
from dicom_series_preview.base.errors import AccessDeniedError, DecodeError, LimitError
from dicom_series_preview.pixels.slices import DecodedSlice, FailedSlice
from dicom_series_preview.pixels.stream import read_slices
from dicom_series_preview.sources.storage.memory import MemoryStorage

MIB = 2**20


class Gauge:
    """Counts how many do some work at once."""

    def __init__(self) -> None:
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Be one of those that work."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        yield
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_slice_comes_once_with_its_stored_values(native, workers):
    """Whatever the codec and the threads, each slice comes once, decoded at its whole resolution."""
    frames = [np.arange(64).reshape(8, 8) + 100 * number for number in range(9)]
    reader, slices = reader_of(MemoryStorage(series(frames, 8, 8, native=native)), workers=workers)
    found = [found for _, found in read_slices(reader, slices, lambda found: found)]
    assert sorted(one.slice.row for one in found) == list(range(9))
    for one in found:
        assert isinstance(one, DecodedSlice)
        assert np.array_equal(one.decoded.samples, frames[int(one.slice.file_name[:3]) - 1])


def test_a_slice_that_fails_comes_with_its_reason():
    """What cannot be fetched or decoded comes as a failure, and the others come all the same."""
    inner = MemoryStorage(series([np.zeros((8, 8)), b"rubbish!", np.zeros((8, 8))], 8, 8))
    denied = {"S/003.dcm": AccessDeniedError("memory://objects/S/003.dcm", "no")}
    reader, slices = reader_of(doubles.FailingStorage(inner, denied), inner)
    found = {one.slice.file_name: one for _, one in read_slices(reader, slices, lambda found: found)}
    assert isinstance(found["001.dcm"], DecodedSlice)
    for name, error in (("002.dcm", DecodeError), ("003.dcm", AccessDeniedError)):
        failed = found[name]
        assert isinstance(failed, FailedSlice)
        assert isinstance(failed.error, error)


def test_the_stream_ends_where_the_check_says_so():
    """The check is asked for each frame that has come, and what it raises ends the stream."""
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise LimitError("seconds", "it takes too long")

    frames = [np.zeros((8, 8))] * 9
    reader, slices = reader_of(MemoryStorage(series(frames, 8, 8, native=True)), check=check)
    seen = []
    with pytest.raises(LimitError):
        seen += [arrived.slice.row for arrived, _ in read_slices(reader, slices, lambda found: found)]
    assert len(asked) == 3


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_as_many_slices_are_decoded_at_once_as_there_are_workers(workers):
    """Codecs that let others run are called in threads, no more than asked for; one worker is the caller."""
    gauge, together, threads = Gauge(), threading.Barrier(workers), set()

    def work(_found: Any) -> None:
        with gauge.counted():
            threads.add(threading.current_thread())
            together.wait(60)

    reader, slices = reader_of(MemoryStorage(series([np.zeros((8, 8))] * 12, 8, 8)), workers=workers)
    assert len(list(read_slices(reader, slices, work))) == 12
    assert gauge.most == workers
    assert (threading.current_thread() in threads) is (workers == 1)


@pytest.mark.parametrize(("columns", "at_once"), [(4096, 2), (4097, 1)])
def test_frames_of_more_than_16_mib_are_decoded_one_by_one(columns, at_once):
    """Of frames of 16 MiB, decoded, several are decoded at once; of larger ones never."""
    assert (2 * 2048 * columns > 16 * MIB) is (at_once == 1)
    gauge, together, threads = Gauge(), threading.Barrier(at_once), set()

    def work(found: Any) -> None:
        with gauge.counted():
            threads.add(threading.current_thread())
            assert isinstance(found, FailedSlice)
            together.wait(60)

    # What is decoded fails at its first byte, and takes no memory.
    reader, slices = reader_of(MemoryStorage(series([b"rubbish!"] * 4, 2048, columns)), workers=2)
    assert len(list(read_slices(reader, slices, work))) == 4
    assert gauge.most == at_once
    assert (threading.current_thread() in threads) is (at_once == 1)


def test_native_frames_are_decoded_by_the_caller():
    """Threads spare no time where there is no codec, and none is used."""
    reader, slices = reader_of(MemoryStorage(series([np.zeros((8, 8))] * 4, 8, 8, native=True)), workers=3)
    threads = {found for _, found in read_slices(reader, slices, lambda _found: threading.current_thread())}
    assert threads == {threading.current_thread()}
