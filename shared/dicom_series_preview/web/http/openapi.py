"""The OpenAPI document of the API, made from the same names that requests are read by."""

from __future__ import annotations

from typing import Any

from dicom_series_preview._version import __version__
from dicom_series_preview.pixels.contrast.presets import PRESETS
from dicom_series_preview.products.pictures.formats import ImageFormat, format_names
from dicom_series_preview.products.pictures.requests import (
    DEFAULT_CONTRAST_ROWS,
    DEFAULT_IMAGE_WIDTH,
    DEFAULT_TILES,
)
from dicom_series_preview.web.http.problems import OF_BATCHES, PROBLEM_TYPE, PROBLEMS

_POSITION = {"type": "number", "minimum": 0, "maximum": 1}
KEY_LIMIT = 255
_CONTRAST = {
    "type": "string",
    "description": f"{', '.join(PRESETS)} (also without ct-), WIDTH/CENTER, auto, embedded, "
    "embedded:NUMBER, embedded:NAME",
    "examples": ["lung", "1500/-500", "auto"],
}


def _integer(default: int | None, minimum: int | None = None, maximum: int | None = None) -> dict[str, Any]:
    bounds = {"default": default, "minimum": minimum, "maximum": maximum}
    return {"type": "integer", **{name: value for name, value in bounds.items() if value is not None}}


