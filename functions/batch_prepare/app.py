"""Handle a batch's first step: list the series of its manifest or prefix in S3."""

from dicom_series_preview.doors.aws.handlers import batch_prepare_handler

handler = batch_prepare_handler()
