import io
import json
import re

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
import urllib3
from PIL import Image

import doubles
import make_dicom
import servers
from bench import MPEG2, PICTURES, RESOURCES, ROOT, Bench, assert_discreet, one, problem, slices, with_patient
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.base import Storage
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.web.http.messages import HttpRequest
from dicom_series_preview.web.http.renders import Renders

FAILING = {"S/3.dcm": one(3)[:-8]}


def picture(data: bytes) -> Image.Image:
    """The picture that bytes are."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


# --- the answer


@pytest.mark.parametrize("resource", PICTURES)
def test_a_picture_and_what_it_took(bench: Bench, resource: str) -> None:
    """A picture comes with its format, its slices, what it took, and the time of each phase."""
    response = bench.ok(resource)
    assert response.headers["Content-Type"] == "image/webp"
    assert picture(response.body).format == "WEBP"
    shown = {"mosaic": 4, "image": 1, "contrast-mosaic": 1}[resource]
    assert response.headers["Preview-Slices"] == f"{shown}/4"
    assert (response.headers["Preview-Series"], response.headers["Preview-Index"]) == ("S", "built")
    assert response.headers["Preview-Render"] == "made"
    # One listing, and four slices, whose frames come with their headers.
    assert response.headers["Preview-Requests"] == "list=1, get=4"
    assert int(response.headers["Preview-Bytes"]) == bench.storage.received
    timing = dict(part.split(";dur=") for part in response.headers["Server-Timing"].split(", "))
    assert list(timing) == ["index", "pixels", "render", "encode", "total"]
    assert all(float(milliseconds) >= 0 for milliseconds in timing.values())
    assert "Preview-Failed-Tiles" not in response.headers
    assert_discreet(response)


def test_header_fields_are_ascii() -> None:
    """A name that is not ASCII is percent-encoded in the header."""
    bench = Bench(slices("Schädel 1"))
    assert bench.ok("image", series="Schädel 1").headers["Preview-Series"] == "Sch%C3%A4del%201"


def test_a_prefix_says_which_series_it_is() -> None:
    """The first series that a prefix matches is shown, and named."""
    bench = Bench({**slices("Sb"), **slices("Sa"), **slices("T")})
    assert bench.ok("image", series="S*").headers["Preview-Series"] == "Sa"
    summary = json.loads(bench.ok("index", series="S*").body)
    assert (summary["series"], summary["matches"]) == ("Sa", 2)


def test_what_a_picture_lacks_is_counted() -> None:
    """Tiles that failed and warnings are counted in headers; the picture is there."""
    response = Bench({**slices(count=4), **FAILING}).ok("mosaic", "tile_width=2")
    assert response.headers["Preview-Failed-Tiles"] == "1"
    assert int(response.headers["Preview-Warnings"]) >= 1


# --- which format


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "image/webp"),
        (" ", "image/webp"),
        ("*/*", "image/webp"),
        ("image/*", "image/webp"),
        ("image/avif,image/webp,image/apng,*/*;q=0.8", "image/webp"),
        ("image/jpeg", "image/jpeg"),
        ("IMAGE/JPEG", "image/jpeg"),
        ("image/jpeg, image/webp", "image/webp"),
        ("image/jpeg, image/webp;q=0.9", "image/jpeg"),
        ("image/jpeg;q=0.1, image/webp;q=0.09", "image/jpeg"),
        ("image/*;q=0.5, image/jpeg", "image/jpeg"),
        ("image/webp;q=0, */*", "image/jpeg"),
        ("*/*, image/*;q=0.2, image/webp;q=0.1", "image/jpeg"),
        ("text/html, */*;q=0.1", "image/webp"),
        ("image/jpeg;level=1;q=0.9, image/webp;q=best", "image/jpeg"),
        ("image/jpeg;q=7, image/webp;q=1", "image/webp"),
        ("image/jpeg;q=0.5, image/webp;q=nan", "image/jpeg"),
    ],
)
def test_accept_decides_by_preference(accept: str, media_type: str) -> None:
    """The range with the greatest q wins, the most specific range tells a format's q, and WebP wins a tie."""
    response = Bench().ok("image", accept=accept)
    assert response.headers["Content-Type"] == media_type
    assert f"image/{picture(response.body).format.lower()}" == media_type
    assert response.headers["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("named", "media_type"),
    [
        ("webp", "image/webp"),
        ("jpeg", "image/jpeg"),
        ("jpg", "image/jpeg"),
        ("JPEG", "image/jpeg"),
        ("png", "image/png"),
    ],
)
def test_a_named_format_wins_over_accept(named: str, media_type: str) -> None:
    """`format=` is obeyed, whatever Accept says."""
    response = Bench().ok("image", f"position=0&format={named}", accept="image/gif")
    assert response.headers["Content-Type"] == media_type


