"""GET /series/{series}/image."""

from dicom_series_preview.aws import http_handler

handler = http_handler("image")
