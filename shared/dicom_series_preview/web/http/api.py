"""The HTTP API's resources, which build a response for each request."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dicom_series_preview._version import __version__
from dicom_series_preview.archive.names import DEFAULT_ROOT_ALIAS, refuse_root
from dicom_series_preview.base.errors import LimitError, NoCatalogueError, PreviewError, RequestError
from dicom_series_preview.base.gate import open_gate
from dicom_series_preview.base.settings import text_bytes
from dicom_series_preview.products.pictures.requests import PICTURES, IndexRequest
from dicom_series_preview.web.http.front import FRONT_PAGE
from dicom_series_preview.web.http.headers import (
    cost_headers,
    matches,
    picture_headers,
    series_headers,
)
from dicom_series_preview.web.http.index_body import index_body, index_identity
from dicom_series_preview.web.http.messages import HttpRequest, HttpResponse
from dicom_series_preview.web.http.problems import problem_response
from dicom_series_preview.web.http.query import (
    INDEX_FORMATS,
    all_of,
    image_format_of,
    index_format_of,
    own_copy,
)
from dicom_series_preview.web.http.renders import KeptPicture, Renders, keep, kept_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.base.gate import Gate
    from dicom_series_preview.products.catalogue.view import CatalogueView
    from dicom_series_preview.products.pictures.plan import Plan
    from dicom_series_preview.products.pictures.service import PreviewService, Rendered

_LOGGER = logging.getLogger(__name__)

# API Gateway's limit is 6 MB, base64 and headers included.
ANSWER_LIMIT_BYTES = 4_500_000
LINK_EXPIRES_S = 900
SEARCHES = ""
"""Stands in an alias' place for searches of the catalogue; no alias is empty."""