@pytest.mark.parametrize("named", ["gif", "", "webp&format=webp", ".webp"])
def test_another_format_is_a_wrong_parameter(named: str) -> None:
    """There are three formats, and one of them is named once."""
    document = problem(Bench().get("image", f"position=0&format={named}"), 400, "bad-parameter")
    assert [wrong["parameter"] for wrong in document["errors"]] == ["format"]


# --- tags


def etag(bench: Bench, query: str = "position=0", resource: str = "image", **headers: str) -> str:
    """The tag of an answer, which is a strong one."""
    tag = bench.ok(resource, query, **headers).headers["ETag"]
    assert re.fullmatch('"[0-9a-f]{40}"', tag)
    return tag


@pytest.mark.parametrize("resource", RESOURCES)
def test_equal_answers_have_equal_tags(bench: Bench, resource: str) -> None:
    """The same question to the same series is answered by the same bytes under the same tag, cold or warm."""
    cold, warm, elsewhere = bench.ok(resource), bench.ok(resource), Bench().ok(resource)
    assert cold.headers["ETag"] == warm.headers["ETag"] == elsewhere.headers["ETag"]
    assert cold.body == warm.body == elsewhere.body
    assert (cold.headers["Preview-Index"], warm.headers["Preview-Index"]) == ("built", "cache")


def test_every_parameter_and_format_has_a_tag_of_its_own(bench: Bench) -> None:
    """No two different pictures share a tag."""
    queries = {
        "image": [
            *("position=0", "position=1", "position=0&slice_offset=1", "position=0&contrast=lung"),
            *("position=0&contrast=100/50", "position=0&contrast=100/51", "position=0&quality=26"),
            *("position=0&image_width=127", "position=0&format=jpeg", "position=0&contrast=auto"),
            *("position=0&labels=true", "position=0&overlays=true"),
        ],
        "mosaic": ["", "tile_width=3", "tile_width=4", "tile_height=3", "start=0.3", "end=0.5"],
        "contrast-mosaic": [
            *("contrast=lung&contrast=bone", "contrast=bone&contrast=lung", "contrast=lung"),
            "contrast=lung&tile_height=3",
        ],
        "index": ["", "format=parquet", "format=json", "format=jsonl"],
    }
    tags = [etag(bench, query, resource) for resource in queries for query in queries[resource]]
    assert len(set(tags)) == len(tags)
    assert etag(bench, accept="image/jpeg") == etag(bench, "position=0&format=jpeg") != etag(bench)
    assert etag(bench, "position=0&labels=false&overlays=false") == etag(bench)


def test_a_changed_object_changes_the_tag_of_its_pictures(bench: Bench) -> None:
    """A source object that is replaced changes the tag of what shows it, and of nothing else."""
    first, last = etag(bench, "position=0"), etag(bench, "position=1")
    mosaic, index = etag(bench, "", "mosaic"), etag(bench, "", "index")
    bench.memory.put("S/4.dcm", one(4, PixelData=bytes(48)))
    # The superior slice, which is first, has number 4.
    assert etag(bench, "position=0") != first
    assert etag(bench, "position=1") == last
    assert etag(bench, "", "mosaic") != mosaic
    assert etag(bench, "", "index") != index


