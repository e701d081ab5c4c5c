"""The deployment as its callers see it: real requests and events through what `sam build` has made."""

import io
import json
import re
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

from built import BUILT, PROJECT

# isort: split

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import gateway
import make_dicom
import runtime
import servers
import stack as stacks
import synthetic
from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.base.settings import Limits, Settings
from dicom_series_preview.products.pictures.requests import ContrastRequest, ImageRequest, MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.open import open_storage
from gateway import Answer
from http_contract import PROBLEM, Door, HttpContract, odd_series, opened, problem
from stack import Stack

pytestmark = pytest.mark.aws

SERIES = synthetic.SERIES
REQUESTS = {"mosaic": MosaicRequest, "image": ImageRequest, "contrast-mosaic": ContrastRequest}
FUNCTIONS = {
    "mosaic": "MosaicFunction",
    "image": "ImageFunction",
    "contrast-mosaic": "ContrastMosaicFunction",
}


@pytest.fixture(scope="module")
def throttled() -> Iterator[servers.ScriptedServer]:
    """A web server that is always too busy."""
    with servers.ScriptedServer([servers.Answer(503, {"Retry-After": "0"})]) as server:
        yield server


@pytest.fixture(scope="module")
def moved() -> Iterator[servers.ScriptedServer]:
    """A web server that sends everyone to another host."""
    elsewhere = servers.Answer(302, {"Location": "http://localhost:1/metadata"})
    with servers.ScriptedServer([elsewhere]) as server:
        yield server


@pytest.fixture(scope="module")
def stack(
    layers: list[Path], throttled: servers.ScriptedServer, moved: servers.ScriptedServer
) -> Iterator[Stack]:
    """The deployment, with a series in its bucket, and with roots that fail in different ways."""
    assert layers
    roots = {"forbidden": f"s3://{stacks.SECRET_BUCKET}", "throttled": throttled.url, "moved": moved.url}
    with stacks.deployed(BUILT, Roots=json.dumps(roots)) as running:
        for series in (synthetic.series(), odd_series()):
            upload(running, series.name, series.objects)
        yield running


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """What the same product makes of the same series in a local folder."""
    root = tmp_path_factory.mktemp("local")

    def render(kind: str, name: str, objects: dict[str, bytes], **options: Any) -> bytes:
        folder = root / name
        if not folder.exists():
            folder.mkdir()
            for file_name, data in objects.items():
                (folder / file_name).write_bytes(data)
        service = PreviewService(open_storage(str(root), Settings(root), {}), None, Limits())
        output = f"picture.{options.pop('format', 'webp')}"
        texts = {
            key: [str(item) for item in (value if isinstance(value, list) else [value])]
            for key, value in options.items()
        }
        request = REQUESTS[kind].from_strings(name, output, texts)
        return service.render(request).data

    return render


def upload(stack: Stack, name: str, objects: dict[str, bytes]) -> None:
    """Put objects into a series' folder."""
    s3 = stack.s3.client()
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda item: s3.put_object(Bucket=stacks.DICOM_BUCKET, Key=f"{name}/{item[0]}", Body=item[1]),
                objects.items(),
            )
        )


def new_series(stack: Stack, prefix: str = "", **options: Any) -> synthetic.Synthetic:
    """A series of its own for one test."""
    made = synthetic.series(f"{prefix}{uuid.uuid4()}", **options)
    upload(stack, made.name, made.objects)
    return made


def remove(stack: Stack, name: str, files: list[str]) -> None:
    """Delete objects of a series."""
    for file_name in files:
        stack.s3.client().delete_object(Bucket=stacks.DICOM_BUCKET, Key=f"{name}/{file_name}")


def queued(name: str, files: list[str], kind: str = "Object Created") -> dict[str, Any]:
    """The event of the queue that EventBridge fills, after events/updates-eventbridge.json."""
    event = json.loads((PROJECT / "events" / "updates-eventbridge.json").read_text(encoding="utf-8"))
    (record,) = (one for one in event["Records"] if json.loads(one["body"])["detail-type"] == kind)
    records = []
    for number, file_name in enumerate(files):
        body = json.loads(record["body"])
        body["detail"]["bucket"]["name"] = stacks.DICOM_BUCKET
        body["detail"]["object"]["key"] = f"{name}/{file_name}"
        records.append({**record, "messageId": str(number), "body": json.dumps(body)})
    return {"Records": records}


def tell(stack: Stack, name: str, files: list[str], kind: str = "Object Created") -> None:
    """Let the function hear of objects that came or went; it must understand all of them."""
    answer = stack.functions["IndexUpdatesFunction"].invoke(queued(name, files, kind)).document()
    assert answer == {"batchItemFailures": []}


def data_keys(stack: Stack, prefix: str) -> list[str]:
    """The objects of the data bucket."""
    found = stack.s3.client().list_objects_v2(Bucket=stacks.DATA_BUCKET, Prefix=prefix)
    return [entry["Key"] for entry in found.get("Contents", [])]


