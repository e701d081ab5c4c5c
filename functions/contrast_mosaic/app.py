"""Handle GET /series/{series}/contrast-mosaic."""

from dicom_series_preview.doors.aws.handlers import http_handler

handler = http_handler("contrast_mosaic")