def test_unrelated_changes_leave_a_tag_as_it_is(bench: Bench) -> None:
    """Objects that come into the series and are not shown do not change a picture's tag."""
    tag = etag(bench, "position=0")
    for path, data in {
        "S/0.dcm": one(0),
        "S/notes.txt": b"x",
        "S/sr.dcm": make_dicom.encode(make_dicom.report(9)),
    }.items():
        bench.memory.put(path, data)
    response = bench.ok("image", "position=0")
    assert (response.headers["ETag"], response.headers["Preview-Index"]) == (tag, "updated")
    assert response.headers["Preview-Slices"] == "1/5"


def test_series_of_the_same_slices_have_tags_of_their_own() -> None:
    """Equal objects in another series or below another root are other pictures."""
    bench = Bench({**slices("S"), **slices("T")}, roots={"other": MemoryStorage(slices("S"), url="s3://x")})
    tags = {
        etag(bench),
        bench.ok("image", "position=0", series="T").headers["ETag"],
        etag(bench, "position=0&root=other"),
    }
    assert len(tags) == 3


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', '"x",W/{} , "y"', "*", ' W/"x" , * '])
def test_what_the_client_has_is_not_sent_again(bench: Bench, resource: str, form: str) -> None:
    """If-None-Match, by a tag, a weak one, a list or any, is answered 304 without a request for pixels."""
    first = bench.ok(resource)
    bench.reset()
    response = bench.get(resource, if_none_match=form.format(first.headers["ETag"]))
    assert (response.status, response.body) == (304, b"")
    for name in ("ETag", "Cache-Control", "Vary", "Preview-Series"):
        assert response.headers.get(name) == first.headers.get(name)
    assert response.headers["Preview-Requests"] == "list=1, get=0"
    assert (bench.storage.lists, bench.pixel_requests()) == (1, 0)
    assert bench.renders.gets == bench.renders.puts == bench.cache.puts == []


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("form", ["", '""', '"x"', "x", '{0}x"', "0{}"])
def test_another_tag_gets_the_answer(bench: Bench, resource: str, form: str) -> None:
    """A tag that is not this version's is answered in full."""
    tag = bench.ok(resource).headers["ETag"]
    assert bench.ok(resource, if_none_match=form.format(tag)).body


# --- caching


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize(
    ("immutable", "expected"), [(False, "private, no-cache"), (True, "private, max-age=86400")]
)
def test_cache_control(resource: str, *, immutable: bool, expected: str) -> None:
    """Clients ask again before they use what they have, save for a root that never changes."""
    bench = Bench(immutable=immutable)
    response = bench.ok(resource)
    assert response.headers["Cache-Control"] == expected
    again = bench.get(resource, if_none_match=response.headers["ETag"])
    assert (again.status, again.headers["Cache-Control"]) == (304, expected)


@pytest.mark.parametrize("resource", PICTURES)
def test_a_picture_is_kept(bench: Bench, resource: str) -> None:
    """A picture that was made is served again without a request for pixels, byte for byte."""
    made = bench.ok(resource)
    bench.reset()
    kept = bench.ok(resource)
    assert (made.headers["Preview-Render"], kept.headers["Preview-Render"]) == ("made", "kept")
    assert kept.body == made.body
    assert (bench.storage.lists, bench.pixel_requests()) == (1, 0)
    assert kept.headers["Preview-Requests"] == "list=1, get=0"
    assert len(bench.renders.gets) == 1
    assert bench.renders.puts == []


