"""One contract, every storage."""

import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
import pytest
import urllib3

import servers
from dicom_series_preview.base import errors
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.base import ByteRange, Storage
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.open import open_storage

CONCURRENCY = 4
TEN = b"0123456789"
ODD_NAMES = [
    "a b.dcm",
    "hash#1",
    "hash#tag.dcm",
    "x%20y.dcm",
    "100%",
    "x%41",
    "Schädel.dcm",
    "e\u0301.dcm",
    "日本.dcm",
    "what?x=1",
    "[1]{2}.dcm",
    "~tilde",
    "a&b;c+d=e,f'g.dcm",
    "<b>.dcm",
    'quo"te',
    "colon:8.dcm",
    "star*",
    "folder.d/inner name#2",
    ".hidden",
    "no extension",
]


@dataclass
class Backend:
    """A storage under test and the way its objects get there.

    Attributes:
        storage: Its root is empty at first.
        write: Puts an object there behind the storage's back; a later write makes another version.
        lists_sizes: Whether listings have sizes.
        lists_hidden: Whether listings have names that begin with a dot.
        lists_per_folder: Whether each folder is a listing request of its own.
        make_folder: Makes an empty folder, where there is such a thing.
    """

    storage: Storage
    write: Callable[[str, bytes], object]
    lists_sizes: bool = True
    lists_hidden: bool = True
    lists_per_folder: bool = True
    make_folder: Callable[[str], object] = lambda _path: None

    def fill(self, *paths: str, data: bytes = TEN) -> None:
        """Write the same data under several paths."""
        for path in paths:
            self.write(path, data)


def settings() -> Settings:
    """Few at once, and short retries."""
    return Settings(cache_dir=Path("unused"), concurrency=CONCURRENCY, max_retries=1, retry_timeout_s=5.0)


