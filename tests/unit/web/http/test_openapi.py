import json
import re
from dataclasses import replace
from typing import Any

import pytest

import doubles
from bench import PICTURES, RESOURCES, Bench, reports, slices, undecodable
from dicom_series_preview.base import errors
from dicom_series_preview.products.batches.request import FIELDS
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.web.http.messages import HttpRequest
from dicom_series_preview.web.http.openapi import openapi_document
from dicom_series_preview.web.http.problems import PROBLEM_TYPE, PROBLEMS
from dicom_series_preview.web.http.volume_options import CONVERT

DOCUMENT = openapi_document(batches=True)
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
# Names that no parameter has, among what one could think of.
OTHERS = {
    *(
        "series",
        "width",
        "height",
        "position",
        "start",
        "end",
        "limit",
        "format",
        "root",
        "accept",
        "refresh",
    ),
    *(
        "no_cache",
        "cache_dir",
        "report",
        "verbose",
        "output",
        "q",
        "tile-width",
        "Contrast",
        "contrast[]",
        "x",
    ),
}


def operation(resource: str) -> dict[str, Any]:
    """The operation of a resource."""
    return DOCUMENT["paths"][f"/series/{{series}}/{resource}"]["get"]


def declared(resource: str) -> dict[str, dict[str, Any]]:
    """Its query parameters."""
    return {one["name"]: one for one in operation(resource)["parameters"] if one["in"] == "query"}


def followed(node: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to."""
    if "$ref" not in node:
        return node
    found: Any = DOCUMENT
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_document_is_well_formed() -> None:
    """OpenAPI 3.1: operations, each with an ID of its own, parameters that fit the path, and responses."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert {"title", "version"} <= set(DOCUMENT["info"])
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    identifiers = []
    for path, item in DOCUMENT["paths"].items():
        assert path.startswith("/")
        assert set(item) <= METHODS
        for one in item.values():
            identifiers.append(one["operationId"])
            parameters = one.get("parameters", [])
            named = [(parameter["in"], parameter["name"]) for parameter in parameters]
            assert len(set(named)) == len(named)
            assert {name for place, name in named if place == "path"} == set(re.findall(r"{(\w+)}", path))
            for parameter in parameters:
                assert parameter["in"] in ("path", "query", "header")
                assert parameter["in"] != "path" or parameter["required"] is True
                assert set(parameter["schema"]) & {"type", "enum"}
                assert set(parameter) <= {
                    *("name", "in", "description", "schema", "required", "deprecated", "explode"),
                }
            assert one["responses"]
            for status, response in one["responses"].items():
                assert re.fullmatch("[2345][0-9][0-9]", status)
                assert followed(response)["description"]
    assert len(set(identifiers)) == len(identifiers)


def test_references_lead_somewhere_and_components_are_used() -> None:
    """Every reference is to a component that is there, and no component is there in vain."""
    references = set(re.findall(r'"\$ref": "#/components/([^"]+)"', json.dumps(DOCUMENT)))
    components = {f"{kind}/{name}" for kind, members in DOCUMENT["components"].items() for name in members}
    assert references == components


def test_every_route_is_listed() -> None:
    """Every route stands in the document, batches where the deployment has them."""
    own = {
        *(f"/series/{{series}}/{resource}" for resource in RESOURCES),
        *("/health", "/openapi.json", "/series", "/series/{series}", "/series/{series}/volumes"),
        "/studies/{study}",
    }
    assert set(openapi_document()["paths"]) == own
    assert set(DOCUMENT["paths"]) == own | {"/batches", "/batches/{id}"}
    assert json.loads(Bench().api.openapi().body) == openapi_document()


def test_heads_are_told_of_once() -> None:
    """That HEAD is answered wherever GET is stands in the description: operations would only double."""
    assert "HEAD is answered wherever GET is" in DOCUMENT["info"]["description"]
    assert not any("head" in item for item in DOCUMENT["paths"].values())


@pytest.mark.parametrize("resource", RESOURCES)
def test_parameters_are_exactly_those_that_requests_accept(bench: Bench, resource: str) -> None:
    """What is declared is accepted, and what is not is refused as no option."""
    every = set().union(*(declared(one) for one in RESOURCES)) | OTHERS
    for name in every:
        response = (
            bench.api.picture(resource, HttpRequest("S", {name: ["0"]}))
            if resource != "index"
            else (bench.api.index(HttpRequest("S", {name: ["0"]})))
        )
        document = json.loads(response.body) if response.status >= 400 else {}
        refused = {
            wrong["parameter"] for wrong in document.get("errors", []) if "not an option" in wrong["detail"]
        }
        assert refused == ({name} if name not in declared(resource) else set()), name


@pytest.mark.parametrize("resource", RESOURCES)
def test_values_that_the_document_gives_are_accepted(bench: Bench, resource: str) -> None:
    """Defaults, members of enumerations and ends of ranges are accepted, and what lies beyond is not."""

    def wrong(name: str, value: object) -> bool:
        # An offset is one from a position.
        needed = {"position": ["0"]} if name == "slice_offset" else {}
        asked = HttpRequest("S", {**needed, name: [str(value)]})
        response = bench.api.index(asked) if resource == "index" else bench.api.picture(resource, asked)
        document = json.loads(response.body) if response.status == 400 else {}
        return name in {one["parameter"] for one in document.get("errors", [])}

    for name, parameter in declared(resource).items():
        schema = parameter["schema"]
        schema = schema.get("items", schema)
        for value in (schema.get("default"), schema.get("minimum"), schema.get("maximum")):
            assert value is None or not wrong(name, value), (name, value)
        for value in (*schema.get("enum", ()), *schema.get("examples", ())):
            assert not wrong(name, value), (name, value)
        if "minimum" in schema:
            assert wrong(name, schema["minimum"] - 1), name
        if "maximum" in schema:
            assert wrong(name, schema["maximum"] + 1), name
        if "enum" in schema:
            assert wrong(name, "something-else"), name


def test_what_is_required_is_missed() -> None:
    """A parameter that is declared as required is a problem where it is not given, and no other is."""
    for resource in RESOURCES:
        response = Bench().get(resource, "contrast=lung" if resource == "contrast-mosaic" else "")
        document = json.loads(response.body) if response.status == 400 else {}
        missed = {wrong["parameter"] for wrong in document.get("errors", [])}
        assert missed == {name for name, one in declared(resource).items() if one.get("required")}


def test_every_status_of_a_problem_is_declared() -> None:
    """Each problem's status is a response of the document, and each kind a value of its type."""
    used = {
        int(status)
        for item in DOCUMENT["paths"].values()
        for one in item.values()
        for status in one["responses"]
        if int(status) >= 400
    }
    assert used == {one.status for one in PROBLEMS}
    kinds = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert kinds == [PROBLEM_TYPE + one.name for one in PROBLEMS]
    assert len(set(kinds)) == len(kinds)


ANSWERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *((resource, {}, {}) for resource in RESOURCES),
    *((resource, {}, {"if_none_match": "*"}) for resource in RESOURCES),
    *((resource, {}, {"query": "x=1"}) for resource in RESOURCES),
    *((resource, {}, {"series": "none"}) for resource in RESOURCES),
    *((resource, {"objects": {"S/notes": b"x"}}, {}) for resource in RESOURCES),
    *((resource, {"objects": undecodable("S")}, {}) for resource in PICTURES),
    *((resource, {"objects": reports("S")}, {}) for resource in RESOURCES),
    *((resource, {"answer_limit_bytes": 10}, {}) for resource in RESOURCES),
    *((resource, {}, {"accept": "image/jpeg"}) for resource in RESOURCES),
    *((resource, {}, {"accept": "text/plain"}) for resource in RESOURCES),
    *(("index", {}, {"query": f"format={name}"}) for name in ("json", "jsonl", "parquet")),
    *(
        (resource, {"storage": doubles.Before(MemoryStorage(), list_objects=doubles.refusing(error))}, {})
        for resource in RESOURCES
        for error in (
            errors.AccessDeniedError("x"),
            errors.StorageError("x", "y"),
            errors.StorageUnavailableError("x", "y"),
        )
    ),
]