@pytest.mark.parametrize("image_format", ["webp", "jpeg", "png"])
def test_a_kept_picture_keeps_its_warnings(image_format: str) -> None:
    """How many warnings there are of a picture is told however often it is served, for no request more."""
    bench = Bench({**slices(count=2), "S/9.dcm": make_dicom.encode(with_patient(9, PatientID="PID-2"))})
    query = f"format={image_format}"
    made = bench.ok("mosaic", query)
    bench.reset()
    kept = bench.ok("mosaic", query)
    assert (made.headers["Preview-Render"], kept.headers["Preview-Render"]) == ("made", "kept")
    assert made.headers["Preview-Warnings"] == kept.headers["Preview-Warnings"] == "1"
    assert (kept.body, kept.headers["Content-Type"]) == (made.body, f"image/{image_format}")
    assert len(bench.renders.gets) == 1
    assert "Preview-Warnings" not in Bench().ok("mosaic", query).headers


def test_a_kept_picture_of_an_immutable_root_costs_the_root_nothing() -> None:
    """Neither listing nor pixels are asked of a root that never changes."""
    bench = Bench(immutable=True)
    bench.ok("mosaic")
    bench.reset()
    bench.ok("mosaic")
    assert (bench.storage.lists, bench.pixel_requests()) == (0, 0)


def test_the_name_of_a_kept_picture_tells_nothing() -> None:
    """Pictures lie under a digest: neither series nor patient stands in an object's name."""
    bench = Bench(slices("Mustermann-Erika"))
    bench.ok("mosaic", "format=jpeg", series="Mustermann-Erika")
    (path,) = bench.renders.puts
    assert re.fullmatch(r"renders/[0-9a-f]{32}/[0-9a-f]{40}\.jpg", path)


def slide_with_a_broken_tile() -> dict[str, bytes]:
    """A level of a slide of which a tile cannot be shown."""
    whole = np.full((1, 1, 16, 16, 3), 200, np.uint8)
    tiles = [imagecodecs.jpeg8_encode(tile) for tile in make_dicom.tiles_of(whole[0, 0], (8, 8))]
    tiles[2] = b"no JPEG!"
    pixels = make_dicom.encapsulate([[tile + bytes(len(tile) % 2)] for tile in tiles], None)
    source = make_dicom.level(whole, (8, 8), PixelData=pixels)
    return {"S/1.dcm": make_dicom.encode(source, make_dicom.JPEG)}


@pytest.mark.parametrize(
    "objects", [{**slices(), **FAILING}, slide_with_a_broken_tile()], ids=["all", "part"]
)
def test_a_picture_with_a_failed_tile_is_not_kept(objects: dict[str, bytes]) -> None:
    """What stood in the way of a tile or a part may pass: such a picture is kept by nobody and made again."""
    bench = Bench(objects)
    for _ in range(2):
        response = bench.ok("mosaic", "tile_width=2")
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Preview-Failed-Tiles"] == "1"
        assert response.headers["Preview-Render"] == "made"
        assert "ETag" not in response.headers
    assert bench.renders.puts == []


def test_index_summary_of_a_slide() -> None:
    """The summary counts slices of a slide as its stacks do: each focal plane of a level is one."""
    levels = [make_dicom.level(np.zeros((1, 2, side, side, 3), np.uint8), (8, 8), side) for side in (16, 30)]
    bench = Bench({f"S/{one.InstanceNumber}.dcm": make_dicom.encode(one) for one in levels})
    document = json.loads(bench.ok("index").body)
    assert document["slices"] == 4
    assert [(stack["slices"], stack["rows"]) for stack in document["stacks"]] == [(2, 16), (2, 30)]


def test_without_a_place_for_pictures_they_are_made_each_time() -> None:
    """No place for pictures: the answer is the same."""
    bench = Bench(renders=None)
    assert bench.ok("mosaic").body == bench.ok("mosaic").body == Bench().ok("mosaic").body


class ReplacedBeforeItIsShown(doubles.Wrapper):
    """The first request for a frame finds its object replaced by another version."""

    replaced = False

    def fetch(self, ranges):
        """As the inner storage, after the replacement."""

        def seen(ranges):
            for item in ranges:
                if item.start and not self.replaced:
                    self.replaced = True
                    self.inner.put(item.path, one(4, PixelData=bytes(48)))
                yield item

        return self.inner.fetch(seen(ranges))


