"""Handle GET /series/{series}/index, /health and /openapi.json."""

from dicom_series_preview.doors.aws.handlers import http_handler

handler = http_handler("index")
