import json
import re
import time
from collections.abc import Iterable, Iterator

import pytest

import doubles
from bench import PICTURES, RESOURCES, ROOT, Bench, problem, reports, slices, undecodable
from dicom_series_preview.archive.claims import LEASE_S
from dicom_series_preview.base import errors
from dicom_series_preview.sources.storage.base import ByteRange, Fetched
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.web.http.messages import HttpRequest
from dicom_series_preview.web.http.problems import PROBLEMS, problem_response


class Changing(doubles.Wrapper):
    """A storage whose objects are another version whenever pixels are asked for."""

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """Headers come, frames do not: they start further on."""
        for fetched in self.inner.fetch(ranges):
            error = errors.ObjectChangedError(f"{ROOT}/x") if fetched.range.start else None
            yield fetched if error is None else Fetched(fetched.range, b"", 0, "", error)


# --- 400


WRONG: dict[str, tuple[str, set[str]]] = {
    "mosaic": (
        (
            "tile_width=0&tile_height=x&start=1&end=0&image_width=0&quality=101&stack=-1&contrast=beer"
            "&format=gif&root=s3://x&position=1"
        ),
        {
            *("tile_width", "tile_height", "start", "image_width", "quality", "stack", "contrast"),
            *("format", "root", "position"),
        },
    ),
    "image": (
        "slice_offset=x&contrast=lung&contrast=bone&image_width=1&image_width=2&tile_width=3",
        {"position", "slice_offset", "contrast", "image_width", "tile_width"},
    ),
    "contrast-mosaic": (
        "position=2&start=0&tile_height=1&quality=&root=&format=",
        {"position", "start", "tile_height", "quality", "root", "format"},
    ),
    "index": ("format=csv&limit=0&contrast=lung&root=a&root=b", {"format", "limit", "contrast", "root"}),
}


@pytest.mark.parametrize("resource", WRONG)
def test_400_names_every_wrong_parameter(resource: str) -> None:
    """Everything that is wrong is named at once, by the query's own names, before any storage is touched."""
    query, parameters = WRONG[resource]
    response = Bench(storage=doubles.UntouchableStorage()).get(resource, query, series="a//b")
    document = problem(response, 400, "bad-parameter")
    assert {wrong["parameter"] for wrong in document["errors"]} == {*parameters, "series"}
    for wrong in document["errors"]:
        assert set(wrong) == {"parameter", "detail"}
        assert f"{wrong['parameter']}: {wrong['detail']}" in document["detail"]


def test_400_of_what_only_the_series_tells(bench: Bench) -> None:
    """A stack or a slice that the series does not have is a wrong parameter."""
    for query in ("position=0&stack=7", "position=0&slice_offset=-1"):
        document = problem(bench.get("image", query), 400, "bad-parameter")
        assert len(document["errors"]) == 1


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize(
    "series",
    [
        "s3://the-clinics-bucket/of-patients/S",
        "http://127.0.0.1/S",
        "file:///etc/S",
        "/etc/passwd",
        "~/S",
        "../S",
        "S\n",
        "",
    ],
)
def test_400_for_what_cannot_name_a_series(resource: str, series: str) -> None:
    """URLs, paths, dots, empty parts and control characters are refused before storage is touched."""
    response = Bench(storage=doubles.UntouchableStorage()).get(resource, series=series)
    assert response.status == 400
    document = json.loads(response.body)
    assert [wrong["parameter"] for wrong in document["errors"]] == ["series"]


@pytest.mark.parametrize("root", ["other", "", ROOT, "s3://anything", "/etc", "Default", "default,default"])
def test_400_for_a_root_that_is_no_alias(root: str) -> None:
    """A root is one of the deployment's aliases, never an address; the answer names the aliases."""
    bench = Bench(storage=doubles.UntouchableStorage(), roots={"more": doubles.UntouchableStorage()})
    response = bench.api.picture("mosaic", HttpRequest("S", {"root": [root]}))
    document = problem(response, 400, "bad-parameter")
    assert [wrong["parameter"] for wrong in document["errors"]] == ["root"]
    assert "default, more" in document["detail"]


