"""A Lambda handler whose failures tell their type alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from dicom_series_preview.base.discreet import texts_withheld
from dicom_series_preview.base.errors import RequestError

Handler: TypeAlias = Callable[[dict[str, Any], Any], dict[str, Any]]
"""Takes an event and Lambda's context, and returns the answer."""


def guarded(make: Callable[[], Handler]) -> Handler:
    """A handler of whose failures Lambda, its callers and the logs of both learn the type alone.

    Args:
        make: Makes the handler. What is wrong with its environment is told: that names the variable alone.
    """
    with texts_withheld(but_of=RequestError):
        handler = make()

    def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
        with texts_withheld():
            return handler(event, context)

    return answer
