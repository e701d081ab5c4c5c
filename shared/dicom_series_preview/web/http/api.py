"""The HTTP API's resources: request values in, answers out. Both doors serve these."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from dicom_series_preview._version import __version__
from dicom_series_preview.archive.index.schema import SCHEMA_VERSION
from dicom_series_preview.archive.names import DEFAULT_ROOT_ALIAS, refuse_root, series_digest
from dicom_series_preview.archive.open import excused
from dicom_series_preview.base.errors import (
    CombinedRequestError,
    LimitError,
    NotAcceptableError,
    ObjectNotFoundError,
    PreviewError,
    RequestError,
)
from dicom_series_preview.base.gate import open_gate
from dicom_series_preview.base.settings import text_bytes
from dicom_series_preview.products.pictures.encode import ImageFormat
from dicom_series_preview.products.pictures.requests import (
    ContrastRequest,
    ImageRequest,
    IndexRequest,
    MosaicRequest,
)
from dicom_series_preview.products.pictures.service import CACHEABLE_VERSION
from dicom_series_preview.web.http.messages import HttpRequest, HttpResponse
from dicom_series_preview.web.http.openapi import openapi_document
from dicom_series_preview.web.http.problems import problem_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.archive.index.read import Index
    from dicom_series_preview.archive.open import OpenedSeries
    from dicom_series_preview.base.gate import Gate
    from dicom_series_preview.products.pictures.report import Cost
    from dicom_series_preview.products.pictures.service import Plan, PreviewService, Rendered
    from dicom_series_preview.sources.storage.base import Storage

_LOGGER = logging.getLogger(__name__)

QUERY_LIMIT_BYTES = 8192
# API Gateway passes 6 MB, base64 and headers included.
ANSWER_LIMIT_BYTES = 4_500_000
LINK_EXPIRES_S = 900
# What is kept with a picture.
_IDENTITY, _WARNINGS = "preview-identity", "preview-warnings"
_COUNT = re.compile("[0-9]{1,9}")
# Cells of so many rows are Python objects at once, each of which takes many times what its text does.
_ROWS_AT_ONCE = 500
_PICTURES: dict[str, type[MosaicRequest | ImageRequest | ContrastRequest]] = {
    "mosaic": MosaicRequest,
    "image": ImageRequest,
    "contrast-mosaic": ContrastRequest,
}
_INDEX_FORMATS = {
    "parquet": "application/vnd.apache.parquet",
    "jsonl": "application/jsonl",
    "json": "application/json",
}
_DOCUMENTATION = "https://github.com/dicom-series-preview/dicom-series-preview/tree/main/docs"
# Links are relative: the address may have a path of its own before them.
_FRONT = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>dicom-series-preview {__version__}</title>
<h1>dicom-series-preview {__version__}</h1>
<p>Shows what is inside a DICOM series without downloading it.</p>
<ul>
<li><code>GET /series/{{series}}/mosaic</code>: a grid of its slices</li>
<li><code>GET /series/{{series}}/image?position=0.5</code>: one slice</li>
<li><code>GET /series/{{series}}/contrast-mosaic?contrast=lung&amp;contrast=bone</code>: slices under several
contrasts</li>
<li><code>GET /series/{{series}}/index</code>: what it holds; <code>?format=parquet</code> for more</li>
<li><a href="health"><code>GET /health</code></a>: version and roots</li>
<li><a href="openapi.json"><code>GET /openapi.json</code></a>: all of this for programs</li>
</ul>
<p>A slash in the name of a series is written <code>%2F</code>. More is in the
<a href="{_DOCUMENTATION}">documentation</a>.</p>
</html>
"""
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Renders:
    """Where rendered pictures are kept: all of a series in one folder, so that they can be removed with it.

    Attributes:
        storage: The root they lie below.
        folder: Their folder.
        optional: Where they cannot be read or written, pictures are made without them.
    """

    storage: Storage
    folder: str = "renders"
    optional: bool = False

    def path(self, plan: Plan) -> str:
        """The place of a picture; its name tells nothing of the series."""
        folder = self.folder_of(plan.opened.storage.url, plan.opened.name)
        return f"{folder}/{plan.identity}{plan.picture.image_format.extensions[0]}"

    def copy_path(self, opened: OpenedSeries, identity: str) -> str:
        """The place of the copy of a large index that is handed out: it goes with the pictures of its series.

        Args:
            opened: The series.
            identity: A digest of all that decides the copy's bytes.
        """
        return f"{self.folder_of(opened.storage.url, opened.name)}/{identity}.parquet"

    def folder_of(self, root: str, series: str) -> str:
        """The folder of all pictures of a series.

        Args:
            root: The URL of the series' root.
            series: Its folder below the root.
        """
        return f"{self.folder}/{series_digest(root, series)}"