def index_key(name: str) -> str:
    """Where a series' index lies in the data bucket."""
    return index_path(name, index_folder(f"s3://{stacks.DICOM_BUCKET}"))


def path(name: str, resource: str) -> str:
    """The path of a series' resource."""
    return f"/series/{quote(name, safe='')}/{resource}"


def fetched_pixels(stack: Stack, function: str, since: int) -> list[Any]:
    """The requests for objects of series that a function has made since."""
    return [
        seen
        for seen in stack.requests(function)[since:]
        if seen.kind == "GET" and seen.target.startswith(f"/{stacks.DICOM_BUCKET}/")
    ]


def test_the_gateway_sends_what_api_gateway_sends() -> None:
    """Events that this stand-in makes have the fields of those in events/, by which handlers are tested."""
    sent = []

    class Recorder:
        def invoke(self, event: dict[str, Any]) -> Any:
            sent.append(event)
            return runtime.Invocation(b'{"statusCode": 200}', None, 0.0)

    route = gateway.Route("GET /series/{series}/image", Recorder(), "NONE")
    target = "/series/38902e14*/image?position=0&slice_offset=1"
    gateway.Gateway([route], {}).answer(gateway.Asked("GET", target, {"host": "x"}, b""))
    recorded = json.loads((PROJECT / "events" / "image-200-prefix.json").read_text(encoding="utf-8"))
    assert set(sent[0]) == set(recorded)
    assert set(sent[0]["requestContext"]) == set(recorded["requestContext"])
    for name in ("routeKey", "rawPath", "rawQueryString", "queryStringParameters", "pathParameters"):
        assert sent[0][name] == recorded[name]


class TestHttp(HttpContract):
    """The deployment keeps the rules of the HTTP API."""

    @pytest.fixture
    def door(self, stack: Stack) -> Door:
        """The HTTP API, whose requests are signed."""

        def ask(target: str, method: str = "GET", **headers: str) -> Answer:
            return stack.call(method, target, headers=headers)

        return ask


# --- Pictures -----------------------------------------------------------------------------------------------


def test_an_upload_becomes_an_index(stack: Stack) -> None:
    """S3's events make the index, once for the whole series, and the API finds it."""
    made = new_series(stack)
    assert index_key(made.name) not in data_keys(stack, "indices/")
    tell(stack, made.name, list(made.objects))
    assert index_key(made.name) in data_keys(stack, "indices/")
    answer = stack.get(path(made.name, "index"))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["preview-index"] == "cache"
    assert [entry["slices"] for entry in answer.json()["stacks"]] == [synthetic.SLICES, 1]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mosaic", {}),
        (
            "mosaic",
            {"tile_width": 3, "tile_height": 2, "contrast": "1500,-500", "format": "jpg", "quality": 80},
        ),
        ("mosaic", {"start": 0.25, "end": 0.5, "image_width": 64}),
        ("image", {"position": 0.5, "image_width": 256, "contrast": "lung"}),
        ("image", {"position": 0, "slice_offset": 3, "format": "jpeg"}),
        ("contrast-mosaic", {"contrast": ["lung", "1500,-500", "bone"], "tile_height": 3}),
        ("contrast-mosaic", {"contrast": "auto", "position": 1}),
    ],
)
def test_pictures_are_those_of_the_local_product(
    stack: Stack, local: Callable[..., bytes], kind: str, options: dict[str, Any]
) -> None:
    """What the API answers is byte for byte what the same version makes of the same files on a disk."""
    answer = stack.get(path(SERIES, kind), options)
    assert answer.status == 200, answer.body
    jpeg = options.get("format", "webp") != "webp"
    assert answer.headers["content-type"] == ("image/jpeg" if jpeg else "image/webp")
    assert opened(answer).format == ("JPEG" if jpeg else "WEBP")
    assert answer.body == local(kind, SERIES, synthetic.series().objects, **options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("mosaic", {"quality": 41}), ("image", {"position": 0.4}), ("contrast-mosaic", {"contrast": "soft"})],
)
def test_a_picture_is_made_once(stack: Stack, kind: str, options: dict[str, Any]) -> None:
    """Another caller gets the kept picture for no pixel read; one who has it already gets 304 and no body."""
    first = stack.get(path(SERIES, kind), options)
    assert first.headers["preview-render"] == "made"
    assert int(first.headers["preview-bytes"]) > 0
    before = len(stack.requests(FUNCTIONS[kind]))
    second = stack.get(path(SERIES, kind), options)
    assert (second.status, second.headers["preview-render"]) == (200, "kept")
    assert second.headers["preview-requests"] == "list=1, get=0"
    assert (second.body, second.headers["etag"]) == (first.body, first.headers["etag"])
    third = stack.get(path(SERIES, kind), options, If_None_Match=f'"other", {first.headers["etag"]}')
    assert (third.status, third.body, third.headers["etag"]) == (304, b"", first.headers["etag"])
    assert fetched_pixels(stack, FUNCTIONS[kind], before) == []


