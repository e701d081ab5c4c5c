"""What keeps the local server answering: who may ask, how long connections idle, and whose turn it is."""

from dicom_series_preview.serving.access_log import AccessLog
from dicom_series_preview.serving.connections import Connections, protocol
from dicom_series_preview.serving.guard import Guard, host_name, is_loopback
from dicom_series_preview.serving.lanes import WAIT_S, Lane
from dicom_series_preview.serving.targets import Targets

__all__ = [
    "WAIT_S",
    "AccessLog",
    "Connections",
    "Guard",
    "Lane",
    "Targets",
    "host_name",
    "is_loopback",
    "protocol",
]
