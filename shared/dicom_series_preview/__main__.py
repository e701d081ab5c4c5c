"""`python -m dicom_series_preview`."""

from dicom_series_preview.cli import run

run()