def test_a_picture_of_what_changed_meanwhile_has_its_own_tag() -> None:
    """A series that changes between plan and picture is answered with the tag of what is shown."""
    memory = MemoryStorage(slices())
    bench = Bench(storage=doubles.CountingStorage(ReplacedBeforeItIsShown(memory)))
    first, second = bench.ok("image", "position=0"), bench.ok("image", "position=0")
    assert first.body == second.body
    assert first.headers["ETag"] == second.headers["ETag"]


# --- large answers


@pytest.fixture
def s3_root(moto: servers.Moto) -> Storage:
    """A bucket that links can be made for."""
    client = moto.client("s3")
    client.create_bucket(Bucket="links")
    client.close()
    settings = Settings.from_environment({"HOME": "/nowhere", "XDG_CACHE_HOME": "/nowhere"})
    return open_storage("s3://links/data", settings, moto.environment)


def test_a_large_picture_is_a_link(s3_root: Storage) -> None:
    """A picture that no answer can hold is kept in S3, and anyone can fetch it by the link."""
    bench = Bench(renders=doubles.CountingStorage(s3_root), answer_limit_bytes=100)
    small = Bench().ok("mosaic")
    made, kept = bench.get("mosaic"), bench.get("mosaic")
    for response in (made, kept):
        assert (response.status, response.body) == (303, b"")
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["ETag"] == small.headers["ETag"]
        assert "Content-Type" not in response.headers
        assert "X-Amz-Expires=900" in response.headers["Location"]
        got = urllib3.request("GET", response.headers["Location"])
        assert (got.status, got.data) == (200, small.body)
        assert got.headers["Content-Type"] == "image/webp"
    assert (made.headers["Preview-Render"], kept.headers["Preview-Render"]) == ("made", "kept")
    assert "of-patients" not in made.headers["Location"]


def test_a_large_picture_without_a_link_is_refused(s3_root: Storage) -> None:
    """Where no link can be made, or the picture is not kept, what is too large is refused."""
    problem(Bench(answer_limit_bytes=100).get("mosaic"), 413, "limit")
    failing = Bench({**slices(), **FAILING}, renders=doubles.CountingStorage(s3_root), answer_limit_bytes=100)
    problem(failing.get("mosaic", "tile_width=2"), 413, "limit")


def test_a_large_index_is_a_link(s3_root: Storage) -> None:
    """An index that no answer can hold is fetched as Parquet by a link; other formats are refused."""
    bench = Bench(renders=doubles.CountingStorage(s3_root), answer_limit_bytes=100)
    response = bench.get("index", "format=parquet")
    assert (response.status, response.headers["Cache-Control"]) == (303, "no-store")
    got = urllib3.request("GET", response.headers["Location"])
    assert got.headers["Content-Type"] == "application/vnd.apache.parquet"
    assert pq.read_table(io.BytesIO(got.data)).num_rows == 4
    for query in ("", "format=json", "format=jsonl"):
        assert "use parquet" in problem(bench.get("index", query), 413, "limit")["detail"]
    problem(Bench(answer_limit_bytes=100).get("index", "format=parquet"), 413, "limit")


# --- the index


def test_index_summary() -> None:
    """The summary tells stacks, columns and what was passed over, and no header's value."""
    bench = Bench({**slices(), "S/notes": b"no DICOM", "S/x.txt": b""})
    response = bench.ok("index")
    assert_discreet(response)
    document = json.loads(response.body)
    assert response.headers["Content-Type"] == "application/json"
    assert (document["series"], document["objects"], document["slices"], document["limit"]) == (
        "S",
        6,
        4,
        None,
    )
    (stack,) = document["stacks"]
    assert (stack["slices"], stack["axis"], stack["rows"], stack["columns"]) == (4, "Z", 4, 6)
    assert (stack["first_position"], stack["last_position"]) == (4.0, 1.0)
    assert [item["name"] for item in document["skipped"]] == ["notes", "x.txt"]
    assert {"Index", "FileName", "ImagePositionPatient"} <= set(document["columns"])


