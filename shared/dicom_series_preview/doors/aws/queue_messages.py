"""A message of the queue of changes -> the series to look at."""

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
    """An object that an event speaks of.

    Attributes:
        bucket: Its bucket.
        key: Its key, decoded.
        removed: The event says that it was removed.
    """

    bucket: str
    key: str
    removed: bool = False


def touched_by(body: str, deployment: Deployment) -> Iterator[list[Recheck]]:
    """For each object that a message speaks of the series it belongs to; none where it belongs to none.

    Raises:
        ValueError: The message is no S3 event and none of ours, from here on.
    """
    document = json.loads(body)
    if isinstance(document, dict) and "recheck" in document:
        recheck = Recheck.from_document(document["recheck"])
        # A root that has gone from the deployment since has no indices to look after.
        yield _with_those_above(recheck, deployment) if recheck.root in deployment.roots else []
        return
    for touched in touched_objects(document):
        # Which version was removed, and whether someone has seen it, only what is kept and listed tells.
        places = list(series_of(touched, deployment))
        if touched.removed:
            roots = {alias for alias, _ in places}
            # An object above where series lie is of no series.
            places += [place for place in above_series(touched, deployment) if place[0] not in roots]
        yield [Recheck(*place, around=touched.removed) for place in places]


def _with_those_above(recheck: Recheck, deployment: Deployment) -> list[Recheck]:
    """A recheck and, where objects of a series are gone, the folders above it: they have lost them too."""
    if not recheck.removed or recheck.swept or not is_series(recheck.series, deployment):
        return [recheck]
    above = folders_above(recheck.series)
    return [recheck, *(Recheck(recheck.root, folder, removed=True) for folder in above)]


def folders_above(series: str) -> list[str]:
    """The folders that a series lies in."""
    parts = series.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def is_series(folder: str, deployment: Deployment) -> bool:
    """True where a folder lies where series do."""
    return folder.count("/") + 1 == deployment.series_depth


def touched_objects(document: Any) -> Iterator[TouchedObject]:  # noqa: ANN401 - JSON
    """The objects that a message speaks of: an S3 notification, or S3's event on EventBridge.

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
    """The series that an object belongs to, each with its root's alias; several where roots overlap."""
    for alias, folders in _folders_of(touched, deployment):
        if len(folders) == deployment.series_depth:
            yield alias, "/".join(folders)


def above_series(touched: TouchedObject, deployment: Deployment) -> Iterator[tuple[str, str]]:
    """The folders above where series lie that an object lies in too: who asks for one is shown it."""
    for alias, folders in _folders_of(touched, deployment):
        if len(folders) < deployment.series_depth:
            yield alias, "/".join(folders)


def _folders_of(touched: TouchedObject, deployment: Deployment) -> Iterator[tuple[str, list[str]]]:
    """Every folder that an object lies in, below each root that it lies in."""
    for alias, url in deployment.roots.items():
        root = parse_root(url, deployment.environment)
        prefix = f"{root.prefix}/" if root.prefix else ""
        if root.kind != "s3" or root.place != touched.bucket or not touched.key.startswith(prefix):
            continue
        parts = touched.key.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            if not is_no_series(parts[:depth]):
                yield alias, parts[:depth]