@dataclass(frozen=True, slots=True)
class PreviewApi:
    """The resources.

    Attributes:
        services: By root alias, what opens the service of that root.
        renders: Where rendered pictures are kept, or None.
        answer_limit_bytes: A larger body is answered with a link where the storage can make one.
        batches: `/batches` is there too, though others answer it.
        limit_s: The longest that a request may take.
        gates: By root alias, what the services' heavy work passes, where it does.
        auth_mode: Whom API Gateway lets through, for the OpenAPI document: `IAM`, `JWT` or anyone.
    """

    services: Mapping[str, Callable[[], PreviewService]]
    renders: Renders | None = None
    answer_limit_bytes: int = ANSWER_LIMIT_BYTES
    batches: bool = False
    limit_s: float = math.inf
    gates: Mapping[str, Gate] = field(default_factory=dict)
    auth_mode: str = ""

    def picture(self, kind: str, request: HttpRequest) -> HttpResponse:
        """`GET /series/{series}/mosaic | image | contrast-mosaic`."""
        return _answer(lambda: self._picture(kind, request))

    def index(self, request: HttpRequest) -> HttpResponse:
        """`GET /series/{series}/index`."""
        return _answer(lambda: self._index(request))

    def health(self) -> HttpResponse:
        """`GET /health`."""
        document = {"status": "ok", "version": __version__, "roots": sorted(self.services)}
        return HttpResponse.of_json(document, Cache_Control="no-store")

    def front(self) -> HttpResponse:
        """`GET /`: for people, what this is and where to go on."""
        headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache"}
        return HttpResponse(200, headers, _FRONT.encode())

    def openapi(self) -> HttpResponse:
        """`GET /openapi.json`."""
        return HttpResponse.of_json(openapi_document(batches=self.batches, auth_mode=self.auth_mode))

    def _picture(self, kind: str, request: HttpRequest) -> HttpResponse:
        query = _own_copy(request.query)
        named, aliases = query.pop("format", ()), query.pop("root", ())
        accept = request.headers.get("accept", "")
        image_format, service, _ = _all_of(
            lambda: _image_format(named, accept),
            lambda: self._service(aliases),
            lambda: _PICTURES[kind].from_strings(request.series, "picture.webp", query),
        )
        # What is not asked for depends on the format: its default quality.
        output = f"picture{image_format.extensions[0]}"
        asked = _PICTURES[kind].from_strings(request.series, output, query)
        refuse_root(asked.series)
        service = service.within(request.deadline)
        renders = self._renders(service)
        plan = service.plan(asked)
        headers = _picture_headers(plan)
        if _matches(request.headers.get("if-none-match", ""), headers["ETag"]):
            return HttpResponse(304, {**headers, **_cost_headers(plan.cost())})
        kept = _kept(plan, renders)
        if kept is not None:
            return self._send(plan, kept, headers)
        rendered = service.render(plan)
        if rendered.plan is not plan:
            # The series has changed since it was planned: what is shown has a tag of its own.
            plan = rendered.plan
            headers = _picture_headers(plan)
        if _failed_tiles(rendered):
            # What stood in the way of a tile may pass; the picture is not kept, here or by anyone else.
            headers["Cache-Control"] = "no-store"
            del headers["ETag"]
        elif renders is not None:
            _keep(plan, rendered, renders)
        made = _Picture(rendered.data, len(rendered.report.warnings), _failed_tiles(rendered), "made")
        return self._send(plan, made, headers)

    def _send(self, plan: Plan, picture: _Picture, headers: dict[str, str]) -> HttpResponse:
        """The picture, or where it can be fetched if it is too large for an answer."""
        data = picture.data
        all_headers = {**headers, **_cost_headers(plan.cost()), "Preview-Render": picture.render}
        if picture.warnings:
            all_headers["Preview-Warnings"] = str(picture.warnings)
        if picture.failed_tiles:
            all_headers["Preview-Failed-Tiles"] = str(picture.failed_tiles)
        if len(data) > self.answer_limit_bytes and self.renders is not None:
            link = self.renders.storage.link(self.renders.path(plan), LINK_EXPIRES_S)
            if link is not None and "ETag" in headers:
                return HttpResponse(303, {**all_headers, "Location": link, "Cache-Control": "no-store"})
            raise LimitError(
                "image_width", f"the picture has {len(data)} bytes, more than an answer can hold"
            )
        return HttpResponse(200, {**all_headers, "Content-Type": plan.picture.image_format.media_type}, data)

    def _index(self, request: HttpRequest) -> HttpResponse:
        query = _own_copy(request.query)
        named, aliases = query.pop("format", ()), query.pop("root", ())
        wanted, service, asked = _all_of(
            lambda: _index_format(named),
            lambda: self._service(aliases),
            lambda: IndexRequest.from_strings(request.series, query),
        )
        refuse_root(asked.series)
        service = service.within(request.deadline)
        watch = service.watch()
        with watch.phase("index"):
            opened = service.index(asked)
        alias = aliases[0] if aliases else DEFAULT_ROOT_ALIAS
        identity = _index_identity(opened, wanted, alias)
        etag = f'"{identity}"'
        headers = {
            "ETag": etag,
            "Cache-Control": _cache_control(service.storage),
            "Preview-Series": quote(opened.name),
            "Preview-Stacks": _contents(opened.index),
            "Preview-Index": opened.source,
            **_cost_headers(watch.cost()),
        }
        if _matches(request.headers.get("if-none-match", ""), etag):
            return HttpResponse(304, headers)
        gate = service.gate if wanted.startswith("json") else open_gate
        with gate(text_bytes(opened.index.table.num_rows)):
            body = _index_body(opened, wanted, alias, self.answer_limit_bytes)
        if len(body) > self.answer_limit_bytes:
            link = None
            renders = self._renders(service)
            if wanted == "parquet" and renders is not None:
                path = renders.copy_path(opened, identity)
                link = renders.storage.link(path, LINK_EXPIRES_S)
                if link is not None:
                    renders.storage.put(path, body, attributes={"Content-Type": _INDEX_FORMATS[wanted]})
            if link is None:
                shape = wanted or "a summary"
                most = f"{self.answer_limit_bytes} bytes"
                problem = (
                    f"the index has more than the {most} as {shape} that an answer can hold; use parquet"
                )
                raise LimitError("format", problem)
            return HttpResponse(303, {**headers, "Location": link, "Cache-Control": "no-store"})
        media_type = _INDEX_FORMATS[wanted or "json"]
        return HttpResponse(200, {**headers, "Content-Type": media_type}, body)

    def _service(self, aliases: Sequence[str]) -> PreviewService:
        """The service of a root."""
        named = aliases or (DEFAULT_ROOT_ALIAS,)
        if len(named) > 1 or named[0] not in self.services:
            names = ", ".join(sorted(self.services))
            raise RequestError("root", f"is one alias of this deployment: {names}")
        return self.services[named[0]]()

    def _renders(self, service: PreviewService) -> Renders | None:
        """Where pictures are kept, for the request of a service."""
        if self.renders is None or service.deadline is None:
            return self.renders
        return replace(self.renders, storage=self.renders.storage.within(service.deadline))


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture to be answered with.

    Attributes:
        data: The file's bytes.
        warnings: How many there are of it.
        failed_tiles: How many tiles could not be shown; one that has any is not kept.
        render: `made` or `kept`.
    """

    data: bytes = field(repr=False)
    warnings: int
    failed_tiles: int
    render: str


def _kept(plan: Plan, renders: Renders | None) -> _Picture | None:
    """A picture as it was made before, where it is kept whole."""
    if renders is None:
        return None
    fetched = None
    with excused(renders.storage, optional=renders.optional), suppress(ObjectNotFoundError):
        fetched = renders.storage.get(renders.path(plan))
    if fetched is None:
        return None
    warnings = fetched.attributes.get(_WARNINGS, "0")
    is_its_own = fetched.attributes.get(_IDENTITY) == plan.identity and _COUNT.fullmatch(warnings)
    if is_its_own and plan.picture.image_format.is_whole(fetched.data):
        return _Picture(fetched.data, int(warnings), 0, "kept")
    _LOGGER.warning("a kept picture is damaged, and made anew")
    return None


def _keep(plan: Plan, rendered: Rendered, renders: Renders) -> None:
    """Keep a picture, which one it is, and how many warnings there are of it.

    Where a link is answered it must be there.
    """
    attributes = {"Content-Type": rendered.image_format.media_type, _IDENTITY: plan.identity}
    if rendered.report.warnings:
        attributes[_WARNINGS] = str(len(rendered.report.warnings))
    with excused(renders.storage, optional=renders.optional):
        renders.storage.put(renders.path(plan), rendered.data, attributes=attributes)


def _failed_tiles(rendered: Rendered) -> int:
    """How many tiles could not be shown, in whole or in part."""
    return sum(tile.error is not None or tile.failed_frames > 0 for tile in rendered.report.tiles)


def _own_copy(query: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The query, of which this door takes out what belongs to it."""
    size = sum(len(name) + sum(map(len, values)) for name, values in query.items())
    if size > QUERY_LIMIT_BYTES:
        raise LimitError("query", f"has {size} characters; the limit is {QUERY_LIMIT_BYTES}")
    return dict(query)


