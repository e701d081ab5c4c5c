"""Convert errors to RFC 9457 problems, by one table from exception to status.

A detail names the series, the parameter or the object, but neither the storage root's URL, which is the
deployment's own business, nor any header value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base import errors
from dicom_series_preview.web.http.messages import HttpResponse

if TYPE_CHECKING:
    from dicom_series_preview.base.errors import PreviewError

RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of problem.

    Attributes:
        status: The HTTP status.
        name: The last part of the problem's type.
        title: What went wrong, the same for every occurrence.
    """

    status: int
    name: str
    title: str


# The first matching class counts.
_PROBLEMS: tuple[tuple[type[PreviewError], Problem], ...] = (
    (errors.NotAcceptableError, Problem(406, "not-acceptable", "No format of this answer is acceptable")),
    (errors.LimitError, Problem(413, "limit", "More than a limit allows was asked for")),
    (errors.RequestError, Problem(400, "bad-parameter", "A parameter is wrong")),
    (errors.NoCatalogueError, Problem(404, "no-catalogue", "There is no catalogue")),
    (errors.ExpiredCursorError, Problem(410, "cursor-expired", "The catalogue has changed since then")),
    (errors.CatalogueError, Problem(502, "catalogue", "The catalogue cannot be read")),
    (errors.StudyNotFoundError, Problem(404, "no-such-study", "There is no such study")),
    (errors.SeriesNotFoundError, Problem(404, "no-such-series", "There is no such series")),
    (errors.ObjectNotFoundError, Problem(404, "no-such-object", "There is no such object")),
    (errors.IndexBusyError, Problem(503, "index-busy", "The index is being built")),
    (errors.UndecodableError, Problem(415, "undecodable", "The images cannot be decoded")),
    (errors.NoImageError, Problem(422, "no-image", "The series has no image to show")),
    (errors.AccessDeniedError, Problem(403, "access-denied", "The storage refuses access")),
    (errors.ObjectChangedError, Problem(503, "changing", "The series is changing")),
    (errors.StorageUnavailableError, Problem(503, "storage-unavailable", "The storage does not answer")),
    (errors.StorageError, Problem(502, "storage", "The storage fails")),
    (errors.AbandonedError, Problem(503, "stopping", "The server stops")),
    (errors.PreviewError, Problem(500, "failed", "The preview failed")),
)
# Problems that are no error of the product: refused by routes or doors, or a bug.
NO_SUCH_RESOURCE = Problem(404, "no-such-resource", "There is no such resource")
METHOD_NOT_ALLOWED = Problem(
    405, "method-not-allowed", "This method is not answered here; Allow tells which are"
)
NO_SUCH_BATCH = Problem(404, "no-such-batch", "There is no such batch")
BATCH_RUNNING = Problem(409, "batch-running", "The batch that is to be done again still runs")
KEY_REUSED = Problem(422, "idempotency-key-reused", "The idempotency key was given with another request")
TOO_MANY_BATCHES = Problem(429, "too-many-batches", "As many batches run as may run at once")
BATCHES_UNAVAILABLE = Problem(503, "batches-unavailable", "The service that runs batches does not answer")
BUSY = Problem(503, "busy", "Too much else is under way; try again")
NO_SUCH_HOST = Problem(
    421, "no-such-host", "This server does not answer for that host; --allow-host NAME allows it"
)
UNAUTHORIZED = Problem(401, "unauthorized", "The token is missing or wrong")
UNEXPECTED = Problem(500, "unexpected", "The request failed unexpectedly")
OF_BATCHES = (NO_SUCH_BATCH, BATCH_RUNNING, KEY_REUSED, TOO_MANY_BATCHES, BATCHES_UNAVAILABLE)
PROBLEMS = (
    *(problem for _, problem in _PROBLEMS),
    *(NO_SUCH_RESOURCE, METHOD_NOT_ALLOWED, *OF_BATCHES, NO_SUCH_HOST, UNAUTHORIZED, BUSY, UNEXPECTED),
)
PROBLEM_TYPE = "urn:dicom-series-preview:problem:"


def problem_of(error: PreviewError) -> Problem:
    """Return the kind of problem of an error."""
    return next(problem for kind, problem in _PROBLEMS if isinstance(error, kind))


def problem_response(error: PreviewError) -> HttpResponse:
    """Build the response to an error."""
    problem = problem_of(error)
    document: dict[str, Any] = {
        "type": PROBLEM_TYPE + problem.name,
        "title": problem.title,
        "status": problem.status,
        "detail": errors.detail_of(error),
    }
    if isinstance(error, errors.RequestError):
        document["errors"] = [
            {"parameter": one.parameter, "detail": one.problem} for one in errors.wrong_parameters(error)
        ]
    headers = {}
    if problem.status == 503:
        seconds = error.retry_after_s if isinstance(error, errors.IndexBusyError) else RETRY_AFTER_S
        headers["Retry_After"] = str(seconds)
    return HttpResponse.of_json(
        document,
        status=problem.status,
        media_type="application/problem+json",
        Cache_Control="no-store",
        **headers,
    )


def plain_response(problem: Problem, **headers: str) -> HttpResponse:
    """Build the response to a problem that needs only its title, with extra headers."""
    document = {
        "type": PROBLEM_TYPE + problem.name,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.title,
    }
    if problem.status == 503:
        headers.setdefault("Retry_After", str(RETRY_AFTER_S))
    return HttpResponse.of_json(
        document,
        status=problem.status,
        media_type="application/problem+json",
        Cache_Control="no-store",
        **headers,
    )
