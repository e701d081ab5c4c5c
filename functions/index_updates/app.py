"""Handle S3 events through SQS: update the index of each series whose objects were added or removed."""

from dicom_series_preview.doors.aws.handlers import sqs_handler

handler = sqs_handler()
