"""The Lambda handler for S3 events through SQS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_series_preview.doors.aws.environment import UPDATES_QUEUE_VARIABLE, deployment
from dicom_series_preview.doors.aws.message_batches import batch_handler
from dicom_series_preview.doors.aws.rechecks import SqsQueue
from dicom_series_preview.doors.aws.updates import update_indices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicom_series_preview.doors.aws.guarded import Handler
    from dicom_series_preview.doors.aws.updates import UpdateSummary


def handler_of() -> Handler:
    """Return the Lambda handler: its partial batch response names the messages to retry."""

    def prepare() -> Callable[[Mapping[str, str], Callable[[], float]], UpdateSummary]:
        deployed = deployment()
        queue = SqsQueue(deployed.environment[UPDATES_QUEUE_VARIABLE])
        return lambda messages, time_left_s: update_indices(messages, deployed, time_left_s, queue)

    return batch_handler(prepare, _counts, "indices updated")


def _counts(summary: UpdateSummary) -> dict[str, int]:
    return {
        "IndicesUpdated": summary.updated,
        "IndicesUnchanged": summary.unchanged,
        "IndicesRemoved": summary.removed,
        "IndicesFailed": summary.failed,
        "SeriesWithoutImage": summary.without_image,
        "SeriesRefused": summary.refused,
        "SeriesBusy": summary.busy,
        "SeriesUnfinished": summary.unfinished,
        "SeriesPostponed": summary.postponed,
        "PicturesErased": summary.erased,
        "ObjectsIgnored": summary.ignored,
    }
