"""S3 events through SQS."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from dicom_series_preview.aws.environment import UPDATES_QUEUE_VARIABLE, deployment
from dicom_series_preview.aws.logs import function_logger
from dicom_series_preview.aws.updates import Recheck, update_indices

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dicom_series_preview.aws import Handler

# What SQS takes in one request.
_ENTRIES = 10


class SqsQueue:
    """The queue that the events come from.

    Args:
        url: Its URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - boto3's
        # Most events need no recheck: its 160 ms are paid for by those that do.
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        # Rechecks are sent when the function's time may be nearly up.
        config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 3})
        return boto3.client("sqs", config=config)

    def send(self, rechecks: Sequence[tuple[Recheck, int]]) -> Collection[Recheck]:
        """`Queue.send`."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

        failed: list[Recheck] = []
        for at in range(0, len(rechecks), _ENTRIES):
            part = rechecks[at : at + _ENTRIES]
            entries = [
                {"Id": str(number), "MessageBody": recheck.body(), "DelaySeconds": delay_s}
                for number, (recheck, delay_s) in enumerate(part)
            ]
            try:
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            except (BotoCoreError, ClientError):
                # The others would wait as long as this one: their messages are handed back.
                return [*failed, *(recheck for recheck, _ in rechecks[at:])]
            failed += [part[int(entry["Id"])][0] for entry in answer.get("Failed", ())]
        return failed


def handler_of() -> Handler:
    """The Lambda handler: a partial batch response names the messages to be tried again."""
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
