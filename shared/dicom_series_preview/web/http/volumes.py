"""The resource that plans a series' volumes: which there are, which not and why, and what they cost."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from dicom_series_preview._version import __version__
from dicom_series_preview.base.errors import LimitError, NoImageError
from dicom_series_preview.base.settings import text_bytes
from dicom_series_preview.products.volumes.plan import plan_document, plan_volumes
from dicom_series_preview.products.volumes.series import SINGLE_IMAGES
from dicom_series_preview.web.http.headers import cost_headers, matches, series_headers
from dicom_series_preview.web.http.index_body import index_identity
from dicom_series_preview.web.http.messages import HttpResponse

if TYPE_CHECKING:
    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.products.pictures.requests import IndexRequest
    from dicom_series_preview.products.pictures.service import PreviewService
    from dicom_series_preview.products.volumes.options import VolumeOptions
    from dicom_series_preview.web.http.messages import HttpRequest


def volumes_answer(
    service: PreviewService,
    asked: IndexRequest,
    wanted: tuple[str, VolumeOptions],
    request: HttpRequest,
    most_bytes: int,
) -> HttpResponse:
    """Answer `GET /series/{series}/volumes`. No object is read beside those that the index needs.

    Args:
        service: The root's service, for this request.
        asked: The series.
        wanted: The format and the options.
        request: The request.
        most_bytes: The longest body.

    Raises:
        PreviewError: There is no answer. A series without a volume has one: it says why.
    """
    watch = service.watch()
    with watch.phase("index"):
        opened = service.index(asked)
    alias = (request.query.get("root") or ("default",))[0]
    parts = (__version__, index_identity(opened, "volumes", alias), wanted)
    etag = f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:40]}"'
    headers = series_headers(opened, etag)
    if matches(request.headers.get("if-none-match", ""), etag):
        return HttpResponse(304, {**headers, **cost_headers(watch.cost())})
    with watch.phase("plan"), service.gate(text_bytes(opened.index.table.num_rows)):
        document = {**_document(opened, *wanted), "root": alias}
        answer = HttpResponse.of_json(document)
    if len(answer.body) > most_bytes:
        raise LimitError(
            "series",
            f"has more volumes than the {most_bytes} bytes that an answer can hold; ask for one `stack`",
        )
    return HttpResponse(200, {**headers, **cost_headers(watch.cost()), **answer.headers}, answer.body)


def _document(opened: OpenedSeries, to: str, options: VolumeOptions) -> dict[str, Any]:
    try:
        return plan_document(plan_volumes(opened, options, single_images=to in SINGLE_IMAGES))
    except NoImageError as error:
        refused = {"stack": None, "part": "", "slices": 0, "code": "no_image", "problem": error.problem}
        return {
            "series": opened.title,
            "volumes": [],
            "refused": [refused],
            "localizers_skipped": 0,
            "derived_skipped": 0,
            "skipped_objects": len(opened.index.provenance.skipped),
            "warnings": list(opened.warnings),
        }
