"""The log of a function, in JSON, including the package's own lines."""

from __future__ import annotations

import logging

from aws_lambda_powertools import Logger

from dicom_series_preview.base.discreet import quiet_libraries


def function_logger() -> Logger:
    """Return Powertools' logger, whose handler also gets the package's warnings and errors."""
    quiet_libraries()
    logger = Logger()
    package = logging.getLogger("dicom_series_preview")
    package.handlers = list(logger.handlers)
    package.setLevel(max(logger.log_level, logging.WARNING))
    package.propagate = False
    return logger
