"""Our own messages in the queue of changes: a series to look at again, and whether objects of it are gone.

Whoever sees that an object has gone says so here before the index forgets it, so that one place, `updates`,
erases what shows the object, whoever saw it first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import SeriesNameError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# What SQS takes in one request.
_ENTRIES = 10


@dataclass(frozen=True, slots=True)
class Recheck:
    """A series to look at, as our own messages tell it.

    Attributes:
        root: The alias of its root.
        series: Its folder below the root.
        removed: Objects of it are gone: its pictures go.
        swept: They have gone once; what requests under way have kept since goes now.
        seconds: How long its headers have taken so far.
        around: Objects of it may be gone: it is compared with what is there, and so are the folders above and
            below it; nothing goes that is right.
    """

    root: str
    series: str
    removed: bool = False
    swept: bool = False
    seconds: float = 0.0
    around: bool = False

    def body(self) -> str:
        """The message."""
        names = ("root", "series", "removed", "swept", "seconds", "around")
        return json.dumps({"recheck": {name: getattr(self, name) for name in names}})

    @classmethod
    def from_document(cls, document: Any) -> Recheck:  # noqa: ANN401 - JSON
        """Read a message.

        Raises:
            ValueError: It is none of ours.
        """
        try:
            recheck = cls(**document)
            fits = [isinstance(text, str) for text in (recheck.root, recheck.series)]
            flags = recheck.removed, recheck.swept, recheck.around
            fits += [isinstance(flag, bool) for flag in flags]
            fits += [isinstance(recheck.seconds, int | float), not is_no_series(recheck.series.split("/"))]
        except (TypeError, AttributeError) as error:
            raise ValueError("the message is no recheck") from error
        if not all(fits):
            raise ValueError("the message is no recheck")
        return recheck

    def with_(self, other: Recheck) -> Recheck:
        """Join two messages about one series."""
        swept = [one.swept for one in (self, other) if one.removed or one.around]
        return replace(
            self,
            removed=self.removed or other.removed,
            # A removal that has not been swept yet wins.
            swept=bool(swept) and all(swept),
            seconds=max(self.seconds, other.seconds),
            around=self.around or other.around,
        )


class Queue(Protocol):
    """The queue that rechecks are sent to."""

    def send(self, rechecks: Sequence[tuple[Recheck, int]]) -> Collection[Recheck]:
        """Send rechecks, each to come after some seconds; those that could not be sent are returned."""


def send_all(queue: Queue, rechecks: Sequence[tuple[Recheck, int]]) -> None:
    """Send rechecks that must not be lost, before what they tell of is forgotten.

    Raises:
        StorageUnavailableError: The queue does not take one of them.
    """
    if rechecks and queue.send(rechecks):
        raise StorageUnavailableError("the queue of changes", "does not take a message; try again")


def is_no_series(folders: Sequence[str]) -> bool:
    """True where folders, one below the other, can be no series' name: nobody can ask for such a one."""
    try:
        SeriesName.parse("/".join(folders))
    except SeriesNameError:
        return True
    # A key may have empty parts.
    return "" in folders


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
