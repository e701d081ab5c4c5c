"""What logs may tell: neither names of folders, objects and buckets nor what stands in a header.

A folder may bear a patient's name, and the text of an exception may hold anything. On the user's own terminal
an error names what they typed; logs, which others read later, have digests, types and places in the code.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import PreviewError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGGER = logging.getLogger(__name__)

# They log addresses of objects, hosts that buckets are part of, and values of headers.
_LIBRARIES = ("urllib3", "botocore", "boto3", "pydicom", "PIL")


def digest_of(series: str) -> str:
    """What a log calls a series: the same one the same each time."""
    return hashlib.sha256(series.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def told(error: BaseException) -> str:
    """What a log tells of an exception: its type, and the places in the code that it came through."""
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}".rstrip()


@contextmanager
def texts_withheld(but_of: type[PreviewError] | tuple[()] = ()) -> Iterator[None]:
    """Raise on what is raised inside by its type alone, as whoever called logs the text.

    An error of the product keeps its type. What is none is a mistake of ours: it is logged by its places, and
    becomes an exception of the same name.

    Args:
        but_of: Errors that keep their text.

    Raises:
        Exception: As above.
    """
    try:
        yield
    except but_of:
        raise
    except PreviewError as error:
        error.args = (type(error).__name__,)
        raise
    except Exception as error:  # noqa: BLE001 - a mistake of ours may raise anything
        kind = type(error).__name__
        _LOGGER.error("failed unexpectedly: %s", told(error))  # noqa: TRY400 - a trace ends with the text
        raise type(kind, (Exception,), {})(kind) from None


def quiet_libraries() -> None:
    """Let other packages log nothing: what matters of it comes back as an error of ours."""
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