def test_index_formats_have_the_same_rows(bench: Bench) -> None:
    """Parquet, JSON and JSON lines hold the same table."""
    parquet = bench.ok("index", "format=parquet")
    rows = pq.read_table(io.BytesIO(parquet.body)).to_pylist()
    as_json, lines = bench.ok("index", "format=json"), bench.ok("index", "format=jsonl")
    assert json.loads(as_json.body) == rows == [json.loads(line) for line in lines.body.splitlines()]
    assert [one.headers["Content-Type"] for one in (parquet, as_json, lines)] == [
        "application/vnd.apache.parquet",
        "application/json",
        "application/jsonl",
    ]


def test_json_of_what_json_cannot_say() -> None:
    """A value that is no number is null: NaN is no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    objects = {
        f"S/{i}.dcm": one(i, DiffusionBValue=value)
        for i, value in enumerate((float("nan"), 1.0, float("inf")))
    }
    for query in ("format=json", "format=jsonl"):
        body = Bench(objects).ok("index", query).body.decode()
        lines = body.splitlines() if query.endswith("l") else [body]
        decoded = [json.loads(line, parse_constant=refuse) for line in lines]
        rows = decoded if query.endswith("l") else decoded[0]
        assert sorted((row["DiffusionBValue"] for row in rows), key=str) == [1.0, None, None]


def test_an_index_with_a_limit(bench: Bench) -> None:
    """A limited index says so and is no whole one; its tag is not the whole one's."""
    limited, whole = bench.ok("index", "limit=2"), bench.ok("index")
    assert (json.loads(limited.body)["slices"], json.loads(limited.body)["limit"]) == (2, 2)
    assert (json.loads(whole.body)["slices"], json.loads(whole.body)["limit"]) == (4, None)
    assert limited.headers["ETag"] != whole.headers["ETag"]
    # The whole index answers a limit too: the same bytes, the same tag.
    assert bench.ok("index", "limit=2").headers["ETag"] == whole.headers["ETag"]


def test_an_index_that_lacks_an_object_for_now_has_a_tag_of_its_own() -> None:
    """What could not be read for now changes the index, though not the listing."""
    from dicom_series_preview.base.errors import AccessDeniedError  # noqa: PLC0415

    memory = MemoryStorage(slices())
    failing = doubles.FailingStorage(memory, {"S/2.dcm": AccessDeniedError("x")})
    bench = Bench(storage=doubles.CountingStorage(failing))
    lacking = bench.ok("index", "format=json")
    failing.errors = {}
    whole = bench.ok("index", "format=json")
    assert (len(json.loads(lacking.body)), len(json.loads(whole.body))) == (3, 4)
    assert lacking.headers["ETag"] != whole.headers["ETag"]


# --- the others


def test_health() -> None:
    """Health tells version and aliases, no addresses, and is kept by nobody."""
    api = Bench(roots={"more": MemoryStorage()}).api
    response = api.health()
    assert_discreet(response)
    document = json.loads(response.body)
    assert (document["status"], document["roots"]) == ("ok", ["default", "more"])
    assert response.headers["Cache-Control"] == "no-store"


def test_nothing_of_a_patient_is_told() -> None:
    """Whatever is asked of a series, its answers hold nothing of the patient, save the whole index."""
    objects = {
        **slices(),
        **FAILING,
        "S/9.dcm": make_dicom.encode(with_patient(9, PixelData=make_dicom.encapsulate([[b"x"]])), MPEG2),
    }
    bench = Bench(objects)
    queries = [
        ("mosaic", ""),
        ("image", "position=0"),
        ("image", "position=9"),
        ("contrast-mosaic", ""),
        ("index", ""),
    ]
    for resource, query in queries:
        assert_discreet(bench.get(resource, query))