def test_a_changed_slice_is_another_picture(stack: Stack) -> None:
    """An object written anew changes the ETag and the picture, without anyone having told the index."""
    made = new_series(stack)
    first = stack.get(path(made.name, "image"), {"position": 0})
    other = synthetic.slice_dataset(made.name, 0, synthetic.SLICES)
    values = np.frombuffer(other.PixelData, "<u2") + 600
    other.PixelData = values.astype("<u2").tobytes()
    upload(stack, made.name, {made.file_names[0]: make_dicom.encode(other)})
    second = stack.get(path(made.name, "image"), {"position": 0}, If_None_Match=first.headers["etag"])
    assert second.status == 200
    assert second.headers["etag"] != first.headers["etag"]
    assert second.headers["preview-index"] == "updated"
    assert (
        np.asarray(opened(second).convert("L"))[64, 64] > np.asarray(opened(first).convert("L"))[64, 64] + 50
    )


def test_what_is_too_large_for_an_answer_is_fetched_from_s3(
    stack: Stack, local: Callable[..., bytes]
) -> None:
    """A picture beyond Lambda's limit is answered with a link, which gives it to anyone for a while."""
    name = str(uuid.uuid4())
    dataset = synthetic.slice_dataset(name, 0, 1)
    dataset.Rows = dataset.Columns = 3000
    dataset.PixelData = np.random.default_rng(1).integers(0, 1024, 9_000_000).astype("<u2").tobytes()
    objects = {"noise.dcm": make_dicom.encode(dataset)}
    upload(stack, name, objects)
    options = {"position": 0, "image_width": 3000, "format": "jpg", "quality": 100}
    for render in ("made", "kept"):
        answer = stack.get(path(name, "image"), options)
        assert (answer.status, answer.body) == (303, b"")
        assert answer.headers["preview-render"] == render
        assert answer.headers["cache-control"] == "no-store"
        picture = gateway.fetch(answer.headers["location"])
        assert (picture.status, len(picture.body) > 4_500_000) == (200, True)
        assert picture.body == local("image", name, objects, **options)
    location = answer.headers["location"]
    assert name not in location
    assert gateway.fetch(location.replace("renders/", "indices/")).status == 403
    assert parse_qs(urlsplit(location).query)["X-Amz-Expires"] == ["900"]


def test_names_that_a_path_must_encode(stack: Stack) -> None:
    """A series' name may hold what URLs and templates give a meaning to."""
    name = f"phase 50% a+b&c={uuid.uuid4()} ä"
    made = synthetic.series(name, 6)
    upload(stack, name, made.objects)
    answer = stack.get(path(name, "mosaic"), {"tile_width": 2})
    assert answer.status == 200, answer.body
    assert unquote(answer.headers["preview-series"]) == name
    found = stack.get(path(name[:12] + "*", "index"))
    assert (found.status, found.json()["series"]) == (200, name)


# --- Refusals -----------------------------------------------------------------------------------------------


def test_nobody_gets_in_without_a_signature(stack: Stack) -> None:
    """Every route refuses anonymous callers, unknown keys and signatures that do not hold."""
    for route in stack.artefacts.of_type("AWS::ApiGatewayV2::Route").values():
        method, _, template = route["RouteKey"].partition(" ")
        target = template.replace("{series}", SERIES).replace("{id}", str(uuid.uuid4()))
        called = stack.log()
        for identity in ({"key": None}, {"key": "stranger"}, {"secret": "another"}):
            assert stack.call(method, target, **identity).status == 403, route["RouteKey"]
        assert stack.log() == called


def test_a_signature_holds_for_one_request(stack: Stack) -> None:
    """The signature of a request does not open another."""
    signed = []
    listener = gateway.HttpServer(lambda asked: signed.append(asked) or gateway.Answer(200))
    with listener:
        stand_in = replace(stack, url=listener.url)
        stand_in.get("/health")
    headers = {**signed[0].headers, "host": urlsplit(stack.url).netloc}
    for target in ("/health", path(SERIES, "index")):
        assert gateway.fetch(stack.url + target, headers=headers).status == 403


@pytest.mark.parametrize(
    "name",
    [
        "../secret-bucket/hidden",
        "a/../../hidden",
        "s3://secret-bucket/hidden",
        "https://169.254.169.254/latest",
        "file:///etc/passwd",
        "/etc",
        "a//b",
        "a\x00b",
        "..",
    ],
)
def test_no_name_leaves_the_root(stack: Stack, name: str) -> None:
    """URLs, paths and dots are refused before any storage is asked."""
    before = len(stack.requests("MosaicFunction"))
    problem(stack.get(path(name, "mosaic")), 400, "bad-parameter")
    assert stack.requests("MosaicFunction")[before:] == []


