"""The Lambda handlers: each event's own, made when its function starts.

A function imports only what its own event needs: the others' imports would be paid for at every cold start.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.doors.aws.guarded import guarded

if TYPE_CHECKING:
    from dicom_series_preview.doors.aws.guarded import Handler


def http_handler(resource: str) -> Handler:
    """`GET /series/{series}/RESOURCE`; with `index` come `/health` and `/openapi.json`.

    Args:
        resource: The resource, as the path has it or as its function's folder does, with underscores.
    """
    _check_processor()
    from dicom_series_preview.doors.aws.http_door import handler_of  # noqa: PLC0415 - see the module

    return guarded(lambda: handler_of(resource.replace("_", "-")))


def sqs_handler() -> Handler:
    """S3 events through SQS: the indices of the series that they touch."""
    _check_processor()
    from dicom_series_preview.doors.aws.sqs_door import handler_of  # noqa: PLC0415 - see the module

    return guarded(handler_of)


def batch_api_handler() -> Handler:
    """`POST /batches`, and `GET` and `DELETE /batches/{id}`."""
    _check_processor()
    from dicom_series_preview.doors.aws.batch_door import api_handler  # noqa: PLC0415 - see the module

    return guarded(api_handler)


def batch_prepare_handler() -> Handler:
    """A batch's first step."""
    _check_processor()
    from dicom_series_preview.doors.aws.batch_door import prepare_handler  # noqa: PLC0415 - see the module

    return guarded(prepare_handler)


def batch_item_handler() -> Handler:
    """A batch's step for one series."""
    _check_processor()
    from dicom_series_preview.doors.aws.batch_door import item_handler  # noqa: PLC0415 - see the module

    return guarded(item_handler)


def batch_summary_handler() -> Handler:
    """A batch's last step."""
    _check_processor()
    from dicom_series_preview.doors.aws.batch_door import summary_handler  # noqa: PLC0415 - see the module

    return guarded(summary_handler)


def _check_processor() -> None:
    """Refuse layers of another processor before the first of their libraries fails with a text of its own.

    Raises:
        RequestError: The layers were built for another processor than this is.
    """
    try:
        # layers/dependencies/build.mk writes it; where there is no layer, there is none.
        built_for = importlib.import_module("dicom_series_preview_built_for").MACHINE
    except ModuleNotFoundError:
        return
    machine = os.uname().machine
    if built_for != machine:
        raise RequestError(
            "Architecture",
            f"the layers were built for {built_for} and the function runs on {machine}; build and deploy "
            "with the same Architecture",
        )
