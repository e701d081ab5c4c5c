"""Parse a message of the queue of changes to the series to recheck."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from dicom_series_preview.doors.aws.rechecks import Recheck, is_no_series
from dicom_series_preview.sources.storage.roots import parse_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_series_preview.doors.aws.environment import Deployment


_REMOVALS = ("Object Deleted", "ObjectRemoved", "LifecycleExpiration")


@dataclass(frozen=True, slots=True)
class TouchedObject:
    """An object in an event.

    Attributes:
        bucket: Its bucket.
        key: Its key, decoded.
        removed: The event says that it was removed.
    """

    bucket: str
    key: str
    removed: bool = False


def touched_by(body: str, deployment: Deployment) -> Iterator[list[Recheck]]:
    """Yield, for each object in a message, the rechecks of its series; none if it belongs to none.

    Raises:
        ValueError: The message is no S3 event and not ours, from here on.
    """
    document = json.loads(body)
    if isinstance(document, dict) and "recheck" in document:
        recheck = Recheck.from_document(document["recheck"])
        # A root that has left the deployment since has no indices.
        yield _with_those_above(recheck, deployment) if recheck.root in deployment.roots else []
        return
    for touched in touched_objects(document):
        # Only the store and the listing show which version was removed, and whether anyone has seen it.
        places = list(series_of(touched, deployment))
        if touched.removed:
            roots = {alias for alias, _ in places}
            # An object above the level of series belongs to none.
            places += [place for place in above_series(touched, deployment) if place[0] not in roots]
        yield [Recheck(*place, around=touched.removed) for place in places]


def _with_those_above(recheck: Recheck, deployment: Deployment) -> list[Recheck]:
    """Return a recheck and, if objects are gone, rechecks of the folders above, which have lost them too."""
    if not recheck.removed or recheck.swept or not is_series(recheck.series, deployment):
        return [recheck]
    above = folders_above(recheck.series)
    return [recheck, *(Recheck(recheck.root, folder, removed=True) for folder in above)]


def folders_above(series: str) -> list[str]:
    """Return the folders around a series."""
    parts = series.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def is_series(folder: str, deployment: Deployment) -> bool:
    """Return True where a folder lies at the level of series."""
    return folder.count("/") + 1 == deployment.series_depth


def touched_objects(document: Any) -> Iterator[TouchedObject]:  # noqa: ANN401 - JSON
    """Yield the objects in a message: an S3 notification, or S3's event on EventBridge.

    Raises:
        ValueError: The message is neither.
    """
    try:
        if document.get("Event") == "s3:TestEvent":
            return
        if "detail" in document:
            detail = document["detail"]
            kind = document.get("detail-type", "")
            yield _touched(detail["bucket"]["name"], detail["object"]["key"], kind)
            return
        for record in document["Records"]:
            bucket, key = record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
            yield _touched(bucket, key, record.get("eventName", ""))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("the message is no S3 event") from error


def _touched(bucket: object, key: object, kind: object) -> TouchedObject:
    if not isinstance(bucket, str) or not isinstance(key, str):
        raise TypeError("a bucket and a key are text")
    # EventBridge says `Object Deleted`, a notification `ObjectRemoved:...` or `LifecycleExpiration:...`.
    return TouchedObject(bucket, key, str(kind).startswith(_REMOVALS))


def series_of(touched: TouchedObject, deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Yield the series of an object with their roots' aliases; several if roots overlap."""
    for alias, folders in _folders_of(touched, deployment):
        if len(folders) == deployment.series_depth:
            yield alias, "/".join(folders)


def above_series(touched: TouchedObject, deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Yield the folders above the level of series that contain an object: a request can name one."""
    for alias, folders in _folders_of(touched, deployment):
        if len(folders) < deployment.series_depth:
            yield alias, "/".join(folders)


def _folders_of(touched: TouchedObject, deployment: Deployment) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder around an object, below each root around it."""
    for alias, url in deployment.roots.items():
        root = parse_root(url, deployment.environment)
        prefix = f"{root.prefix}/" if root.prefix else ""
        if root.kind != "s3" or root.place != touched.bucket or not touched.key.startswith(prefix):
            continue
        parts = touched.key.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            if not is_no_series(parts[:depth]):
                yield alias, parts[:depth]
