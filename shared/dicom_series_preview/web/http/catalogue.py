"""The resources of the catalogue: the series that there are, one of them, and those of a study."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dicom_series_preview._version import __version__
from dicom_series_preview.archive.catalogue.facts import facts_document
from dicom_series_preview.archive.names import DEFAULT_ROOT_ALIAS
from dicom_series_preview.base.errors import (
    LimitError,
    NoCatalogueError,
    StudyNotFoundError,
)
from dicom_series_preview.base.settings import text_bytes
from dicom_series_preview.products.catalogue.answers import as_csv, as_parquet, as_values
from dicom_series_preview.products.catalogue.identifiers import hashed
from dicom_series_preview.products.catalogue.pages import page_of
from dicom_series_preview.products.catalogue.search import (
    OF_A_STUDY,
    PARAMETERS,
    check_text,
    exactly,
    search_of,
)
from dicom_series_preview.products.catalogue.view import files_of
from dicom_series_preview.products.pictures.cost import Stopwatch
from dicom_series_preview.web.http.headers import contents, cost_headers, matches
from dicom_series_preview.web.http.index_body import index_identity
from dicom_series_preview.web.http.messages import HttpResponse
from dicom_series_preview.web.http.query import own_copy

if TYPE_CHECKING:
    import pyarrow as pa

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.base.gate import Passage
    from dicom_series_preview.products.catalogue.columns import ShownTable
    from dicom_series_preview.products.catalogue.pages import Page
    from dicom_series_preview.products.catalogue.search import Search
    from dicom_series_preview.products.catalogue.view import CatalogueView, Result
    from dicom_series_preview.products.pictures.requests import IndexRequest
    from dicom_series_preview.products.pictures.service import PreviewService
    from dicom_series_preview.web.http.messages import HttpRequest

MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "parquet": "application/vnd.apache.parquet",
}
"""The media types of a search's forms, by name."""

_CACHED = {"Cache-Control": "private, no-cache"}
# The longest that a name of a study is: UIDs have at most 64 characters.
_STUDY_LENGTH = 64
# However large a body the door can send.
_LARGEST_ANSWER = 16 * 2**20
# The rows, their cells as objects, and the answer as text and as bytes, a byte of text in the rows.
_BYTES_A_TEXT_BYTE = 12
_MOST_STACKS = 1000


def series_answer(
    view: CatalogueView, request: HttpRequest, most_bytes: int, limit_s: float, gate: Passage
) -> HttpResponse:
    """Answer `GET /series`, and `GET /studies/{study}` where the request names one.

    Args:
        view: The catalogue.
        request: The request; its `series` is the study, or empty.
        most_bytes: The longest body.
        limit_s: The longest that it may take, in seconds.
        gate: Admits the search and the writing of the answer, given the bytes that each may take.

    Raises:
        PreviewError: There is no answer.
    """
    query, study = own_copy(request.query), request.series
    if study:
        check_text("study", study)
        if len(study) > _STUDY_LENGTH:
            raise StudyNotFoundError(study)
    deadline = request.deadline.limited(limit_s)
    storage = view.storage.within(deadline)
    watch = Stopwatch(storage, deadline)
    with watch.phase("catalogue"):
        table = view.newest(storage)
        search = search_of(query, view.shelf(table), OF_A_STUDY if study else PARAMETERS, study=study)
    etag = _tag(table, search)
    wanted = request.headers.get("if-none-match", "")
    # Where a cursor leads to may be gone, which is said before it is called unchanged.
    if not search.cursor and matches(wanted, etag):
        return HttpResponse(304, {**_CACHED, "ETag": etag, **cost_headers(watch.cost())})
    most_bytes = min(most_bytes, _LARGEST_ANSWER)
    with watch.phase("search"), gate(text_bytes(search.limit)):
        result = view.find(table, search, most_bytes)
    if study and not result.page.total:
        raise StudyNotFoundError(study)
    headers = {**_CACHED, "ETag": etag, "Preview-Total": str(result.page.total)}
    if result.next:
        headers["Preview-Next"] = result.next
    if matches(wanted, etag):
        return HttpResponse(304, {**headers, **cost_headers(watch.cost())})
    with watch.phase("encode"), gate(_memory(result.page.rows)):
        body = _body(result, search.form, study)
    if len(body) > most_bytes:
        raise LimitError(
            "limit", f"the answer has {len(body)} bytes, and one can hold {most_bytes}; give a smaller limit"
        )
    headers |= {**cost_headers(watch.cost()), "Content-Type": MEDIA_TYPES[search.form]}
    if search.form == "csv":
        headers["Content-Disposition"] = 'attachment; filename="series.csv"'
    return HttpResponse(200, headers, body)


