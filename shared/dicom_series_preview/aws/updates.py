"""S3 events -> indices that are up to date.

An event only says which series to look at; what has changed is seen by listing it. So events may come
twice, late, in any order or ten thousand at a time: each touched series is updated once a batch, to what is
there now.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from dicom_series_preview.discreet import told
from dicom_series_preview.errors import NoImageError, PreviewError, SeriesNotFoundError
from dicom_series_preview.names import SeriesName
from dicom_series_preview.requests import IndexRequest
from dicom_series_preview.storage import parse_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dicom_series_preview.aws.environment import Deployment

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TouchedObject:
    """An object that an event speaks of.

    Attributes:
        bucket: Its bucket.
        key: Its key, decoded.
    """

    bucket: str
    key: str


@dataclass(slots=True)
class UpdateSummary:
    """What a batch of events did.

    Attributes:
        failed_messages: Messages to be tried again.
        updated: Series whose index was built or updated.
        unchanged: Series whose index was up to date.
        removed: Series that are gone, and their indices with them.
        failed: Series that could not be updated.
        ignored: Objects that belong to no root or no series.
        failures: By kind of error, how many series failed so.
    """

    failed_messages: set[str] = field(default_factory=set)
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0
    ignored: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def response(self) -> dict[str, Any]:
        """The partial batch response that SQS expects."""
        return {
            "batchItemFailures": [{"itemIdentifier": message} for message in sorted(self.failed_messages)]
        }


def touched_objects(body: str) -> Iterator[TouchedObject]:
    """The objects that a message speaks of: an S3 notification, or S3's event on EventBridge.

    Raises:
        ValueError: The message is neither.
    """
    try:
        document = json.loads(body)
        if document.get("Event") == "s3:TestEvent":
            return
        if "detail" in document:
            detail = document["detail"]
            yield _touched(detail["bucket"]["name"], detail["object"]["key"])
            return
        for record in document["Records"]:
            yield _touched(record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("the message is no S3 event") from error


def _touched(bucket: object, key: object) -> TouchedObject:
    if not isinstance(bucket, str) or not isinstance(key, str):
        raise TypeError("a bucket and a key are text")
    return TouchedObject(bucket, key)


def series_of(touched: TouchedObject, deployment: Deployment) -> Iterator[tuple[str, str]]:
    """The series that an object belongs to, each with its root's alias; several where roots overlap."""
    for alias, url in deployment.roots.items():
        root = parse_root(url, deployment.environment)
        prefix = f"{root.prefix}/" if root.prefix else ""
        if root.kind != "s3" or root.place != touched.bucket or not touched.key.startswith(prefix):
            continue
        folders, below = _split(touched.key.removeprefix(prefix), deployment.series_depth)
        # A key may have empty parts; no series has, and the root as a whole is none.
        if below and not {"", ".", ".."}.intersection(folders):
            yield alias, "/".join(folders)


def _split(key: str, depth: int) -> tuple[list[str], list[str]]:
    parts = key.split("/")
    return parts[:depth], parts[depth:]


def update_indices(messages: Mapping[str, str], deployment: Deployment) -> UpdateSummary:
    """Bring the index of every series that the messages touch up to date, each once.

    Args:
        messages: By message identifier, the message's body.
        deployment: Where the roots and indices are.

    Returns:
        What was done; the messages of a series that failed are to be tried again.
    """
    summary = UpdateSummary()
    messages_of: dict[tuple[str, str], set[str]] = {}
    for identifier, body in messages.items():
        try:
            for touched in touched_objects(body):
                places = list(series_of(touched, deployment))
                for place in places:
                    messages_of.setdefault(place, set()).add(identifier)
                summary.ignored += not places
        except ValueError as error:
            _LOGGER.error("a message is no S3 event and goes to the dead-letter queue: %s", told(error))  # noqa: TRY400
            summary.failed_messages.add(identifier)
    for (alias, series), identifiers in messages_of.items():
        try:
            _update(alias, series, deployment, summary)
        except PreviewError as error:
            _LOGGER.warning("an index cannot be updated: %s", type(error).__name__)
            summary.failed += 1
            summary.failures[type(error).__name__] += 1
            summary.failed_messages |= identifiers
    return summary


def _update(alias: str, series: str, deployment: Deployment, summary: UpdateSummary) -> None:
    # No claim: an update must not be turned away, and the conditional write keeps it apart from others.
    service = replace(deployment.service(alias), single_flight=False)
    try:
        opened = service.index(IndexRequest(SeriesName(series)))
    except (SeriesNotFoundError, NoImageError):
        # The series is gone, or nothing in it is DICOM yet: an index would tell of what is not there.
        service.forget(series)
        summary.removed += 1
        return
    if opened.source == "cache":
        summary.unchanged += 1
    else:
        summary.updated += 1
