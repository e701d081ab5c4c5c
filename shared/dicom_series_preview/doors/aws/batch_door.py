"""The batch API, and the tasks of its state machine."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import boto3
from aws_lambda_powertools import Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from dicom_series_preview.base.discreet import digest_of
from dicom_series_preview.base.errors import PreviewError, RequestError
from dicom_series_preview.doors.aws.batch_host import batch_host
from dicom_series_preview.doors.aws.batch_runs import BatchRuns
from dicom_series_preview.doors.aws.environment import BATCH_STATE_MACHINE_VARIABLE, deployment
from dicom_series_preview.doors.aws.head import answered
from dicom_series_preview.doors.aws.logs import function_logger
from dicom_series_preview.products.batches.item import give_up, run_item
from dicom_series_preview.products.batches.prepare import prepare
from dicom_series_preview.products.batches.summary import summarise
from dicom_series_preview.web.http.problems import BATCHES_UNAVAILABLE, plain_response, problem_response
from dicom_series_preview.web.http.routes import answer_mistakes, as_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.event_handler import Response
    from aws_lambda_powertools.utilities.data_classes.common import BaseProxyEvent

    from dicom_series_preview.doors.aws.environment import Deployment
    from dicom_series_preview.doors.aws.guarded import Handler
    from dicom_series_preview.web.http.messages import HttpResponse

_BODY_LIMIT_BYTES = 256 * 1024
# The part of a function's time reserved for writing the outcome when a series is given up.
_TO_SPARE_S = 20
_METRICS = {
    "ok": "SeriesDone",
    "no-preview": "SeriesWithoutPreview",
    "failed": "SeriesFailed",
    "made": "SeriesConverted",
    "exists": "SeriesThere",
    "refused": "SeriesWithoutVolume",
}


def api_handler() -> Handler:
    """Return the handler of `POST /batches`, and of `GET` and `DELETE /batches/{id}`."""
    app = APIGatewayHttpResolver()
    answer_mistakes(app, {"/batches": "POST", "/batches/[^/]+": "GET, HEAD, DELETE"})
    logger = function_logger()
    deployed = deployment()
    machine = deployed.environment[BATCH_STATE_MACHINE_VARIABLE]
    runs = BatchRuns(batch_host(deployed), machine, boto3.client("stepfunctions"), deployed.batches_at_once)

    def answer(produce: Callable[[], HttpResponse]) -> Response[Any]:
        try:
            return as_response(produce())
        except PreviewError as error:
            return as_response(problem_response(error))
        except (BotoCoreError, ClientError) as error:
            logger.warning("Step Functions does not answer", error=type(error).__name__)
            return as_response(plain_response(BATCHES_UNAVAILABLE))

    @app.post("/batches")
    def start() -> Response[Any]:
        return answer(
            lambda: runs.start(_body(app.current_event), app.current_event.headers.get("idempotency-key"))
        )

    @app.get("/batches/<batch>")
    def status(batch: str) -> Response[Any]:
        return answer(lambda: runs.status(batch, app.current_event.query_string_parameters.get("series")))

    @app.delete("/batches/<batch>")
    def cancel(batch: str) -> Response[Any]:
        return answer(lambda: runs.cancel(batch))

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
        response = answered(lambda asked: app.resolve(asked, context), event)
        method = event["requestContext"]["http"]["method"]
        logger.info("answered", method=method, status=response["statusCode"])
        return response

    return handler


def _body(event: BaseProxyEvent) -> Any:  # noqa: ANN401 - a JSON document
    """Parse the JSON document in a request's body.

    Raises:
        RequestError: The body is no JSON, or too long.
    """
    if len(event.body or "") > _BODY_LIMIT_BYTES:
        raise RequestError("body", f"is longer than {_BODY_LIMIT_BYTES} characters; use a manifest")
    try:
        # API Gateway encodes a body that is not declared as JSON.
        return json.loads(event.decoded_body or "")
    except (ValueError, RecursionError) as error:
        raise RequestError("body", "is no JSON") from error


@contextmanager
def _log_failures(logger: Logger, batch: str) -> Iterator[None]:
    """Log a failure, and let Lambda log only its type, which decides retries, and no series name."""
    try:
        yield
    except PreviewError as error:
        kind = type(error).__name__
        logger.warning("a step failed", batch=batch, error=kind)
        error.args = (kind,)
        raise


def prepare_handler(deployed: Deployment | None = None) -> Handler:
    """Return the handler of the first step: `{"batch": ID}` -> `{"key", "count", "kind"}`."""
    logger = function_logger()
    host = batch_host(deployed or deployment())

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401, ARG001 - Lambda's
        with _log_failures(logger, event["batch"]):
            prepared = prepare(event["batch"], host)
        logger.info("batch prepared", batch=event["batch"], series=prepared["count"])
        return prepared

    return handler


def item_handler(deployed: Deployment | None = None) -> Handler:
    """Return the handler of a series: `{"batch": ID, "item": ITEM}` -> its digest and status.

    After the last try, the event also has its `error`. The series' name and the rest of the outcome stay in
    the data bucket, because Step Functions' histories show what is returned.
    """
    logger, metrics = function_logger(), Metrics()
    host = batch_host(deployed or deployment())

    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
        batch, item, error = event["batch"], event["item"], event.get("error")
        try:
            with _log_failures(logger, batch):
                if error is not None:
                    outcome = give_up(batch, item, error["Error"], host)
                else:
                    seconds = context.get_remaining_time_in_millis() / 1000 - _TO_SPARE_S
                    outcome = run_item(batch, item, host, seconds)
        except PreviewError as raised:
            metrics.add_metric(name=f"Failed{type(raised).__name__}", unit=MetricUnit.Count, value=1)
            raise
        metrics.add_metric(name=_METRICS[outcome["status"]], unit=MetricUnit.Count, value=1)
        metrics.add_metric(name="StorageRequests", unit=MetricUnit.Count, value=outcome.get("requests", 0))
        metrics.add_metric(name="StorageBytes", unit=MetricUnit.Bytes, value=outcome.get("bytes", 0))
        return {"series": digest_of(item["series"]), "status": outcome["status"]}

    return cast("Handler", handler)


def summary_handler(deployed: Deployment | None = None) -> Handler:
    """Return the handler of the last step: the state -> the batch's counts, and `error`, its kind or null."""
    logger = function_logger()
    host = batch_host(deployed or deployment())

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401, ARG001 - Lambda's
        error = event.get("error")
        tolerated = event["limits"]["tolerated_failure_percentage"]
        with _log_failures(logger, event["batch"]):
            summary = summarise(event["batch"], host.data, error["Error"] if error else None, tolerated)
        counts = summary.counts
        # Reasons stay in the data bucket: the execution's history shows what is returned.
        kind = summary.error["error"] if summary.error else None
        logger.info("batch summed up", batch=summary.batch, counts=counts, error=kind)
        return {"batch": summary.batch, **counts, "error": kind}

    return handler
