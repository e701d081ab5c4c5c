"""Requests and responses, in the form that all HTTP doors share."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_series_preview.sources.storage.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request for a resource.

    Attributes:
        series: The path's {series} or {study}, percent-decoded; empty without one.
        query: The values given for each parameter, by name.
        headers: The headers, by name in lower case.
        deadline: The request's deadline; it began when the request arrived.
        of_catalogue: It asks for series of the catalogue, not for one series of a root.
    """

    series: str = ""
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline: Deadline = field(default_factory=Deadline, repr=False)
    of_catalogue: bool = False


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response.

    Attributes:
        status: The status code.
        headers: The headers by name.
        body: The body's bytes; empty for 304 and 303.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def of_json(
        cls, document: object, *, status: int = 200, media_type: str = "application/json", **headers: str
    ) -> HttpResponse:
        """Build a response with a JSON document; keywords are header names with underscores."""
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        # Half a surrogate pair, possible in a name, stays JSON's escape.
        body = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
        return cls(status, {"Content-Type": media_type, **named}, body)
