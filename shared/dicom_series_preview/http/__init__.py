"""The HTTP API, the same behind API Gateway and on a local server."""

from dicom_series_preview.http.api import DEFAULT_ROOT_ALIAS, PreviewApi, Renders
from dicom_series_preview.http.openapi import openapi_document
from dicom_series_preview.http.problems import problem_response
from dicom_series_preview.http.values import HttpRequest, HttpResponse

__all__ = [
    "DEFAULT_ROOT_ALIAS",
    "HttpRequest",
    "HttpResponse",
    "PreviewApi",
    "Renders",
    "openapi_document",
    "problem_response",
]