# --- 403, 404, 502, 503


STORAGE_ERRORS: list[tuple[Exception, int, str]] = [
    (errors.AccessDeniedError(f"{ROOT}/S/Zwiebelfisch"), 403, "access-denied"),
    (errors.ObjectNotFoundError(f"{ROOT}/S"), 404, "no-such-object"),
    (errors.StorageError(f"{ROOT}/S", "cannot be addressed"), 502, "storage"),
    (errors.StorageUnavailableError(f"{ROOT}/S", "503 Slow Down"), 503, "storage-unavailable"),
]


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize(("error", "status", "kind"), STORAGE_ERRORS)
def test_failing_storage(resource: str, error: Exception, status: int, kind: str) -> None:
    """What the storage refuses or fails is told by its kind, without its address."""
    refusing = doubles.Before(MemoryStorage(slices(), url=ROOT), list_objects=doubles.refusing(error))
    response = Bench(storage=refusing).get(resource)
    problem(response, status, kind)
    assert ("Retry-After" in response.headers) is (status == 503)


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("series", ["T", "T*", "s", "S1", "S/1.dcm", "ä", "indices"])
def test_404_for_a_series_that_is_not_there(resource: str, series: str) -> None:
    """A name below which nothing lies is no series."""
    document = problem(Bench().get(resource, series=series), 404, "no-such-series")
    assert document["detail"].startswith(f"{series}: ")


def test_roots_are_kept_apart() -> None:
    """A series is found below its own root only, and each root's indices lie in a folder of their own."""
    bench = Bench(roots={"other": MemoryStorage(slices("T"), url="s3://elsewhere")})
    problem(bench.get("index", "root=other"), 404, "no-such-series")
    problem(bench.get("index", series="T"), 404, "no-such-series")
    assert bench.ok("index").status == bench.ok("index", "root=other", series="T").status
    assert {path for path in bench.cache.puts if path.endswith(".parquet")} == {
        "indices/S_index.parquet",
        "indices/other/T_index.parquet",
    }


@pytest.mark.parametrize("resource", PICTURES)
def test_503_for_a_series_that_keeps_changing(resource: str) -> None:
    """A series whose objects change again and again while they are read is to be asked for later."""
    large = slices(Rows=400, Columns=400, PixelData=bytes(320_000))
    response = Bench(storage=Changing(MemoryStorage(large, url=ROOT))).get(resource)
    problem(response, 503, "changing")
    assert int(response.headers["Retry-After"]) > 0


def test_503_while_the_index_is_built(bench: Bench) -> None:
    """While another builds the index, the answer says how soon to ask again."""
    for resource in RESOURCES:
        with bench.service(bench.storage, "indices").cache.claim("S", ROOT, now=time.time()):
            response = bench.get(resource)
        problem(response, 503, "index-busy")
        assert 1 <= int(response.headers["Retry-After"]) <= LEASE_S
    assert not bench.pixel_requests()


@pytest.mark.parametrize(
    ("resource", "query"),
    [
        ("mosaic", "image_width=20000"),
        ("mosaic", "tile_width=200&tile_height=200&image_width=1"),
        ("contrast-mosaic", "position=0&start=0&contrast=lung"),
        ("contrast-mosaic", "slice_offset=1&contrast=lung"),
        ("contrast-mosaic", "position=0"),
        ("image", "position=0&contrast=lung&window_width=3&window_center=4"),
        ("mosaic", "start=0.8&end=0.2"),
    ],
)
def test_parameters_have_the_query_s_names(resource: str, query: str) -> None:
    """A problem calls every parameter as the query does, never as the command line does."""
    response = Bench().get(resource, query)
    document = json.loads(response.body)
    text = json.dumps(document)
    assert response.status in (400, 413)
    assert not re.search(
        r"--|`|(?:image|tile)-(?:width|height)|slice-offset|window-(?:width|center)", text
    ), text