@dataclass(frozen=True, slots=True)
class PreviewApi:
    """The resources of the HTTP API.

    Attributes:
        services: By root alias, a function that opens the root's service.
        renders: The store of rendered pictures, or None.
        answer_limit_bytes: A larger body is answered with a link where the storage can make one.
        batches: `/batches` exists too, though others answer it.
        limit_s: The longest that a request may take.
        gates: By root alias, the gate of the service's heavy work, if any; by `SEARCHES`, that of searches.
        auth_mode: API Gateway's authorization, for the OpenAPI document: `IAM`, `JWT` or none.
        catalogue: Opens the catalogue, the same each time; or None.
    """

    services: Mapping[str, Callable[[], PreviewService]]
    renders: Renders | None = None
    answer_limit_bytes: int = ANSWER_LIMIT_BYTES
    batches: bool = False
    limit_s: float = math.inf
    gates: Mapping[str, Gate] = field(default_factory=dict)
    auth_mode: str = ""
    catalogue: Callable[[], CatalogueView] | None = None

    def picture(self, kind: str, request: HttpRequest) -> HttpResponse:
        """Answer `GET /series/{series}/mosaic | image | contrast-mosaic`."""
        return _answer(lambda: self._picture(kind, request))

    def index(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /series/{series}/index`."""
        return _answer(lambda: self._index(request))

    def series(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /series`, and `GET /studies/{study}` where the request names one."""
        return _answer(lambda: self._series(request))

    def one_series(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /series/{series}`."""
        return _answer(lambda: self._one_series(request))

    def volumes(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /series/{series}/volumes`."""
        return _answer(lambda: self._volumes(request))

    def health(self) -> HttpResponse:
        """Answer `GET /health`."""
        document = {"status": "ok", "version": __version__, "roots": sorted(self.services)}
        return HttpResponse.of_json(document, Cache_Control="no-store")

    def front(self) -> HttpResponse:
        """Answer `GET /`, a page for people that explains this server and links on."""
        headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache"}
        return HttpResponse(200, headers, FRONT_PAGE.encode())

    def openapi(self) -> HttpResponse:
        """Answer `GET /openapi.json`."""
        from dicom_series_preview.web.http.openapi import openapi_document  # noqa: PLC0415 - 2 ms of every function's start

        return HttpResponse.of_json(openapi_document(batches=self.batches, auth_mode=self.auth_mode))

    def _picture(self, kind: str, request: HttpRequest) -> HttpResponse:
        query = own_copy(request.query)
        named, aliases = query.pop("format", ()), query.pop("root", ())
        accept = request.headers.get("accept", "")
        image_format, service, _ = all_of(
            lambda: image_format_of(named, accept),
            lambda: self._service(aliases),
            lambda: PICTURES[kind].from_strings(request.series, "picture.webp", query),
        )
        # The default quality depends on the format.
        output = f"picture{image_format.extensions[0]}"
        asked = PICTURES[kind].from_strings(request.series, output, query)
        refuse_root(asked.series)
        service = service.within(request.deadline)
        plan = service.plan(asked)
        renders = self._renders(service, plan.opened)
        headers = picture_headers(plan)
        if matches(request.headers.get("if-none-match", ""), headers["ETag"]):
            return HttpResponse(304, {**headers, **cost_headers(plan.cost())})
        kept = kept_picture(plan, renders)
        if kept is not None:
            return self._send(plan, kept, headers)
        rendered = service.render_plan(plan)
        if rendered.plan is not plan:
            # If the series has changed since it was planned, the picture has another tag.
            plan = rendered.plan
            renders = self._renders(service, plan.opened)
            headers = picture_headers(plan)
        if _failed_tiles(rendered):
            # A tile's failure can be temporary; nobody may cache the picture.
            headers["Cache-Control"] = "no-store"
            del headers["ETag"]
        elif renders is not None:
            keep(plan, rendered, renders)
        made = KeptPicture(rendered.data, len(rendered.report.warnings), _failed_tiles(rendered), "made")
        return self._send(plan, made, headers)

    def _send(self, plan: Plan, picture: KeptPicture, headers: dict[str, str]) -> HttpResponse:
        """Return the picture, or a link to it if it is too large for an answer."""
        data = picture.data
        all_headers = {**headers, **cost_headers(plan.cost()), "Preview-Render": picture.render}
        if picture.warnings:
            all_headers["Preview-Warnings"] = str(picture.warnings)
        if picture.failed_tiles:
            all_headers["Preview-Failed-Tiles"] = str(picture.failed_tiles)
        if len(data) > self.answer_limit_bytes and self.renders is not None:
            renders = self.renders.of(plan.opened)
            link = None if renders is None else renders.storage.link(renders.path(plan), LINK_EXPIRES_S)
            if link is not None and "ETag" in headers:
                return HttpResponse(303, {**all_headers, "Location": link, "Cache-Control": "no-store"})
            raise LimitError(
                "image_width", f"the picture has {len(data)} bytes, more than an answer can hold"
            )
        return HttpResponse(200, {**all_headers, "Content-Type": plan.picture.image_format.media_type}, data)

    def _index(self, request: HttpRequest) -> HttpResponse:
        query = own_copy(request.query)
        named, aliases = query.pop("format", ()), query.pop("root", ())
        wanted, service, asked = all_of(
            lambda: index_format_of(named),
            lambda: self._service(aliases),
            lambda: IndexRequest.from_strings(request.series, query),
        )
        refuse_root(asked.series)
        service = service.within(request.deadline)
        watch = service.watch()
        with watch.phase("index"):
            opened = service.index(asked)
        alias = aliases[0] if aliases else DEFAULT_ROOT_ALIAS
        identity = index_identity(opened, wanted, alias)
        etag = f'"{identity}"'
        headers = {**series_headers(opened, etag), **cost_headers(watch.cost())}
        if matches(request.headers.get("if-none-match", ""), etag):
            return HttpResponse(304, headers)
        gate = service.gate if wanted.startswith("json") else open_gate
        with gate(text_bytes(opened.index.table.num_rows)):
            body = index_body(opened, wanted, alias, self.answer_limit_bytes)
        if len(body) > self.answer_limit_bytes:
            link = None
            renders = self._renders(service, opened)
            if wanted == "parquet" and renders is not None:
                path = renders.copy_path(opened, identity)
                link = renders.storage.link(path, LINK_EXPIRES_S)
                if link is not None:
                    renders.storage.put(path, body, attributes={"Content-Type": INDEX_FORMATS[wanted]})
            if link is None:
                shape = wanted or "a summary"
                most = f"{self.answer_limit_bytes} bytes"
                problem = (
                    f"the index has more than the {most} as {shape} that an answer can hold; use parquet"
                )
                raise LimitError("format", problem)
            return HttpResponse(303, {**headers, "Location": link, "Cache-Control": "no-store"})
        media_type = INDEX_FORMATS[wanted or "json"]
        return HttpResponse(200, {**headers, "Content-Type": media_type}, body)

    def _series(self, request: HttpRequest) -> HttpResponse:
        from dicom_series_preview.web.http.catalogue import series_answer  # noqa: PLC0415 - pictures do without it

        if self.catalogue is None:
            raise NoCatalogueError("")
        gate = self.gates.get(SEARCHES)
        passage = open_gate if gate is None else gate.passage
        return series_answer(self.catalogue(), request, self.answer_limit_bytes, self.limit_s, passage)

    def _one_series(self, request: HttpRequest) -> HttpResponse:
        from dicom_series_preview.web.http.catalogue import one_series_answer  # noqa: PLC0415 - likewise

        query = own_copy(request.query)
        aliases = query.pop("root", ())
        _, service, asked = all_of(
            lambda: None,
            lambda: self._service(aliases),
            lambda: IndexRequest.from_strings(request.series, query),
        )
        refuse_root(asked.series)
        view = None if self.catalogue is None else self.catalogue()
        within = service.within(request.deadline)
        return one_series_answer(view, within, asked, request, self.answer_limit_bytes)

    def _volumes(self, request: HttpRequest) -> HttpResponse:
        from dicom_series_preview.web.http.volume_options import read_plan  # noqa: PLC0415 - pictures do without it
        from dicom_series_preview.web.http.volumes import volumes_answer  # noqa: PLC0415 - likewise

        query = own_copy(request.query)
        aliases = query.pop("root", ())
        wanted, service, asked = all_of(
            lambda: read_plan(query),
            lambda: self._service(aliases),
            lambda: IndexRequest.from_strings(request.series, {}),
        )
        refuse_root(asked.series)
        within = service.within(request.deadline)
        return volumes_answer(within, asked, wanted, request, self.answer_limit_bytes)

    def _service(self, aliases: Sequence[str]) -> PreviewService:
        """Return the service of a root."""
        named = aliases or (DEFAULT_ROOT_ALIAS,)
        if len(named) > 1 or named[0] not in self.services:
            names = ", ".join(sorted(self.services))
            raise RequestError("root", f"is one alias of this deployment: {names}")
        return self.services[named[0]]()

    def _renders(self, service: PreviewService, opened: OpenedSeries) -> Renders | None:
        """Return the store of a series' pictures for a service's request."""
        renders = None if self.renders is None else self.renders.of(opened)
        if renders is None or service.deadline is None:
            return renders
        return replace(renders, storage=renders.storage.within(service.deadline))


def _failed_tiles(rendered: Rendered) -> int:
    """Count the tiles that could not be shown, in whole or in part."""
    return sum(tile.error is not None or tile.failed_frames > 0 for tile in rendered.report.tiles)


def _answer(produce: Callable[[], HttpResponse]) -> HttpResponse:
    """Return the response, or the problem that prevents it."""
    try:
        return produce()
    except PreviewError as error:
        response = problem_response(error)
        _LOGGER.info("answered %d: %s", response.status, type(error).__name__)
        return response