@pytest.mark.parametrize("root", ["s3://secret-bucket", "unknown", "", "/etc", "http://127.0.0.1"])
def test_no_root_but_the_deployments(stack: Stack, root: str) -> None:
    """A root is an alias; anything else is refused, and the answer tells no address."""
    answer = stack.get(path("hidden", "mosaic"), {"root": root})
    document = problem(answer, 400, "bad-parameter")
    assert [wrong["parameter"] for wrong in document["errors"]] == ["root"]
    assert stacks.SECRET_BUCKET not in document["detail"].replace(root, "")


def test_what_the_role_may_not_read(stack: Stack) -> None:
    """403 from S3 is a 403, which does not say where the series would lie."""
    answer = stack.get(path("hidden", "mosaic"), {"root": "forbidden"})
    problem(answer, 403, "access-denied")
    assert stacks.SECRET_BUCKET.encode() not in answer.body


def test_what_is_not_there(stack: Stack) -> None:
    """404 for a series, a prefix, a batch and a resource."""
    problem(stack.get(path("38900000-0000-0000-0000-000000000000", "mosaic")), 404, "no-such-series")
    problem(stack.get(path("nothing-begins-so*", "image"), {"position": 0}), 404, "no-such-series")
    problem(stack.get(f"/batches/{uuid.uuid4()}"), 404, "no-such-batch")
    for target in ("/", "/series", path(SERIES, "video"), path(SERIES, "mosaic") + "/x", "/healthz"):
        assert stack.get(target).status == 404
    assert stack.call("DELETE", path(SERIES, "index")).status == 404
    assert stack.call("POST", path(SERIES, "mosaic")).status == 404


@pytest.mark.parametrize(
    "query", [{"image_width": 16000}, {"tile_width": 4000, "tile_height": 4000}, f"contrast={'1' * 8200}"]
)
def test_more_than_a_limit(stack: Stack, query: dict[str, Any] | str) -> None:
    """413 for a picture or a query beyond the limits, before anything is fetched."""
    before = len(stack.requests("MosaicFunction"))
    problem(stack.get(path(SERIES, "mosaic"), query), 413, "limit")
    assert fetched_pixels(stack, "MosaicFunction", before) == []


def broken_pixels(name: str) -> dict[str, bytes]:
    """A series whose pixels are no JPEG, though its headers say so."""
    dataset = synthetic.slice_dataset(name, 0, 1)
    dataset.PixelData = make_dicom.encapsulate([[b"no jpeg!"]])
    return {"a.dcm": make_dicom.encode(dataset, make_dicom.JPEG)}


def test_what_cannot_be_decoded(stack: Stack) -> None:
    """415 for a series none of whose chosen images can be decoded; its picture is not kept."""
    name = str(uuid.uuid4())
    upload(stack, name, broken_pixels(name))
    before = data_keys(stack, "renders/")
    document = problem(stack.get(path(name, "mosaic")), 415, "undecodable")
    assert document["detail"].startswith(f"{name}: ")
    assert data_keys(stack, "renders/") == before


def test_a_failed_tile_is_marked_and_not_kept(stack: Stack) -> None:
    """A slice that cannot be decoded leaves the others standing, and the picture is made anew next time."""
    made = new_series(stack, count=5, others=False)
    broken = synthetic.slice_dataset(made.name, 2, 5)
    broken.PixelData = b"\0\0"
    upload(stack, made.name, {made.file_names[2]: make_dicom.encode(broken)})
    for _ in range(2):
        answer = stack.get(path(made.name, "mosaic"))
        assert (answer.status, answer.headers["preview-failed-tiles"]) == (200, "1")
        assert answer.headers["preview-render"] == "made"
        assert answer.headers["cache-control"] == "no-store"
        assert "etag" not in answer.headers


def test_what_has_no_image(stack: Stack) -> None:
    """422 for a series of text, and for one of objects without pixels."""
    for objects in ({"a.dcm": b"no DICOM at all", "b": b"x" * 9000}, {"a.dcm": without_pixels()}):
        name = str(uuid.uuid4())
        upload(stack, name, objects)
        problem(stack.get(path(name, "mosaic")), 422, "no-image")


def without_pixels() -> bytes:
    """A DICOM object that has none."""
    dataset = synthetic.slice_dataset("report", 0, 1)
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(dataset, keyword)
    return make_dicom.encode(dataset)


def test_an_index_that_someone_else_builds(stack: Stack) -> None:
    """503 with a time to come back; and a builder that has died holds nobody up for longer than its lease."""
    made = new_series(stack, count=3)
    lock = {"Bucket": stacks.DATA_BUCKET, "Key": f"{index_key(made.name)}.lock"}
    stack.s3.client().put_object(**lock, Body=json.dumps({"until": time.time() + 60}).encode())
    answer = stack.get(path(made.name, "mosaic"))
    problem(answer, 503, "index-busy")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    stack.s3.client().put_object(**lock, Body=json.dumps({"until": time.time() - 1}).encode())
    assert stack.get(path(made.name, "mosaic")).status == 200
    assert lock["Key"] not in data_keys(stack, "indices/")


