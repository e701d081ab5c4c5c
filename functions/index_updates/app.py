"""Objects that came or went, through SQS: the index of each touched series is brought up to date."""

from dicom_series_preview.doors.aws.handlers import sqs_handler

handler = sqs_handler()
