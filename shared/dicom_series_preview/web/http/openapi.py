"""The OpenAPI document of the API, built from the same table that requests are read by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicom_series_preview._version import __version__
from dicom_series_preview.products.batches.request import KINDS
from dicom_series_preview.products.catalogue.search import OF_A_STUDY, PARAMETERS, Parameter
from dicom_series_preview.products.pictures.formats import ImageFormat
from dicom_series_preview.products.pictures.options import (
    CONTRAST_MOSAIC,
    IMAGE,
    INDEX,
    MOSAIC,
    PICTURE,
    Option,
)
from dicom_series_preview.web.http.catalogue import MEDIA_TYPES
from dicom_series_preview.web.http.problems import OF_BATCHES, PROBLEM_TYPE, PROBLEMS
from dicom_series_preview.web.http.volume_options import CONVERT, PLAN

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_LIMIT = 255
_ROOT = {
    "name": "root",
    "in": "query",
    "description": "Alias of a storage root of this deployment.",
    "schema": {"type": "string", "default": "default"},
}
_INDEX_FORMAT = {
    "name": "format",
    "in": "query",
    "description": "The whole index; without it a summary.",
    "schema": {"enum": ["parquet", "json", "jsonl"]},
}
_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
_OF_PICTURES = {option.name for option in PICTURE}
_RESOURCES: dict[str, tuple[str, tuple[Option, ...]]] = {
    "mosaic": ("A grid of images spread evenly over the series.", MOSAIC),
    "image": ("The image at a position.", IMAGE),
    "contrast-mosaic": (
        "Images under several contrasts: a row an image, a column a contrast.",
        CONTRAST_MOSAIC,
    ),
    "index": ("What the series holds: a summary, or the whole index.", INDEX),
}
_HEADERS = {
    "Preview-Series": "The folder that was found, percent-encoded.",
    "Preview-Stacks": "shown=0, stacks=4, series=3, patients=2: which stack a picture shows, and how many "
    "stacks, SeriesInstanceUIDs and PatientIDs the folder holds. The parameter stack chooses another.",
    "Preview-Index": "cache, updated or built.",
    "Preview-Requests": "Requests made of the storage.",
    "Preview-Bytes": "Bytes received of it.",
}
_PICTURE_HEADERS = {
    "Preview-Slices": "Slices shown / slices of the stack.",
    "Preview-At": "b-value=0 (the first of 2), direction=none: the places shown on the stack's dimensions "
    "beside its slices, where it has any. The parameter at chooses others.",
    "Preview-Render": "made or kept.",
    "Preview-Failed-Tiles": "How many tiles could not be shown, where there are any.",
    "Preview-Warnings": "How many warnings there are of the picture, where there are any.",
}
_INDEX_TYPES = ("application/json", "application/jsonl", "application/vnd.apache.parquet")
_STATUSES_OF_PICTURES = {406, 415}
_ONLY_OF_BATCHES = {problem.status for problem in OF_BATCHES} - {
    problem.status for problem in PROBLEMS if problem not in OF_BATCHES
}


_SECURITY_SCHEMES: dict[str, dict[str, Any]] = {
    "IAM": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "AWS Signature Version 4 of the service execute-api.",
        "x-amazon-apigateway-authtype": "awsSigv4",
    },
    "JWT": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of the deployment's issuer for its audience.",
    },
}


def openapi_document(*, batches: bool = False, auth_mode: str = "") -> dict[str, Any]:
    """Build the OpenAPI 3.1 document.

    Args:
        batches: The deployment has batches.
        auth_mode: The callers' authorization: `IAM`, `JWT`; or `NONE`, where only batches need one. Empty
            where nothing needs one, or it is unknown.
    """
    asked: list[dict[str, list[str]]] = [{auth_mode: []}] if auth_mode in _SECURITY_SCHEMES else []
    of_batches = asked or ([{"IAM": []}] if batches and auth_mode else [])
    schemes = {name: _SECURITY_SCHEMES[name] for entry in of_batches for name in entry}
    paths = {
        "/series": {"get": _search_operation("series", "Which series there are.", PARAMETERS)},
        "/series/{series}": {"get": _one_series()},
        **{f"/series/{{series}}/{name}": {"get": _operation(name)} for name in _RESOURCES},
        "/series/{series}/volumes": {"get": _volumes()},
        "/studies/{study}": {"get": _search_operation("study", "The series of a study.", OF_A_STUDY)},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dicom-series-preview",
            "version": __version__,
            "summary": "Look inside a DICOM series without downloading it.",
            "description": "HEAD is answered wherever GET is, as GET and at its price, without the body; "
            "any other method with 405.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {
            **paths,
            "/health": {"get": _plain("health", "Whether the API answers.")},
            "/openapi.json": {"get": _plain("openapi", "This document.")},
            **(_batch_paths(of_batches) if batches else {}),
        },
        "components": {
            "schemas": {"Problem": _problem_schema()},
            "responses": _problem_responses(batches=batches),
            **({"securitySchemes": schemes} if schemes else {}),
        },
        **({"security": asked} if asked else {}),
    }


def parameters_of(table: Sequence[Option]) -> list[dict[str, Any]]:
    """Return the query parameters of a table: the format, those of every picture, and its own."""
    ordered = sorted(table, key=lambda option: (option.name not in _OF_PICTURES, option.name != "format"))
    return [_parameter(option) for option in ordered]


def _parameter(option: Option) -> dict[str, Any]:
    more = {"required": option.required, "explode": option.repeated, "deprecated": option.deprecated}
    return {
        "name": option.name,
        "in": "query",
        "description": option.summary,
        "schema": _schema(option),
        **{name: True for name, holds in more.items() if holds},
    }


def _schema(option: Option) -> dict[str, Any]:
    """Return the JSON Schema of an option's value."""
    if option.choices:
        return {"enum": list(option.choices)}
    default, bounds = {"default": option.default}, {"minimum": option.low, "maximum": option.high}
    said: dict[str, Any] = {
        # Keep the order of earlier versions, byte for byte.
        **(bounds | default if option.type is float else default | bounds),
        "description": option.values or None,
        "examples": list(option.examples) or None,
    }
    schema = {
        "type": _TYPES[option.type],
        **{name: value for name, value in said.items() if value is not None},
    }
    return {"type": "array", "items": schema} if option.repeated else schema


