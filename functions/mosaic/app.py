"""GET /series/{series}/mosaic."""

from dicom_series_preview.aws import http_handler

handler = http_handler("mosaic")
