"""The headers of answers: tags, caching, the picture's facts and its cost."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.products.pictures.cost import Cost
    from dicom_series_preview.products.pictures.plan import Plan
    from dicom_series_preview.sources.storage.base import Storage


def matches(if_none_match: str, etag: str) -> bool:
    """Return True where If-None-Match names this version (RFC 9110 13.1.2: weak comparison)."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags


def cache_control(storage: Storage) -> str:
    """Return Cache-Control: objects of an immutable root never change; others are revalidated."""
    if storage.immutable:
        return "private, max-age=86400"
    return "private, no-cache"


def picture_headers(plan: Plan) -> dict[str, str]:
    """Return the headers of a picture: its tag and its facts."""
    return {
        "ETag": f'"{plan.identity}"',
        "Cache-Control": cache_control(plan.opened.storage),
        "Vary": "Accept",
        # Header fields are ASCII; names can have more.
        "Preview-Series": quote(plan.opened.title),
        "Preview-Slices": f"{len(plan.slices)}/{len(plan.stack)}",
        **_places(plan),
        "Preview-Stacks": f"shown={plan.picture.stack}, {contents(plan.index)}",
        "Preview-Index": plan.opened.source,
    }


def series_headers(opened: OpenedSeries, etag: str) -> dict[str, str]:
    """Return the headers of an answer about a series that is no picture: its tag and the series' facts."""
    return {
        "ETag": etag,
        "Cache-Control": cache_control(opened.storage),
        "Preview-Series": quote(opened.title),
        "Preview-Stacks": contents(opened.index),
        "Preview-Index": opened.source,
    }


def _places(plan: Plan) -> dict[str, str]:
    """Return the header with the places on the stack's further dimensions, if it has any."""
    places = () if plan.choice is None else plan.choice.places
    told = [f"{one.text}{f' ({one.which})' if not one.asked and one.which else ''}" for one in places]
    return {"Preview-At": ", ".join(told)} if told else {}


def contents(index: Index) -> str:
    """Return the numbers of stacks, SeriesInstanceUIDs and PatientIDs in a folder."""
    provenance = index.provenance
    return (
        f"stacks={len(index.stacks)}, series={provenance.series_instance_uids}, "
        f"patients={provenance.patient_ids}"
    )


def cost_headers(cost: Cost) -> dict[str, str]:
    """Return the headers with an answer's storage cost."""
    timing = ", ".join(f"{name};dur={ms:g}" for name, ms in cost.milliseconds.items())
    return {
        "Preview-Requests": f"list={cost.list_requests}, get={cost.get_requests}",
        "Preview-Bytes": str(cost.bytes),
        "Server-Timing": timing,
    }