def _operation(name: str) -> dict[str, Any]:
    summary, table = _RESOURCES[name]
    parameters = [_ROOT, *([_INDEX_FORMAT] if name == "index" else []), *parameters_of(table)]
    series = {
        "name": "series",
        "in": "path",
        "required": True,
        "description": "A UUID, a UID, a folder's name, or the beginning of one and *.",
        "schema": {"type": "string"},
    }
    pictures = {one.media_type: {"schema": {"type": "string", "format": "binary"}} for one in ImageFormat}
    index: dict[str, dict[str, Any]] = {media_type: {"schema": {}} for media_type in _INDEX_TYPES}
    others = {410} | _ONLY_OF_BATCHES | (_STATUSES_OF_PICTURES if name == "index" else set())
    statuses = [status for status in _statuses() if status not in others]
    return {
        "operationId": name.replace("-", "_"),
        "summary": summary,
        "parameters": [series, *parameters],
        "responses": {
            "200": {
                "description": summary,
                "headers": _headers(of_picture=name != "index"),
                "content": index if name == "index" else pictures,
            },
            "303": {"description": "The answer is large and is to be fetched from Location."},
            "304": {"description": "Nothing has changed since the version that If-None-Match names."},
            **_problems(statuses),
        },
    }


def _search_operation(name: str, summary: str, table: Sequence[Parameter]) -> dict[str, Any]:
    """Return the operation of a search of the catalogue."""
    study = {
        "name": "study",
        "in": "path",
        "required": True,
        "description": "StudyInstanceUID.",
        "schema": {"type": "string"},
    }
    headers = {
        "Preview-Total": "How many series the search finds.",
        "Preview-Next": "The cursor of the next page, where there is one.",
        **{header: _HEADERS[header] for header in ("Preview-Requests", "Preview-Bytes")},
    }
    content: dict[str, Any] = {media_type: {"schema": {}} for media_type in MEDIA_TYPES.values()}
    content["application/json"] = {"schema": _page_schema(of_study=name == "study")}
    statuses = [400, 403, 404, 410, 413, 500, 502, 503]
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [*([study] if name == "study" else []), *map(_catalogue_parameter, table)],
        "responses": {
            "200": {"description": summary, "headers": _described(headers), "content": content},
            "304": {"description": "Nothing has changed since the version that If-None-Match names."},
            **_problems(statuses),
        },
    }


def _catalogue_parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if parameter.bounds:
        least, most = parameter.bounds
        schema = {"type": "integer", "default": int(parameter.default), "minimum": least, "maximum": most}
    elif parameter.choices:
        schema = {"enum": list(parameter.choices)}
    if parameter.default and not parameter.bounds:
        schema["default"] = parameter.default
    if parameter.example:
        schema["examples"] = [parameter.example]
    return {"name": parameter.name, "in": "query", "description": parameter.description, "schema": schema}


