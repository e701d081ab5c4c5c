"""Texts for logs, which name no folder, object or bucket and quote no header.

A folder's name may be a patient's, and the text of an exception may hold anything. On the user's own terminal
an error names what they typed; logs, which others read later, get digests, types and places in the code.
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

# They log object addresses, host names that include buckets, and header values.
_LIBRARIES = ("urllib3", "botocore", "boto3", "pydicom", "PIL")


def digest_of(series: str) -> str:
    """Return the name that logs use for a series: a digest, the same each time."""
    return hashlib.sha256(series.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def told(error: BaseException) -> str:
    """Describe an exception for a log: its type, and the places in the code that it passed through."""
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}".rstrip()


@contextmanager
def texts_withheld(but_of: type[PreviewError] | tuple[()] = ()) -> Iterator[None]:
    """Re-raise errors from inside by type alone: the caller logs their text.

    An error of the product keeps its type. Any other is our bug: its places are logged, and it becomes an
    exception of the same name.

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
    except Exception as error:  # noqa: BLE001 - a bug of ours may raise anything
        kind = type(error).__name__
        _LOGGER.error("failed unexpectedly: %s", told(error))  # noqa: TRY400 - a trace ends with the text
        raise type(kind, (Exception,), {})(kind) from None


def quiet_libraries() -> None:
    """Silence the logs of other packages: what matters comes back as an error of ours."""
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