def _memory(rows: pa.Table) -> int:
    """Estimate the memory, in bytes, that an answer with these rows takes."""
    return text_bytes(rows.num_rows) + _BYTES_A_TEXT_BYTE * int(rows.nbytes)


def _body(result: Result, form: str, study: str) -> bytes:
    rows = result.page.rows
    if form == "csv":
        return as_csv(rows)
    if form == "parquet":
        return as_parquet(rows)
    found = {"series": as_values(rows), "next": result.next, "total": result.page.total}
    return _json({"study": study, **found} if study else found)


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _tag(table: ShownTable, search: Search) -> str:
    """Return the ETag of an answer: all that decides its bytes."""
    identifiers = table.identifiers
    key = hashed(["ETag"], identifiers.key) if identifiers.mode == "hash" else []
    version = search.cursor or files_of(table.snapshot)
    parts = (__version__, version, identifiers.mode, key, search.identity, search.limit, search.form)
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:40]}"'


def one_series_answer(
    view: CatalogueView | None,
    service: PreviewService,
    asked: IndexRequest,
    request: HttpRequest,
    most_bytes: int,
) -> HttpResponse:
    """Answer `GET /series/{series}`: the rows, the stacks and the facts of one series.

    Of rows and of stacks there are at most 1000, and the totals.

    Args:
        view: The catalogue, or None.
        service: The root's service, for this request.
        asked: The series.
        request: The request.
        most_bytes: The longest body.

    Raises:
        PreviewError: There is no answer.
    """
    most_bytes = min(most_bytes, _LARGEST_ANSWER)
    alias = (request.query.get("root") or (DEFAULT_ROOT_ALIAS,))[0]
    deadline = service.deadline or request.deadline
    table = None
    if view is not None:
        try:
            table = view.newest(view.storage.within(deadline))
        except NoCatalogueError:
            view = None
    watch = service.watch()
    with watch.phase("index"):
        opened = service.index(asked)
    rows: list[dict[str, Any]] = []
    rows_total = 0
    room = text_bytes(opened.index.table.num_rows)
    if view is not None and table is not None:
        # A folder named by the UID that all of it has needs no `uid`, and its rows may still be others'.
        uid = opened.uid or opened.asked_uid
        one = {"SeriesInstanceUID": [uid]} if uid else {}
        search = exactly(view.shelf(table), alias, Series=opened.folders, **one)
        page = _page(table, search, service, most_bytes)
        rows_total = page.total
        room += _memory(page.rows)
        with service.gate(room):
            rows = as_values(page.rows)
    identity = hashlib.sha256(repr((index_identity(opened, "facts", alias), rows)).encode())
    etag = f'"{identity.hexdigest()[:40]}"'
    headers = {
        **_CACHED,
        "ETag": etag,
        "Preview-Stacks": contents(opened.index),
        "Preview-Index": opened.source,
    }
    if matches(request.headers.get("if-none-match", ""), etag):
        return HttpResponse(304, {**headers, **cost_headers(watch.cost())})
    with service.gate(room):
        document = {**_document(opened, alias, rows, most_bytes), "rows_total": rows_total}
        body = _json(document)
    if len(body) > most_bytes:
        raise _too_large(most_bytes)
    return HttpResponse(
        200, {**headers, **cost_headers(watch.cost()), "Content-Type": MEDIA_TYPES["json"]}, body
    )


def _page(table: ShownTable, search: Search, service: PreviewService, most_bytes: int) -> Page:
    """Return the rows of one series."""
    try:
        with service.gate(text_bytes(search.limit)):
            return page_of(table, search, most_bytes)
    except LimitError as error:
        raise _too_large(most_bytes) from error


def _too_large(most_bytes: int) -> LimitError:
    return LimitError(
        "series",
        f"has more rows and stacks than the {most_bytes} bytes that an answer can hold; "
        "ask for one SeriesInstanceUID of it, or for its index as parquet",
    )


def _document(
    opened: OpenedSeries, alias: str, rows: list[dict[str, Any]], most_bytes: int
) -> dict[str, Any]:
    stacks: list[dict[str, Any]] = []
    described, size = opened.index.described_stacks(), 0
    for stack in described[:_MOST_STACKS]:
        told = asdict(stack)
        # The rows have the description.
        del told["description"]
        stacks.append({**told, "facts": facts_document(opened.index, stack.stack)})
        size += len(_json(stacks[-1]))
        if size > most_bytes:
            raise _too_large(most_bytes)
    folders = list(opened.folders)
    return {
        "series": opened.title,
        "series_uid": opened.uid,
        "asked_uid": opened.asked_uid,
        "folders": folders,
        "root": alias,
        "rows": rows,
        "stacks": stacks,
        "warnings": list(opened.warnings),
        "stacks_total": len(described),
    }
