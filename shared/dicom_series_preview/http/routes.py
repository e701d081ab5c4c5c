"""The routes, registered with a resolver of Powertools: API Gateway's in Lambda, the ASGI one locally."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import Response

from dicom_series_preview.discreet import told
from dicom_series_preview.http.problems import NO_SUCH_RESOURCE, UNEXPECTED, plain_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aws_lambda_powertools.event_handler.api_gateway import ApiGatewayResolver

    from dicom_series_preview.http.api import PreviewApi
    from dicom_series_preview.http.values import HttpRequest, HttpResponse

_LOGGER = logging.getLogger(__name__)

RESOURCES = ("mosaic", "image", "contrast-mosaic", "index")


def register(
    app: ApiGatewayResolver,
    api: PreviewApi,
    resources: Iterable[str],
    read: Callable[[str], HttpRequest],
    *,
    in_threads: bool = False,
) -> None:
    """Add routes to a resolver.

    Args:
        app: The resolver.
        api: What answers.
        resources: Which of `RESOURCES`; with `index` come `/health` and `/openapi.json`.
        read: Makes the request value of a series from the resolver's current event.
        in_threads: The resolver is asynchronous: answers are produced in threads.
    """

    def route(path: str, answer: Callable[..., HttpResponse]) -> None:
        # Without annotations: Powertools would take them for schemas to validate against.
        async def answer_in_thread(**parameters: Any) -> Response[Any]:  # noqa: ANN401 - the path's parameters
            return as_response(await asyncio.to_thread(answer, **parameters))

        def answer_here(**parameters: Any) -> Response[Any]:  # noqa: ANN401 - the path's parameters
            return as_response(answer(**parameters))

        app.get(path)(answer_in_thread if in_threads else answer_here)

    answer_mistakes(app)
    for name in resources:
        route(f"/series/<series>/{name}", _resource(api, name, read))
        if name == "index":
            route("/health", api.health)
            route("/openapi.json", api.openapi)


def answer_mistakes(app: ApiGatewayResolver) -> None:
    """Let a resolver answer with a problem what no route answers, and what is a mistake in the code."""

    def unknown(_error: Exception) -> Response[Any]:
        return as_response(plain_response(NO_SUCH_RESOURCE))

    def broken(error: Exception) -> Response[Any]:
        # What is not an error of ours is a mistake of ours. The log says where; the message may hold a
        # header's values, and is told to nobody.
        _LOGGER.error("a request failed unexpectedly: %s", told(error))
        return as_response(plain_response(UNEXPECTED))

    app.not_found(unknown)
    app.exception_handler(Exception)(broken)


def _resource(
    api: PreviewApi, name: str, read: Callable[[str], HttpRequest]
) -> Callable[[str], HttpResponse]:
    def answer(series: str) -> HttpResponse:
        request = read(unquote(series))
        return api.index(request) if name == "index" else api.picture(name, request)

    return answer


def as_response(response: HttpResponse) -> Response[Any]:
    """An answer as Powertools takes it."""
    headers = dict(response.headers)
    media_type = headers.pop("Content-Type", None)
    text = media_type is not None and "json" in media_type
    body: str | bytes = response.body.decode() if text or not response.body else response.body
    return Response(status_code=response.status, content_type=media_type, body=body, headers=headers)
