import itertools
from collections import Counter

import pytest

import make_dicom as make
from dicom_series_preview.archive.index.asking import FIRST_RANGE_BYTES
from dicom_series_preview.archive.index.collect import HeaderReader
from dicom_series_preview.archive.index.records import Record, Skipped
from dicom_series_preview.archive.query import is_passed_over
from dicom_series_preview.base import errors
from dicom_series_preview.sources.storage.base import ObjectInfo, Storage
from dicom_series_preview.sources.storage.in_flight import InFlight
from doubles import BareListingStorage, ChangingStorage, CountingStorage, FailingStorage, WatchedStorage
from indexing import FOLDER, KIB, LIMIT, LIMITS, memory, padded, records_of


def read(storage: Storage, listing: list[ObjectInfo] | None = None, limits=LIMITS):
    """Records and skipped objects by name."""
    listing = storage.list_objects(FOLDER) if listing is None else listing
    results = list(HeaderReader(storage, FOLDER, limits).read(listing))
    records = {r.name: r for r in results if isinstance(r, Record)}
    skipped = {s.name: s for s in results if isinstance(s, Skipped)}
    assert len(records) + len(skipped) == len(results) == len(listing)
    return records, skipped


def assert_same_headers(records, objects):
    """The records are those of the whole objects."""
    assert records.keys() == objects.keys()
    for expected in records_of(objects):
        assert records[expected.name].elements == expected.elements
        assert records[expected.name].locations == expected.locations
        assert records[expected.name].size == len(objects[expected.name])


# --- how much is read


def test_a_small_header_is_one_small_request():
    """Headers that fit in 5 KiB cost one range of 5 KiB each once that is known, and no HEAD."""
    objects = {f"{i:02}": make.encode(make.image(i, PixelData=bytes(50_000))) for i in range(40)}
    storage = CountingStorage(memory(objects))
    listing = storage.list_objects(FOLDER)
    storage.reset()
    records, skipped = read(storage, listing)
    assert_same_headers(records, objects)
    assert skipped == {}
    assert FIRST_RANGE_BYTES == 16 * KIB
    assert {r.path for r in storage.ranges} == {f"{FOLDER}/{name}" for name in objects}
    # Eight are under way before the first is known.
    ranges = Counter((r.start, r.end) for r in storage.ranges)
    assert ranges == {(0, 16 * KIB): 8, (0, 5 * KIB): 32}
    assert (storage.lists, storage.gets) == (0, [])
    assert storage.inner.usage.gets == 40


def test_an_object_smaller_than_the_first_range_is_asked_for_as_it_is():
    """No range reaches past the size that the listing shows."""
    data = make.encode(make.report())
    storage = CountingStorage(memory({"a": data}))
    read(storage)
    assert storage.ranges_of("series/a") == [(0, len(data))]


@pytest.mark.parametrize("header_bytes", [6 * KIB, 20 * KIB, 130 * KIB])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_first_range_is_learned(header_bytes, concurrency):
    """When the first headers need more, the rest are asked for with that much at once."""
    objects = {f"{i:02}": padded(i, header_bytes) for i in range(60)}
    storage = CountingStorage(memory(objects, concurrency=concurrency))
    records, _ = read(storage)
    assert_same_headers(records, objects)
    requests = {name: storage.ranges_of(f"{FOLDER}/{name}") for name in objects}
    more = [name for name, ranges in requests.items() if len(ranges) > 1]
    # Those under way before anything was known, if that was not enough; all others need one request.
    assert (len(more) == 0) if header_bytes < 16 * KIB else (1 <= len(more) <= concurrency)
    longest = max(len(data) - 200_000 for data in objects.values())
    for name, ranges in requests.items():
        if name not in more:
            assert ranges[0][1] <= max(16 * KIB, 1.15 * longest), name
    few = 2 * max(4 * longest, 64 * KIB)
    rest = sum(sum(end - start for start, end in requests[name]) for name in objects)
    assert rest <= few + len(objects) * 1.15 * longest + 16 * KIB * concurrency


@pytest.mark.parametrize("header_bytes", [6 * KIB, 130 * KIB])
@pytest.mark.parametrize("ranges", [0.5, 1, 3.5, 100])
def test_no_more_headers_are_under_way_than_there_is_room_for(header_bytes, ranges):
    """Long headers wait for their turn where the memory for them is full, and one is always under way."""
    objects = {f"{i:02}": padded(i, header_bytes) for i in range(60)}
    longest = int(1.15 * max(len(data) - 200_000 for data in objects.values()))
    storage = WatchedStorage(memory(objects, concurrency=16))
    room = int(ranges * longest)
    reader = HeaderReader(storage, FOLDER, LIMITS, in_flight=InFlight(room))
    records = {record.name: record for record in reader.read(storage.list_objects(FOLDER))}
    assert_same_headers(records, objects)
    assert storage.under_way == 0
    # The first of all is asked for more than it has.
    assert storage.most <= max(room, 4 * longest, 64 * KIB)


