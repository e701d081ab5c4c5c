"""Handle S3's notifications of indices through SQS: write their rows into the catalogue."""

from dicom_series_preview.doors.aws.handlers import catalogue_fold_handler

handler = catalogue_fold_handler()