def test_a_storage_that_is_too_busy(stack: Stack, throttled: servers.ScriptedServer) -> None:
    """503 with a time to come back, after retries, and before API Gateway gives up."""
    started = time.monotonic()
    answer = stack.get(path("series", "mosaic"), {"root": "throttled"})
    problem(answer, 503, "storage-unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert time.monotonic() - started < gateway.INTEGRATION_TIMEOUT_S
    assert len(throttled.asked) > 1


def test_a_server_that_sends_us_elsewhere(stack: Stack, moved: servers.ScriptedServer) -> None:
    """A redirect to another host is not followed: it could point into the deployment's own network."""
    answer = stack.get(path("series", "mosaic"), {"root": "moved"})
    assert answer.status in (403, 502)
    assert answer.json()["type"].startswith(PROBLEM)
    assert moved.asked


# --- Changes ------------------------------------------------------------------------------------------------


def test_two_cold_requests_build_one_index(stack: Stack) -> None:
    """Of two that need the same index at once, one builds it; the other finds it or is told when to come."""
    made = new_series(stack, count=120, others=False)
    warm = new_series(stack, count=2)
    start = threading.Barrier(2)

    def ask(_: int, name: str) -> Answer:
        start.wait()
        return stack.get(path(name, "mosaic"))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, range(2), [warm.name] * 2))
        before = len(stack.requests("MosaicFunction"))
        answers = list(pool.map(ask, range(2), [made.name] * 2))
    assert {answer.status for answer in answers} <= {200, 503}
    assert 200 in {answer.status for answer in answers}
    for answer in answers:
        if answer.status == 503:
            assert problem(answer, 503, "index-busy")
            assert int(answer.headers["retry-after"]) <= 5
    again = [stack.get(path(made.name, "mosaic")) for _ in range(2)]
    bodies = {answer.body for answer in [*answers, *again] if answer.status == 200}
    assert len(bodies) == 1
    headers = [seen for seen in fetched_pixels(stack, "MosaicFunction", before) if seen.start == 0]
    assert len(headers) == 120
    writes = [
        seen
        for seen in stack.requests("MosaicFunction")[before:]
        if seen.method == "PUT" and seen.target.endswith(quote(index_key(made.name)))
    ]
    assert len(writes) == 1


def test_reading_while_a_series_grows(stack: Stack) -> None:
    """While slices arrive and indices are updated, every answer is a whole picture of a series that was."""
    made = synthetic.series(str(uuid.uuid4()), 40, others=False)
    names = list(made.file_names)
    first, rest = names[:10], [names[at : at + 10] for at in range(10, 40, 10)]
    upload(stack, made.name, {name: made.objects[name] for name in first})
    done = threading.Event()

    def grow() -> None:
        try:
            for part in rest:
                upload(stack, made.name, {name: made.objects[name] for name in part})
                tell(stack, made.name, part)
        finally:
            done.set()

    answers: list[Answer] = []
    with ThreadPoolExecutor(3) as pool:
        growing = pool.submit(grow)

        def read(quality: int) -> None:
            while not done.is_set():
                answers.append(stack.get(path(made.name, "mosaic"), {"quality": quality}))
                quality = (quality + 2) % 100

        reading = [pool.submit(read, quality) for quality in (1, 2)]
        for future in (growing, *reading):
            future.result()
    assert {answer.status for answer in answers} <= {200, 503}
    counts = []
    for answer in answers:
        if answer.status == 200:
            opened(answer)
            counts.append(int(answer.headers["preview-slices"].split("/")[1]))
    assert counts
    assert set(counts) <= set(range(10, 41))
    tell(stack, made.name, names)
    assert stack.get(path(made.name, "mosaic")).headers["preview-slices"] == "36/40"


def test_events_may_come_twice(stack: Stack) -> None:
    """What is told again changes nothing, and writes nothing but the claim."""
    made = new_series(stack, count=5)
    tell(stack, made.name, list(made.objects))
    before = len(stack.requests("IndexUpdatesFunction"))
    tell(stack, made.name, list(made.objects))
    again = stack.requests("IndexUpdatesFunction")[before:]
    # What is known, whole or in part, and the listing; the claim is written and given back.
    assert sorted(seen.kind for seen in again) == ["GET", "GET", "LIST", "POST", "PUT"]
    (written,) = (seen.target for seen in again if seen.method == "PUT")
    assert written.endswith(quote(f"{index_key(made.name)}.lock"))


def waiting(stack: Stack) -> int:
    """How many rechecks are in the queue of changes and come later."""
    name = "ApproximateNumberOfMessagesDelayed"
    sqs = stacks.client("sqs", stack.states, "admin")
    answer = sqs.get_queue_attributes(QueueUrl=stacks.QUEUE_URL, AttributeNames=[name])
    return int(answer["Attributes"][name])


