import base64
import json
import logging
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

import pytest
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver

from bench import RESOURCES, Bench
from dicom_series_preview.web.http.api import PreviewApi
from dicom_series_preview.web.http.messages import HttpRequest
from dicom_series_preview.web.http.routes import CATALOGUE, register
from dicom_series_preview.web.http.routes import RESOURCES as ROUTED

SECRET = "Zwiebelfisch^Leonora"


def resolve(
    api: PreviewApi,
    path: str,
    query: str = "",
    method: str = "GET",
    resources: Iterable[str] = (*ROUTED, CATALOGUE),
) -> dict[str, Any]:
    """What a resolver of Powertools makes of a request."""
    app = APIGatewayHttpResolver()

    def read(series: str) -> HttpRequest:
        return HttpRequest(series, parse_qs(query, keep_blank_values=True), {})

    register(app, api, resources, read)
    event = {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {},
        "requestContext": {"http": {"method": method, "path": path}, "stage": "$default"},
    }
    return app.resolve(event, None)


@pytest.mark.parametrize("resource", RESOURCES)
def test_resources(resource: str) -> None:
    """Each resource of a series has a route; pictures are base64 for API Gateway, JSON is not."""
    answer = resolve(Bench().api, f"/series/S/{resource}", RESOURCES[resource])
    assert answer["statusCode"] == 200
    assert answer["isBase64Encoded"] is (resource != "index")
    expected = Bench().ok(resource)
    body = answer["body"]
    assert (base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()) == expected.body
    assert answer["headers"]["ETag"] == expected.headers["ETag"]


@pytest.mark.parametrize("wanted", ["parquet", "json", "jsonl"])
def test_formats_of_the_index(wanted: str) -> None:
    """What is text is sent as text, and Parquet as bytes."""
    answer = resolve(Bench().api, "/series/S/index", f"format={wanted}")
    assert answer["statusCode"] == 200
    assert answer["isBase64Encoded"] is (wanted == "parquet")


def test_an_answer_without_a_body() -> None:
    """304 has neither body nor media type."""
    app = Bench().api
    asked = HttpRequest("S", {}, {"if-none-match": "*"})
    resolver = APIGatewayHttpResolver()
    register(resolver, app, ROUTED, lambda _series: asked)
    event = {
        "rawPath": "/series/S/index",
        "headers": {},
        "requestContext": {"http": {"method": "GET", "path": "/series/S/index"}, "stage": "$default"},
    }
    answer = resolver.resolve(event, None)
    assert (answer["statusCode"], answer["body"]) == (304, "")
    assert "Content-Type" not in answer["headers"]


@pytest.mark.parametrize(
    ("path", "series"),
    [
        ("/series/a%2Fb/index", "a/b"),
        ("/series/a%20b/index", "a b"),
        ("/series/a+b/index", "a+b"),
        ("/series/%C3%A4/index", "ä"),
        ("/series/389*/index", "389*"),
        ("/series/a%252Fb/index", "a%2Fb"),
        ("/series/index/index", "index"),
        ("/series/%E4/index", "\ufffd"),
    ],
)
def test_a_name_is_decoded_once(path: str, series: str) -> None:
    """The series is the path's part, percent-decoded once."""
    document = json.loads(resolve(Bench().api, path)["body"])
    assert document["type"].endswith("no-such-series")
    assert document["detail"].startswith(f"{series}: ")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/",
            "/series/",
            "/series/S/",
            "/series//index",
            "/studies",
            "/studies/1.2/series",
            "/series/S/mosaics",
            "/series/S/volume",
            "/series/a/b/index",
        ),
        *("/health/", "/openapi", "/batches", "/series/S/index/", "//series/S/index", "/SERIES/S/index"),
    ],
)
def test_other_paths_lead_nowhere(path: str) -> None:
    """A path without a route is a problem too."""
    answer = resolve(Bench().api, path)
    assert answer["statusCode"] == 404
    assert json.loads(answer["body"])["type"].endswith("no-such-resource")
    assert answer["headers"]["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        *("/health", "/openapi.json", "/series/S/index", "/series/a%2Fb/mosaic"),
        *("/series", "/series/a%2Fb", "/series/a%2Fb/volumes", "/studies/1.2"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_refused(path: str, method: str) -> None:
    """Where there is a resource, a method that it does not answer is told which ones it does."""
    answer = resolve(Bench().api, path, method=method)
    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, "GET, HEAD")
    assert json.loads(answer["body"])["type"].endswith("method-not-allowed")


def test_other_methods_of_what_is_not_there() -> None:
    """Where there is no resource, every method leads nowhere."""
    for path in ("/", "/studies", "/series/S/nothing", "/series/a/b/index", "/healthy"):
        assert resolve(Bench().api, path, method="POST")["statusCode"] == 404
    assert resolve(Bench().api, "/health", method="POST", resources=["mosaic"])["statusCode"] == 404


def test_a_function_has_its_own_resource_only() -> None:
    """A function serves its resource; health and description come with the index."""
    api = Bench().api
    assert resolve(api, "/series", resources=["mosaic"])["statusCode"] == 404
    assert resolve(api, "/series/S/index", resources=[CATALOGUE])["statusCode"] == 404
    assert resolve(api, "/health", resources=["index"])["statusCode"] == 200
    assert resolve(api, "/openapi.json", resources=["index"])["statusCode"] == 200
    for path in ("/health", "/openapi.json", "/series/S/index"):
        assert resolve(api, path, resources=["mosaic"])["statusCode"] == 404


def test_a_mistake_is_told_to_the_log_and_not_to_the_client(caplog: pytest.LogCaptureFixture) -> None:
    """What is no error of the product answers 500 without details; the log has type and places only."""

    def broken() -> Any:
        raise KeyError(SECRET)

    with caplog.at_level(logging.DEBUG):
        answer = resolve(PreviewApi({"default": broken}), "/series/S/mosaic")
    assert answer["statusCode"] == 500
    assert json.loads(answer["body"]) == {
        "type": "urn:dicom-series-preview:problem:unexpected",
        "title": "The request failed unexpectedly",
        "status": 500,
        "detail": "The request failed unexpectedly",
    }
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert "KeyError" in caplog.text
    assert "test_routes.py" in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in json.dumps(answer)
