"""Every error of the product.

::

    PreviewError
    ├── RequestError                  a parameter is wrong
    │   ├── CombinedRequestError             several are
    │   ├── NotAcceptableError        no format of the answer is acceptable
    │   ├── SeriesNameError           the name of a series cannot be one
    │   └── LimitError                more was asked for than a limit allows
    ├── StorageError                  a storage root or an object of it
    │   ├── ObjectNotFoundError       (a FileNotFoundError)
    │   ├── AccessDeniedError         (a PermissionError)
    │   │   └── CredentialsError      the credentials themselves are refused
    │   ├── ObjectChangedError        another version than the one the index describes
    │   └── StorageUnavailableError   throttled, timed out or broken, after every retry
    ├── CatalogueError                the catalogue of series
    │   ├── NoCatalogueError          nothing has been catalogued yet
    │   ├── CatalogueBusyError        others kept writing it
    │   └── ExpiredCursorError        of a version that is there no more
    ├── StudyNotFoundError
    ├── SeriesError                   a series as a whole
    │   ├── SeriesNotFoundError
    │   ├── NoImageError              nothing in it can be shown
    │   ├── UndecodableError          its images are there, and none that was chosen can be decoded
    │   └── IndexBusyError            its index is being built by someone else
    ├── ObjectError                   one object of a series
    │   ├── NotDicomError
    │   ├── HeaderError               DICOM, but its header is broken or cut off
    │   └── DecodeError               its pixels cannot be decoded
    │       └── UnsupportedTransferSyntaxError
    ├── OutputError                   a result cannot be written
    └── AbandonedError                nobody waits for the answer any more

Each carries its facts as fields and builds its one-line message from them; callers look at the type
and the fields, never at the text. No message holds a value read from a DICOM header other than UIDs,
and the numbers and codes of a stack's dimensions, such as echo times.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

# A parameter's name in a message: each door writes it in its own way.
_PARAMETER = re.compile("`([a-z_]+)`")
_SHOWN = 60
# The command line takes these without their names.
_ARGUMENTS = {"series", "output", "sql"}


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 slice, 2 slices."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def cut(text: str) -> str:
    """Shorten a caller's text for a message, to the length that still identifies it."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def quoted(text: str) -> str:
    """Shorten a caller's text likewise, and put it in quotes on one line."""
    return repr(cut(text))


def _plain(text: str) -> str:
    """Write a message's parameters as Python and HTTP do: image_width."""
    return _PARAMETER.sub(r"\1", text)


def _option(parameter: str) -> str:
    """Write a parameter as the command line does: --image-width; an environment variable stays as it is."""
    if parameter.isupper() or parameter in _ARGUMENTS:
        return parameter
    return f"--{parameter.replace('_', '-')}"


def _typed(text: str) -> str:
    """Write a message's parameters as the command line does: --image-width."""
    return _PARAMETER.sub(lambda found: _option(found[1]), text)


class Advice(str):
    """A warning that names parameters, as Python and HTTP write them.

    Attributes:
        at_command_line: The warning, with parameters as the command line writes them.
    """

    __slots__ = ("at_command_line",)
    at_command_line: str

    def __new__(cls, text: str) -> Self:
        """Write a warning whose parameters stand in backticks."""
        advice = super().__new__(cls, _plain(text))
        advice.at_command_line = _typed(text)
        return advice


class PreviewError(Exception):
    """Anything this product refuses or fails to do, in one line."""

    @property
    def at_command_line(self) -> str:
        """The line, with parameters as the command line writes them."""
        return str(self)


class RequestError(PreviewError):
    """A parameter has a value that is not allowed.

    Attributes:
        parameter: The parameter's name, in snake_case, or an environment variable's.
        problem: What is wrong, with the valid range or an example. Other parameters stand in backticks.
    """

    def __init__(self, parameter: str, problem: str) -> None:
        self.parameter = parameter
        self.problem = _plain(problem)
        self._typed = f"{_option(parameter)}: {_typed(problem)}"
        super().__init__(f"{parameter}: {self.problem}")

    @property
    def at_command_line(self) -> str:
        """`PreviewError.at_command_line`."""
        return self._typed


class CombinedRequestError(RequestError):
    """Several parameters are wrong.

    Attributes:
        errors: One per parameter.
    """

    def __init__(self, errors: tuple[RequestError, ...]) -> None:
        self.errors = errors
        super().__init__(errors[0].parameter, errors[0].problem)
        self.args = ("; ".join(str(error) for error in errors),)
        self._typed = "; ".join(error.at_command_line for error in errors)


class SeriesNameError(RequestError):
    """The name of a series is refused before any storage is touched."""

    def __init__(self, problem: str) -> None:
        super().__init__("series", problem)


class NotAcceptableError(RequestError):
    """The caller accepts none of the formats that the answer can have."""


class LimitError(RequestError):
    """More was asked for than a limit allows."""


class StorageError(PreviewError):
    """A storage root, or one object of it, cannot be read or written.

    Attributes:
        url: The root or object, without credentials.
        problem: What happened.
    """

    def __init__(self, url: str, problem: str) -> None:
        self.url = url
        self.problem = problem
        super().__init__(f"{url}: {problem}")


