"""Our own messages in the queue of changes: a series to recheck, and whether objects of it are gone.

Any function that notices a vanished object reports it here before the index forgets it, so that one place,
`updates`, erases what shows the object, whoever noticed first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import SeriesNameError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# SQS's limit per request.
_ENTRIES = 10


@dataclass(frozen=True, slots=True)
class Recheck:
    """A series to recheck, as in our own messages.

    Attributes:
        root: The alias of its root.
        series: Its folder below the root.
        removed: Objects of it are gone: erase its pictures.
        swept: They were erased once; erase what requests under way have stored since.
        seconds: The time spent on its headers so far.
        around: Objects of it may be gone: compare it, and the folders above and below it, with what is there;
            erase nothing that is right.
    """

    root: str
    series: str
    removed: bool = False
    swept: bool = False
    seconds: float = 0.0
    around: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """The series, whoever asks to recheck it."""
        return self.root, self.series

    def body(self) -> str:
        """Return the message."""
        names = ("root", "series", "removed", "swept", "seconds", "around")
        return json.dumps({"recheck": {name: getattr(self, name) for name in names}})

    @classmethod
    def from_document(cls, document: Any) -> Recheck:  # noqa: ANN401 - JSON
        """Read a message.

        Raises:
            ValueError: The message is not ours.
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


class Message(Protocol):
    """A message of our own."""

    def body(self) -> str:
        """Return its text."""


_Message = TypeVar("_Message", bound=Message)


class Queue(Protocol):
    """The queue that rechecks are sent to."""

    def send(self, messages: Sequence[tuple[Recheck, int]], /) -> Collection[Recheck]:
        """Send rechecks, each to arrive after some seconds; return those that could not be sent."""


def send_all(queue: Queue, rechecks: Sequence[tuple[Recheck, int]]) -> None:
    """Send rechecks that must not be lost, before their reason is forgotten.

    Raises:
        StorageUnavailableError: The queue refuses one of them.
    """
    if rechecks and queue.send(rechecks):
        raise StorageUnavailableError("the queue of changes", "does not take a message; try again")


def is_no_series(folders: Sequence[str]) -> bool:
    """Return True where nested folders cannot be a series' name: nobody can request such a series."""
    try:
        SeriesName.parse("/".join(folders))
    except SeriesNameError:
        return True
    # A key can have empty parts.
    return "" in folders


class SqsQueue:
    """A queue of events, in SQS.

    Args:
        url: Its URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - boto3's
        import boto3  # noqa: PLC0415 - 160 ms, and most events need no recheck
        from botocore.config import Config  # noqa: PLC0415 - likewise

        # Rechecks are often sent when the function's time is nearly up.
        config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 3})
        return boto3.client("sqs", config=config)

    def send(self, messages: Sequence[tuple[_Message, int]]) -> Collection[_Message]:
        """Send messages of our own; see `Queue.send`."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - likewise

        failed: list[_Message] = []
        for at in range(0, len(messages), _ENTRIES):
            part = messages[at : at + _ENTRIES]
            entries = [
                {"Id": str(number), "MessageBody": message.body(), "DelaySeconds": delay_s}
                for number, (message, delay_s) in enumerate(part)
            ]
            try:
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            except (BotoCoreError, ClientError):
                # The others would wait as long as this one: hand back their messages.
                return [*failed, *(message for message, _ in messages[at:])]
            failed += [part[int(entry["Id"])][0] for entry in answer.get("Failed", ())]
        return failed