def test_one_long_header_costs_the_others_nothing():
    """One long header among many short ones costs that one object more, and not all others its bytes."""
    objects = {f"{i:02}": padded(i, 100 * KIB if i == 30 else 100) for i in range(60)}
    storage = CountingStorage(memory(objects, concurrency=4))
    records, _ = read(storage)
    assert_same_headers(records, objects)
    for name in objects:
        ranges = storage.ranges_of(f"{FOLDER}/{name}")
        assert ranges[0] == (0, 16 * KIB if int(name) < 4 else 5 * KIB)
        assert (len(ranges) == 1) == (name != "30")
    assert len(storage.ranges_of(f"{FOLDER}/30")) <= 5


def test_headers_of_different_lengths_are_asked_for_once():
    """Where headers of one series have from 6 to 12 kB, the longest decides: nearly all cost one request."""
    objects = {f"{i:03}": padded(i, 6_000 + i % 7 * 1_000) for i in range(120)}
    storage = CountingStorage(memory(objects))
    records, _ = read(storage)
    assert_same_headers(records, objects)
    # Each of the seven lengths may come as a surprise once.
    assert len(storage.ranges) <= len(objects) + 6
    assert [(wanted.start, wanted.end) for wanted in storage.ranges].count((0, 16 * KIB)) == 8


def test_no_byte_is_fetched_twice():
    """The ranges of one header follow each other."""
    objects = {str(i): padded(i, 700 * KIB) for i in range(3)}
    storage = CountingStorage(memory(objects))
    read(storage)
    for name in objects:
        ranges = storage.ranges_of(f"{FOLDER}/{name}")
        assert ranges[0][0] == 0
        assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))


def test_a_listing_without_sizes_is_enough():
    """Headers are read from a listing that tells neither sizes nor versions."""
    objects = {"a": padded(1, 30 * KIB), "b": make.encode(make.report(2)), "c": make.encode(make.image(3))}
    records, _ = read(BareListingStorage(memory(objects)))
    assert_same_headers(records, objects)
    assert all(record.version for record in records.values())


def test_deflated_objects_are_fetched_whole():
    """A deflated object, whose header only the whole of it tells, is fetched whole."""
    source = make.image(1)
    source.private_block(0x0029, "NOISE", create=True).add_new(
        1, "OB", bytes(i * i % 251 for i in range(90_000))
    )
    data = make.encode(source, make.DEFLATED)
    storage = CountingStorage(memory({"a": data}))
    records, _ = read(storage)
    assert records["a"].number_of_frames == 1
    assert storage.received == len(data)


def test_progress_counts_every_object():
    """Progress is told once for each object, readable or not."""
    told = []
    storage = memory({"a": make.encode(make.image()), "b": b"text " * 100, "c": b""})
    list(HeaderReader(storage, FOLDER, LIMITS, lambda: told.append(1)).read(storage.list_objects(FOLDER)))
    assert len(told) == 3


def test_nothing_is_nothing():
    """No objects, no requests."""
    assert list(HeaderReader(memory({}), FOLDER, LIMITS).read([])) == []


# --- what cannot be read


def test_what_is_no_header_is_named():
    """Every object that fails is named with its reason, and holds up no other."""
    good = make.encode(make.image())
    objects = {
        "empty": b"",
        "text": b"<html>Access denied</html>" * 40,
        "cut": good[:300],
        "dicomdir": make.preamble()
        + make.element(0x00020002, "UI", b"1.2.840.10008.1.3.10")
        + make.element(0x00041130, "CS", b"SET "),
        "good": good,
    }
    records, skipped = read(memory(objects))
    assert records.keys() == {"good"}
    reasons = {name: item.reason for name, item in skipped.items()}
    assert "empty" in reasons["empty"]
    assert "text" in reasons["text"]
    assert "cut off" in reasons["cut"]
    assert "DICOMDIR" in reasons["dicomdir"]
    assert skipped["text"].size == len(objects["text"])
    assert skipped["text"].version


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.ObjectNotFoundError("memory://x/b"), "not found"),
        (errors.AccessDeniedError("memory://x/b"), "access denied"),
        (errors.StorageError("memory://x/b", "cannot be addressed"), "cannot be addressed"),
    ],
)
def test_an_object_that_the_storage_withholds_is_named(error, reason):
    """What the storage refuses of one object is that object's reason."""
    objects = {name: make.encode(make.image(1)) for name in "abc"}
    records, skipped = read(FailingStorage(memory(objects), {f"{FOLDER}/b": error}))
    assert records.keys() == {"a", "c"}
    assert reason in skipped["b"].reason