def test_deleted_objects_leave_nothing_behind(stack: Stack) -> None:
    """What is deleted is gone from index and pictures; with the last object goes all that was made of it."""
    before = set(data_keys(stack, ""))
    made = new_series(stack, count=8, others=False)
    tell(stack, made.name, list(made.objects))
    batch = run_batch(stack, {"series": [made.name]})["batch"]
    assert stack.get(path(made.name, "image"), {"position": 0}).status == 200
    gone = list(made.file_names[:3])
    remove(stack, made.name, gone)
    later = waiting(stack)
    tell(stack, made.name, gone, "Object Deleted")
    assert [key for key in data_keys(stack, "") if key.endswith(".webp") and key not in before] == []
    assert waiting(stack) == later + 1
    answer = stack.get(path(made.name, "index"))
    assert (answer.json()["slices"], answer.headers["preview-index"]) == (5, "cache")
    assert stack.get(path(made.name, "image"), {"position": 0}).status == 200
    rest = list(made.file_names[3:])
    remove(stack, made.name, rest)
    tell(stack, made.name, rest, "Object Deleted")
    own = (f"batches/{batch}/", "batches/running/")
    # What the batch says of itself stays until it expires; its place names no series.
    assert {key for key in data_keys(stack, "") if not key.startswith(own)} == before
    problem(stack.get(path(made.name, "mosaic")), 404, "no-such-series")


@pytest.mark.parametrize("reader", ["ImageFunction", "BatchItemFunction"])
def test_what_a_reader_sees_gone_first_is_erased(stack: Stack, reader: str) -> None:
    """Its message, which its role may send, erases the pictures that the event tells nothing of."""
    made = new_series(stack, count=8, others=False)
    tell(stack, made.name, list(made.objects))
    before = set(data_keys(stack, "renders/"))
    assert stack.get(path(made.name, "image"), {"position": 0}).status == 200
    (shown,) = set(data_keys(stack, "renders/")) - before
    other = synthetic.slice_dataset(made.name, 3, synthetic.SLICES)
    upload(stack, made.name, {made.file_names[0]: make_dicom.encode(other)})
    if reader == "ImageFunction":
        assert stack.get(path(made.name, "image"), {"position": 1}).headers["preview-index"] == "updated"
    else:
        run_batch(stack, {"series": [made.name]})
    tell(stack, made.name, [made.file_names[0]])
    assert shown in data_keys(stack, "renders/")
    sqs = stacks.client("sqs", stack.states, "admin")
    # Other tests' readers have sent messages as well.
    bodies: list[str] = []
    while messages := sqs.receive_message(QueueUrl=stacks.QUEUE_URL, MaxNumberOfMessages=10).get("Messages"):
        bodies += [message["Body"] for message in messages]
    event = queued(made.name, ["any"])
    (event["Records"][0]["body"],) = [body for body in bodies if made.name in body]
    assert stack.functions["IndexUpdatesFunction"].invoke(event).document() == {"batchItemFailures": []}
    assert set(data_keys(stack, "renders/")) <= before
    assert stack.get(path(made.name, "index")).headers["preview-index"] == "cache"


def test_a_series_that_is_being_indexed_is_left_alone(stack: Stack) -> None:
    """While someone else holds its claim nothing of it is read, and a recheck waits in the queue."""
    made = new_series(stack, count=5)
    claim = json.dumps({"until": time.time() + 60}).encode()
    s3 = stack.s3.client()
    s3.put_object(Bucket=stacks.DATA_BUCKET, Key=f"{index_key(made.name)}.lock", Body=claim)
    before, later = len(stack.requests("IndexUpdatesFunction")), waiting(stack)
    tell(stack, made.name, list(made.objects))
    assert fetched_pixels(stack, "IndexUpdatesFunction", before) == []
    assert waiting(stack) == later + 1
    s3.delete_object(Bucket=stacks.DATA_BUCKET, Key=f"{index_key(made.name)}.lock")
    tell(stack, made.name, list(made.objects))
    assert index_key(made.name) in data_keys(stack, "indices/")


def test_a_message_that_says_nothing_is_tried_again(stack: Stack) -> None:
    """Only the messages that failed are named, so that only they come again and end in the dead letters."""
    made = new_series(stack, count=2)
    event = queued(made.name, list(made.objects))
    event["Records"].append({"messageId": "poison", "body": "no event", "eventSource": "aws:sqs"})
    answer = stack.functions["IndexUpdatesFunction"].invoke(event).document()
    assert answer == {"batchItemFailures": [{"itemIdentifier": "poison"}]}
    assert index_key(made.name) in data_keys(stack, "indices/")


# --- Batches ------------------------------------------------------------------------------------------------


def post_batch(stack: Stack, document: dict[str, Any], **headers: str) -> Answer:
    """Ask for a batch."""
    given = {"Content_Type": "application/json", **headers}
    return stack.call("POST", "/batches", headers=given, body=json.dumps(document).encode())


def run_batch(stack: Stack, document: dict[str, Any]) -> dict[str, Any]:
    """Start a batch and ask how it stands until it has ended."""
    answer = post_batch(stack, document)
    assert answer.status == 202, answer.body
    location = answer.headers["location"]
    assert location == f"/batches/{answer.json()['batch']}"
    return ended_batch(stack, location)


