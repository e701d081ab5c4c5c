"""The Lambda handlers that write the catalogue: for S3's notifications of indices, and once a day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from dicom_series_preview.archive.catalogue.columns import Shape
from dicom_series_preview.archive.catalogue.snapshot import SnapshotReader
from dicom_series_preview.archive.catalogue.table import CatalogueTable
from dicom_series_preview.doors.aws.catalogue import fold
from dicom_series_preview.doors.aws.environment import CATALOGUE_QUEUE_VARIABLE, deployment
from dicom_series_preview.doors.aws.logs import function_logger
from dicom_series_preview.doors.aws.message_batches import batch_handler
from dicom_series_preview.doors.aws.rechecks import SqsQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicom_series_preview.doors.aws.catalogue import FoldSummary
    from dicom_series_preview.doors.aws.environment import Deployment
    from dicom_series_preview.doors.aws.guarded import Handler


def fold_handler() -> Handler:
    """Return the handler of S3's notifications through SQS: its response names the messages to retry."""

    def prepare() -> Callable[[Mapping[str, str], Callable[[], float]], FoldSummary]:
        deployed = deployment()
        table = _table(deployed)
        queue = SqsQueue(deployed.environment[CATALOGUE_QUEUE_VARIABLE])
        return lambda messages, time_left_s: fold(messages, deployed, table, time_left_s, queue)

    return batch_handler(prepare, _counts, "indices catalogued", "Catalogue")


def _counts(summary: FoldSummary) -> dict[str, int]:
    return {
        "CatalogueIndices": summary.indices,
        "CatalogueGone": summary.gone,
        "CatalogueProblems": summary.problems,
        "CatalogueUnfinished": summary.unfinished,
        "CataloguePostponed": summary.postponed,
        "CatalogueFailed": summary.failed,
        "CatalogueIgnored": summary.ignored,
        "RowsAdded": summary.added,
        "RowsChanged": summary.changed,
        "RowsRemoved": summary.removed,
        "RowsJoined": summary.joined,
        "CatalogueTries": summary.tries,
    }


def maintenance_handler() -> Handler:
    """Return the handler of the daily schedule: it joins the table's files, and removes old ones."""
    logger, metrics = function_logger(), Metrics()
    table = _table(deployment())

    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(_event: dict[str, Any], _context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
        table.maintain()
        files = SnapshotReader(table.storage).snapshot().files.values()
        counts = {"CatalogueFiles": len(files), "CatalogueBytes": sum(int(file["size"]) for file in files)}
        logger.info("catalogue maintained", counts=counts)
        metrics.add_metric(name="CatalogueFiles", unit=MetricUnit.Count, value=counts["CatalogueFiles"])
        metrics.add_metric(name="CatalogueBytes", unit=MetricUnit.Bytes, value=counts["CatalogueBytes"])
        return counts

    return cast("Handler", handler)


def _table(deployed: Deployment) -> CatalogueTable:
    """Open the catalogue's table, with the site's columns.

    Raises:
        RequestError: The site's columns are set up wrong.
    """
    return CatalogueTable(deployed.storage(deployed.data), Shape.from_environment(deployed.environment))
