"""Handle POST /batches, and GET and DELETE /batches/{id}."""

from dicom_series_preview.doors.aws.handlers import batch_api_handler

handler = batch_api_handler()
