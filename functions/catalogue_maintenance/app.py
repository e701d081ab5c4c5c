"""Handle the daily schedule: join the files of the catalogue's table, and remove old ones."""

from dicom_series_preview.doors.aws.handlers import catalogue_maintenance_handler

handler = catalogue_maintenance_handler()