def write_file(folder: Path, path: str, data: bytes) -> None:
    """Write a file; one that is there becomes seconds younger, for servers that count in seconds."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    seconds = int(target.stat().st_mtime) + 10 if target.exists() else 1_700_000_000
    target.write_bytes(data)
    os.utime(target, (seconds, seconds))


class StorageContract:
    """The rules. A subclass gives the fixture `backend`."""

    def test_lists_at_any_depth(self, backend: Backend) -> None:
        """A listing has every object below the folder and no other, sorted, with its size."""
        backend.fill("s/2", "s/b/c/d", "s/1", "s/b/1", "s2/1", "t")
        found = backend.storage.list_objects("s")
        assert [info.path for info in found] == ["s/1", "s/2", "s/b/1", "s/b/c/d"]
        assert {info.size for info in found} == ({10} if backend.lists_sizes else {None})

    def test_lists_the_root(self, backend: Backend) -> None:
        """The empty folder name is the root itself."""
        backend.fill("s/1", "t")
        assert [info.path for info in backend.storage.list_objects("")] == ["s/1", "t"]

    def test_missing_folder_is_empty(self, backend: Backend) -> None:
        """A folder that is not there has no objects, nor has one whose name no disk can have."""
        backend.fill("s/1")
        for missing in ("nothing", "s/nothing/here", "n" * 300, f"{'n' * 300}/here"):
            assert backend.storage.list_objects(missing) == []
            assert backend.storage.list_folders(missing) == []

    def test_folders_that_look_alike(self, backend: Backend) -> None:
        """Folders that hold the same names, as those above them do, are all listed."""
        names = [f"s/{a}/{b}/{c}/{d}" for a in "xyz" for b in "xyz" for c in "xyz" for d in "xyz"]
        backend.fill(*names)
        assert [info.path for info in backend.storage.list_objects("s")] == names

    def test_listing_of_more_than_will_do(self, backend: Backend) -> None:
        """Of more objects than `most`, more than that are told and all of them are there; else all."""
        names = [f"s/{number}" for number in range(1200)]
        backend.fill(*names)
        for most in (0, 7, 1100, 1199):
            found = [info.path for info in backend.storage.list_objects("s", most)]
            assert len(found) > most
            assert set(found) <= set(names)
            assert found == sorted(found)
        for most in (1200, 5000):
            assert len(backend.storage.list_objects("s", most)) == 1200

    def test_listing_that_was_begun(self, backend: Backend) -> None:
        """What is begun ahead is the next listing, counted when it is asked for; the one after it is anew."""
        backend.fill("s/1", "s/2")
        backend.storage.list_ahead("s")
        assert backend.storage.usage.lists == 0
        begun = backend.storage.list_objects("s")
        assert [info.path for info in begun] == ["s/1", "s/2"]
        counted = backend.storage.usage.lists
        assert backend.storage.list_objects("s") == begun
        assert backend.storage.usage.lists > counted > 0
        backend.fill("s/3")
        assert [info.path for info in backend.storage.list_objects("s")] == ["s/1", "s/2", "s/3"]

    def test_odd_names(self, backend: Backend) -> None:
        """Every name is listed as it is and read by that name."""
        names = [name for name in ODD_NAMES if backend.lists_hidden or not name.startswith(".")]
        paths = [f"an odd #1%/{name}" for name in names]
        for path in paths:
            backend.write(path, path.encode())
        assert [info.path for info in backend.storage.list_objects("an odd #1%")] == sorted(paths)
        assert {path: backend.storage.get(path).data for path in paths} == {
            path: path.encode() for path in paths
        }

    def test_gets_a_whole_object(self, backend: Backend) -> None:
        """`get` gives the whole object, its size and its version, in one request."""
        backend.fill("s/1")
        got = backend.storage.get("s/1")
        assert (got.data, got.object_size, got.error, got.range) == (TEN, 10, None, ByteRange("s/1"))
        assert got.version
        assert (backend.storage.usage.gets, backend.storage.usage.bytes) == (1, 10)

    def test_gets_an_empty_object(self, backend: Backend) -> None:
        """An empty object is no bytes and no error, as a whole and by any range."""
        backend.fill("s/empty", data=b"")
        assert backend.storage.get("s/empty").data == b""
        for start, end in ((0, 5), (0, None), (3, 5)):
            (got,) = backend.storage.fetch([ByteRange("s/empty", start, end)])
            assert (got.data, got.object_size, got.error) == (b"", 0, None)

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (0, None, TEN),
            (0, 10, TEN),
            (0, 1, b"0"),
            (0, 4, b"0123"),
            (3, 6, b"345"),
            (9, 10, b"9"),
            (7, None, b"789"),
            (7, 100, b"789"),
            (0, 100, TEN),
            (10, 20, b""),
            (20, 30, b""),
            (10, None, b""),
            (5, 5, b""),
        ],
    )
    def test_ranges(self, backend: Backend, start: int, end: int | None, expected: bytes) -> None:
        """A range gives what of it there is, and the object's size whatever it asks for."""
        backend.fill("s/1")
        (got,) = backend.storage.fetch([ByteRange("s/1", start, end)])
        assert (got.data, got.object_size, got.error) == (expected, 10, None)
        assert got.range == ByteRange("s/1", start, end)

    def test_large_objects(self, backend: Backend) -> None:
        """An object of several megabytes comes whole and in order."""
        data = bytes(range(256)) * 4 * 3000 + b"tail"
        backend.write("s/large", data)
        assert backend.storage.get("s/large").data == data
        (got,) = backend.storage.fetch([ByteRange("s/large", 1_000_001, 2_500_000)])
        assert got.data == data[1_000_001:2_500_000]

    def test_many_ranges(self, backend: Backend) -> None:
        """Every range is answered exactly once, with its own bytes."""
        backend.fill(*(f"s/{n}" for n in range(5)))
        wanted = [ByteRange(f"s/{n % 5}", n % 10, n % 10 + 1) for n in range(60)]
        got = list(backend.storage.fetch(wanted))
        assert sorted((f.range.path, f.range.start) for f in got) == sorted((w.path, w.start) for w in wanted)
        assert all(f.data == TEN[f.range.start : f.range.end] for f in got)
        assert backend.storage.usage.gets == 60

    def test_reads_ranges_lazily(self, backend: Backend) -> None:
        """No more ranges are taken from the iterable than have come and than may be under way."""
        backend.fill("s/1")
        taken = 0

        def wanted() -> Iterator[ByteRange]:
            nonlocal taken
            for _ in range(20):
                taken += 1
                yield ByteRange("s/1", 0, 2)

        for come, _ in enumerate(backend.storage.fetch(wanted()), start=1):
            assert taken < come + CONCURRENCY
        assert taken == 20

    def test_results_decide_what_is_asked_next(self, backend: Backend) -> None:
        """An iterator that has run dry is asked again after each result."""
        backend.fill("s/1")
        queue = [ByteRange("s/1", 0, 1)]

        class Queue:
            def __iter__(self) -> "Queue":
                return self

            def __next__(self) -> ByteRange:
                if not queue:
                    raise StopIteration
                return queue.pop()

        got = b""
        for fetched in backend.storage.fetch(Queue()):
            got += fetched.data
            if fetched.range.start < 5:
                queue.append(ByteRange("s/1", fetched.range.start + 1, fetched.range.start + 2))
        assert got == b"012345"

    def test_closing_early(self, backend: Backend) -> None:
        """Closing the iterator takes no further range, and the storage goes on working."""
        backend.fill("s/1")
        taken = []

        def wanted() -> Iterator[ByteRange]:
            for n in range(50):
                taken.append(n)
                yield ByteRange("s/1", 0, 1)

        fetched = backend.storage.fetch(wanted())
        next(fetched)
        fetched.close()
        assert len(taken) <= CONCURRENCY
        assert backend.storage.get("s/1").data == TEN

    def test_missing_object(self, backend: Backend) -> None:
        """A missing object is an error raised by `get`, and one among the results of `fetch`."""
        backend.fill("s/1")
        with pytest.raises(errors.ObjectNotFoundError) as raised:
            backend.storage.get("s/none")
        assert raised.value.url.endswith("s/none")
        got = {
            f.range.path: f
            for f in backend.storage.fetch([ByteRange("s/none", 0, 5), ByteRange("s/1", 0, 5)])
        }
        assert got["s/1"].data == b"01234"
        assert isinstance(got["s/none"].error, errors.ObjectNotFoundError)
        assert got["s/none"].data == b""

    @pytest.mark.parametrize("path", ["", "../up", "s/../../up", "s//1", "s/./1", "/s/1"])
    def test_paths_stay_below_the_root(self, backend: Backend, path: str) -> None:
        """A path with empty, `.` or `..` parts is refused without a request."""
        with pytest.raises(errors.StorageError):
            backend.storage.get(path)
        (got,) = backend.storage.fetch([ByteRange(path)])
        assert isinstance(got.error, errors.StorageError)
        assert backend.storage.usage.gets == 0

    def test_versions(self, backend: Backend) -> None:
        """A version holds until the object changes; from then on it is refused."""
        backend.fill("s/1")
        version = backend.storage.get("s/1").version
        (got,) = backend.storage.fetch([ByteRange("s/1", 2, 5, version)])
        assert (got.data, got.version) == (b"234", version)
        backend.write("s/1", b"abcdefghijkl")
        for start, end in ((2, 5), (0, None)):
            (got,) = backend.storage.fetch([ByteRange("s/1", start, end, version)])
            assert isinstance(got.error, errors.ObjectChangedError)
        assert backend.storage.get("s/1").version != version

    def test_listed_versions(self, backend: Backend) -> None:
        """A listing's version pins a range, comes back with its bytes, and changes with the object."""
        backend.fill("s/1")
        (info,) = backend.storage.list_objects("s")
        (got,) = backend.storage.fetch([ByteRange("s/1", 0, 5, info.version)])
        assert got.error is None
        if not info.version:
            return
        assert got.version == info.version
        backend.write("s/1", b"another and longer one")
        (changed,) = backend.storage.list_objects("s")
        assert changed.version != info.version

    def test_usage(self, backend: Backend) -> None:
        """Requests and bytes are counted, listings by their requests."""
        backend.fill("s/1", "s/deeper/2")
        before = backend.storage.usage
        assert (before.lists, before.gets, before.puts, before.bytes) == (0, 0, 0, 0)
        backend.storage.list_objects("s")
        first = backend.storage.usage.lists
        backend.storage.list_objects("s")
        assert backend.storage.usage.lists - first == (2 if backend.lists_per_folder else 1)
        assert before.lists == 0
        list(backend.storage.fetch([ByteRange("s/1", 9, 10), ByteRange("s/deeper/2", 9, 10)]))
        assert backend.storage.usage.gets == 2

    def test_finds_folders_by_prefix(self, backend: Backend) -> None:
        """Folders directly below the root are found by the beginning of their names, sorted."""
        backend.fill("389b/1", "389a/x/2", "389", "38/1", "49/1")
        assert backend.storage.list_folders("389") == ["389a", "389b"]
        assert backend.storage.list_folders("") == ["38", "389a", "389b", "49"]
        assert backend.storage.list_folders("nothing") == []

    def test_root_url_opens_the_same_root(self, backend: Backend) -> None:
        """The root's URL has no trailing slash."""
        assert not backend.storage.url.endswith("/")
        assert "://" in backend.storage.url


