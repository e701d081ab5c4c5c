"""A batch's first step: its manifest or prefix -> the list of its series in S3."""

from dicom_series_preview.doors.aws.handlers import batch_prepare_handler

handler = batch_prepare_handler()