def ended_batch(stack: Stack, location: str) -> dict[str, Any]:
    """How a batch stands when it has ended."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        status = stack.get(location)
        assert (status.status, status.headers["cache-control"]) == (200, "no-store")
        if status.json()["status"] != "RUNNING":
            return status.json()
        time.sleep(0.25)
    raise TimeoutError("the batch does not end")


def outcomes_of(stack: Stack, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The outcomes that a summary names."""
    body = stack.s3.client().get_object(Bucket=stacks.DATA_BUCKET, Key=summary["outcomes"])["Body"].read()
    return pq.read_table(io.BytesIO(body)).to_pylist()


def series_done(stack: Stack, batch: str) -> set[str]:
    """The series of a batch that have a mosaic, by their outcomes."""
    s3 = stack.s3.client()
    outcomes = [
        json.load(s3.get_object(Bucket=stacks.DATA_BUCKET, Key=key)["Body"])
        for key in data_keys(stack, f"batches/{batch}/outcomes/")
    ]
    return {outcome["series"] for outcome in outcomes if outcome["status"] == "ok"}


def called(stack: Stack, function: str) -> int:
    """How often a function has been called."""
    logs = [log for name, log in stack.log().items() if name.startswith(function)]
    return sum(len(re.findall("^START ", log, re.MULTILINE)) for log in logs)


def test_a_batch_of_which_every_fifth_series_has_no_preview_succeeds(stack: Stack) -> None:
    """Of ten series two have none: eight mosaics, a summary that says why, and a rerun with nothing to do."""
    prefix = f"batch-{uuid.uuid4().hex[:8]}-"
    good = [new_series(stack, prefix, count=4, others=False) for _ in range(8)]
    text, undecodable = f"{prefix}text", f"{prefix}undecodable"
    upload(stack, text, {"notes.dcm": b"no DICOM at all"})
    upload(stack, undecodable, broken_pixels(undecodable))

    first = run_batch(stack, {"prefix": prefix, "mosaic": {"tile_width": 2, "contrast": "lung"}})
    assert (first["status"], first["error"]) == ("SUCCEEDED", None)
    progress = {"series": 10, "waiting": 0, "running": 0, "done": 10, "lost": 0, "cancelled": 0}
    assert first["progress"] == progress
    summary = first["summary"]
    counts = {name: summary[name] for name in ("items", "ok", "no_preview", "failed", "missing")}
    assert counts == {"items": 10, "ok": 8, "no_preview": 2, "failed": 0, "missing": 0}
    assert summary["reasons"] == {"NoImageError": 1, "UndecodableError": 1}
    outcomes = {row["series"]: row for row in outcomes_of(stack, summary)}
    without = {name for name, row in outcomes.items() if row["status"] == "no-preview"}
    assert without == {text, undecodable}
    for made in good:
        key = outcomes[made.name]["picture"]
        body = stack.s3.client().get_object(Bucket=stacks.DATA_BUCKET, Key=key)["Body"].read()
        assert body == stack.get(path(made.name, "mosaic"), {"tile_width": 2, "contrast": "lung"}).body
        assert made.name not in key
    items = called(stack, "BatchItemFunction")

    second = run_batch(stack, {"rerun": first["batch"]})
    assert (second["status"], second["summary"]["items"]) == ("SUCCEEDED", 0)
    assert called(stack, "BatchItemFunction") == items
    upload(stack, text, synthetic.series(text, 4, others=False).objects)
    third = run_batch(stack, {"rerun": first["batch"], "no_preview": True})["summary"]
    assert {row["series"]: row["status"] for row in outcomes_of(stack, third)} == {
        text: "ok",
        undecodable: "no-preview",
    }
    assert called(stack, "BatchItemFunction") - items == 2


@pytest.mark.parametrize(
    ("bucket", "key"), [(stacks.DICOM_BUCKET, "manifest.csv"), (stacks.DATA_BUCKET, "manifests/series.csv")]
)
def test_a_batch_of_a_manifest(stack: Stack, bucket: str, key: str) -> None:
    """A CSV in the bucket of the series, or in the data bucket's folder for them, names what is done."""
    made = new_series(stack, count=3)
    manifest = f"series,comment\n{made.name},first\n".encode()
    stack.s3.client().put_object(Bucket=bucket, Key=key, Body=manifest)
    ended = run_batch(stack, {"manifest": f"s3://{bucket}/{key}"})
    assert (ended["status"], ended["summary"]["ok"]) == ("SUCCEEDED", 1)