class WritableContract(StorageContract):
    """The rules of storages that can be written."""

    def test_put(self, backend: Backend) -> None:
        """What is put is there, under the version that put returned."""
        version = backend.storage.put("s/new", TEN)
        got = backend.storage.get("s/new")
        assert (got.data, got.version) == (TEN, version)
        again = backend.storage.put("s/new", b"other")
        assert again != version
        assert [(i.path, i.size, i.version) for i in backend.storage.list_objects("")] == [
            ("s/new", 5, again)
        ]
        assert backend.storage.usage.puts == 2

    def test_put_only_where_nothing_is(self, backend: Backend) -> None:
        """An empty `if_version` writes only a new object."""
        backend.storage.put("s/new", TEN, if_version="")
        with pytest.raises(errors.ObjectChangedError):
            backend.storage.put("s/new", b"other", if_version="")
        assert backend.storage.get("s/new").data == TEN
        assert len(backend.storage.list_objects("s")) == 1

    def test_put_only_over_a_version(self, backend: Backend) -> None:
        """A named `if_version` writes only over that version."""
        first = backend.storage.put("s/new", TEN)
        second = backend.storage.put("s/new", b"9876543210", if_version=first)
        assert first != second
        with pytest.raises(errors.ObjectChangedError):
            backend.storage.put("s/new", b"late", if_version=first)
        with pytest.raises(errors.ObjectChangedError):
            backend.storage.put("s/none", b"late", if_version=first)
        assert backend.storage.get("s/new").data == b"9876543210"
        assert [info.path for info in backend.storage.list_objects("")] == ["s/new"]

    def test_one_of_many_writers_creates(self, backend: Backend) -> None:
        """Of several that create the same object at once, exactly one does."""
        created, refused = [], []

        def create(n: int) -> None:
            try:
                backend.storage.put("s/new", str(n).encode(), if_version="")
                created.append(n)
            except errors.ObjectChangedError:
                refused.append(n)

        threads = [threading.Thread(target=create, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(created), len(refused)) == (1, 5)
        assert backend.storage.get("s/new").data == str(created[0]).encode()


class WebContract(StorageContract):
    """The rules of web servers' folders."""

    def test_folders_with_nothing_in_them(self, backend: Backend) -> None:
        """Hundreds of empty folders, and folders of only such, are gone through; each takes one request."""
        for number in range(120):
            backend.make_folder(f"s/{number:03}/empty")
        backend.fill("s/120/1")
        assert [info.path for info in backend.storage.list_objects("s")] == ["s/120/1"]
        # One more to find out that WebDAV is not spoken, two for folders that are not there.
        assert backend.storage.usage.lists <= 1 + 121 + 120 + 3
        backend.make_folder("t")
        assert backend.storage.list_objects("t") == []

    def test_put_is_refused(self, backend: Backend) -> None:
        """A web server's folder cannot be written."""
        with pytest.raises(errors.StorageError, match="cannot be written"):
            backend.storage.put("s/new", TEN)


class TestMemory(WritableContract):
    """obstore's MemoryStore."""

    @pytest.fixture
    def backend(self) -> Backend:
        """An empty root."""
        storage = MemoryStorage(concurrency=CONCURRENCY)
        return Backend(
            storage, lambda path, data: obstore.put(storage._store, path, data), lists_per_folder=False
        )


class TestLocal(WritableContract):
    """A folder."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        """An empty root."""
        root = tmp_path / "a root #1%"
        root.mkdir()
        return Backend(
            open_storage(str(root), settings(), {}), lambda path, data: write_file(root, path, data)
        )

    def test_file_url(self, backend: Backend) -> None:
        """A folder's URL opens the same folder."""
        backend.fill("s/1")
        assert open_storage(backend.storage.url, settings(), {}).get("s/1").data == TEN


@pytest.fixture(scope="module")
def bucket(moto: servers.Moto) -> Iterator[tuple[str, Callable[[str, bytes], object]]]:
    """A bucket of its own, and what writes public objects into it."""
    name = f"bucket-{uuid.uuid4().hex}"
    client = moto.client("s3")
    client.create_bucket(Bucket=name)
    yield name, lambda key, data: client.put_object(Bucket=name, Key=key, Body=data, ACL="public-read")
    client.close()


class S3Contract(StorageContract):
    """What is S3's own."""

    def test_pages_are_counted(self, backend: Backend) -> None:
        """A listing of 1001 objects is two requests, and one where 500 of them will do."""
        threads = [
            threading.Thread(target=lambda n=n: [backend.write(f"many/{i}", b"x") for i in range(n, 1001, 8)])
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(backend.storage.list_objects("many")) == 1001
        assert backend.storage.usage.lists == 2
        assert len(backend.storage.list_objects("many", 500)) == 1000
        assert backend.storage.usage.lists == 3

    def test_folder_markers_are_no_objects(self, backend: Backend) -> None:
        """The empty objects that stand for folders are not listed."""
        for marker in ("s/", "s/deeper/"):
            backend.write(marker, b"")
        backend.fill("s/1", "s/deeper/2")
        for most in (None, 1, 2):
            found = backend.storage.list_objects("s", most)
            assert [info.path for info in found] == ["s/1", "s/deeper/2"]

    def test_keys_that_obstore_cannot_list(self, backend: Backend) -> None:
        """A key with an empty part is listed, and is an error when it is read; its neighbours are not."""
        backend.fill("s/1", "s//2")
        backend.write("s/", b"")
        for most in (None, 1, 2):
            assert [info.path for info in backend.storage.list_objects("s", most)] == ["s//2", "s/1"]
        got = {f.range.path: f for f in backend.storage.fetch([ByteRange("s//2"), ByteRange("s/1")])}
        assert got["s/1"].data == TEN
        assert isinstance(got["s//2"].error, errors.StorageError)

    def test_missing_bucket(self, moto: servers.Moto, tmp_path: Path) -> None:
        """A bucket that is not there is not found, whether listed or read."""
        environment = moto.environment | {"HOME": str(tmp_path)}
        storage = open_storage("s3://no-such-bucket-here", settings(), environment)
        with pytest.raises(errors.ObjectNotFoundError, match="there is no such bucket"):
            storage.list_objects("s")
        with pytest.raises(errors.ObjectNotFoundError, match="there is no such bucket"):
            storage.list_folders("s")
        with pytest.raises(errors.ObjectNotFoundError):
            storage.get("s/1")


def test_attributes(moto: servers.Moto, bucket: tuple[str, Callable[[str, bytes], object]]) -> None:
    """What is kept with an object comes back with it as a whole, and a link's answer is of its type."""
    storage = open_storage(f"s3://{bucket[0]}/{uuid.uuid4().hex}", settings(), moto.environment)
    given = {"Content-Type": "image/png", "preview-warnings": "3"}
    storage.put("a", TEN, attributes=given)
    storage.put("b", TEN, attributes=given, if_version="")
    for path in ("a", "b"):
        assert dict(storage.get(path).attributes) == given
        (part,) = storage.fetch([ByteRange(path, 0, 4)])
        assert not part.attributes
        link = storage.link(path, 60)
        assert link is not None
        got = urllib3.request("GET", link)
        assert (got.data, got.headers["Content-Type"]) == (TEN, "image/png")


class TestS3Signed(S3Contract, WritableContract):
    """S3 with keys."""

    @pytest.fixture
    def backend(self, moto: servers.Moto, bucket: tuple[str, Callable[[str, bytes], object]]) -> Backend:
        """An empty root."""
        name, write = bucket
        prefix = f"a root/{uuid.uuid4().hex}"
        storage = open_storage(f"s3://{name}/{prefix}/", settings(), moto.environment)
        return Backend(storage, lambda path, data: write(f"{prefix}/{path}", data), lists_per_folder=False)


class TestS3Anonymous(S3Contract):
    """S3 without keys."""

    @pytest.fixture
    def backend(
        self, moto: servers.Moto, bucket: tuple[str, Callable[[str, bytes], object]], tmp_path: Path
    ) -> Backend:
        """An empty root."""
        name, write = bucket
        prefix = uuid.uuid4().hex
        environment = {"AWS_ENDPOINT_URL": moto.endpoint, "HOME": str(tmp_path)}
        storage = open_storage(f"s3://{name}/{prefix}", settings(), environment)
        return Backend(storage, lambda path, data: write(f"{prefix}/{path}", data), lists_per_folder=False)

    def test_private_object(self, backend: Backend, moto: servers.Moto) -> None:
        """An object that is not public is denied, with the way out."""
        bucket, _, prefix = backend.storage.url.removeprefix("s3://").partition("/")
        client = moto.client("s3")
        client.put_object(Bucket=bucket, Key=f"{prefix}/private", Body=TEN)
        client.close()
        with pytest.raises(errors.AccessDeniedError, match="credentials"):
            backend.storage.get("private")


def web_backend(base_url: str, web_folder: Path, **facts: bool) -> Backend:
    """A folder of its own on a web server, with a name that needs escaping."""
    name = f"a root {uuid.uuid4().hex}"
    folder = web_folder / name
    folder.mkdir()
    storage = open_storage(f"{base_url}/{name}/", settings(), {})
    return Backend(
        storage,
        lambda path, data: write_file(folder, path, data),
        make_folder=lambda path: (folder / path).mkdir(parents=True),
        **facts,
    )


class TestWebDav(WebContract):
    """wsgidav."""

    @pytest.fixture
    def backend(self, dav_url: str, web_folder: Path) -> Backend:
        """An empty root."""
        return web_backend(dav_url, web_folder)


class TestNginxWebDav(WebContract):
    """nginx with dav-ext."""

    @pytest.fixture
    def backend(self, nginx_dav_url: str, web_folder: Path) -> Backend:
        """An empty root."""
        return web_backend(nginx_dav_url, web_folder, lists_hidden=False)


class TestNginxPages(WebContract):
    """nginx with directory pages."""

    @pytest.fixture
    def backend(self, nginx_url: str, web_folder: Path) -> Backend:
        """An empty root."""
        return web_backend(nginx_url, web_folder, lists_sizes=False, lists_hidden=False)


class TestPythonHttpServer(WebContract):
    """A server that ignores Range."""

    @pytest.fixture
    def backend(self, python_url: str, web_folder: Path) -> Backend:
        """An empty root."""
        return web_backend(python_url, web_folder, lists_sizes=False)

    def test_warns_once(self, backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
        """That Range is ignored is said once for a storage, not for every object."""
        backend.fill("s/1", "s/2")
        with caplog.at_level(logging.WARNING, logger="dicom_series_preview.sources.storage.http_ranges"):
            list(backend.storage.fetch([ByteRange("s/1", 0, 3), ByteRange("s/2", 0, 3)]))
        assert [record.message.count("ignores Range") for record in caplog.records] == [1]
