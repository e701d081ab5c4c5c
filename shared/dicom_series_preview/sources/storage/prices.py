"""What S3 asks for requests, at its list prices (us-east-1, standard storage)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicom_series_preview.sources.storage.base import Usage

_LIST_OR_PUT = 0.005 / 1000
_GET = 0.0004 / 1000


def dollars(usage: Usage) -> float:
    """Return what requests cost in US dollars; bytes cost nothing within a region."""
    return (usage.lists + usage.puts) * _LIST_OR_PUT + usage.gets * _GET
