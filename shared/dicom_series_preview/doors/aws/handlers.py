"""The Lambda handlers, one per event, made when their function starts.

A function imports only what its own event needs: the others' imports would slow every cold start.
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
    """Return the handler of `GET /series/{series}/RESOURCE`; `index` adds `/health` and `/openapi.json`.

    `series` has the routes of the catalogue: `/series`, `/series/{series}`, `/series/{series}/volumes` and
    `/studies/{study}`.

    Args:
        resource: The resource, spelled as in the path or, with underscores, as its function's folder.
    """
    _check_processor()
    from dicom_series_preview.doors.aws.http_door import handler_of  # noqa: PLC0415 - see the module

    return guarded(lambda: handler_of(resource.replace("_", "-")))


def sqs_handler() -> Handler:
    """Return the handler of S3 events through SQS, which update the indices of their series."""
    _check_processor()
    from dicom_series_preview.doors.aws.sqs_door import handler_of  # noqa: PLC0415 - see the module

    return guarded(handler_of)


def batch_api_handler() -> Handler:
    """Return the handler of `POST /batches`, and of `GET` and `DELETE /batches/{id}`."""
    _check_processor()
    from dicom_series_preview.doors.aws.batch_door import api_handler  # noqa: PLC0415 - see the module

    return guarded(api_handler)


def batch_prepare_handler() -> Handler:
    """Return the handler of a batch's first step."""
    _check_processor()
    from dicom_series_preview.doors.aws.batch_door import prepare_handler  # noqa: PLC0415 - see the module

    return guarded(prepare_handler)


def batch_item_handler() -> Handler:
    """Return the handler of a batch's step for one series, which previews or converts it."""
    _check_processor()
    from dicom_series_preview.doors.aws.batch_door import item_handler  # noqa: PLC0415 - see the module

    return guarded(item_handler)


def batch_summary_handler() -> Handler:
    """Return the handler of a batch's last step."""
    _check_processor()
    from dicom_series_preview.doors.aws.batch_door import summary_handler  # noqa: PLC0415 - see the module

    return guarded(summary_handler)


def catalogue_fold_handler() -> Handler:
    """Return the handler of S3's notifications of indices through SQS, which write the catalogue's rows."""
    _check_processor()
    from dicom_series_preview.doors.aws.catalogue_door import fold_handler  # noqa: PLC0415 - see the module

    return guarded(fold_handler)


def catalogue_maintenance_handler() -> Handler:
    """Return the handler of the daily schedule, which joins the files of the catalogue's table."""
    _check_processor()
    from dicom_series_preview.doors.aws.catalogue_door import maintenance_handler  # noqa: PLC0415 - see the module

    return guarded(maintenance_handler)


def _check_processor() -> None:
    """Refuse layers for another processor before one of their libraries fails with its own text.

    Raises:
        RequestError: The layers were built for another processor.
    """
    try:
        # layers/dependencies/build.mk writes it; without a layer it is missing.
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
