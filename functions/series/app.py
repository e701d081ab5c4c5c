"""Handle GET /series, /series/{series}, /series/{series}/volumes and /studies/{study}."""

from dicom_series_preview.doors.aws.handlers import http_handler

handler = http_handler("series")