def _query(name: str, schema: dict[str, Any], description: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


_QUALITIES = " and ".join(
    f"{one.default_quality} of {one.pillow_name}" for one in ImageFormat if not one.lossless
)
_COMMON = (
    _query("root", {"type": "string", "default": "default"}, "Alias of a storage root of this deployment."),
)
_PICTURE = (
    *_COMMON,
    _query(
        "format",
        {"enum": format_names()},
        "Format of the picture; else Accept decides, WebP in doubt.",
    ),
    _query(
        "image_width",
        _integer(DEFAULT_IMAGE_WIDTH, 1),
        "Width of each image in pixels: up to four times its own, or 512.",
    ),
    _query(
        "quality",
        _integer(None, 0, 100),
        f"0 (smallest) to 100 (best); by default {_QUALITIES}. PNG has none.",
    ),
    _query("stack", _integer(0, 0), "Which stack of the series; the index lists them."),
    _query("untile", {"type": "boolean", "default": False}, "Show the slices in Siemens mosaics."),
    _query("overlays", {"type": "boolean", "default": False}, "Draw overlay planes into the images."),
    _query(
        "labels",
        {"type": "boolean", "default": False},
        "Write each image's position, contrast and directions (L R A P H F) on it.",
    ),
)
_START = _query("start", {**_POSITION, "default": 0}, "First position shown.")
_END = _query("end", {**_POSITION, "default": 1}, "Last position shown.")
_ONE_CONTRAST = _query("contrast", _CONTRAST, "The contrast; else the file's own, else by what it shows.")
_EARLIER = (
    _query("contrast_preset", {"type": "string"}, "A preset, instead of contrast.", deprecated=True),
    _query("window_width", {"type": "number"}, "With window_center, instead of contrast.", deprecated=True),
    _query("window_center", {"type": "number"}, "With window_width, instead of contrast.", deprecated=True),
)
_OFFSET = _query("slice_offset", _integer(0), "Slices to move on from the position.")

_RESOURCES: dict[str, tuple[str, tuple[dict[str, Any], ...]]] = {
    "mosaic": (
        "A grid of images spread evenly over the series.",
        (
            *_PICTURE,
            _query(
                "tile_width",
                _integer(None, 1),
                f"Images in a row; {DEFAULT_TILES} where it is not given, or as few as hold all images.",
            ),
            _query(
                "tile_height",
                _integer(None, 1),
                "Images in a column; as tile_width where it is not given, or as few as hold all images.",
            ),
            _START,
            _END,
            _ONE_CONTRAST,
            *_EARLIER,
        ),
    ),
    "image": (
        "The image at a position.",
        (
            *_PICTURE,
            _query("position", _POSITION, "0 first to 1 last.", required=True),
            _OFFSET,
            _ONE_CONTRAST,
            *_EARLIER,
        ),
    ),
    "contrast-mosaic": (
        "Images under several contrasts: a row an image, a column a contrast.",
        (
            *_PICTURE,
            _query("position", _POSITION, "One image; or start and end."),
            _OFFSET,
            _START,
            _END,
            _query(
                "tile_height",
                _integer(None, 1),
                f"Images of the range; {DEFAULT_CONTRAST_ROWS} where not given, or as many as there are.",
            ),
            _query(
                "contrast",
                {"type": "array", "items": _CONTRAST},
                "The columns; needed unless one is given the earlier way.",
                explode=True,
            ),
            *_EARLIER,
        ),
    ),
    "index": (
        "What the series holds: a summary, or the whole index.",
        (
            *_COMMON,
            _query(
                "format", {"enum": ["parquet", "json", "jsonl"]}, "The whole index; without it a summary."
            ),
            _query("limit", _integer(None, 1), "Read no more than this many objects."),
        ),
    ),
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
    "Preview-Render": "made or kept.",
    "Preview-Failed-Tiles": "How many tiles could not be shown, where there are any.",
    "Preview-Warnings": "How many warnings there are of the picture, where there are any.",
}
_INDEX_TYPES = ("application/json", "application/jsonl", "application/vnd.apache.parquet")
_OF_PICTURES = {406, 415}
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
    """The OpenAPI 3.1 document.

    Args:
        batches: The deployment has batches.
        auth_mode: How callers say who they are: `IAM`, `JWT`; or `NONE`, where only batches ask. Empty where
            nothing asks, or nothing is known of it.
    """
    asked: list[dict[str, list[str]]] = [{auth_mode: []}] if auth_mode in _SECURITY_SCHEMES else []
    of_batches = asked or ([{"IAM": []}] if batches and auth_mode else [])
    schemes = {name: _SECURITY_SCHEMES[name] for entry in of_batches for name in entry}
    paths = {f"/series/{{series}}/{name}": {"get": _operation(name)} for name in _RESOURCES}
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


def _operation(name: str) -> dict[str, Any]:
    summary, parameters = _RESOURCES[name]
    series = {
        "name": "series",
        "in": "path",
        "required": True,
        "description": "A UUID, a UID, a folder's name, or the beginning of one and *.",
        "schema": {"type": "string"},
    }
    pictures = {one.media_type: {"schema": {"type": "string", "format": "binary"}} for one in ImageFormat}
    index: dict[str, dict[str, Any]] = {media_type: {"schema": {}} for media_type in _INDEX_TYPES}
    others = _ONLY_OF_BATCHES | (_OF_PICTURES if name == "index" else set())
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


def _headers(*, of_picture: bool) -> dict[str, Any]:
    told = _PICTURE_HEADERS | _HEADERS if of_picture else _HEADERS
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in told.items()}


def _batch_paths(security: list[dict[str, list[str]]]) -> dict[str, Any]:
    text, options = {"type": "string"}, {"type": "object"}
    fields = {
        "series": {"type": "array", "items": text, "description": "Series, one by one."},
        "manifest": {**text, "description": "s3:// URL of a CSV with a column series, or of a JSON array."},
        "prefix": {**text, "description": "All series whose names begin so; empty for all."},
        "rerun": {
            **text,
            "description": "A batch of which what failed or is missing is done again, as it was.",
        },
        "no_preview": {
            "type": "boolean",
            "default": False,
            "description": "With rerun: what had no preview is done again too.",
        },
        "root": {**text, "default": "default", "description": "Alias of a storage root of this deployment."},
        "mosaic": {**options, "description": "Options of the mosaics, as those of the resource mosaic."},
    }
    body = {"type": "object", "properties": fields, "additionalProperties": False}
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Text of your own for this request: sent again with it, it starts no second batch.",
        "schema": {**text, "minLength": 1, "maxLength": KEY_LIMIT},
    }
    batch = {"name": "id", "in": "path", "required": True, "schema": {**text, "format": "uuid"}}
    start = _plain("start_batch", "Index and preview many series.", 202, 200)
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
                "parameters": [batch],
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