def _all_of(first: Callable[[], A], second: Callable[[], B], third: Callable[[], C]) -> tuple[A, B, C]:
    """What all three come to, or all that is wrong with them in one error."""
    results: list[Any] = []
    problems: list[RequestError] = []
    for read in (first, second, third):
        try:
            results.append(read())
        except CombinedRequestError as error:
            problems += error.errors
        except RequestError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise CombinedRequestError(tuple(problems))
    return results[0], results[1], results[2]


def _answer(produce: Callable[[], HttpResponse]) -> HttpResponse:
    """An answer, or the problem that stands in its way."""
    try:
        return produce()
    except PreviewError as error:
        response = problem_response(error)
        _LOGGER.info("answered %d: %s", response.status, type(error).__name__)
        return response


def _image_format(named: Sequence[str], accept: str) -> ImageFormat:
    """The picture's format: the one named, else the one that Accept prefers, WebP in doubt."""
    if len(named) > 1:
        raise RequestError("format", "is given more than once")
    if named:
        return ImageFormat.from_name(named[0], "format")
    if not accept.strip():
        return ImageFormat.WEBP
    best = max(ImageFormat, key=lambda image_format: _preference(accept, image_format.media_type))
    if _preference(accept, best.media_type) <= 0:
        offered = ", ".join(image_format.media_type for image_format in ImageFormat)
        raise NotAcceptableError("accept", f"allows none of {offered}")
    return best