class ObjectNotFoundError(StorageError, FileNotFoundError):
    """The object does not exist."""

    def __init__(self, url: str, problem: str = "not found") -> None:
        super().__init__(url, problem)


class AccessDeniedError(StorageError, PermissionError):
    """The storage refuses the request: 401, 403, or a file system's permissions."""

    def __init__(
        self, url: str, problem: str = "access denied; check the credentials and permissions"
    ) -> None:
        super().__init__(url, problem)


class CredentialsError(AccessDeniedError):
    """The credentials have expired or are unknown, or the clock is wrong: they open nothing."""


class ObjectChangedError(StorageError):
    """The object has another version than the caller asked for."""

    def __init__(self, url: str, problem: str = "changed since it was indexed") -> None:
        super().__init__(url, problem)


class StorageUnavailableError(StorageError):
    """Throttling, server errors, timeouts or broken connections outlasted every retry."""


class CatalogueError(PreviewError):
    """The catalogue of series cannot be read or written.

    Attributes:
        url: The catalogue's place, without credentials.
        problem: What happened.
    """

    def __init__(self, url: str, problem: str) -> None:
        self.url = url
        self.problem = problem
        super().__init__(f"{url}: {problem}")


class NoCatalogueError(CatalogueError):
    """Nothing has been catalogued there yet."""

    def __init__(self, url: str) -> None:
        super().__init__(
            url, "there is no catalogue yet; `dicom-series-preview update --root FOLDER` makes one"
        )


class CatalogueBusyError(CatalogueError):
    """Others kept writing the catalogue until the last try."""


class ExpiredCursorError(CatalogueError):
    """The version of the catalogue whose pages someone reads is there no more."""

    def __init__(self, url: str) -> None:
        super().__init__(
            url, "the catalogue has changed since this cursor's first page; ask again without the cursor"
        )


class StudyNotFoundError(PreviewError):
    """No series of the study is catalogued.

    Attributes:
        study: The study's UID, as asked for.
    """

    def __init__(self, study: str) -> None:
        self.study = study
        super().__init__(f"{cut(study)}: no series of this study is catalogued")


class SeriesError(PreviewError):
    """A series as a whole cannot be shown.

    Attributes:
        series: The series' name.
        root: The storage root that was searched.
        problem: What is wrong; parameters stand in backticks.
    """

    def __init__(self, series: str, root: str, problem: str) -> None:
        self.series = series
        self.root = root
        self.problem = _plain(problem)
        self._typed = f"{series} in {root}: {_typed(problem)}"
        super().__init__(f"{series} in {root}: {self.problem}")

    @property
    def at_command_line(self) -> str:
        """`PreviewError.at_command_line`."""
        return self._typed


class SeriesNotFoundError(SeriesError):
    """No object lies under the series' name."""

    def __init__(self, series: str, root: str, problem: str = "no such series") -> None:
        super().__init__(series, root, problem)


class NoImageError(SeriesError):
    """The series has nothing to show."""


class UndecodableError(SeriesError):
    """The series has images, but none of the chosen ones can be decoded."""


class IndexBusyError(SeriesError):
    """Someone else is building or writing the series' index.

    Attributes:
        retry_after_s: Seconds to wait before asking again, whole.
    """

    def __init__(self, series: str, root: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(series, root, f"its index is being built; try again in {retry_after_s} s")


class ObjectError(PreviewError):
    """One object of a series cannot be used.

    Attributes:
        reason: Why, without the object's name: the caller knows which object it is, and says so.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class NotDicomError(ObjectError):
    """The bytes are not a DICOM object."""


class HeaderError(ObjectError):
    """A DICOM object's header is broken or cut off."""


class DecodeError(ObjectError):
    """A frame's pixels cannot be decoded."""


class UnsupportedTransferSyntaxError(DecodeError):
    """No installed decoder reads the transfer syntax.

    Attributes:
        transfer_syntax_uid: The UID (PS3.6 Annex A).
    """

    def __init__(self, transfer_syntax_uid: str, reason: str) -> None:
        self.transfer_syntax_uid = transfer_syntax_uid
        super().__init__(reason)


class AbandonedError(PreviewError):
    """Nobody waits for the answer any more: the caller has left, or the program stops."""

    def __init__(self) -> None:
        super().__init__("given up: whoever asked has left, or the program stops")


class OutputError(PreviewError):
    """A result cannot be written.

    Attributes:
        path: Its destination.
        problem: What happened.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


def wrong_parameters(error: RequestError) -> tuple[RequestError, ...]:
    """Return one error for each wrong parameter."""
    return error.errors if isinstance(error, CombinedRequestError) else (error,)


def detail_of(error: PreviewError) -> str:
    """Say what is wrong in one line, without the storage's address."""
    if isinstance(error, RequestError):
        # With the query's names, not the command line's.
        return "; ".join(f"{one.parameter}: {one.problem}" for one in wrong_parameters(error))
    if isinstance(error, SeriesError):
        return f"{error.series}: {error.problem}"
    if isinstance(error, StorageError | CatalogueError):
        return error.problem
    return str(error)
