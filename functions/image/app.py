"""Handle GET /series/{series}/image."""

from dicom_series_preview.doors.aws.handlers import http_handler

handler = http_handler("image")