def _preference(accept: str, media_type: str) -> float:
    """How much Accept wants a media type, 0..1; the most specific range decides (RFC 9110 12.5.1)."""
    best, quality = -1, 0.0
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        specificity = {media_type: 2, f"{media_type.partition('/')[0]}/*": 1, "*/*": 0}.get(name, -1)
        if specificity > best:
            best, quality = specificity, _quality(parameters)
    return quality if best >= 0 else 0.0


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def _index_format(named: Sequence[str]) -> str:
    if len(named) > 1 or (named and named[0] not in _INDEX_FORMATS):
        raise RequestError(
            "format", f"is one of {', '.join(_INDEX_FORMATS)}; without it a summary is answered"
        )
    return named[0] if named else ""


def _matches(if_none_match: str, etag: str) -> bool:
    """Whether If-None-Match names this version (RFC 9110 13.1.2: weak comparison)."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags


def _cache_control(storage: Storage) -> str:
    """Objects of an immutable root never change; others are asked for again."""
    if storage.immutable:
        return "private, max-age=86400"
    return "private, no-cache"


def _picture_headers(plan: Plan) -> dict[str, str]:
    return {
        "ETag": f'"{plan.identity}"',
        "Cache-Control": _cache_control(plan.opened.storage),
        "Vary": "Accept",
        # Header fields are ASCII; names need not be.
        "Preview-Series": quote(plan.opened.name),
        "Preview-Slices": f"{len(plan.slices)}/{len(plan.stack)}",
        "Preview-Stacks": f"shown={plan.picture.stack}, {_contents(plan.index)}",
        "Preview-Index": plan.opened.source,
    }


def _contents(index: Index) -> str:
    """How many stacks, SeriesInstanceUIDs and PatientIDs a folder holds."""
    provenance = index.provenance
    return (
        f"stacks={len(index.stacks)}, series={provenance.series_instance_uids}, "
        f"patients={provenance.patient_ids}"
    )


def _cost_headers(cost: Cost) -> dict[str, str]:
    timing = ", ".join(f"{name};dur={ms:g}" for name, ms in cost.milliseconds.items())
    return {
        "Preview-Requests": f"list={cost.list_requests}, get={cost.get_requests}",
        "Preview-Bytes": str(cost.bytes),
        "Server-Timing": timing,
    }


def _summary(opened: OpenedSeries, alias: str) -> dict[str, Any]:
    """What a series holds, in short."""
    index = opened.index
    provenance = index.provenance
    stacks = [asdict(stack) for stack in index.described_stacks()]
    for stack in stacks:
        # Free text, in which names occur.
        del stack["description"]
    return {
        "series": opened.name,
        "root": alias,
        "matches": opened.matches,
        "fingerprint": provenance.fingerprint,
        "objects": provenance.listed,
        "limit": provenance.limit,
        "slices": index.slice_count,
        "columns": index.whole.column_names,
        "stacks": stacks,
        "series_instance_uids": provenance.series_instance_uids,
        "patient_ids": provenance.patient_ids,
        "skipped": [{"name": item.name, "reason": item.reason} for item in provenance.skipped],
        "duplicates": [{"name": one.name, "of": one.of} for one in provenance.duplicates],
        "notes": list(provenance.notes),
        "warnings": list(provenance.warnings),
    }


def _index_identity(opened: OpenedSeries, wanted: str, alias: str) -> str:
    """A digest of all that decides an answer's bytes."""
    provenance = opened.index.provenance
    # What could not be read for now is no part of the listing's fingerprint.
    for_now = [item.name for item in provenance.skipped if item.transient]
    parts = (
        CACHEABLE_VERSION,
        SCHEMA_VERSION,
        wanted,
        alias,
        opened.name,
        opened.matches,
        provenance.fingerprint,
        provenance.limit,
        for_now,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


def _index_body(opened: OpenedSeries, wanted: str, alias: str, most: int) -> bytes:
    """The index in a format; of one that is longer than an answer can be, no more rows than show that.

    The root is told by its alias, as its URL is the deployment's own business.
    """
    if not wanted:
        return json.dumps(_summary(opened, alias), ensure_ascii=False).encode()
    index = opened.index.with_root(alias)
    if wanted == "parquet":
        return index.to_parquet()
    lines, size = [], 0
    for batch in index.whole.to_batches(max_chunksize=_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            lines.append(json.dumps(_plain(row), ensure_ascii=False).encode())
            size += len(lines[-1])
        if size > most:
            break
    return b"".join(line + b"\n" for line in lines) if wanted == "jsonl" else b"[" + b", ".join(lines) + b"]"


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell of the index
    """A value as JSON can say it: there is no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list) else value