@pytest.mark.parametrize("kind", [errors.StorageUnavailableError, errors.CredentialsError])
def test_a_storage_that_fails_is_raised(kind):
    """An index without what a failing storage did not tell never passes for a whole one."""
    objects = {name: make.encode(make.image(1)) for name in "abc"}
    storage = FailingStorage(memory(objects), {f"{FOLDER}/b": kind("memory://x", "throttled")})
    with pytest.raises(kind):
        read(storage)


def test_a_header_without_end_is_refused():
    """A header that asks for more than the limit is refused, before that much is fetched."""
    objects = {
        "value": make.preamble() + make.element(0x00090010, "OB", bytes(3 * 2**20)) + bytes(100),
        "elements": make.preamble() + make.element(0x00090010, "LO", b"x" * 60_000) * 60,
    }
    storage = CountingStorage(memory(objects))
    records, skipped = read(storage, limits=LIMITS)
    assert records == {}
    assert {item.reason for item in skipped.values()} == {
        "its header is longer than the limit of 1048576 bytes"
    }
    assert storage.received < 2 * 2 * LIMIT + 10 * KIB


# --- objects that change


def replaced(path, data):
    """What replaces an object."""
    return {path: lambda inner: inner.put(path, data)}


def test_an_object_replaced_between_two_ranges_is_read_anew():
    """The two halves of a header are of one version; else both are read again."""
    old, new = padded(1, 30 * KIB), padded(2, 30 * KIB)
    path = f"{FOLDER}/a"
    inner = memory({"a": old})
    storage = CountingStorage(ChangingStorage(inner, replaced(path, new)))
    records, skipped = read(storage)
    assert skipped == {}
    assert_same_headers(records, {"a": new})
    assert records["a"].version == inner.list_objects(FOLDER)[0].version


def test_an_object_replaced_since_the_listing_is_what_it_is_now():
    """A record's version is that of the bytes that were read, not of an older listing."""
    inner = memory({"a": make.encode(make.image(1))})
    listing = inner.list_objects(FOLDER)
    new = make.encode(make.image(2))
    inner.put(f"{FOLDER}/a", new)
    records, _ = read(inner, listing)
    assert_same_headers(records, {"a": new})
    assert records["a"].version == inner.list_objects(FOLDER)[0].version != listing[0].version


def test_an_object_that_never_holds_still_is_named():
    """An object that changes again and again is skipped with that reason, and no endless loop."""
    path = f"{FOLDER}/a"

    class Restless(ChangingStorage):
        def fetch(self, ranges):
            for fetched in self.inner.fetch(ranges):
                self.inner.put(path, padded(1, 30 * KIB))
                yield fetched

    records, skipped = read(Restless(memory({"a": padded(1, 30 * KIB)}), {}))
    assert records == {}
    assert "changed" in skipped["a"].reason


def test_an_object_deleted_between_two_ranges_is_named():
    """An object that is gone before its header was complete is skipped with that reason."""
    objects = {"a": padded(1, 30 * KIB)}

    class Vanishing(FailingStorage):
        def fetch(self, ranges):
            for fetched in super().fetch(ranges):
                self.errors = {f"{FOLDER}/a": errors.ObjectNotFoundError("memory://x/a")}
                yield fetched

    records, skipped = read(Vanishing(memory(objects), {}))
    assert records == {}
    assert "not found" in skipped["a"].reason


# --- names


@pytest.mark.parametrize(
    "path",
    ["s/DICOMDIR", "s/a.JSON", "s/x.nii.gz", "s/.DS_Store", "s/a.png", "s/deep/b.Parquet", "a.csv", "a.zip"],
)
def test_obvious_names_are_passed_over(path):
    """DICOMDIR, tables, texts, archives and pictures are passed over by name."""
    assert is_passed_over(path)


@pytest.mark.parametrize(
    "path", ["s/1.dcm", "s/IM001", "json/a", "s/1.2.840.10008", "s/a.json.dcm", "x.png/IM1"]
)
def test_other_names_decide_nothing(path):
    """Any other name may be DICOM: the content decides."""
    assert not is_passed_over(path)


# --- real series


@pytest.mark.real_data
def test_real_series_take_one_small_range_an_object(real_data):
    """Real series cost one range an object once the first answers came, and little more than the headers."""
    for folder in sorted((real_data / "series").iterdir()):
        objects = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        storage = CountingStorage(memory(objects, concurrency=2))
        records, _ = read(storage)
        assert_same_headers(records, {name: objects[name] for name in records})
        more = [name for name in objects if len(storage.ranges_of(f"{FOLDER}/{name}")) > 1]
        assert len(more) <= 2 + len(objects) // 10, folder.name
