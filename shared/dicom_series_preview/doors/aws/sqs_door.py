"""The Lambda handler for S3 events through SQS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from dicom_series_preview.doors.aws.environment import UPDATES_QUEUE_VARIABLE, deployment
from dicom_series_preview.doors.aws.logs import function_logger
from dicom_series_preview.doors.aws.rechecks import SqsQueue
from dicom_series_preview.doors.aws.updates import update_indices

if TYPE_CHECKING:
    from dicom_series_preview.doors.aws.guarded import Handler


def handler_of() -> Handler:
    """Return the Lambda handler: its partial batch response names the messages to retry."""
    logger, metrics = function_logger(), Metrics()
    deployed = deployment()
    queue = SqsQueue(deployed.environment[UPDATES_QUEUE_VARIABLE])

    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
        messages = {record["messageId"]: record["body"] for record in event["Records"]}

        def time_left_s() -> float:
            return float(context.get_remaining_time_in_millis()) / 1000

        summary = update_indices(messages, deployed, time_left_s, queue)
        counts = {
            "Messages": len(messages),
            "FailedMessages": len(summary.failed_messages),
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
            **{f"Failed{kind}": count for kind, count in summary.failures.items()},
        }
        logger.info("indices updated", counts=counts)
        for name, value in counts.items():
            metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
        return summary.response()

    return cast("Handler", handler)
