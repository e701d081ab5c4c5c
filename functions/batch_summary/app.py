"""A batch's last step: results and failures -> its summary in S3."""

from dicom_series_preview.doors.aws.handlers import batch_summary_handler

handler = batch_summary_handler()
