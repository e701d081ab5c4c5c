"""A wrapper for Lambda handlers: their failures reveal only a type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from dicom_series_preview.base.discreet import texts_withheld
from dicom_series_preview.base.errors import RequestError

Handler: TypeAlias = Callable[[dict[str, Any], Any], dict[str, Any]]
"""Takes an event and Lambda's context, and returns the answer."""


def guarded(make: Callable[[], Handler]) -> Handler:
    """Wrap a handler: Lambda, its callers and both logs learn only the type of a failure.

    Args:
        make: Makes the handler. An error in its environment keeps its text: that names only the variable.
    """
    with texts_withheld(but_of=RequestError):
        handler = make()

    def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
        with texts_withheld():
            return handler(event, context)

    return answer
