"""Register the routes with a Powertools resolver: API Gateway's in Lambda, the ASGI one locally."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import Response

from dicom_series_preview.base.discreet import told
from dicom_series_preview.web.http.problems import (
    METHOD_NOT_ALLOWED,
    NO_SUCH_RESOURCE,
    UNEXPECTED,
    plain_response,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from aws_lambda_powertools.event_handler.api_gateway import ApiGatewayResolver

    from dicom_series_preview.web.http.api import PreviewApi
    from dicom_series_preview.web.http.messages import HttpRequest, HttpResponse

_LOGGER = logging.getLogger(__name__)

RESOURCES = ("mosaic", "image", "contrast-mosaic", "index")
FRONT = "front"
"""A page for people, not a resource of a series."""
CATALOGUE = "series"
"""The series that there are, each of them and its volumes, and those of a study."""
VOLUMES = "volumes"
"""A resource of a series that comes with the catalogue's routes."""
# The routes beside `index`, as regular expressions.
_OF_THE_API = ("/health", r"/openapi\.json")
_OF_THE_CATALOGUE = ("/series", "/series/[^/]+", f"/series/[^/]+/{VOLUMES}", "/studies/[^/]+")

Prepare: TypeAlias = "Callable[[str], tuple[HttpRequest, Callable[[], HttpResponse]]]"
Run: TypeAlias = "Callable[[HttpRequest, Callable[[], HttpResponse]], Awaitable[HttpResponse]]"


def register(
    app: ApiGatewayResolver,
    api: PreviewApi,
    resources: Collection[str],
    read: Callable[[str], HttpRequest],
    run: Run | None = None,
) -> None:
    """Add routes for GET to a resolver; doors turn HEAD into GET.

    Args:
        app: The resolver.
        api: Answers the requests.
        resources: A subset of `RESOURCES`; `index` adds `/health` and `/openapi.json`. `FRONT` is `/`, and
            `CATALOGUE` the routes of the catalogue.
        read: Builds a series' request from the resolver's current event.
        run: For an asynchronous resolver, runs the work elsewhere.
    """
    of_series = [name for name in resources if name in RESOURCES]
    paths = [
        *([f"/series/[^/]+/(?:{'|'.join(of_series)})"] if of_series else []),
        *(_OF_THE_API if "index" in resources else ()),
        *(_OF_THE_CATALOGUE if CATALOGUE in resources else ()),
    ]
    if FRONT in resources:
        paths.append("/")
        app.get("/")(lambda: as_response(api.front()))
    answer_mistakes(app, dict.fromkeys(paths, "GET, HEAD"))
    if CATALOGUE in resources:
        _add_catalogue(app, api, read, run)
    for name in of_series:
        _add_route(app, f"/series/<name>/{name}", partial(_prepared, api, name, read), run)
        if name == "index":
            app.get("/health")(lambda: as_response(api.health()))
            app.get("/openapi.json")(lambda: as_response(api.openapi()))


def _add_catalogue(
    app: ApiGatewayResolver, api: PreviewApi, read: Callable[[str], HttpRequest], run: Run | None
) -> None:
    def several(name: str) -> tuple[HttpRequest, Callable[[], HttpResponse]]:
        request = replace(read(unquote(name)), of_catalogue=True)
        return request, partial(api.series, request)

    def one(name: str) -> tuple[HttpRequest, Callable[[], HttpResponse]]:
        request = read(unquote(name))
        return request, partial(api.one_series, request)

    def volumes(name: str) -> tuple[HttpRequest, Callable[[], HttpResponse]]:
        request = read(unquote(name))
        return request, partial(api.volumes, request)

    _add_route(app, "/series", several, run)
    _add_route(app, "/series/<name>", one, run)
    _add_route(app, f"/series/<name>/{VOLUMES}", volumes, run)
    _add_route(app, "/studies/<name>", several, run)


def _add_route(app: ApiGatewayResolver, path: str, prepare: Prepare, run: Run | None) -> None:
    # Without annotations: Powertools would validate against them.
    def answer_here(name: Any = "") -> Response[Any]:  # noqa: ANN401
        return as_response(prepare(name)[1]())

    if run is None:
        app.get(path)(answer_here)
        return

    async def answer_elsewhere(name: Any = "") -> Response[Any]:  # noqa: ANN401
        # Read the event now, while it is still this request's.
        return as_response(await run(*prepare(name)))

    app.get(path)(answer_elsewhere)


def answer_mistakes(app: ApiGatewayResolver, methods: Mapping[str, str]) -> None:
    """Make a resolver answer unknown routes, and bugs in the code, with problems.

    Args:
        app: The resolver.
        methods: The methods of each path (a regular expression), in the form of `Allow`.
    """

    def unknown(_error: Exception) -> Response[Any]:
        event = app.current_event
        for path, allowed in methods.items():
            if re.fullmatch(path, event.path) and event.http_method not in allowed.split(", "):
                return as_response(plain_response(METHOD_NOT_ALLOWED, Allow=allowed))
        return as_response(plain_response(NO_SUCH_RESOURCE))

    def broken(error: Exception) -> Response[Any]:
        # Any other error is our bug. The log says where; its message can hold header values, so nobody gets
        # it.
        _LOGGER.error("a request failed unexpectedly: %s", told(error))
        return as_response(plain_response(UNEXPECTED))

    app.not_found(unknown)
    app.exception_handler(Exception)(broken)


def _prepared(
    api: PreviewApi, name: str, read: Callable[[str], HttpRequest], series: str
) -> tuple[HttpRequest, Callable[[], HttpResponse]]:
    """Return the request for a resource, and the function that answers it."""
    request = read(unquote(series))
    return request, partial(api.index, request) if name == "index" else partial(api.picture, name, request)


def as_response(response: HttpResponse) -> Response[Any]:
    """Convert a response to Powertools' form."""
    headers = dict(response.headers)
    media_type = headers.pop("Content-Type", None)
    text = media_type is not None and "json" in media_type
    body: str | bytes = response.body.decode() if text or not response.body else response.body
    return Response(status_code=response.status, content_type=media_type, body=body, headers=headers)