# --- 406, 413, 415, 422, 500


@pytest.mark.parametrize("resource", PICTURES)
@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "image/gif",
        "image/*;q=0",
        "*/*;q=0.0",
        "image/webp;q=0,image/jpeg;q=0,image/png;q=0,*/*",
        ";",
    ],
)
def test_406_where_no_format_is_acceptable(resource: str, accept: str) -> None:
    """An Accept that allows neither WebP nor JPEG is refused before any storage is touched."""
    response = Bench(storage=doubles.UntouchableStorage()).get(resource, accept=accept)
    assert "image/webp, image/jpeg, image/png" in problem(response, 406, "not-acceptable")["detail"]


@pytest.mark.parametrize(
    ("resource", "query"),
    [
        ("mosaic", "tile_width=200&image_width=2000"),
        ("mosaic", "tile_width=1&tile_height=16384&image_width=1"),
        ("image", "position=0&image_width=16384"),
        ("contrast-mosaic", "tile_height=17000&contrast=auto&image_width=1"),
    ],
)
def test_413_for_a_picture_that_is_too_large(resource: str, query: str) -> None:
    """A picture beyond its format's or the product's limit is refused before any storage is touched."""
    problem(Bench(storage=doubles.UntouchableStorage()).get(resource, query), 413, "limit")


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("name", ["contrast", "x", "root", "format"])
def test_413_for_a_query_that_is_too_long(resource: str, name: str) -> None:
    """A query of ten megabytes is refused by its length, and is not repeated in the answer."""
    bench = Bench(storage=doubles.UntouchableStorage())
    response = bench.get(resource, f"{name}={'9' * 10_000_000}")
    problem(response, 413, "limit")
    assert len(response.body) < 1000


@pytest.mark.parametrize("resource", PICTURES)
@pytest.mark.parametrize(
    ("objects", "status", "kind"),
    [(undecodable("S"), 415, "undecodable"), (reports("S"), 422, "no-image")],
    ids=["no decoder reads it", "reports alone"],
)
def test_415_and_422_where_nothing_can_be_shown(
    resource: str, objects: dict[str, bytes], status: int, kind: str
) -> None:
    """A series whose images no decoder reads, or that has none, cannot be shown; its index can be had."""
    bench = Bench(objects)
    problem(bench.get(resource), status, kind)
    assert bench.ok("index")


@pytest.mark.parametrize("resource", RESOURCES)
def test_422_where_nothing_is_dicom(resource: str) -> None:
    """A folder of other files is a series without an image."""
    problem(Bench({"S/notes": b"no DICOM at all"}).get(resource), 422, "no-image")


def test_every_error_has_a_status() -> None:
    """Each error is answered with a status that is declared, and only 503 says when to come back."""

    def made(kind: type[errors.PreviewError]) -> errors.PreviewError:
        error = kind.__new__(kind)
        Exception.__init__(error, "x")
        for name in ("problem", "parameter", "series", "root", "reason", "url", "path"):
            setattr(error, name, "x")
        error.errors, error.retry_after_s = (), 7
        return error

    def kinds(kind: type[errors.PreviewError]) -> Iterator[type[errors.PreviewError]]:
        yield kind
        for below in kind.__subclasses__():
            yield from kinds(below)

    for kind in kinds(errors.PreviewError):
        response = problem_response(made(kind))
        document = json.loads(response.body)
        assert response.status in {one.status for one in PROBLEMS}
        assert document["type"].rpartition(":")[2] in {one.name for one in PROBLEMS}
        assert ("Retry-After" in response.headers) is (response.status == 503)


def test_half_a_surrogate_pair_is_no_mistake() -> None:
    """A name that is no text in UTF-8 is answered as JSON all the same."""
    document = problem(Bench().get("index", "\ud800=1"), 400, "bad-parameter")
    assert [wrong["parameter"] for wrong in document["errors"]] == ["\ud800"]