def test_a_batch_that_cannot_start_fails(stack: Stack) -> None:
    """A prefix that nothing begins with: the execution fails, and who asks is told why."""
    ended = run_batch(stack, {"prefix": f"nothing-{uuid.uuid4()}"})
    assert ended["status"] == "FAILED"
    assert ended["error"] == {"error": "RequestError", "reason": "body: the batch names no series"}


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (f"{stacks.DICOM_BUCKET}/nowhere.csv", "not found"),
        (f"{stacks.SECRET_BUCKET}/hidden/a.dcm", "ManifestBucketArns"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(stack: Stack, place: str, words: str) -> None:
    """One that is not there, or in a bucket that is closed to the deployment, starts no batch."""
    answer = post_batch(stack, {"manifest": f"s3://{place}"})
    assert words in problem(answer, 400, "bad-parameter")["detail"]


def test_a_batch_is_started_once(stack: Stack) -> None:
    """The same request with the same idempotency key comes to the same batch; another is refused."""
    made, key = new_series(stack, count=2), str(uuid.uuid4())
    first = post_batch(stack, {"series": [made.name]}, Idempotency_Key=key)
    again = post_batch(stack, {"series": [made.name]}, Idempotency_Key=key)
    assert (first.status, again.status) == (202, 200)
    assert first.json()["batch"] == again.json()["batch"]
    problem(post_batch(stack, {"prefix": ""}, Idempotency_Key=key), 422, "idempotency-key-reused")


def test_a_batch_is_cancelled(stack: Stack) -> None:
    """A batch that is cancelled ends without its summary, and a rerun does what is left of it."""
    prefix = f"cancel-{uuid.uuid4().hex[:8]}-"
    made = [new_series(stack, prefix, count=2, others=False) for _ in range(6)]
    location = post_batch(stack, {"prefix": prefix}).headers["location"]
    answer = stack.call("DELETE", location)
    assert (answer.status, answer.json()["status"]) == (202, "ABORTED")
    cancelled = ended_batch(stack, location)
    # moto says ABORTED only where no step was running; Step Functions always does.
    assert cancelled["status"] in ("ABORTED", "FAILED")
    assert (cancelled["summary"], bool(cancelled["error"])) == (None, True)
    assert stack.call("DELETE", location).status == 200
    again = run_batch(stack, {"rerun": cancelled["batch"]})
    assert again["status"] == "SUCCEEDED"
    done = [series_done(stack, identifier) for identifier in (cancelled["batch"], again["batch"])]
    assert set.union(*done) == {one.name for one in made}
    problem(stack.call("DELETE", f"/batches/{uuid.uuid4()}"), 404, "no-such-batch")


@pytest.mark.parametrize(
    ("method", "place"), [("POST", "/batches"), ("GET", "/batches/x"), ("DELETE", "/batches/x")]
)
def test_batches_are_for_those_who_are_known(stack: Stack, method: str, place: str) -> None:
    """Without a signature no batch is started, shown or stopped."""
    assert stack.call(method, place, key=None, body=b'{"prefix": ""}').status == 403


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"series": []}', b'{"series": ["../x"]}', b'{"a": 1}'])
def test_batches_that_are_refused(stack: Stack, body: bytes) -> None:
    """400 before anything is started."""
    answer = stack.call("POST", "/batches", headers={"Content_Type": "application/json"}, body=body)
    problem(answer, 400, "bad-parameter")


# --- All that was done above --------------------------------------------------------------------------------


def test_logs_are_json_and_name_nobody(stack: Stack) -> None:
    """Every line that the product logs is JSON, and none holds a patient's data or the name of a series."""
    stack.get(path(SERIES, "mosaic"))
    logs = stack.log()
    assert logs
    platform = re.compile(r"START RequestId|END RequestId|REPORT RequestId|$")
    lines = [line for log in logs.values() for line in log.splitlines() if not platform.match(line)]
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert [line for line in lines if not line.startswith("{") and not is_platform_error(line)] == []
    assert any({"resource", "status", "series"} <= set(line) for line in told)
    for secret in (*synthetic.SECRETS, SERIES, "hidden", stacks.secret_of("caller")):
        assert not [line for line in lines if secret in line], secret


def is_platform_error(line: str) -> bool:
    """Whether Lambda itself says that a batch's step has failed: an error's type, and where it was raised."""
    return bool(re.match(r"\[ERROR\] \w+Error: \w+Error\b|Traceback \(most recent|\s+", line))


def test_roles_allow_what_was_done(stack: Stack) -> None:
    """Every request that a function has sent to S3 is one that its role in the template allows."""
    stack.get(path(SERIES, "mosaic"))
    for function in stack.functions:
        assert stacks.beyond_role(stack, function) == []


def test_nothing_was_written_into_the_layers(stack: Stack) -> None:
    """Lambda's /opt is read-only; here it would be written to by mistake, and is not."""
    stack.get(path(SERIES, "mosaic"))
    assert stack.artefacts.written() == []


def test_functions_stay_within_their_memory(stack: Stack) -> None:
    """All of the above takes less than half of the memory that the template gives."""
    stack.get(path(SERIES, "mosaic"))
    for name, function in stack.functions.items():
        megabytes = function.peak_bytes() / 1e6
        limit = int(function.environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])
        assert megabytes < limit / 2, name
