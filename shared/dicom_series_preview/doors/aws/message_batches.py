"""A batch of messages from SQS: join those about one place, run the work, and answer which ones to retry."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from dicom_series_preview.base.discreet import told
from dicom_series_preview.doors.aws.logs import function_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self

    from dicom_series_preview.doors.aws.guarded import Handler

_LOGGER = logging.getLogger(__name__)


class Work(Protocol):
    """What a message asks for."""

    @property
    def place(self) -> tuple[str, str]:
        """What it is about: it is done once, whoever asks for it."""

    def with_(self, other: Self) -> Self:
        """Join two messages about one place."""


W = TypeVar("W", bound=Work)


@dataclass(slots=True)
class Joined(Generic[W]):
    """The work that messages ask for.

    Attributes:
        works: The work for each place.
        messages_of: The messages that ask for it.
        ignored: Objects of the messages that ask for nothing.
        failed: Messages that cannot be read.
    """

    works: dict[tuple[str, str], W] = field(default_factory=dict)
    messages_of: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    ignored: int = 0
    failed: set[str] = field(default_factory=set)


def joined(messages: Mapping[str, str], read: Callable[[str], Iterator[Sequence[W]]]) -> Joined[W]:
    """Join the work that messages ask for, each place once.

    Args:
        messages: The messages' bodies, by identifier.
        read: Yields what each object of a message asks for; raises ValueError where it is none of ours.
    """
    found: Joined[W] = Joined()
    for identifier, body in messages.items():
        try:
            for works in read(body):
                found.ignored += not works
                for work in works:
                    place = work.place
                    found.works[place] = found.works[place].with_(work) if place in found.works else work
                    found.messages_of.setdefault(place, set()).add(identifier)
        except (ValueError, RecursionError) as error:
            _LOGGER.error("a message is no S3 event and goes to the dead-letter queue: %s", told(error))  # noqa: TRY400
            found.failed.add(identifier)
    return found


@dataclass(slots=True)
class BatchSummary:
    """The result of a batch of messages.

    Attributes:
        failed_messages: Messages to retry.
        failures: The number of failures by kind of error.
    """

    failed_messages: set[str] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)

    def response(self) -> dict[str, Any]:
        """Return the partial batch response for SQS."""
        return {
            "batchItemFailures": [{"itemIdentifier": message} for message in sorted(self.failed_messages)]
        }


S = TypeVar("S", bound=BatchSummary)


def batch_handler(
    prepare: Callable[[], Callable[[Mapping[str, str], Callable[[], float]], S]],
    counts_of: Callable[[S], dict[str, int]],
    said: str,
    prefix: str = "",
) -> Handler:
    """Return the Lambda handler of a queue: its partial batch response names the messages to retry.

    Args:
        prepare: Returns the function that does the work, given the messages' bodies by identifier, and a
            function that returns the seconds left.
        counts_of: Returns what a summary counts, by metric.
        said: The log line after a batch.
        prefix: Begins the names of the metrics that count messages.
    """
    logger, metrics = function_logger(), Metrics()
    run = prepare()

    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
        messages = {record["messageId"]: record["body"] for record in event["Records"]}

        def time_left_s() -> float:
            return float(context.get_remaining_time_in_millis()) / 1000

        summary = run(messages, time_left_s)
        counts = {
            f"{prefix}Messages": len(messages),
            f"{prefix}FailedMessages": len(summary.failed_messages),
            **counts_of(summary),
            **{f"Failed{kind}": count for kind, count in summary.failures.items()},
        }
        logger.info(said, counts=counts)
        for name, value in counts.items():
            metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
        return summary.response()

    return cast("Handler", handler)