# --- what else lies in the folder


def mixed() -> dict[str, bytes]:
    """Three patients' objects in one folder: 4 axial slices, a coronal one, a localizer, a report, a copy."""
    coronal = with_patient(
        20,
        PatientID="PID-2",
        SeriesInstanceUID="1.2.3",
        ImageOrientationPatient=list(make_dicom.CORONAL),
    )
    scout = with_patient(30, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    report = make_dicom.report(40, PatientID="PID-3")
    report.SeriesInstanceUID = "1.2.4"
    others = {"S/c": coronal, "S/l": scout, "S/r": report, "S/again": with_patient(1)}
    return {**slices(), **{name: make_dicom.encode(data) for name, data in others.items()}}


@pytest.mark.parametrize("resource", PICTURES)
def test_other_stacks_are_told_by_every_answer_with_a_picture(resource: str) -> None:
    """Made, kept or unchanged: an answer tells which stack is shown of how many, series and patients too."""
    bench = Bench(mixed())
    made, kept = bench.ok(resource), bench.ok(resource)
    assert [made.headers["Preview-Render"], kept.headers["Preview-Render"]] == ["made", "kept"]
    unchanged = bench.get(resource, if_none_match=made.headers["ETag"])
    expected = "shown=0, stacks=3, series=3, patients=3"
    assert [one.headers["Preview-Stacks"] for one in (made, kept, unchanged)] == [expected] * 3
    query = f"{PICTURES[resource]}&stack=1"
    assert bench.ok(resource, query).headers["Preview-Stacks"] == "shown=1, stacks=3, series=3, patients=3"
    assert Bench().ok(resource).headers["Preview-Stacks"] == "shown=0, stacks=1, series=1, patients=1"


@pytest.mark.parametrize("resource", PICTURES)
def test_places_on_dimensions_are_told_by_every_answer_with_a_picture(resource: str) -> None:
    """Made, kept or unchanged: an answer tells the places shown; each place has its own ETag."""
    objects = {
        f"S/{number}.dcm": make_dicom.encode(
            make_dicom.image(
                number, ImagePositionPatient=[0, 0, number // 2], EchoTime=5.0 * (1 + number % 2)
            )
        )
        for number in range(6)
    }
    bench = Bench(objects)
    made, kept = bench.ok(resource), bench.ok(resource)
    assert [made.headers["Preview-Render"], kept.headers["Preview-Render"]] == ["made", "kept"]
    unchanged = bench.get(resource, if_none_match=made.headers["ETag"])
    told = [one.headers["Preview-At"] for one in (made, kept, unchanged)]
    assert told == ["echo time=5 (the first of 2)"] * 3
    assert (made.headers["Preview-Warnings"], kept.headers["Preview-Warnings"]) == ("1", "1")
    other = bench.ok(resource, f"{PICTURES[resource]}&at=EchoTime%3D10")
    assert other.headers["Preview-At"] == "echo time=10"
    assert "Preview-Warnings" not in other.headers
    assert other.headers["ETag"] != made.headers["ETag"]
    refused = bench.get(resource, f"{PICTURES[resource]}&at=EchoTime%3D7")
    assert (refused.status, json.loads(refused.body)["errors"][0]["parameter"]) == (400, "at")
    assert "Preview-At" not in Bench().ok(resource).headers


def test_other_stacks_cost_no_request() -> None:
    """What else lies in the folder is known from the index: a kept picture costs one listing, as any."""
    bench = Bench(mixed())
    bench.ok("mosaic")
    bench.reset()
    assert bench.ok("mosaic").headers["Preview-Stacks"].startswith("shown=0, stacks=3")
    assert (bench.storage.lists, bench.pixel_requests()) == (1, 0)
    assert bench.cache.gets == ["indices/S_index.parquet"]


def test_the_summary_lists_stacks_and_duplicates() -> None:
    """The summary tells each stack's series, plane, size and slices, and names duplicates; no free text."""
    response = Bench(mixed()).ok("index")
    assert_discreet(response)
    assert response.headers["Preview-Stacks"] == "stacks=3, series=3, patients=3"
    document = json.loads(response.body)
    assert (document["root"], document["series_instance_uids"], document["patient_ids"]) == ("default", 3, 3)
    assert document["duplicates"] == [{"name": "again", "of": "1.dcm"}]
    assert [
        (stack["stack"], stack["slices"], stack["plane"], stack["localizer"], stack["series_instance_uid"])
        for stack in document["stacks"]
    ] == [
        (0, 4, "axial", False, make_dicom.SERIES_UID),
        (1, 1, "coronal", False, "1.2.3"),
        (2, 1, "axial", True, make_dicom.SERIES_UID),
    ]
    assert not [stack for stack in document["stacks"] if "description" in stack]


def test_two_patients_in_one_series_are_a_warning() -> None:
    """A SeriesInstanceUID with two PatientIDs is warned of, without them."""
    bench = Bench({**slices(count=2), "S/9.dcm": make_dicom.encode(with_patient(9, PatientID="PID-2"))})
    assert bench.ok("mosaic").headers["Preview-Warnings"] == "1"
    (warning,) = json.loads(bench.ok("index").body)["warnings"]
    assert "more than one PatientID" in warning
    assert "PID" not in warning


@pytest.mark.parametrize("form", ["parquet", "json", "jsonl"])
def test_the_index_tells_its_root_by_the_alias(form: str) -> None:
    """Strangers learn neither bucket nor prefix from an index: its root goes by the deployment's alias."""
    bench = Bench(roots={"other": MemoryStorage(slices(), url="s3://planted-bucket/x")})
    for alias in ("default", "other"):
        body = bench.ok("index", f"format={form}&root={alias}").body
        if form == "parquet":
            rows = pq.read_table(io.BytesIO(body)).to_pylist()
        else:
            rows = json.loads(body) if form == "json" else [json.loads(line) for line in body.splitlines()]
        assert {row["StorageRoot"] for row in rows} == {alias}
    # What is kept tells where it is from, so that no other root's is taken for it.
    kept = pq.read_table(io.BytesIO(bench.cache.inner.get("indices/S_index.parquet").data))
    assert set(kept["StorageRoot"].to_pylist()) == {ROOT}


def test_a_link_to_a_large_index_leads_to_one_that_tells_no_root(s3_root: Storage) -> None:
    """The copy that a link leads to tells the alias too, and the link does not name the series' folder.

    It lies with the pictures of its series, and goes with them.
    """
    series = "a-folder-of-its-own"
    bench = Bench(slices(series), renders=doubles.CountingStorage(s3_root), answer_limit_bytes=100)
    link = bench.get("index", "format=parquet", series=series).headers["Location"]
    assert series not in link
    table = pq.read_table(io.BytesIO(urllib3.request("GET", link).data))
    assert table["StorageRoot"].to_pylist() == ["default"] * 4
    assert "clinics-bucket" not in str(table.schema.metadata)
    (copy,) = s3_root.list_objects(Renders(s3_root).folder_of(ROOT, series))
    s3_root.delete(copy.path)
    assert urllib3.request("GET", link).status == 404


@pytest.mark.parametrize(
    ("asked", "quality"), [({"format": ["jpeg"]}, 50), ({"format": ["webp"]}, 25), ({}, 25)]
)
def test_the_default_quality_is_that_of_the_format_asked_for(bench, asked, quality):
    """JPEG has another default quality than WebP, here as on the command line."""
    query = {"position": ["0"], **asked}
    named = bench.api.picture("image", HttpRequest("S", {**query, "quality": [str(quality)]}))
    assert named.status == 200
    assert bench.api.picture("image", HttpRequest("S", query)).body == named.body
