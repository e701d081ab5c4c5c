import base64
import copy
import io
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
import urllib3
from PIL import Image

import archive
from lambdas import Functions, event

FUNCTION_OF = {
    "mosaic": "mosaic",
    "image": "image",
    "contrast": "contrast_mosaic",
    "index": "index",
    "health": "index",
    "openapi": "index",
    "series": "series",
}


def function_of(name: str) -> str:
    """The function that an event is for."""
    return FUNCTION_OF[name.partition("-")[0]]


def body_of(answer: Mapping[str, Any]) -> bytes:
    """The body as a client gets it."""
    body = answer["body"]
    return base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()


def picture(answer: Mapping[str, Any]) -> Image.Image:
    """The picture that an answer is."""
    assert answer["statusCode"] == 200
    with Image.open(io.BytesIO(body_of(answer))) as image:
        image.load()
        assert answer["headers"]["Content-Type"] == f"image/{image.format.lower()}"
        return image


PICTURES = {
    "mosaic-200": ("WEBP", (384, 384), "9/40"),
    "mosaic-200-jpeg": ("JPEG", (256, 256), "4/40"),
    "mosaic-200-failed-tile": ("WEBP", (256, 342), "3/3"),
    "image-200": ("WEBP", (256, 256), "1/40"),
    "image-200-prefix": ("WEBP", (128, 128), "1/40"),
    "image-200-other-root": ("WEBP", (128, 171), "1/2"),
    "contrast-mosaic-200": ("WEBP", (384, 128), "1/40"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(functions: Functions, name: str) -> None:
    """A picture is answered as it is asked for, and may be kept where no slice of it failed."""
    answer = functions[function_of(name)](name).answer
    image, headers = picture(answer), answer["headers"]
    assert (image.format, image.size, headers["Preview-Slices"]) == PICTURES[name]
    failed = "1" if "failed" in name else None
    assert (headers.get("Preview-Failed-Tiles"), "ETag" in headers) == (failed, failed is None)
    assert headers["Cache-Control"] == ("no-store" if failed else "private, no-cache")


@pytest.mark.parametrize("method", ["POST", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(functions: Functions, method: str) -> None:
    """A function that is reached by a method that it does not answer says which ones it does."""
    asked = copy.deepcopy(event("mosaic-200"))
    asked["requestContext"]["http"]["method"] = method
    answer = functions["mosaic"](asked).answer
    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("name", ["mosaic-304", "image-304", "index-304", "series-304"])
def test_unchanged(functions: Functions, name: str) -> None:
    """What the client has already is not sent again."""
    answer = functions[function_of(name)](name).answer
    assert (answer["statusCode"], answer["body"]) == (304, "")
    assert answer["headers"]["ETag"]


def test_a_large_picture_is_fetched_from_s3(functions: Functions) -> None:
    """A picture that no answer can hold is a link, by which anyone gets it for a while."""
    answer = functions["mosaic"]("mosaic-303-large").answer
    assert (answer["statusCode"], answer["body"]) == (303, "")
    assert answer["headers"]["Cache-Control"] == "no-store"
    got = urllib3.request("GET", answer["headers"]["Location"])
    assert got.status == 200
    assert len(got.data) > 4_500_000
    with Image.open(io.BytesIO(got.data)) as image:
        assert image.size == (2560, 2560)


EVERYTHING = {"tile_width", "start", "quality", "contrast", "format", "root", "page"}
PROBLEMS: dict[str, tuple[str, set[str]]] = {
    "mosaic-400-all-wrong": ("bad-parameter", EVERYTHING),
    "mosaic-404-no-such-series": ("no-such-series", set()),
    "mosaic-406-not-acceptable": ("not-acceptable", {"accept"}),
    "mosaic-413-grid": ("limit", {"image_width"}),
    "mosaic-415-undecodable": ("undecodable", set()),
    "mosaic-422-no-image": ("no-image", set()),
    "mosaic-503-index-busy": ("index-busy", set()),
    "image-400-two-bad-parameters": ("bad-parameter", {"position", "quality"}),
    "image-400-url-as-root": ("bad-parameter", {"root"}),
    "image-400-url-as-series": ("bad-parameter", {"series"}),
    "image-400-dots": ("bad-parameter", {"series"}),
    "image-403-access-denied": ("access-denied", set()),
    "image-404-other-root": ("no-such-series", set()),
    "contrast-mosaic-400-no-contrast": ("bad-parameter", {"contrast"}),
    "index-400-unknown-format": ("bad-parameter", {"format", "limit"}),
    "index-404-no-such-resource": ("no-such-resource", set()),
    "series-400-misspelt": ("bad-parameter", {"modalty"}),
    "series-400-patient": ("bad-parameter", {"patient"}),
    "series-404-no-such-study": ("no-such-study", set()),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems(functions: Functions, provided: archive.Archive, name: str) -> None:
    """A problem has the status in its event's name, says its kind and names every parameter that is wrong.

    Metrics count it by both.
    """
    provided.claim("being-indexed")
    outcome = functions[function_of(name)](name)
    answer = outcome.answer
    status = int(re.search(r"-(\d{3})-", name)[1])
    kind, parameters = PROBLEMS[name]
    document = json.loads(answer["body"])
    assert (answer["statusCode"], document["status"]) == (status, status)
    assert document["type"] == f"urn:dicom-series-preview:problem:{kind}"
    assert {wrong["parameter"] for wrong in document.get("errors", [])} == parameters
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert answer["headers"]["Cache-Control"] == "no-store"
    assert ("Retry-After" in answer["headers"]) is (status == 503)
    assert outcome.metrics[f"Status{status // 100}xx"] == 1
    assert outcome.metrics["Failed" + "".join(part.capitalize() for part in kind.split("-"))] == 1


INDICES = {
    "index-200-summary": "application/json",
    "index-200-json": "application/json",
    "index-200-jsonl": "application/jsonl",
    "index-200-parquet": "application/vnd.apache.parquet",
}


@pytest.mark.parametrize("name", INDICES)
def test_indices(functions: Functions, name: str) -> None:
    """The index comes in short and whole, as text, or in bytes that API Gateway decodes."""
    answer = functions["index"](name).answer
    assert (answer["statusCode"], answer["headers"]["Content-Type"]) == (200, INDICES[name])
    assert answer["isBase64Encoded"] is name.endswith("parquet")
    assert archive.SERIES.encode() in body_of(answer)


def test_the_catalogue(functions: Functions) -> None:
    """Pages of the catalogue, one series of it and a study come without identifiers, as JSON text or CSV."""
    answer = functions["series"]("series-200").answer
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, False)
    document = json.loads(answer["body"])
    (row,) = document["series"]
    assert (row["Series"], row["Root"], document["total"]) == (archive.SERIES, "default", 2)
    assert "PatientID" not in row
    assert document["next"]
    one = json.loads(functions["series"]("series-200-one").answer["body"])
    assert (one["rows"], one["stacks"][0]["facts"]["spacing_mm"]) == ([row], 2.5)
    plan = json.loads(functions["series"]("series-200-volumes").answer["body"])
    assert ([one["dtype"] for one in plan["volumes"]], plan["root"]) == (["uint16"], "default")
    assert json.loads(functions["series"]("series-200-study").answer["body"])["total"] == 2
    text = functions["series"]("series-200-csv").answer
    assert text["headers"]["Content-Type"].startswith("text/csv")
    assert len(body_of(text).splitlines()) == 3


def test_a_warm_search_costs_one_request(functions: Functions) -> None:
    """Once a function has read the catalogue, it only asks whether there is a newer version."""
    functions["series"]("series-200")
    outcome = functions["series"]("series-200-csv")
    assert (outcome.metrics["StorageRequests"], outcome.metrics["Status2xx"]) == (1, 1)


def test_health_and_openapi(functions: Functions) -> None:
    """The API says that it is there, over which roots, and what it answers, batches too."""
    health = json.loads(functions["index"]("health-200").answer["body"])
    assert (health["status"], health["roots"]) == ("ok", ["closed", "default", "other"])
    document = json.loads(functions["index"]("openapi-200").answer["body"])
    assert {"/series/{series}/mosaic", "/batches", "/batches/{id}"} <= set(document["paths"])


@pytest.mark.parametrize("name", ["a/b", "a b+c", "ä", "a%2Fb", "a?b#c", "a&b=c", 'q"u`o<t>e', "[x]{y}|^~"])
def test_names_arrive_as_they_are(functions: Functions, name: str) -> None:
    """A series' name reaches the storage as API Gateway decoded it, whatever it holds."""
    asked = copy.deepcopy(event("image-404-other-root"))
    asked["pathParameters"]["series"] = name
    answer = functions["image"](asked).answer
    document = json.loads(answer["body"])
    assert answer["statusCode"] == 404
    assert document["detail"].startswith(f"{name}: ")
    assert document["type"].endswith("no-such-series")
