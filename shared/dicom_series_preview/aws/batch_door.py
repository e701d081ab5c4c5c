"""The batch API, and the tasks of its state machine."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import boto3
from aws_lambda_powertools import Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import ClientError

from dicom_series_preview.aws import batch as batches
from dicom_series_preview.aws.environment import BATCH_STATE_MACHINE_VARIABLE, deployment
from dicom_series_preview.aws.logs import function_logger
from dicom_series_preview.errors import PreviewError, RequestError
from dicom_series_preview.http import HttpResponse, problem_response
from dicom_series_preview.http.problems import NO_SUCH_BATCH, plain_response
from dicom_series_preview.http.routes import answer_mistakes, as_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.event_handler import Response

    from dicom_series_preview.aws import Handler

_BODY_LIMIT_BYTES = 256 * 1024


def api_handler() -> Handler:
    """`POST /batches` starts one; `GET /batches/{id}` says how it stands."""
    app = APIGatewayHttpResolver()
    answer_mistakes(app)
    logger = function_logger()
    deployed = deployment()
    machine = os.environ[BATCH_STATE_MACHINE_VARIABLE]
    client = boto3.client("stepfunctions")

    def answer(produce: Callable[[], HttpResponse]) -> Response[Any]:
        try:
            return as_response(produce())
        except PreviewError as error:
            return as_response(problem_response(error))

    @app.post("/batches")
    def start() -> Response[Any]:
        return answer(submit)

    @app.get("/batches/<batch>")
    def status(batch: str) -> Response[Any]:
        return answer(lambda: _status(batches.check_batch_id(batch), machine, client))

    def submit() -> HttpResponse:
        if len(app.current_event.body or "") > _BODY_LIMIT_BYTES:
            raise RequestError("body", f"is longer than {_BODY_LIMIT_BYTES} characters; use a manifest")
        try:
            # API Gateway encodes a body that does not say that it is JSON.
            document = json.loads(app.current_event.decoded_body or "")
        except (ValueError, RecursionError) as error:
            raise RequestError("body", "is no JSON") from error
        batch = str(uuid.uuid4())
        batches.submit(batch, document, deployed)
        client.start_execution(stateMachineArn=machine, name=batch, input=json.dumps({"batch": batch}))
        logger.info("batch started", batch=batch)
        location = f"/batches/{batch}"
        return HttpResponse.of_json(
            {"batch": batch, "status": "RUNNING", "location": location}, status=202, Location=location
        )

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
        response = app.resolve(event, context)
        logger.info("answered", status=response["statusCode"])
        return response

    return handler


def _status(batch: str, machine: str, client: Any) -> HttpResponse:  # noqa: ANN401 - boto3's client
    """How a batch stands: its execution's status, and its summary once there is one."""
    arn = f"{machine.replace(':stateMachine:', ':execution:')}:{batch}"
    try:
        execution = client.describe_execution(executionArn=arn)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ExecutionDoesNotExist", "InvalidArn"):
            return plain_response(NO_SUCH_BATCH)
        raise
    document = {
        "batch": batch,
        "status": execution["status"],
        "summary": batches.read_summary(batch, deployment()),
    }
    return HttpResponse.of_json(document, Cache_Control="no-store")


@contextmanager
def _failures_told(logger: Logger, batch: str) -> Iterator[None]:
    """Log a failure, and let Lambda log of it the type that retries go by, and no name of a series."""
    try:
        yield
    except PreviewError as error:
        kind = type(error).__name__
        logger.warning("a step failed", batch=batch, error=kind)
        error.args = (kind,)
        raise


def prepare_handler() -> Handler:
    """`{"batch": ID}` -> `{"key", "count"}`."""
    deployed = deployment()
    logger = function_logger()

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401, ARG001 - Lambda's
        with _failures_told(logger, event["batch"]):
            prepared = batches.prepare(event["batch"], deployed)
        logger.info("batch prepared", batch=event["batch"], series=prepared["count"])
        return prepared

    return handler


def item_handler() -> Handler:
    """`{"batch": ID, "item": ITEM}` -> the series' outcome."""
    deployed = deployment()
    logger, metrics = function_logger(), Metrics()

    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401, ARG001 - Lambda's
        try:
            with _failures_told(logger, event["batch"]):
                outcome = batches.run_item(event["batch"], event["item"], deployed)
        except PreviewError as error:
            metrics.add_metric(name=f"Failed{type(error).__name__}", unit=MetricUnit.Count, value=1)
            raise
        metrics.add_metric(name="SeriesDone", unit=MetricUnit.Count, value=1)
        metrics.add_metric(name="StorageRequests", unit=MetricUnit.Count, value=outcome["requests"])
        metrics.add_metric(name="StorageBytes", unit=MetricUnit.Bytes, value=outcome["bytes"])
        return outcome

    return cast("Handler", handler)


def summary_handler() -> Handler:
    """The whole state -> the batch's summary."""
    deployed = deployment()
    logger = function_logger()

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401, ARG001 - Lambda's
        error = event.get("error")
        with _failures_told(logger, event["batch"]):
            summary = batches.summarise(event["batch"], deployed, error["Error"] if error else None)
        counts = {"ok": summary.ok, "failed": summary.failed, "missing": summary.missing}
        logger.info("batch summed up", batch=summary.batch, counts=counts)
        return asdict(summary)

    return handler
