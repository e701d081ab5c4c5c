import inspect

import pytest

from dicom_series_preview.base import errors
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    CombinedRequestError,
    DecodeError,
    NoImageError,
    ObjectNotFoundError,
    OutputError,
    PreviewError,
    RequestError,
    SeriesNameError,
    SeriesNotFoundError,
    StorageError,
    UnsupportedTransferSyntaxError,
)

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if value.__module__ == errors.__name__ and issubclass(value, Exception)
]


def test_every_error_is_a_preview_error() -> None:
    """One base class catches all errors of the product."""
    assert PreviewError in CLASSES
    assert all(issubclass(error, PreviewError) for error in CLASSES)


def test_the_tree_at_the_top_is_the_tree() -> None:
    """The module's docstring names every error."""
    assert all(error.__name__ in (errors.__doc__ or "") for error in CLASSES)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RequestError("tile_width", "0 is out of range"), "tile_width: 0 is out of range"),
        (SeriesNameError("the name is empty"), "series: the name is empty"),
        (StorageError("s3://bucket/x", "status 418"), "s3://bucket/x: status 418"),
        (ObjectNotFoundError("s3://bucket/x"), "s3://bucket/x: not found"),
        (SeriesNotFoundError("S", "s3://bucket"), "S in s3://bucket: no such series"),
        (NoImageError("S", "s3://bucket", "nothing"), "S in s3://bucket: nothing"),
        (DecodeError("cut off"), "cut off"),
        (UnsupportedTransferSyntaxError("1.2.3", "no decoder"), "no decoder"),
        (OutputError("a.webp", "no space"), "a.webp: no space"),
    ],
)
def test_message_is_built_from_the_fields(error: PreviewError, text: str) -> None:
    """An error's text is one line: what it is about, and what is wrong."""
    assert str(error) == text


def test_several_request_errors_are_one_line() -> None:
    """Several mistakes are joined in one line, and the first one's fields are those of the whole."""
    first, second = RequestError("start", "is wrong"), RequestError("quality", "is too")
    both = CombinedRequestError((first, second))
    assert str(both) == "start: is wrong; quality: is too"
    assert (both.parameter, both.problem, both.errors) == ("start", "is wrong", (first, second))


def test_builtin_bases() -> None:
    """What Python has a name for can be caught by that name."""
    assert issubclass(ObjectNotFoundError, FileNotFoundError)
    assert issubclass(AccessDeniedError, PermissionError)
