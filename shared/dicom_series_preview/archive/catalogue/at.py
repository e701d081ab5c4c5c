"""Parse a place along an axis of a stack, such as `EchoTime=4.6`."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_series_preview.base.errors import RequestError, quoted

_LONGEST = 128


@dataclass(frozen=True, slots=True)
class At:
    """A place along an axis.

    Attributes:
        axis: The axis as written: its name, an element's keyword, or a short name such as `b`.
        value: The value as written.
    """

    axis: str
    value: str

    def __str__(self) -> str:
        return f"{self.axis}={self.value}"


def parse_at(text: str) -> At:
    """Parse `AXIS=VALUE`.

    Raises:
        RequestError: The text has another form.
    """
    axis, _, value = (part.strip() for part in text.partition("="))
    if not axis or not value or len(text) > _LONGEST or not text.isprintable():
        raise RequestError("at", f"{quoted(text)} is not AXIS=VALUE, such as EchoTime=4.6, b=1000 or time=3")
    return At(axis, value)