def _page_schema(*, of_study: bool) -> dict[str, Any]:
    row = {"type": "object", "description": "A row of the catalogue, keys as its columns."}
    properties = {
        "series": {"type": "array", "items": row},
        "next": {"type": ["string", "null"], "description": "The cursor of the next page."},
        "total": {"type": "integer"},
        **({"study": {"type": "string"}} if of_study else {}),
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def _one_series() -> dict[str, Any]:
    whole = _operation("index")
    summary = "One series: its rows of the catalogue, and the geometry and dimensions of its stacks."
    properties = {
        "series": {"type": "string"},
        "root": {"type": "string"},
        "rows": {"type": "array", "items": {"type": "object"}},
        "stacks": {"type": "array", "items": {"type": "object"}},
        "rows_total": {"type": "integer", "description": "`rows` has at most 1000 of them."},
        "stacks_total": {"type": "integer", "description": "`stacks` has at most 1000 of them."},
    }
    schema = {"type": "object", "required": list(properties), "properties": properties}
    found = {**whole["responses"]["200"], "description": summary}
    responses = {
        status: response for status, response in whole["responses"].items() if status not in {"200", "303"}
    }
    return {
        "operationId": "one_series",
        "summary": summary,
        "parameters": [one for one in whole["parameters"] if one["name"] != "format"],
        "responses": {"200": {**found, "content": {"application/json": {"schema": schema}}}, **responses},
    }


def _volumes() -> dict[str, Any]:
    one = _one_series()
    summary = "The volumes that a series gives, those that it does not and why, and what they cost."
    entries: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
    texts: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    properties = {
        "series": {"type": "string"},
        "root": {"type": "string"},
        "volumes": entries,
        "refused": {**entries, "description": "The parts that give none: each with `code` and `problem`."},
        "localizers_skipped": {"type": "integer"},
        "derived_skipped": {"type": "integer"},
        "skipped_objects": {"type": "integer"},
        "warnings": texts,
    }
    schema = {"type": "object", "required": list(properties), "properties": properties}
    found = {**one["responses"]["200"], "description": summary}
    series = next(entry for entry in one["parameters"] if entry["name"] == "series")
    return {
        "operationId": "volumes",
        "summary": summary,
        "parameters": [series, _ROOT, *parameters_of(PLAN)],
        "responses": {
            **one["responses"],
            "200": {**found, "content": {"application/json": {"schema": schema}}},
        },
    }


def _headers(*, of_picture: bool) -> dict[str, Any]:
    return _described(_PICTURE_HEADERS | _HEADERS if of_picture else _HEADERS)


def _described(told: dict[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in told.items()}


def _batch_paths(security: list[dict[str, list[str]]]) -> dict[str, Any]:
    text, options = {"type": "string"}, {"type": "object"}
    fields = {
        "series": {"type": "array", "items": text, "description": "Series, one by one."},
        "manifest": {**text, "description": "s3:// URL of a CSV with a column series, or of a JSON array."},
        "prefix": {**text, "description": "All series whose names begin so; empty for all."},
        "kind": {"enum": list(KINDS), "default": KINDS[0], "description": "What is made of each series."},
        "rerun": {
            **text,
            "description": "A batch of which what failed or is missing is done again, as it was.",
        },
        "no_preview": {
            "type": "boolean",
            "default": False,
            "description": "With rerun: what had no preview is done again too.",
        },
        "refused": {
            "type": "boolean",
            "default": False,
            "description": "With rerun: what was refused is done again too.",
        },
        "root": {**text, "default": "default", "description": "Alias of a storage root of this deployment."},
        "mosaic": {**options, "description": "Options of the mosaics, as those of the resource mosaic."},
        "catalogue": {
            "type": "boolean",
            "default": False,
            "description": "Only make the indices, for the catalogue, and no mosaics.",
        },
        **{
            option.name: {**_schema(option), "description": f"With kind convert: {option.summary}"}
            for option in CONVERT
        },
    }
    body = {"type": "object", "properties": fields, "additionalProperties": False}
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Text of your own for this request: sent again with it, it starts no second batch.",
        "schema": {**text, "minLength": 1, "maxLength": KEY_LIMIT},
    }
    batch = {"name": "id", "in": "path", "required": True, "schema": {**text, "format": "uuid"}}
    one = {
        "name": "series",
        "in": "query",
        "description": "A series of the batch: the answer has its `outcome` too, with links to its files.",
        "schema": text,
    }
    start = _plain("start_batch", "Index and preview many series, or convert them into volumes.", 202, 200)
    status = _plain("batch", "How a batch stands and how far it has come, and its summary once there is one.")
    cancel = _plain("cancel_batch", "Stop a batch; what has come of its series stays.", 202, 200)
    of_one = [400, 403, 404, 500, 502, 503]
    asked = {"security": security} if security else {}
    return {
        "/batches": {
            "post": {
                **start,
                **asked,
                "parameters": [key],
                "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                "responses": {
                    **start["responses"],
                    **_problems([400, 403, 409, 413, 422, 429, 500, 502, 503]),
                },
            }
        },
        "/batches/{id}": {
            "get": {
                **status,
                **asked,
                "parameters": [batch, one],
                "responses": {**status["responses"], **_problems(of_one)},
            },
            "delete": {
                **cancel,
                **asked,
                "parameters": [batch],
                "responses": {**cancel["responses"], **_problems(of_one)},
            },
        },
    }


def _problems(statuses: list[int]) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _plain(operation: str, summary: str, *successes: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {
            str(success): {"description": summary, "content": content} for success in successes or (200,)
        },
    }


def _statuses() -> list[int]:
    return sorted({problem.status for problem in PROBLEMS})


def _problem_responses(*, batches: bool) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    titles = {
        status: "; ".join(problem.title for problem in PROBLEMS if problem.status == status)
        for status in _statuses()
        if batches or status not in _ONLY_OF_BATCHES
    }
    return {str(status): {"description": title, "content": content} for status, title in titles.items()}


def _problem_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"enum": [PROBLEM_TYPE + problem.name for problem in PROBLEMS]},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"parameter": {"type": "string"}, "detail": {"type": "string"}},
                },
            },
        },
    }
