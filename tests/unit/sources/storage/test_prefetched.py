import pytest

from dicom_series_preview.sources.storage.base import ByteRange
from dicom_series_preview.sources.storage.prefetched import Prefetched

VERSION = '"v1"'


def holding(data: bytes, size: int) -> Prefetched:
    """The first bytes of an object `a`."""
    prefetched = Prefetched()
    prefetched.keep("a", data, size, VERSION)
    return prefetched


@pytest.mark.parametrize(
    ("start", "end", "data"),
    [(0, 4, b"0123"), (2, 4, b"23"), (2, 5, None), (0, None, None), (5, 9, None), (2, 2, b"")],
)
def test_first_bytes(start: int, end: int | None, data: bytes | None) -> None:
    """What lies in the first bytes is answered as the storage would; all else it has to answer."""
    got = holding(b"0123", 10).fetch(ByteRange("a", start, end, VERSION))
    assert (got and got.data) == data
    if got is not None:
        assert (got.object_size, got.version, got.error) == (10, VERSION, None)


@pytest.mark.parametrize(
    ("start", "end", "data"), [(0, None, b"0123"), (1, 99, b"123"), (3, None, b"3"), (7, 9, b"")]
)
def test_whole_objects(start: int, end: int | None, data: bytes) -> None:
    """Of a whole object every range is there, cut at its end."""
    got = holding(b"0123", 4).fetch(ByteRange("a", start, end, VERSION))
    assert got is not None
    assert got.data == data


@pytest.mark.parametrize("version", ["", '"v2"'])
def test_other_versions(version: str) -> None:
    """Bytes of one version never stand for another's."""
    assert holding(b"0123", 4).fetch(ByteRange("a", 0, 4, version)) is None
    assert Prefetched().fetch(ByteRange("a", 0, 0, version)) is None


def test_no_more_than_the_limit() -> None:
    """What does not fit is not kept, and what comes twice is kept once."""
    prefetched = Prefetched(limit_bytes=6)
    for path, data in (("a", b"0123"), ("b", b"012"), ("a", b"4567"), ("c", b"01")):
        prefetched.keep(path, data, len(data), VERSION)
    kept = {path: prefetched.fetch(ByteRange(path, 0, None, VERSION)) for path in "abc"}
    assert {path: got.data for path, got in kept.items() if got} == {"a": b"0123", "c": b"01"}
