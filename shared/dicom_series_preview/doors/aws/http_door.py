"""The Lambda handler for API Gateway's HTTP API, payload 2.0."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, quote

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.metrics import MetricUnit

from dicom_series_preview.base.discreet import digest_of
from dicom_series_preview.doors.aws.environment import deployment
from dicom_series_preview.doors.aws.head import answered
from dicom_series_preview.doors.aws.logs import function_logger
from dicom_series_preview.web.http.messages import HttpRequest
from dicom_series_preview.web.http.routes import register

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

    from dicom_series_preview.doors.aws.guarded import Handler

_TRACING_VARIABLE = "PREVIEW_TRACING"


def handler_of(resource: str) -> Handler:
    """Return the Lambda handler of one resource of a series."""
    app = APIGatewayHttpResolver()
    logger, metrics = function_logger(), Metrics()

    def read(series: str) -> HttpRequest:
        event = app.current_event
        return HttpRequest(
            series=series,
            # The parsed form joins values with commas, which a window like 1500,-500 also has.
            query=parse_qs(event.raw_event.get("rawQueryString", ""), keep_blank_values=True),
            headers={name.lower(): value for name, value in event.headers.items()},
        )

    deployed = deployment()
    register(app, deployed.api(), [resource], read)

    def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
        response = app.resolve(_with_encoded_path(event), context)
        _log_answer(logger, metrics, resource, event, response)
        return response

    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
        logger.append_keys(request_id=getattr(context, "aws_request_id", None))
        return answered(lambda asked: answer(asked, context), event)

    if deployed.environment.get(_TRACING_VARIABLE, "").lower() == "true":
        from aws_lambda_powertools import Tracer  # noqa: PLC0415 - 200 ms that only a traced function pays for

        # Answers hold pictures and indices, which do not belong in traces.
        traced: Handler = Tracer().capture_lambda_handler(
            handler, capture_response=False, capture_error=False
        )
        return traced
    return cast("Handler", handler)


def _with_encoded_path(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event with a path whose series or study is one encoded part, whatever it holds."""
    parameters = event.get("pathParameters") or {}
    if not parameters:
        return event
    # An event that somebody makes for a function of one resource names it in its path alone.
    path = (
        event.get("routeKey", "").partition(" ")[2]
        or f"/series/{{series}}/{event['rawPath'].rpartition('/')[2]}"
    )
    for name, value in parameters.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    http = {**event["requestContext"]["http"], "path": path}
    context = {**event["requestContext"], "http": http, "stage": "$default"}
    return {**event, "rawPath": path, "requestContext": context}


def _log_answer(
    logger: Logger, metrics: Metrics, resource: str, event: dict[str, Any], response: dict[str, Any]
) -> None:
    """Log and count one answer, with the series as a digest and nothing from a header."""
    headers = {name.lower(): value for name, value in (response.get("headers") or {}).items()}
    series = (event.get("pathParameters") or {}).get("series", "")
    status = response["statusCode"]
    requests = headers.get("preview-requests", "")
    counts = dict(part.split("=") for part in requests.split(", ")) if requests else {}
    problem = _problem(headers, response)
    logger.info(
        "answered",
        resource=resource,
        status=status,
        problem=problem,
        series=digest_of(series),
        index=headers.get("preview-index"),
        render=headers.get("preview-render"),
        requests=counts,
        bytes=headers.get("preview-bytes"),
        timing=headers.get("server-timing"),
    )
    metrics.add_dimension(name="resource", value=resource)
    metrics.add_metric(name=f"Status{status // 100}xx", unit=MetricUnit.Count, value=1)
    metrics.add_metric(name="StorageRequests", unit=MetricUnit.Count, value=sum(map(int, counts.values())))
    metrics.add_metric(
        name="StorageBytes", unit=MetricUnit.Bytes, value=int(headers.get("preview-bytes", "0"))
    )
    metrics.add_metric(
        name="IndexHits", unit=MetricUnit.Count, value=int(headers.get("preview-index") == "cache")
    )
    metrics.add_metric(
        name="RenderHits", unit=MetricUnit.Count, value=int(headers.get("preview-render") == "kept")
    )
    if problem is not None:
        failed = "".join(part.capitalize() for part in problem.split("-"))
        metrics.add_metric(name=f"Failed{failed}", unit=MetricUnit.Count, value=1)


def _problem(headers: dict[str, str], response: dict[str, Any]) -> str | None:
    """Return the kind of problem in an answer, or None."""
    if headers.get("content-type") != "application/problem+json":
        return None
    kind: str = json.loads(response["body"])["type"]
    return kind.rpartition(":")[2]
