"""Handle a batch's last step: summarise results and failures in S3."""

from dicom_series_preview.doors.aws.handlers import batch_summary_handler

handler = batch_summary_handler()
