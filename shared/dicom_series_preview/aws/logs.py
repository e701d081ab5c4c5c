"""The log of a function: JSON, the package's own lines too."""

from __future__ import annotations

import logging

from aws_lambda_powertools import Logger


def function_logger() -> Logger:
    """Powertools' logger, through whose handler the package's warnings and errors go as well.

    What the package tells below that names series, and a folder may bear a patient's name.
    """
    logger = Logger()
    package = logging.getLogger("dicom_series_preview")
    package.handlers = list(logger.handlers)
    package.setLevel(max(logger.log_level, logging.WARNING))
    package.propagate = False
    return logger
