"""Handle a batch's step for one series that is converted: write its volumes."""

from dicom_series_preview.doors.aws.handlers import batch_item_handler

handler = batch_item_handler()
