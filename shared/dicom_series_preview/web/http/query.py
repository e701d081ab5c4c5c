"""Read a query: the door's own parameters and the formats, with all errors in one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from dicom_series_preview.base.errors import (
    CombinedRequestError,
    LimitError,
    NotAcceptableError,
    RequestError,
)
from dicom_series_preview.products.pictures.formats import ImageFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

QUERY_LIMIT_BYTES = 8192
INDEX_FORMATS = {
    "parquet": "application/vnd.apache.parquet",
    "jsonl": "application/jsonl",
    "json": "application/json",
}
"""The media types of an index's formats, by name."""
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


def own_copy(query: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Copy the query, so that this door can remove its own parameters."""
    size = sum(len(name) + sum(map(len, values)) for name, values in query.items())
    if size > QUERY_LIMIT_BYTES:
        raise LimitError("query", f"has {size} characters; the limit is {QUERY_LIMIT_BYTES}")
    return dict(query)


def all_of(first: Callable[[], A], second: Callable[[], B], third: Callable[[], C]) -> tuple[A, B, C]:
    """Return the results of all three, or raise all their errors in one."""
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


def image_format_of(named: Sequence[str], accept: str) -> ImageFormat:
    """Return the picture's format: the named one, else Accept's preference, WebP in doubt."""
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
    """Return Accept's weight of a media type, 0..1; the most specific range decides (RFC 9110 12.5.1)."""
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


def index_format_of(named: Sequence[str]) -> str:
    """Return the format of an index that a query names; empty for a summary."""
    if len(named) > 1 or (named and named[0] not in INDEX_FORMATS):
        raise RequestError(
            "format", f"is one of {', '.join(INDEX_FORMATS)}; without it a summary is answered"
        )
    return named[0] if named else ""