@pytest.mark.parametrize(("resource", "made", "asked"), ANSWERS)
def test_answers_are_as_declared(resource: str, made: dict[str, Any], asked: dict[str, Any]) -> None:
    """A real answer has a declared status with one of its media types, and a problem has its schema."""
    if asked.get("accept") and resource == "index":
        asked = {}
    response = Bench(**{"objects": slices(), **made}).get(resource, **asked)
    responses = operation(resource)["responses"]
    assert str(response.status) in responses
    content = followed(responses[str(response.status)]).get("content", {})
    if response.body:
        assert response.headers["Content-Type"] in content
    else:
        assert content == {}
        assert "Content-Type" not in response.headers
    if response.status >= 400:
        schema = followed(content["application/problem+json"]["schema"])
        document = json.loads(response.body)
        assert set(schema["required"]) <= set(document) <= set(schema["properties"])
        assert document["type"] in schema["properties"]["type"]["enum"]


def test_fields_of_a_batch() -> None:
    """The body of a batch has exactly the fields that a batch takes."""
    body = DOCUMENT["paths"]["/batches"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == FIELDS | {option.name for option in CONVERT}
    assert body["additionalProperties"] is False


@pytest.mark.parametrize(
    ("auth_mode", "kind"), [("IAM", "apiKey"), ("JWT", "http"), ("NONE", None), ("", None)]
)
def test_it_says_who_may_ask(auth_mode: str, kind: str | None) -> None:
    """Where API Gateway wants a signature or a token, the document says so to programs."""
    document = openapi_document(auth_mode=auth_mode)
    schemes = document["components"].get("securitySchemes", {})
    assert [scheme["type"] for scheme in schemes.values()] == ([kind] if kind else [])
    assert document.get("security", []) == [{name: []} for name in schemes]
    assert json.loads(replace(Bench().api, auth_mode=auth_mode).openapi().body) == document


@pytest.mark.parametrize(("auth_mode", "asks"), [("IAM", "IAM"), ("JWT", "JWT"), ("NONE", "IAM"), ("", None)])
def test_batches_always_ask(auth_mode: str, asks: str | None) -> None:
    """Even where anyone may see pictures, the document says that batches want AWS credentials."""
    document = openapi_document(batches=True, auth_mode=auth_mode)
    of_batches = [
        operation.get("security")
        for path, operations in document["paths"].items()
        if path.startswith("/batches")
        for operation in operations.values()
    ]
    assert of_batches == [[{asks: []}] if asks else None] * 3
    assert set(document["components"].get("securitySchemes", {})) == ({asks} if asks else set())
