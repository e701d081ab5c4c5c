"""A batch's step for one series: its index and mosaic."""

from dicom_series_preview.doors.aws.handlers import batch_item_handler

handler = batch_item_handler()
