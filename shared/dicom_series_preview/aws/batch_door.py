"""The batch API, and the tasks of its state machine."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import ClientError

from dicom_series_preview.aws import batch as batches
from dicom_series_preview.aws.environment import BATCH_STATE_MACHINE_VARIABLE, deployment
from dicom_series_preview.errors import PreviewError, RequestError
from dicom_series_preview.http import HttpResponse, problem_response
from dicom_series_preview.http.problems import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_series_preview.aws import Handler

_BODY_LIMIT_BYTES = 256 * 1024


def api_handler() -> Handler:
    """`POST /batches` starts one; `GET /batches/{id}` says how it stands."""
    app = APIGatewayHttpResolver()
    logger = Logger()
    deployed = deployment()
    machine = os.environ[BATCH_STATE_MACHINE_VARIABLE]
    client = boto3.client("stepfunctions")

    def answer(produce: Callable[[], HttpResponse]) -> Response[str]:
        try:
            response = produce()
        except PreviewError as error:
            response = problem_response(error)
        headers = dict(response.headers)
        media_type = headers.pop("Content-Type")
        return Response(response.status, media_type, response.body.decode(), headers)

    @app.post("/batches")
    def start() -> Response[str]:
        return answer(submit)

    @app.get("/batches/<batch>")
    def status(batch: str) -> Response[str]:
        return answer(lambda: _status(batches.check_batch_id(batch), machine, client))

    def submit() -> HttpResponse:
        body = app.current_event.body or ""
        if len(body) > _BODY_LIMIT_BYTES:
            raise RequestError("body", f"is longer than {_BODY_LIMIT_BYTES} characters; use a manifest")
        try:
            document = json.loads(body)
        except ValueError as error:
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
        return app.resolve(event, context)

    return handler


def _status(batch: str, machine: str, client: Any) -> HttpResponse:  # noqa: ANN401 - boto3's client
    """How a batch stands: its execution's status, and its summary once there is one."""
    arn = f"{machine.replace(':stateMachine:', ':execution:')}:{batch}"
    try:
        execution = client.describe_execution(executionArn=arn)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ExecutionDoesNotExist", "InvalidArn"):
            return unexpected(404, "no-such-batch", "There is no such batch")
        raise
    document = {
        "batch": batch,
        "status": execution["status"],
        "summary": batches.read_summary(batch, deployment()),
    }
    return HttpResponse.of_json(document, Cache_Control="no-store")


def prepare_handler() -> Handler:
    """`{"batch": ID}` -> `{"key", "count"}`."""
    deployed = deployment()

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401, ARG001 - Lambda's
        return batches.prepare(event["batch"], deployed)

    return handler


def item_handler() -> Handler:
    """`{"batch": ID, "item": ITEM}` -> the series' outcome."""
    deployed = deployment()
    metrics = Metrics()

    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401, ARG001 - Lambda's
        try:
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

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401, ARG001 - Lambda's
        error = event.get("error")
        return asdict(batches.summarise(event["batch"], deployed, error["Error"] if error else None))

    return handler
