"""The routes, registered with a resolver of Powertools: API Gateway's in Lambda, the ASGI one locally."""

from __future__ import annotations

import logging
import re
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
"""A page for people, which is no resource of a series."""
# Which routes there are beside `index`, as regular expressions.
_OF_THE_API = ("/health", r"/openapi\.json")

Prepare: TypeAlias = "Callable[[str], tuple[HttpRequest, Callable[[], HttpResponse]]]"
Run: TypeAlias = "Callable[[HttpRequest, Callable[[], HttpResponse]], Awaitable[HttpResponse]]"


def register(
    app: ApiGatewayResolver,
    api: PreviewApi,
    resources: Collection[str],
    read: Callable[[str], HttpRequest],
    run: Run | None = None,
) -> None:
    """Add routes to a resolver: those of GET, for doors make one of HEAD.

    Args:
        app: The resolver.
        api: What answers.
        resources: Which of `RESOURCES`; with `index` come `/health` and `/openapi.json`. `FRONT` is `/`.
        read: Makes the request value of a series from the resolver's current event.
        run: Of a resolver that is asynchronous, what has the answer to a request produced elsewhere.
    """
    of_series = [name for name in resources if name != FRONT]
    paths = [f"/series/[^/]+/(?:{'|'.join(of_series)})", *(_OF_THE_API if "index" in resources else ())]
    if FRONT in resources:
        paths.append("/")
        app.get("/")(lambda: as_response(api.front()))
    answer_mistakes(app, dict.fromkeys(paths, "GET, HEAD"))
    for name in of_series:
        _add_resource(app, name, partial(_prepared, api, name, read), run)
        if name == "index":
            app.get("/health")(lambda: as_response(api.health()))
            app.get("/openapi.json")(lambda: as_response(api.openapi()))


def _add_resource(
    app: ApiGatewayResolver,
    name: str,
    prepare: Prepare,
    run: Run | None,
) -> None:
    # Without annotations: Powertools would take them for schemas to validate against.
    def answer_here(series: Any) -> Response[Any]:  # noqa: ANN401
        return as_response(prepare(series)[1]())

    if run is None:
        app.get(f"/series/<series>/{name}")(answer_here)
        return

    async def answer_elsewhere(series: Any) -> Response[Any]:  # noqa: ANN401
        # Read here, where the resolver's current event is still this request's.
        return as_response(await run(*prepare(series)))

    app.get(f"/series/<series>/{name}")(answer_elsewhere)


def answer_mistakes(app: ApiGatewayResolver, methods: Mapping[str, str]) -> None:
    """Let a resolver answer with a problem what no route answers, and what is a mistake in the code.

    Args:
        app: The resolver.
        methods: By a path, as a regular expression, the methods that are answered there, as `Allow` has them.
    """

    def unknown(_error: Exception) -> Response[Any]:
        event = app.current_event
        for path, allowed in methods.items():
            if re.fullmatch(path, event.path) and event.http_method not in allowed.split(", "):
                return as_response(plain_response(METHOD_NOT_ALLOWED, Allow=allowed))
        return as_response(plain_response(NO_SUCH_RESOURCE))

    def broken(error: Exception) -> Response[Any]:
        # What is not an error of ours is a mistake of ours. The log says where; the message may hold a
        # header's values, and is told to nobody.
        _LOGGER.error("a request failed unexpectedly: %s", told(error))
        return as_response(plain_response(UNEXPECTED))

    app.not_found(unknown)
    app.exception_handler(Exception)(broken)


def _prepared(
    api: PreviewApi, name: str, read: Callable[[str], HttpRequest], series: str
) -> tuple[HttpRequest, Callable[[], HttpResponse]]:
    """The request that is made of a resource, and what answers it."""
    request = read(unquote(series))
    return request, partial(api.index, request) if name == "index" else partial(api.picture, name, request)


def as_response(response: HttpResponse) -> Response[Any]:
    """An answer as Powertools takes it."""
    headers = dict(response.headers)
    media_type = headers.pop("Content-Type", None)
    text = media_type is not None and "json" in media_type
    body: str | bytes = response.body.decode() if text or not response.body else response.body
    return Response(status_code=response.status, content_type=media_type, body=body, headers=headers)
